"""The network: subnets that nothing outside may reach, and from which nodes reach storage and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_azure_native import network

from infra.components.placement import Placement, within
from infra.components.scheduler_network import SCHEDULER_SUBNET
from infra.config import NetworkConfig, StorageAccess

NETWORK_NAME = "vnet-millpond"
NODES_SUBNET = "nodes"
NODES_SECURITY_GROUP = "nsg-nodes"
ENDPOINTS_SUBNET = "endpoints"

_HTTPS = "443"
_FIRST_PRIORITY = 100
_LAST_PRIORITY = 4096


@dataclass(frozen=True)
class NetworkArgs:
    """What is declared; `batch`: Azure Batch makes some nodes; `scheduler_subnet`: a host's, as a network has it."""

    placement: Placement
    network: NetworkConfig
    batch: bool = False
    scheduler_subnet: Mapping[str, Any] | None = None

    @property
    def private_storage(self) -> bool:
        """Whether storage has private endpoints."""
        return self.network.storage_access is StorageAccess.PRIVATE_ENDPOINT


class Network(pulumi.ComponentResource):
    """Virtual network, its subnets, and the security group of the nodes."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:network:Network", name, {}, opts)
        place = args.placement
        security_group = network.NetworkSecurityGroup(
            f"{name}-{NODES_SECURITY_GROUP}",
            network_security_group_name=NODES_SECURITY_GROUP,
            resource_group_name=place.group_name,
            location=place.location,
            security_rules=security_rules(args),
            tags=place.tags,
            opts=within(self, place),
        )
        nodes = {
            "name": NODES_SUBNET,
            "address_prefix": str(args.network.nodes_subnet),
            "network_security_group": {"id": security_group.id},
            # Storage is reached over Azure's own network; no way out to the internet is needed or given.
            "service_endpoints": [{"service": "Microsoft.Storage"}],
            "default_outbound_access": False,
        }
        no_scheduler = {**nodes, "name": SCHEDULER_SUBNET, "address_prefix": str(args.network.scheduler_subnet)}
        endpoints = {
            "name": ENDPOINTS_SUBNET,
            "address_prefix": str(args.network.endpoints_subnet),
            "default_outbound_access": False,
        }
        # Subnets are part of the network's own declaration: as resources of their own, they would be missing from the
        # whole PUT that any change of the network sends. All three are there always: what was in one goes only after
        # the network has been changed, and a subnet in use cannot be taken out.
        subnets: list[Any] = [nodes, dict(args.scheduler_subnet or no_scheduler), endpoints]
        virtual_network = network.VirtualNetwork(
            name,
            virtual_network_name=NETWORK_NAME,
            resource_group_name=place.group_name,
            location=place.location,
            address_space={"address_prefixes": [str(args.network.address_space)]},
            subnets=subnets,
            tags=place.tags,
            opts=within(self, place),
        )
        self.network_id = virtual_network.id
        self.nodes_subnet_id = self._subnet_id(NODES_SUBNET)
        self.scheduler_subnet_id = self._subnet_id(SCHEDULER_SUBNET)
        self.endpoints_subnet_id = self._subnet_id(ENDPOINTS_SUBNET)
        self.register_outputs({"network_id": self.network_id, "nodes_subnet_id": self.nodes_subnet_id})

    def _subnet_id(self, name: str) -> pulumi.Output[str]:
        return pulumi.Output.concat(self.network_id, "/subnets/", name)


def security_rules(args: NetworkArgs) -> list[Any]:
    """Give the rules of the nodes' subnet: nothing comes in, and out to storage alone.

    Metadata, name service and the machine agent's address are the platform's own: rules of a security group do not
    reach them unless they name them (docs: network security groups, "Azure platform considerations").
    """
    region = args.placement.location
    allowed = [("storage", "Private or service endpoints lead here.", f"Storage.{region}")]
    if args.batch:
        allowed.append(
            ("batch-node-management", "Simplified node communication of Azure Batch.", f"BatchNodeManagement.{region}")
        )
    if args.batch or args.private_storage:
        allowed.append(("private-endpoints", "The stack's own.", str(args.network.endpoints_subnet)))
    outbound = [
        _rule(f"{name}-outbound", why, _FIRST_PRIORITY + number, destination=destination)
        for number, (name, why, destination) in enumerate(allowed)
    ]
    return [
        _rule("nothing-inbound", "Nodes fetch their work; nobody calls them, other nodes neither.", _LAST_PRIORITY),
        *outbound,
        _rule("nothing-else-outbound", "Neither the internet nor another machine.", _LAST_PRIORITY, destination="*"),
    ]


def _rule(name: str, description: str, priority: int, *, destination: str | None = None) -> dict[str, Any]:
    """Make a rule: inbound without a destination; one of the last priority denies, any other allows HTTPS."""
    last = priority == _LAST_PRIORITY
    direction, access = network.SecurityRuleDirection, network.SecurityRuleAccess
    return {
        "name": name,
        "description": description,
        "priority": priority,
        "direction": direction.INBOUND if destination is None else direction.OUTBOUND,
        "access": access.DENY if last else access.ALLOW,
        "protocol": "*" if last else "Tcp",
        "source_address_prefix": "*",
        "source_port_range": "*",
        "destination_address_prefix": destination or "*",
        "destination_port_range": "*" if last else _HTTPS,
    }
