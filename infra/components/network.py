"""The network of the nodes: one subnet that nothing outside may reach."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import network

from infra.components.placement import Placement, within

NETWORK_NAME = "vnet-millpond"
NODES_SUBNET = "nodes"
NODES_SECURITY_GROUP = "nsg-nodes"


@dataclass(frozen=True)
class NetworkArgs:
    """Addresses in CIDR notation."""

    placement: Placement
    address_space: str
    nodes: str


class Network(pulumi.ComponentResource):
    """Virtual network, the nodes' subnet and its security group."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:network:Network", name, {}, opts)
        place = args.placement
        security_group = network.NetworkSecurityGroup(
            f"{name}-{NODES_SECURITY_GROUP}",
            network_security_group_name=NODES_SECURITY_GROUP,
            resource_group_name=place.resource_group.name,
            location=place.location,
            security_rules=[
                {
                    "name": "nothing-inbound",
                    "description": "Nodes fetch their work; nobody calls them, other nodes neither.",
                    "priority": 4096,
                    "direction": network.SecurityRuleDirection.INBOUND,
                    "access": network.SecurityRuleAccess.DENY,
                    "protocol": "*",
                    "source_address_prefix": "*",
                    "source_port_range": "*",
                    "destination_address_prefix": "*",
                    "destination_port_range": "*",
                }
            ],
            tags=place.tags,
            opts=within(self, place),
        )
        # The subnet is part of the network's own declaration: as a resource of its own, it would be missing from the
        # whole PUT that any change of the network sends.
        virtual_network = network.VirtualNetwork(
            name,
            virtual_network_name=NETWORK_NAME,
            resource_group_name=place.resource_group.name,
            location=place.location,
            address_space={"address_prefixes": [args.address_space]},
            subnets=[
                {
                    "name": NODES_SUBNET,
                    "address_prefix": args.nodes,
                    "network_security_group": {"id": security_group.id},
                    # Storage is reached over Azure's own network; no way out to the internet is needed or given.
                    "service_endpoints": [{"service": "Microsoft.Storage"}],
                    "default_outbound_access": False,
                }
            ],
            tags=place.tags,
            opts=within(self, place),
        )
        self.nodes_subnet_id = pulumi.Output.concat(virtual_network.id, "/subnets/", NODES_SUBNET)
        self.register_outputs({"nodes_subnet_id": self.nodes_subnet_id})
