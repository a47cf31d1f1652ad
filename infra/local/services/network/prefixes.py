"""Address prefixes of networks and subnets, and the addresses handed out in them."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from infra.local.arm.errors import ArmError, invalid

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# The first four addresses and the last one of a subnet are the service's own (docs: "virtual networks FAQ").
_RESERVED = 4


def network(prefix: Any, owner: str) -> IPNetwork:
    """Read a prefix in CIDR notation."""
    try:
        return ipaddress.ip_network(prefix)
    except ValueError as error:
        try:
            right = ipaddress.ip_network(prefix, strict=False)
        except ValueError:
            message = (
                f"Address prefix {prefix} of resource {owner} is formatted incorrectly. It should follow CIDR notation,"
                " for example 10.0.0.0/24."
            )
            raise invalid(message, code="InvalidAddressPrefixFormat") from error
        message = (
            f"The address prefix {prefix} in resource {owner} has an invalid CIDR notation. For the given prefix"
            f" length, the address prefix should be {right}."
        )
        raise invalid(message, code="InvalidCIDRNotation") from error


def of_subnet(properties: dict[str, Any]) -> list[str]:
    """Return the prefixes of a subnet's properties."""
    return list(properties.get("addressPrefixes") or filter(None, [properties.get("addressPrefix")]))


def inside(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Say whether one prefix lies in another."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # versions are equal


def overlapping(left: IPNetwork, right: IPNetwork) -> bool:
    """Say whether two prefixes share an address."""
    return left.version == right.version and left.overlaps(right)


def next_address(subnet_id: str, prefixes: Iterable[str], taken: set[str]) -> str:
    """Return the first free address of a subnet, as Azure assigns them."""
    for prefix in prefixes:
        block = network(prefix, subnet_id)
        if block.version != 4:  # noqa: PLR2004 -- addresses are assigned in IPv4 unless asked otherwise
            continue
        for number in range(_RESERVED, block.num_addresses - 1):
            if str(block[number]) not in taken:
                return str(block[number])
    message = f"Subnet {subnet_id} does not have enough capacity for 1 IP addresses."
    raise invalid(message, code="SubnetIsFull")


def check_address(address: str, subnet_id: str, prefixes: Iterable[str], taken: set[str], user: str) -> None:
    """Refuse a chosen address that the subnet cannot give."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError as error:
        raise _refused("InvalidIPAddressFormat", f"IP address {address} of {user} is not valid.") from error
    for prefix in prefixes:
        block = network(prefix, subnet_id)
        if wanted in block:
            number = int(wanted) - int(block.network_address)
            if number < _RESERVED or number == block.num_addresses - 1:
                message = (
                    f"Private static IP address {address} falls within reserved IP range of subnet prefix {prefix}."
                )
                raise _refused("PrivateIPAddressInReservedRange", message)
            if address in taken:
                message = (
                    f"IP configuration {user} is using the private IP address {address} which is already allocated."
                )
                raise _refused("PrivateIPAddressIsAllocated", message)
            return
    message = f"Private static IP address {address} does not belong to the range of subnet prefix of {subnet_id}."
    raise _refused("PrivateIPAddressNotInSubnet", message)


def _refused(code: str, message: str) -> ArmError:
    return invalid(message, code=code)
