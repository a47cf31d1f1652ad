"""Public IP addresses and prefixes, and NAT gateways that use them."""

import ipaddress
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network.embedded import keep, network_type
from infra.local.services.network.references import check_references, users_of

ADDRESS = "Microsoft.Network/publicIPAddresses"
PREFIX = "Microsoft.Network/publicIPPrefixes"
GATEWAY = "Microsoft.Network/natGateways"
_SUBNET = "Microsoft.Network/virtualNetworks/subnets"

# Addresses that nobody has (RFC 5737, networks for documentation; RFC 2544, for benchmarks, which is larger).
_BLOCKS = tuple(map(ipaddress.IPv4Network, ("203.0.113.0/24", "198.51.100.0/24", "198.18.0.0/15")))
_PREFIX_BLOCK = ipaddress.IPv4Network("198.19.0.0/16")
_PREFIX_LENGTHS = range(24, 32)
_IDLE_MINUTES = range(4, 31)  # docs: idle timeout of public addresses
_GATEWAY_IDLE_MINUTES = range(4, 121)  # docs: "NAT gateway resource", idle timeout

_USERS = (
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/loadBalancers/frontendIPConfigurations",
    GATEWAY,
)


class PublicAddresses:
    """The types of public addresses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            network_type(
                ADDRESS, prepare=self._prepare_address, view=self._show_address, leave=self._check_address_unused
            ),
            network_type(PREFIX, prepare=self._prepare_prefix, view=self._show_prefix, leave=self._check_prefix_unused),
            network_type(
                GATEWAY, prepare=self._prepare_gateway, view=self._show_gateway, leave=self._check_gateway_unused
            ),
        )

    def _prepare_address(self, write: Write) -> None:
        body, properties = write.resource.body, write.resource.properties
        sku = body.setdefault("sku", {})
        sku.setdefault("name", "Standard" if write.before is None else write.before.body["sku"]["name"])
        sku.setdefault("tier", "Regional")
        properties.setdefault("publicIPAddressVersion", "IPv4")
        standard = sku["name"] != "Basic"
        properties.setdefault("publicIPAllocationMethod", "Static" if standard else "Dynamic")
        if standard and properties["publicIPAllocationMethod"] != "Static":
            message = (
                f"Standard sku publicIp {write.resource.id} must have AllocationMethod set to Static; it is"
                f" {properties['publicIPAllocationMethod']}."
            )
            raise invalid(message, code="PublicIPAddressStandardSkuMustBeStatic")
        _check_idle(properties, _IDLE_MINUTES, write)
        if write.before is not None and write.before.body["sku"]["name"] != sku["name"]:
            message = f"Sku property of public ip address {write.resource.id} cannot be changed after creation."
            raise conflict("PublicIpAddressSkuCannotBeChanged", message)
        for name in ("ipConfiguration", "natGateway", "ipAddress"):
            properties.pop(name, None)
        properties.setdefault("ipTags", [])
        properties.setdefault("ddosSettings", {"protectionMode": "VirtualNetworkInherited"})
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        if (settings := properties.get("dnsSettings")) and settings.get("domainNameLabel"):
            settings["fqdn"] = f"{settings['domainNameLabel']}.{body['location']}.cloudapp.azure.com"
        check_references(self._store, write)
        if "address" not in write.resource.internal:
            write.resource.internal["address"] = self._free_address(properties["publicIPAddressVersion"])

    def _free_address(self, version: str) -> str:
        taken = {address.internal.get("address") for address in self._store.find(ADDRESS)}
        for candidate in _candidates(version):
            if candidate not in taken:
                return candidate
        raise conflict("PublicIPCountLimitReached", "The local Azure has given away all of its public addresses.")

    def _show_address(self, address: Resource, _query: Query) -> dict[str, Any]:
        shown = dict(address.properties)
        users = list(self._users(address))
        if users:
            gateway = "/natgateways/" in users[0].lower()
            shown["natGateway" if gateway else "ipConfiguration"] = {"id": users[0]}
        if users or shown["publicIPAllocationMethod"] == "Static":
            shown["ipAddress"] = address.internal["address"]
        return address.body | {"properties": shown}

    def _users(self, address: Resource) -> Iterator[str]:
        for kind in _USERS:
            for resource in self._store.find(kind):
                yield from users_of(resource, [address.key])

    def _check_address_unused(self, address: Resource) -> None:
        for user in self._users(address):
            message = (
                f"Public IP address {address.id} can not be deleted since it is still allocated to resource {user}. In"
                " order to delete the public IP, disassociate/detach the Public IP address from the resource. To learn"
                " how to do this, see aka.ms/deletepublicip."
            )
            raise invalid(message, code="PublicIPAddressCannotBeDeleted")

    def _prepare_prefix(self, write: Write) -> None:
        body, properties = write.resource.body, write.resource.properties
        body.setdefault("sku", {}).setdefault("name", "Standard")
        body["sku"].setdefault("tier", "Regional")
        properties.setdefault("publicIPAddressVersion", "IPv4")
        length = properties.setdefault("prefixLength", 28)
        if length not in _PREFIX_LENGTHS:
            message = f"The prefix length {length} of {write.resource.id} is not between 24 and 31."
            raise invalid(message, "properties.prefixLength", "InvalidPublicIPPrefixLength")
        if write.before is not None and write.before.properties["prefixLength"] != length:
            message = f"The prefix length of {write.resource.id} cannot be changed."
            raise conflict("PublicIpPrefixLengthCannotBeChanged", message)
        properties.setdefault("ipTags", [])
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        keep(write, "ipPrefix", lambda: self._free_prefix(length))

    def _free_prefix(self, length: int) -> str:
        taken = [ipaddress.IPv4Network(prefix.properties["ipPrefix"]) for prefix in self._store.find(PREFIX)]
        for block in _PREFIX_BLOCK.subnets(new_prefix=length):
            if not any(block.overlaps(other) for other in taken):
                return str(block)
        raise conflict("PublicIPPrefixCountLimitReached", "The local Azure has given away all of its public prefixes.")

    def _show_prefix(self, prefix: Resource, _query: Query) -> dict[str, Any]:
        users = [{"id": address.id} for address in self._store.find(ADDRESS) if any(users_of(address, [prefix.key]))]
        return prefix.body | {"properties": prefix.properties | ({"publicIPAddresses": users} if users else {})}

    def _check_prefix_unused(self, prefix: Resource) -> None:
        for kind in (ADDRESS, GATEWAY):
            for resource in self._store.find(kind):
                for user in users_of(resource, [prefix.key]):
                    message = f"Public IP prefix {prefix.id} cannot be deleted because {user} uses it."
                    raise invalid(message, code="InUsePublicIpPrefixCannotBeDeleted")

    def _prepare_gateway(self, write: Write) -> None:
        properties = write.resource.properties
        write.resource.body.setdefault("sku", {"name": "Standard"})
        properties.pop("subnets", None)
        properties.setdefault("idleTimeoutInMinutes", 4)
        _check_idle(properties, _GATEWAY_IDLE_MINUTES, write)
        if len(write.resource.body.get("zones") or []) > 1:
            message = f"NAT gateway {write.resource.id} can be in one zone only."
            raise invalid(message, "zones", "ResourceCannotHaveMultipleZonesSpecified")
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        check_references(self._store, write)
        for reference in properties.get("publicIpAddresses") or []:
            address = self._store.get(str(reference.get("id", "")))
            if address is not None and address.body["sku"]["name"] == "Basic":
                message = f"NAT gateway {write.resource.id} cannot use the Basic public IP address {address.id}."
                raise invalid(message, code="NatGatewayPublicIpAddressSkuMismatch")
            others = [user for user in self._users(address) if user.lower() != write.resource.key] if address else []
            if address is not None and others:
                message = f"Public IP address {address.id} is in use by {others[0]} already."
                raise invalid(message, code="PublicIPAddressInUse")

    def _show_gateway(self, gateway: Resource, _query: Query) -> dict[str, Any]:
        subnets = [{"id": user} for user in self._subnets_of(gateway)]
        return gateway.body | {"properties": gateway.properties | ({"subnets": subnets} if subnets else {})}

    def _subnets_of(self, gateway: Resource) -> list[str]:
        return [subnet.id for subnet in self._store.find(_SUBNET) if any(users_of(subnet, [gateway.key]))]

    def _check_gateway_unused(self, gateway: Resource) -> None:
        if subnets := self._subnets_of(gateway):
            message = (
                f"Nat gateway {gateway.id} cannot be deleted because it is in use by the following resources:"
                f" {', '.join(subnets)}. Remove the association with the subnets first."
            )
            raise invalid(message, code="InUseNatGatewayCannotBeDeleted")


def _candidates(version: str) -> Iterator[str]:
    if version == "IPv6":  # RFC 3849, for documentation
        yield from map(str, itertools.islice(ipaddress.ip_network("2001:db8::/64").hosts(), 1000))
        return
    for block in _BLOCKS:
        yield from (str(address) for address in block.hosts() if address not in _PREFIX_BLOCK)


def _check_idle(properties: dict[str, Any], allowed: range, write: Write) -> None:
    minutes = properties.setdefault("idleTimeoutInMinutes", 4)
    if not isinstance(minutes, int) or minutes not in allowed:
        span = f"between {allowed[0]} and {allowed[-1]} minutes"
        message = f"The idle timeout {minutes!r} of {write.resource.id} is not {span}."
        raise invalid(message, "properties.idleTimeoutInMinutes", "InvalidIdleTimeoutInMinutes")
