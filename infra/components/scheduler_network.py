"""The scheduler's way out: the resource manager is reached over the internet, and nothing comes in."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import pulumi
from pulumi_azure_native import network

from infra.components.placement import Placement, within

SCHEDULER_SUBNET = "scheduler"
SCHEDULER_SECURITY_GROUP = "nsg-scheduler"
NAT_GATEWAY = "nat-scheduler"
NAT_ADDRESS = "pip-scheduler"

_SSH = "22"
_HTTPS = "443"
_POSTGRESQL = "5432"
_LOWEST_PRIORITY = 4096
_FIRST_PRIORITY = 100


@dataclass(frozen=True)
class SchedulerNetworkArgs:
    """`ssh_from` may log in; `batch`: the scheduler speaks to Azure Batch too; `database`: where its server is."""

    placement: Placement
    ssh_from: Sequence[IPv4Network] = ()
    batch: bool = False
    database: IPv4Network | None = None


class SchedulerNetwork(pulumi.ComponentResource):
    """A NAT gateway for the scheduler's subnet, and a security group that lets out to what it needs alone.

    The subnet itself is part of the virtual network's own declaration; `subnet` gives its text.
    """

    def __init__(self, name: str, args: SchedulerNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:network:SchedulerNetwork", name, {}, opts)
        place = args.placement
        security_group = network.NetworkSecurityGroup(
            f"{name}-{SCHEDULER_SECURITY_GROUP}",
            network_security_group_name=SCHEDULER_SECURITY_GROUP,
            resource_group_name=place.group_name,
            location=place.location,
            security_rules=[*_inbound(args.ssh_from), *_outbound(args)],
            tags=place.tags,
            opts=within(self, place),
        )
        address = network.PublicIPAddress(
            f"{name}-{NAT_ADDRESS}",
            public_ip_address_name=NAT_ADDRESS,
            resource_group_name=place.group_name,
            location=place.location,
            sku={"name": network.PublicIPAddressSkuName.STANDARD, "tier": network.PublicIPAddressSkuTier.REGIONAL},
            public_ip_allocation_method=network.IPAllocationMethod.STATIC,
            public_ip_address_version=network.IPVersion.I_PV4,
            tags=place.tags,
            opts=within(self, place),
        )
        gateway = network.NatGateway(
            f"{name}-{NAT_GATEWAY}",
            nat_gateway_name=NAT_GATEWAY,
            resource_group_name=place.group_name,
            location=place.location,
            sku={"name": network.NatGatewaySkuName.STANDARD},
            public_ip_addresses=[{"id": address.id}],
            tags=place.tags,
            opts=within(self, place),
        )
        self._security_group_id = security_group.id
        self._gateway_id = gateway.id
        self.address = address.ip_address
        self.register_outputs({"address": self.address})

    def subnet(self, addresses: str) -> dict[str, Any]:
        """Give the subnet as the virtual network declares it, at these addresses in CIDR notation."""
        return {
            "name": SCHEDULER_SUBNET,
            "address_prefix": addresses,
            "network_security_group": {"id": self._security_group_id},
            "nat_gateway": {"id": self._gateway_id},
            "service_endpoints": [{"service": "Microsoft.Storage"}],
            "default_outbound_access": False,
        }


def _rule(
    name: str,
    priority: int,
    access: network.SecurityRuleAccess,
    *,
    inbound: bool = False,
    source: str = "*",
    destination: str = "*",
    ports: str = "*",
) -> network.SecurityRuleArgsDict:
    direction = network.SecurityRuleDirection
    return {
        "name": name,
        "priority": priority,
        "direction": direction.INBOUND if inbound else direction.OUTBOUND,
        "access": access,
        "protocol": "*" if ports == "*" else "Tcp",
        "source_address_prefix": source,
        "source_port_range": "*",
        "destination_address_prefix": destination,
        "destination_port_range": ports,
    }


def _inbound(ssh_from: Sequence[IPv4Network]) -> list[network.SecurityRuleArgsDict]:
    allow, deny = network.SecurityRuleAccess.ALLOW, network.SecurityRuleAccess.DENY
    logins = [
        _rule(f"ssh-{number}", _FIRST_PRIORITY + number, allow, inbound=True, source=str(private), ports=_SSH)
        for number, private in enumerate(ssh_from)
    ]
    return [*logins, _rule("nothing-inbound", _LOWEST_PRIORITY, deny, inbound=True)]


def _outbound(args: SchedulerNetworkArgs) -> list[network.SecurityRuleArgsDict]:
    """Let out to Azure's own services by their service tags, and to nothing else.

    Metadata, DNS and the machine agent's address are the platform's: rules do not apply to them unless named (docs:
    network security groups, "Azure platform considerations").
    """
    allow, deny = network.SecurityRuleAccess.ALLOW, network.SecurityRuleAccess.DENY
    region = args.placement.location
    # VirtualNetwork: a private endpoint of storage lies there.
    tags = ["AzureResourceManager", f"Storage.{region}", "VirtualNetwork"]
    if args.batch:
        tags.append(f"BatchNodeManagement.{region}")
    services = [
        _rule(f"to-{tag.split('.')[0]}", _FIRST_PRIORITY + number, allow, destination=tag, ports=_HTTPS)
        for number, tag in enumerate(tags)
    ]
    if args.database is not None:
        where = str(args.database)
        rule = _rule("to-database", _FIRST_PRIORITY + len(services), allow, destination=where, ports=_POSTGRESQL)
        services.append(rule)
    return [*services, _rule("nothing-else-outbound", _LOWEST_PRIORITY, deny)]
