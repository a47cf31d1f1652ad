"""Private endpoints: an address in a subnet for a service's account, and the names that lead to it."""

import uuid
from http import HTTPStatus
from typing import Any

from infra.local.arm.addresses import parse
from infra.local.arm.errors import ArmError, invalid
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network.embedded import network_type
from infra.local.services.network.private_addresses import INTERFACE, PrivateAddresses
from infra.local.services.network.private_dns import PrivateDns
from infra.local.services.network.references import check_references, missing_reference

ENDPOINT = "Microsoft.Network/privateEndpoints"
ZONE_GROUP = f"{ENDPOINT}/privateDnsZoneGroups"

# Which parts of an account have a private endpoint, and the public name of each (docs: "private endpoint DNS").
_PARTS = {
    "microsoft.storage/storageaccounts": {
        part: f"{{name}}.{part}.core.windows.net" for part in ("blob", "queue", "table", "file", "dfs")
    },
    "microsoft.batch/batchaccounts": {
        "batchAccount": "{name}.{location}.batch.azure.com",
        "nodeManagement": "{name}.{location}.service.batch.azure.com",
    },
    "microsoft.dbforpostgresql/flexibleservers": {"postgresqlServer": "{name}.postgres.database.azure.com"},
}
_CONNECTION_HOLDERS = ("Microsoft.Storage/storageAccounts", "Microsoft.Batch/batchAccounts")
_LISTS = {"privateLinkServiceConnections": "Approved", "manualPrivateLinkServiceConnections": "Pending"}
_STATES = {
    "Approved": {"status": "Approved", "description": "Auto-Approved", "actionsRequired": "None"},
    "Pending": {"status": "Pending", "description": "Awaiting approval", "actionsRequired": "None"},
}


