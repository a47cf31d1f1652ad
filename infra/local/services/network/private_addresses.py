"""Private addresses of a subnet: who has which, and the next free one."""

from collections.abc import Iterator
from typing import Any

from infra.local.arm.store import Resource, Store
from infra.local.services.network import prefixes
from infra.local.services.network.references import missing_reference

INTERFACE = "Microsoft.Network/networkInterfaces"
FRONTEND = "Microsoft.Network/loadBalancers/frontendIPConfigurations"


class PrivateAddresses:
    """Hands out the addresses of subnets to interfaces and frontends."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def assign(self, configurations: list[tuple[str, dict[str, Any]]], owner: Resource) -> None:
        """Complete these configurations (id, properties) of a resource with the addresses that they keep or get."""
        taken: dict[str, set[str]] = {}
        kept = {identifier.lower(): found for identifier, found in _configurations(owner)}
        for identifier, properties in configurations:
            subnet_id = str((properties.get("subnet") or {}).get("id", ""))
            subnet = self._store.get(subnet_id)
            if subnet is None:
                raise missing_reference(subnet_id, owner.id)
            ranges = prefixes.of_subnet(subnet.properties)
            used = taken.setdefault(subnet.key, self._taken(subnet, owner))
            properties.setdefault("privateIPAddressVersion", "IPv4")
            method = properties.setdefault("privateIPAllocationMethod", "Dynamic")
            wanted = properties.get("privateIPAddress")
            if method == "Static" and wanted:
                prefixes.check_address(wanted, subnet.id, ranges, used, identifier)
            else:
                before = kept.get(identifier.lower(), {})
                same = str((before.get("subnet") or {}).get("id", "")).lower() == subnet.key
                address = before.get("privateIPAddress") if same else None
                if not address or address in used:
                    address = prefixes.next_address(subnet.id, ranges, used)
                properties["privateIPAddress"] = address
            used.add(properties["privateIPAddress"])

    def _taken(self, subnet: Resource, owner: Resource) -> set[str]:
        """Return the addresses of a subnet that others have."""
        found = set()
        for kind in (INTERFACE, FRONTEND):
            for resource in self._store.find(kind):
                if resource.key == owner.key or resource.key.startswith(owner.key + "/"):
                    continue
                for _, properties in _configurations(resource):
                    if str((properties.get("subnet") or {}).get("id", "")).lower() == subnet.key:
                        found.add(str(properties.get("privateIPAddress")))
        return found


def _configurations(resource: Resource) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what has an address in a resource: each configuration of an interface, or the frontend itself."""
    if resource.type.lower() == FRONTEND.lower():
        yield resource.id, resource.properties
    for configuration in resource.properties.get("ipConfigurations") or []:
        if "properties" in configuration:
            identifier = f"{resource.id}/ipConfigurations/{configuration.get('name', '')}"
            yield identifier, configuration["properties"]
