"""Everything of Microsoft.Network: kept and checked, without packets."""

from typing import Any

from infra.local.arm.resource_types import ResourceType, Write
from infra.local.arm.store import Store
from infra.local.services.network.embedded import network_type
from infra.local.services.network.load_balancing import LoadBalancers
from infra.local.services.network.network_interfaces import NetworkInterfaces
from infra.local.services.network.private_dns import PrivateDns
from infra.local.services.network.private_link import PrivateLink
from infra.local.services.network.public_addresses import PublicAddresses
from infra.local.services.network.references import check_references
from infra.local.services.network.security_groups import SecurityGroups
from infra.local.services.network.virtual_networks import VirtualNetworks


class Network:
    """The types of Microsoft.Network."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        dns = PrivateDns(self._store)
        return (
            *VirtualNetworks(self._store).types(),
            *SecurityGroups(self._store).types(),
            *PublicAddresses(self._store).types(),
            *NetworkInterfaces(self._store).types(),
            *LoadBalancers(self._store).types(),
            *dns.types(),
            *PrivateLink(self._store, dns).types(),
            # Named by rules and subnets, and nothing else here.
            network_type("Microsoft.Network/applicationSecurityGroups"),
            network_type("Microsoft.Network/routeTables", prepare=self._prepare_routes),
        )

    def _prepare_routes(self, write: Write) -> None:
        write.resource.properties.setdefault("routes", [])
        write.resource.properties.setdefault("disableBgpRoutePropagation", False)
        write.resource.properties.pop("subnets", None)
        check_references(self._store, write)


def subnets_of(properties: dict[str, Any]) -> set[str]:
    """Return the ids, in lower case, of the subnets that a scale set's network profile names."""
    profile = properties.get("virtualMachineProfile", {}).get("networkProfile", {})
    found = set()
    for interface in profile.get("networkInterfaceConfigurations", []):
        for configuration in interface.get("properties", {}).get("ipConfigurations", []):
            subnet = configuration.get("properties", {}).get("subnet", {}).get("id")
            if subnet:
                found.add(str(subnet).lower())
    return found
