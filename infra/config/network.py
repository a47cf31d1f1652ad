"""The network as settings."""

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from infra.config.section import Section, SubnetId
from infra.findings import wrong

LONGEST_PREFIX = 26
# Azure's smallest subnet (docs: virtual network FAQ).
LONGEST_SUBNET = 29
# Storage's firewall takes networks of at most this length; smaller ones are written as single addresses.
LONGEST_RULE = 30
MOST_RULES = 400
# Addresses that no request comes to Azure from: private ones (RFC 1918), those of carriers (RFC 6598), of one machine
# or one link, and of many.
_NOT_PUBLIC = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
)


class StorageAccess(StrEnum):
    """How nodes reach storage without leaving Azure's network."""

    SERVICE_ENDPOINT = "service-endpoint"
    PRIVATE_ENDPOINT = "private-endpoint"


def _public(value: object) -> object:
    """Check one address or network of a deployer, as storage's firewall will."""
    try:
        network = IPv4Network(str(value))
    except ValueError as error:
        raise wrong(f"{value!r} is no IPv4 address or network: {error}", "write one such as 203.0.113.7") from None
    if any(network.overlaps(block) for block in _NOT_PUBLIC):
        raise wrong(
            f"{value!r} is not public, and storage's firewall takes public addresses only",
            "write the address that your requests come from; private ones use storage_access and subnets",
        )
    if LONGEST_RULE < network.prefixlen < network.max_prefixlen:
        raise wrong(f"{value!r} is too small a network for storage's firewall", "write its addresses one by one")
    return str(value).removesuffix(f"/{network.max_prefixlen}")


def _deployers(value: object) -> object:
    if value == "any":
        return value
    if not isinstance(value, list | tuple):
        raise wrong(f"{value!r} is neither any nor a list of addresses", 'write any, or for example ["203.0.113.7"]')
    if len(value) > MOST_RULES:
        raise wrong(f"{len(value)} addresses are more than the {MOST_RULES} that storage's firewall takes", "join them")
    return tuple(_public(entry) for entry in value)


def _written(value: object) -> object:
    if not isinstance(value, str | IPv4Network):
        raise wrong(f"{value!r} is no network", "write one such as 10.64.0.0/24")
    return value


Subnet = Annotated[IPv4Network, BeforeValidator(_written)]
Deployers = Annotated[Literal["any"] | tuple[str, ...], BeforeValidator(_deployers)]


class NetworkConfig(Section):
    """The virtual network, and who may reach storage.

    The lower half of the addresses is for nodes; of the upper, the scheduler's host and private endpoints have a
    quarter of the whole each. `deployers` are public addresses from which people and pipelines reach storage: nobody,
    unless named. `subnet_id` is a subnet that is there already, for all pools that name none of their own.
    """

    address_space: Subnet = Field(IPv4Network("10.64.0.0/16"), examples=["10.64.0.0/16"])
    nodes: Subnet | None = Field(None, examples=["10.64.0.0/17"])
    scheduler: Subnet | None = Field(None, examples=["10.64.128.0/24"])
    endpoints: Subnet | None = Field(None, examples=["10.64.192.0/24"])
    subnet_id: SubnetId | None = Field(
        None,
        examples=["/subscriptions/.../providers/Microsoft.Network/virtualNetworks/vnet/subnets/nodes"],
    )
    storage_access: StorageAccess = Field(StorageAccess.SERVICE_ENDPOINT, examples=["service-endpoint"])
    deployers: Deployers = Field((), examples=[["203.0.113.7"]])

    @field_validator("address_space")
    @classmethod
    def _private(cls, value: IPv4Network) -> IPv4Network:
        if not value.is_private or value.prefixlen > LONGEST_PREFIX:
            raise wrong(
                f"{value} is not a private network of at least /{LONGEST_PREFIX}", "write one such as 10.64.0.0/16"
            )
        return value

    @model_validator(mode="after")
    def _subnets_fit(self) -> Self:
        named = list(self._named())
        for name, subnet in named:
            if not subnet.subnet_of(self.address_space) or subnet.prefixlen > LONGEST_SUBNET:
                raise wrong(
                    f"{name} {subnet} is not a subnet of {self.address_space} of at least /{LONGEST_SUBNET}",
                    "write one within address_space",
                )
        for (left, one), (right, other) in combinations(named, 2):
            if one.overlaps(other):
                raise wrong(f"{left} {one} and {right} {other} overlap", "write subnets apart, or leave both out")
        return self

    def _named(self) -> Iterator[tuple[str, IPv4Network]]:
        yield "nodes", self.nodes_subnet
        yield "scheduler", self.scheduler_subnet
        yield "endpoints", self.endpoints_subnet

    @property
    def nodes_subnet(self) -> IPv4Network:
        """The subnet of the nodes."""
        return self.nodes or next(self.address_space.subnets())

    @property
    def scheduler_subnet(self) -> IPv4Network:
        """The subnet of the scheduler's host."""
        return self.scheduler or list(self.address_space.subnets(2))[2]

    @property
    def endpoints_subnet(self) -> IPv4Network:
        """The subnet of private endpoints."""
        return self.endpoints or list(self.address_space.subnets(2))[3]
