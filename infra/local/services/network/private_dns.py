"""Private DNS zones, their links to networks, and their records."""

from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Follow, Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network.references import check_references

ZONE = "Microsoft.Network/privateDnsZones"
LINK = f"{ZONE}/virtualNetworkLinks"
RECORD_KINDS = ("A", "AAAA", "CNAME", "MX", "PTR", "SOA", "SRV", "TXT")

# docs: "Azure subscription and service limits", private DNS.
_RECORD_SETS = 25_000
_LINKS = 1_000
_LINKS_WITH_REGISTRATION = 100
_FOLLOWED: dict[str, Any] = {
    "follow_create": Follow.BOTH,
    "follow_update": Follow.BOTH,
    "follow_delete": Follow.BOTH,
    "shows_etag": True,
}


class PrivateDns:
    """The types of private DNS."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        records = [
            ResourceType(
                f"{ZONE}/{kind}",
                prepare=_prepare_record,
                leave=_check_record,
                tracked=False,
                has_state=False,
                shows_etag=True,
            )
            for kind in RECORD_KINDS
        ]
        return (
            ResourceType(
                ZONE,
                prepare=_prepare_zone,
                apply=self._add_authority,
                view=self._show_zone,
                views={"ALL": self._all_records, "recordSets": self._all_records},
                leave=self._check_zone_unused,
                **_FOLLOWED,
            ),
            ResourceType(LINK, prepare=self._prepare_link, **_FOLLOWED),
            *records,
        )

    def set_addresses(self, zone_id: str, name: str, addresses: list[str]) -> None:
        """Write the address record of a name; without addresses it goes."""
        identifier = f"{zone_id}/A/{name}"
        if not addresses:
            self._store.remove(identifier)
            return
        record = self._store.get(identifier) or Resource(identifier, f"{ZONE}/A", {})
        zone = zone_id.rsplit("/", 1)[1]
        values = [{"ipv4Address": address} for address in addresses]
        # Ten seconds is what the service gives records of private endpoints (docs: "private endpoint DNS").
        properties = {"fqdn": f"{name}.{zone}.", "ttl": 10, "isAutoRegistered": False, "aRecords": values}
        record.body = {"properties": properties}
        self._store.save(record)

    def _add_authority(self, write: Write) -> dict[str, Any]:
        """Give a new zone its record of authority, as the service does."""
        identifier = f"{write.resource.id}/SOA/@"
        if self._store.get(identifier) is None:
            soa = {
                "email": "azureprivatedns-host.microsoft.com",
                "expireTime": 2419200,
                "host": "azureprivatedns.net",
                "minimumTtl": 10,
                "refreshTime": 3600,
                "retryTime": 300,
                "serialNumber": 1,
            }
            properties = {
                "fqdn": f"{write.resource.name}.",
                "ttl": 3600,
                "isAutoRegistered": False,
                "soaRecord": soa,
            }
            self._store.save(Resource(identifier, f"{ZONE}/SOA", {"properties": properties}))
        return {}

    def _records(self, zone: Resource) -> list[Resource]:
        return [record for kind in RECORD_KINDS for record in self._store.find(f"{ZONE}/{kind}", zone.id)]

    def _all_records(self, zone: Resource) -> dict[str, Any]:
        kinds = {f"{ZONE}/{kind}".lower(): f"{ZONE}/{kind}" for kind in RECORD_KINDS}
        records = [
            {"id": record.id, "name": record.name, "type": kinds[record.type.lower()], "etag": record.etag}
            | record.body
            for record in self._records(zone)
        ]
        return {"value": records}

    def _show_zone(self, zone: Resource, _query: Query) -> dict[str, Any]:
        links = self._store.find(LINK, zone.id)
        counts = {
            "maxNumberOfRecordSets": _RECORD_SETS,
            "maxNumberOfVirtualNetworkLinks": _LINKS,
            "maxNumberOfVirtualNetworkLinksWithRegistration": _LINKS_WITH_REGISTRATION,
            "numberOfRecordSets": len(self._records(zone)),
            "numberOfVirtualNetworkLinks": len(links),
            "numberOfVirtualNetworkLinksWithRegistration": sum(
                bool(link.properties.get("registrationEnabled")) for link in links
            ),
        }
        return zone.body | {"properties": zone.properties | counts}

    def _check_zone_unused(self, zone: Resource) -> None:
        if self._store.find(LINK, zone.id):
            message = "Can not delete resource before nested resources are deleted."
            raise conflict("CannotDeleteResource", message)

    def _prepare_link(self, write: Write) -> None:
        properties = write.resource.properties
        network = (properties.get("virtualNetwork") or {}).get("id")
        if not network:
            message = f"The virtual network link {write.address.name} needs 'virtualNetwork.id'."
            raise invalid(message, "properties.virtualNetwork.id", "BadRequest")
        check_references(self._store, write)
        properties.setdefault("registrationEnabled", False)
        properties["virtualNetworkLinkState"] = "Completed"
        for other in self._store.find(LINK, write.address.parent or ""):
            theirs = str(other.properties["virtualNetwork"]["id"]).lower()
            if other.key != write.resource.key and theirs == str(network).lower():
                message = (
                    f"A virtual network cannot be linked to multiple zones with overlapping namespaces. You tried to"
                    f" link virtual network with '{write.address.names[0]}', which '{other.name}' links already."
                )
                raise invalid(message, code="BadRequest")


def _prepare_zone(write: Write) -> None:
    if write.resource.body.get("location") != "global":
        message = f"The private DNS zone {write.address.name} is in location 'global', not elsewhere."
        raise invalid(message, "location", "LocationNotAvailableForResourceType")
    if "." not in write.address.name.strip("."):
        message = f"The domain name '{write.address.name}' is not valid: it needs at least two labels."
        raise invalid(message, "name", "BadRequest")
    write.resource.properties["internalId"] = write.resource.key


def _prepare_record(write: Write) -> None:
    properties = write.resource.properties
    kind = write.resource.type.rsplit("/", 1)[1]
    zone = write.address.names[0]
    ttl = properties.pop("TTL", properties.get("ttl"))
    if ttl is None:
        message = f"The record set {write.address.name} needs 'ttl'."
        raise invalid(message, "properties.ttl", "BadRequest")
    properties["ttl"] = ttl
    name = write.address.name
    properties["fqdn"] = f"{zone}." if name == "@" else f"{name}.{zone}."
    properties["isAutoRegistered"] = False
    if kind == "SOA" and write.before is None:
        message = "Record sets of type SOA cannot be created."
        raise invalid(message, code="BadRequest")


def _check_record(record: Resource) -> None:
    if record.type.lower().endswith("/soa"):
        message = "Record sets of type SOA cannot be deleted."
        raise invalid(message, code="BadRequest")