class PrivateLink:
    """The types of private endpoints."""

    def __init__(self, store: Store, dns: PrivateDns) -> None:
        self._store = store
        self._dns = dns
        self._addresses = PrivateAddresses(store)

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        connections = [
            ResourceType(
                f"{holder}/privateEndpointConnections", created=HTTPStatus.OK, tracked=False, release=self._forget
            )
            for holder in _CONNECTION_HOLDERS
        ]
        return (
            network_type(
                ENDPOINT,
                prepare=self._prepare_endpoint,
                apply=self._apply_endpoint,
                release=self._release_endpoint,
                view=self._show_endpoint,
            ),
            network_type(
                ZONE_GROUP,
                prepare=self._prepare_zone_group,
                apply=self._apply_zone_group,
                release=self._release_zone_group,
                tracked=False,
            ),
            *connections,
        )

    def _prepare_endpoint(self, write: Write) -> None:
        resource, properties = write.resource, write.resource.properties
        if not (properties.get("subnet") or {}).get("id"):
            message = f"The private endpoint {write.address.name} needs 'subnet.id'."
            raise invalid(message, "properties.subnet.id", "InvalidRequestFormat")
        for name in ("networkInterfaces", "customDnsConfigs"):
            properties.pop(name, None)
        connections = [connection for name in _LISTS for connection in properties.get(name) or []]
        if not connections:
            message = f"The private endpoint {write.address.name} needs a private link service connection."
            raise invalid(message, "properties.privateLinkServiceConnections", "InvalidRequestFormat")
        for name, state in _LISTS.items():
            for connection in properties.setdefault(name, []):
                self._complete_connection(connection, f"{resource.id}/{name}", state, write)
        properties.setdefault("ipConfigurations", [])
        properties.setdefault("applicationSecurityGroups", [])
        properties.setdefault("customNetworkInterfaceName", "")
        check_references(self._store, write)
        before = write.before.properties["subnet"]["id"] if write.before else properties["subnet"]["id"]
        if before.lower() != properties["subnet"]["id"].lower():
            message = f"The subnet of the private endpoint {write.address.name} cannot be changed."
            raise invalid(message, "properties.subnet", "PrivateEndpointSubnetCannotBeChanged")

    def _complete_connection(self, connection: dict[str, Any], base: str, state: str, write: Write) -> None:
        inner = connection.setdefault("properties", {})
        target = self._store.get(str(inner.get("privateLinkServiceId", "")))
        if target is None:
            raise missing_reference(str(inner.get("privateLinkServiceId")), write.resource.id)
        parts = _PARTS.get(target.type, {})
        groups = inner.get("groupIds") or []
        if parts and (len(groups) != 1 or groups[0].lower() not in map(str.lower, parts)):
            message = (
                f"The private endpoint {write.address.name} needs exactly one group id for {target.id}, one of"
                f" {', '.join(parts)}; it has {', '.join(groups) or 'none'}."
            )
            raise invalid(
                message, "properties.privateLinkServiceConnections.groupIds", "PrivateEndpointGroupIdsInvalid"
            )
        name = connection.setdefault("name", write.address.name)
        connection.update(id=f"{base}/{name}", type=f"{ENDPOINT}/{base.rsplit('/', 1)[1]}")
        inner["provisioningState"] = "Succeeded"
        inner["privateLinkServiceConnectionState"] = dict(_STATES[state])

    def _apply_endpoint(self, write: Write) -> dict[str, Any]:
        resource = write.resource
        self._write_interface(resource)
        held = resource.internal.setdefault("connections", {})
        wanted = {connection["id"].lower(): connection for connection in _connections(resource)}
        for identifier in held.keys() - wanted.keys():
            self._store.remove(held.pop(identifier))
        for identifier, connection in wanted.items():
            inner = connection["properties"]
            if identifier not in held:
                name = f"{resource.name}.{uuid.uuid4()}"
                held[identifier] = f"{inner['privateLinkServiceId']}/privateEndpointConnections/{name}"
            target = self._store.get(inner["privateLinkServiceId"])
            kind = parse(held[identifier]).address
            if target is not None and kind is not None:
                properties = {
                    "provisioningState": "Succeeded",
                    "privateEndpoint": {"id": resource.id},
                    "groupIds": inner.get("groupIds", []),
                    "privateLinkServiceConnectionState": inner["privateLinkServiceConnectionState"],
                }
                self._store.save(Resource(held[identifier], kind.type, {"properties": properties}))
        self._store.save(resource, changed=False)
        return {}

    def _write_interface(self, endpoint: Resource) -> None:
        """Give the endpoint its interface, one address for each part of an account."""
        properties = endpoint.properties
        name = properties["customNetworkInterfaceName"] or f"{endpoint.name}.nic.{uuid.uuid4()}"
        provider = endpoint.id.rsplit("/", 2)[0]
        identifier = endpoint.internal.setdefault("interface", f"{provider}/networkInterfaces/{name}")
        interface = self._store.get(identifier) or Resource(identifier, INTERFACE, {})
        chosen = {
            found["properties"].get("groupId", ""): found["properties"]["privateIPAddress"]
            for found in properties["ipConfigurations"]
        }
        configurations = []
        for place, part in enumerate(_parts(endpoint)):
            configuration = {
                "name": f"privateEndpointIpConfig.{uuid.uuid5(uuid.NAMESPACE_URL, endpoint.key + part)}",
                "properties": {
                    "provisioningState": "Succeeded",
                    "subnet": properties["subnet"],
                    "primary": place == 0,
                    "privateLinkConnectionProperties": {
                        "groupId": part,
                        "requiredMemberName": part,
                        "fqdns": [self._public_name(endpoint, part)],
                    },
                },
            }
            if part in chosen:
                address = {"privateIPAddress": chosen[part], "privateIPAllocationMethod": "Static"}
                configuration["properties"] |= address  # type: ignore[operator]  # the value is the dict above
            configurations.append(configuration)
        named: list[tuple[str, dict[str, Any]]] = []
        for configuration in configurations:
            inner: Any = configuration["properties"]
            configuration["id"] = f"{identifier}/ipConfigurations/{configuration['name']}"
            named.append((str(configuration["id"]), inner))
        self._addresses.assign(named, interface)
        interface.body = {
            "location": endpoint.body["location"],
            "properties": interface.properties | {"provisioningState": "Succeeded", "ipConfigurations": configurations},
        }
        interface.internal["endpoint"] = endpoint.id
        self._store.save(interface)

    def _show_endpoint(self, endpoint: Resource, _query: Query) -> dict[str, Any]:
        grouped = bool(self._store.find(ZONE_GROUP, endpoint.id))
        configs = [
            {"fqdn": self._public_name(endpoint, part), "ipAddresses": [address]}
            for part, address in self._part_addresses(endpoint).items()
        ]
        shown = {
            "networkInterfaces": [{"id": endpoint.internal["interface"]}],
            "customDnsConfigs": [] if grouped else configs,
        }
        return endpoint.body | {"properties": endpoint.properties | shown}

    def _part_addresses(self, endpoint: Resource) -> dict[str, str]:
        interface = self._store.get(endpoint.internal.get("interface", ""))
        found = {}
        for configuration in interface.properties["ipConfigurations"] if interface else []:
            inner = configuration["properties"]
            found[inner["privateLinkConnectionProperties"]["groupId"]] = inner["privateIPAddress"]
        return found

    def _public_name(self, endpoint: Resource, part: str) -> str:
        for connection in _connections(endpoint):
            target = self._store.get(connection["properties"]["privateLinkServiceId"])
            if target is not None and part in connection["properties"].get("groupIds", []):
                pattern = _PARTS.get(target.type, {}).get(part, "{name}.{location}.local")
                return pattern.format(name=target.name, location=target.body.get("location", ""))
        return part

    def _release_endpoint(self, endpoint: Resource) -> float | None:
        with self._store.transaction():
            for group in self._store.find(ZONE_GROUP, endpoint.id):
                self._release_zone_group(group)
            for identifier in endpoint.internal.get("connections", {}).values():
                self._store.remove(identifier)
            self._store.remove(endpoint.internal.get("interface", endpoint.id + "/none"))
        return None

    def _forget(self, connection: Resource) -> float | None:
        """Show an endpoint whose connection was removed at the other end as disconnected."""
        with self._store.transaction():
            endpoint = self._store.get(connection.properties["privateEndpoint"]["id"])
            for known in _connections(endpoint) if endpoint else []:
                if endpoint and endpoint.internal["connections"].get(known["id"].lower()) == connection.id:
                    state = {"status": "Disconnected", "description": "", "actionsRequired": "None"}
                    known["properties"]["privateLinkServiceConnectionState"] = state
                    self._store.save(endpoint)
        return None

    def _prepare_zone_group(self, write: Write) -> None:
        endpoint = self._store.get(write.address.parent or "")
        if endpoint is None:
            return
        for place, config in enumerate(write.resource.properties.setdefault("privateDnsZoneConfigs", [])):
            inner = config.setdefault("properties", {})
            zone = self._store.get(str(inner.get("privateDnsZoneId", "")))
            if zone is None:
                raise _zone_missing(str(inner.get("privateDnsZoneId")), place)
            config["id"] = f"{write.resource.id}/privateDnsZoneConfigs/{config.get('name', '')}"
            config["type"] = f"{ZONE_GROUP}/privateDnsZoneConfigs"
            inner["recordSets"] = self._record_sets(endpoint, zone)

    def _record_sets(self, endpoint: Resource, zone: Resource) -> list[dict[str, Any]]:
        suffix = "." + zone.name.removeprefix("privatelink.")
        found = []
        for part, address in self._part_addresses(endpoint).items():
            public = self._public_name(endpoint, part)
            name = public.removesuffix(suffix) if public.endswith(suffix) else public.partition(".")[0]
            found.append(
                {
                    "recordType": "A",
                    "recordSetName": name,
                    "fqdn": f"{name}.{zone.name}",
                    "ttl": 10,
                    "ipAddresses": [address],
                    "provisioningState": "Succeeded",
                }
            )
        return found

    def _apply_zone_group(self, write: Write) -> dict[str, Any]:
        if write.before is not None:
            self._release_zone_group(write.before)
        for zone_id, record in _records(write.resource):
            self._dns.set_addresses(zone_id, record["recordSetName"], record["ipAddresses"])
        return {}

    def _release_zone_group(self, group: Resource) -> float | None:
        for zone_id, record in _records(group):
            self._dns.set_addresses(zone_id, record["recordSetName"], [])
        return None


def _connections(endpoint: Resource) -> list[dict[str, Any]]:
    return [connection for name in _LISTS for connection in endpoint.properties.get(name) or []]


def _parts(endpoint: Resource) -> list[str]:
    groups = [part for connection in _connections(endpoint) for part in connection["properties"].get("groupIds") or []]
    return list(dict.fromkeys(groups)) or [endpoint.name]


def _records(group: Resource) -> list[tuple[str, dict[str, Any]]]:
    return [
        (config["properties"]["privateDnsZoneId"], record)
        for config in group.properties.get("privateDnsZoneConfigs", [])
        for record in config["properties"].get("recordSets", [])
    ]


def _zone_missing(zone_id: str, place: int) -> ArmError:
    message = f"The private DNS zone '{zone_id}' of configuration {place} was not found."
    return invalid(message, f"properties.privateDnsZoneConfigs[{place}]", "InvalidPrivateDnsZoneId")
