"""Virtual networks and their subnets: kept and checked, without packets."""

import uuid
from typing import Any

from infra.local.arm.errors import ArmError, invalid
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network import prefixes
from infra.local.services.network.embedded import Embedded, keep, network_type
from infra.local.services.network.references import check_references, users_of

NETWORK = "Microsoft.Network/virtualNetworks"
SUBNET = f"{NETWORK}/subnets"

# What a subnet shows of others that name it; sent back by clients that read before they write.
_BACK_REFERENCES = ("ipConfigurations", "privateEndpoints", "serviceAssociationLinks", "resourceNavigationLinks")
_INTERFACES = ("Microsoft.Network/networkInterfaces", "Microsoft.Network/loadBalancers/frontendIPConfigurations")
_ENDPOINTS = "Microsoft.Network/privateEndpoints"
# These name subnets without living in them.
_ADMITTING = (
    "microsoft.authorization/",
    "microsoft.batch/batchaccounts",
    "microsoft.network/virtualnetworks",
    "microsoft.resources/",
    "microsoft.storage/",
)


class VirtualNetworks:
    """The types of virtual networks; addresses are only checked for form and fit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._subnets = Embedded(store, NETWORK, "subnets")
        self._peerings = Embedded(store, NETWORK, "virtualNetworkPeerings")

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            network_type(
                NETWORK,
                prepare=self._prepare_network,
                apply=self._apply_network,
                view=self._show_network,
                leave=self._check_network_unused,
            ),
            network_type(
                SUBNET,
                prepare=self._prepare_subnet,
                view=lambda subnet, _query: self._show_subnet(subnet),
                leave=self.check_unused,
                tracked=False,
            ),
            network_type(self._peerings.type, prepare=self._prepare_peering, tracked=False),
        )

    def check_unused(self, subnet: Resource) -> None:
        """Refuse to delete a subnet in which something lives."""
        for resource in self._store.find():
            if resource.type.startswith(_ADMITTING) and not resource.type.startswith("microsoft.batch/batchaccounts/"):
                continue
            for user in users_of(resource, [subnet.key]):
                message = (
                    f"Subnet {subnet.name} is in use by {user} and cannot be deleted. In order to delete the subnet,"
                    " delete all the resources within the subnet. See aka.ms/deletesubnet."
                )
                raise invalid(message, code="InUseSubnetCannotBeDeleted")

    def _prepare_network(self, write: Write) -> None:
        properties, name = write.resource.properties, write.address.name
        spaces = (properties.get("addressSpace") or {}).get("addressPrefixes")
        if not spaces:
            message = f"The virtual network {name} needs 'addressSpace.addressPrefixes'."
            raise invalid(message, "properties.addressSpace.addressPrefixes", "InvalidRequestFormat")
        blocks = [prefixes.network(space, write.resource.id) for space in spaces]
        for place, block in enumerate(blocks):
            if any(prefixes.overlapping(block, other) for other in blocks[:place]):
                message = f"Virtual network {name} has address prefixes that overlap: {', '.join(spaces)}."
                raise invalid(message, code="NetcfgVnetAddressSpaceOverlap")
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        properties.setdefault("enableDdosProtection", False)
        properties.setdefault("dhcpOptions", {"dnsServers": []})
        declared = self._subnets.declared(write)
        if declared is None:
            for subnet in self._subnets.members(write.resource):
                _check_inside(subnet.name, prefixes.of_subnet(subnet.properties), spaces, name)
        for subnet in self._subnets.dropped(write):
            self.check_unused(subnet)
        checked: list[tuple[str, dict[str, Any]]] = []
        for member in declared or []:
            member["properties"] = member.get("properties") or {}
            self._complete_subnet(f"{write.resource.id}/subnets/{member['name']}", member["properties"], write)
            _check_subnet(member["name"], member["properties"], spaces, name, checked)
            checked.append((member["name"], member["properties"]))
        for peering in self._peerings.declared(write) or []:
            _complete_peering(peering.setdefault("properties", {}))
        check_references(self._store, write)

    def _apply_network(self, write: Write) -> dict[str, Any]:
        self._subnets.take(write)
        self._peerings.take(write)
        self._store.save(write.resource, changed=False)
        return {}

    def _show_network(self, network: Resource, _query: Query) -> dict[str, Any]:
        subnets = [self._subnets.show(subnet) | self._show_subnet(subnet) for subnet in self._subnets.members(network)]
        lists = {"subnets": subnets, "virtualNetworkPeerings": self._peerings.shown(network)}
        return network.body | {"properties": network.properties | lists}

    def _check_network_unused(self, network: Resource) -> None:
        for subnet in self._subnets.members(network):
            self.check_unused(subnet)

    def _prepare_subnet(self, write: Write) -> None:
        network = self._store.get(write.address.parent or "")
        if network is None:
            return
        self._complete_subnet(write.resource.id, write.resource.properties, write)
        others = [
            (other.name, other.properties)
            for other in self._subnets.members(network)
            if other.key != write.resource.key
        ]
        spaces = network.properties["addressSpace"]["addressPrefixes"]
        _check_subnet(write.address.name, write.resource.properties, spaces, network.name, others)
        check_references(self._store, write)

    def _complete_subnet(self, identifier: str, properties: dict[str, Any], write: Write) -> None:
        """Fill in what the service sets, and leave out what it shows of others."""
        for name in _BACK_REFERENCES:
            properties.pop(name, None)
        location = write.resource.body.get("location") or self._location(write)
        for endpoint in properties.get("serviceEndpoints") or []:
            # A region's own endpoint and that of its pair; Storage alone spans both (docs: "service endpoints").
            endpoint["locations"] = endpoint.get("locations") or [location]
            endpoint["provisioningState"] = "Succeeded"
        for delegation in properties.setdefault("delegations", []):
            delegation["id"] = f"{identifier}/delegations/{delegation.get('name', '')}"
            delegation["type"] = f"{SUBNET}/delegations"
            delegation.setdefault("properties", {})["provisioningState"] = "Succeeded"
            delegation["properties"].setdefault("actions", [])
        properties.setdefault("privateEndpointNetworkPolicies", "Disabled")
        properties.setdefault("privateLinkServiceNetworkPolicies", "Enabled")

    def _location(self, write: Write) -> str:
        network = self._store.get(write.address.parent or "")
        return str(network.body["location"]) if network else ""

    def _show_subnet(self, subnet: Resource) -> dict[str, Any]:
        shown = dict(subnet.properties)
        interfaces = [
            {"id": user}
            for kind in _INTERFACES
            for resource in self._store.find(kind)
            for user in users_of(resource, [subnet.key])
        ]
        endpoints = [
            {"id": endpoint.id} for endpoint in self._store.find(_ENDPOINTS) if any(users_of(endpoint, [subnet.key]))
        ]
        if interfaces:
            shown["ipConfigurations"] = interfaces
        if endpoints:
            shown["privateEndpoints"] = endpoints
        return subnet.body | {"properties": shown}

    def _prepare_peering(self, write: Write) -> None:
        _complete_peering(write.resource.properties)
        check_references(self._store, write)


def _complete_peering(properties: dict[str, Any]) -> None:
    properties["peeringState"] = "Initiated"
    properties["peeringSyncLevel"] = "RemoteNotInSync"


def _check_inside(name: str, wanted: list[str], spaces: list[str], network: str) -> None:
    outers = [prefixes.network(space, network) for space in spaces]
    for prefix in wanted:
        if not any(prefixes.inside(prefixes.network(prefix, name), outer) for outer in outers):
            message = (
                f"Subnet '{name}' is not valid because its IP address range is outside the IP address range of virtual"
                f" network '{network}'."
            )
            raise _invalid_subnet(message)


def _check_subnet(
    name: str,
    properties: dict[str, Any],
    spaces: list[str],
    network: str,
    others: list[tuple[str, dict[str, Any]]],
) -> None:
    wanted = prefixes.of_subnet(properties)
    if not wanted:
        message = f"Subnet '{name}' of virtual network '{network}' needs 'addressPrefix' or 'addressPrefixes'."
        raise invalid(message, "properties.addressPrefix", "InvalidRequestFormat")
    _check_inside(name, wanted, spaces, network)
    blocks = [prefixes.network(prefix, name) for prefix in wanted]
    for other, theirs in others:
        taken = [prefixes.network(prefix, other) for prefix in prefixes.of_subnet(theirs)]
        if any(prefixes.overlapping(block, theirs) for block in blocks for theirs in taken):
            message = (
                f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing subnet"
                f" '{other}' in virtual network '{network}'."
            )
            raise invalid(message, code="NetcfgSubnetRangesOverlap")


def _invalid_subnet(message: str) -> ArmError:
    return invalid(message, code="NetcfgInvalidSubnet")
