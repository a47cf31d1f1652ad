"""Virtual networks, their subnets, and security groups: kept and checked, without packets."""

import ipaddress
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Follow, Query, ResourceType, Write
from infra.local.arm.store import Resource, Store

_SUBNET = "Microsoft.Network/virtualNetworks/subnets"


class Network:
    """The types of Microsoft.Network; addresses are only checked for form and fit."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                "Microsoft.Network/virtualNetworks",
                prepare=self._prepare_network,
                apply=self._write_subnets,
                view=self._show_network,
                leave=self._check_network_unused,
                follow_create=Follow.STATUS,
                follow_update=Follow.STATUS,
                follow_delete=Follow.BOTH,
                creating_state="Updating",
                shows_etag=True,
            ),
            ResourceType(
                _SUBNET,
                prepare=self._prepare_subnet,
                leave=self._check_subnet_unused,
                follow_create=Follow.STATUS,
                follow_update=Follow.STATUS,
                follow_delete=Follow.BOTH,
                creating_state="Updating",
                tracked=False,
                shows_etag=True,
            ),
            ResourceType(
                "Microsoft.Network/networkSecurityGroups",
                prepare=_prepare_security_group,
                follow_create=Follow.STATUS,
                follow_update=Follow.STATUS,
                follow_delete=Follow.BOTH,
                creating_state="Updating",
                shows_etag=True,
            ),
        )

    def _prepare_network(self, write: Write) -> None:
        prefixes = write.resource.properties.get("addressSpace", {}).get("addressPrefixes")
        if not prefixes:
            raise invalid("The virtual network needs 'addressSpace.addressPrefixes'.", code="InvalidRequestFormat")
        for prefix in prefixes:
            _network(prefix)
        for subnet in write.resource.properties.get("subnets", []):
            _check_subnet(subnet.get("properties", {}), prefixes, subnet.get("name", ""))

    def _write_subnets(self, write: Write) -> dict[str, Any]:
        """Keep subnets named in the body of their network as resources of their own; those not named stay."""
        for subnet in write.resource.properties.pop("subnets", []):
            identifier = f"{write.resource.id}/subnets/{subnet['name']}"
            kept = self._store.get(identifier) or Resource(identifier, _SUBNET, {})
            kept.body = {"properties": dict(subnet.get("properties", {})) | {"provisioningState": "Succeeded"}}
            self._store.save(kept)
        self._store.save(write.resource, changed=False)
        return {}

    def _show_network(self, network: Resource, _query: Query) -> dict[str, Any]:
        subnets = [
            {"id": subnet.id, "name": subnet.name, "type": _SUBNET, "etag": subnet.etag} | subnet.body
            for subnet in self._store.find(_SUBNET, network.id)
        ]
        return network.body | {"properties": network.properties | {"subnets": subnets}}

    def _prepare_subnet(self, write: Write) -> None:
        network = self._store.get(write.address.parent or "")
        prefixes = network.properties["addressSpace"]["addressPrefixes"] if network else []
        _check_subnet(write.resource.properties, prefixes, write.address.name)

    def _check_subnet_unused(self, subnet: Resource) -> None:
        for scale_set in self._store.find("Microsoft.Compute/virtualMachineScaleSets"):
            if subnet.id.lower() in subnets_of(scale_set.properties):
                message = f"Subnet {subnet.name} is in use by {scale_set.id} and cannot be deleted."
                raise invalid(message, code="InUseSubnetCannotBeDeleted")

    def _check_network_unused(self, network: Resource) -> None:
        for subnet in self._store.find(_SUBNET, network.id):
            self._check_subnet_unused(subnet)


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


def _network(prefix: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(prefix)
    except ValueError as error:
        message = f"The address prefix '{prefix}' is formatted incorrectly: {error}."
        raise invalid(message, code="InvalidAddressPrefixFormat") from error


def _check_subnet(properties: dict[str, Any], prefixes: list[str], name: str) -> None:
    wanted = properties.get("addressPrefixes") or [properties.get("addressPrefix")]
    for prefix in wanted:
        if not prefix:
            raise invalid(f"Subnet '{name}' needs an address prefix.", code="InvalidRequestFormat")
        inner = _network(prefix)
        outers = [_network(outer) for outer in prefixes]
        if not any(inner.version == outer.version and inner.subnet_of(outer) for outer in outers):  # type: ignore[arg-type]  # versions are equal
            message = f"Subnet '{name}' is not valid because its IP address range is outside the virtual network."
            raise invalid(message, code="NetcfgInvalidSubnet")


def _prepare_security_group(write: Write) -> None:
    for rule in write.resource.properties.setdefault("securityRules", []):
        rule["id"] = f"{write.resource.id}/securityRules/{rule['name']}"
        rule.setdefault("properties", {})["provisioningState"] = "Succeeded"
