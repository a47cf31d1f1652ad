"""Private endpoints: addresses of the stack's own network that lead to one account, and their names in DNS."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import network, privatedns

from infra.components.placement import Placement, within

# Zones of Azure's public cloud (docs: private endpoint DNS values).
BLOB_ZONE = "privatelink.blob.core.windows.net"
QUEUE_ZONE = "privatelink.queue.core.windows.net"
BATCH_ZONE = "privatelink.batch.azure.com"


@dataclass(frozen=True)
class Target:
    """What an endpoint leads to: a part of a resource (Azure: group id), and the zone that has its name."""

    name: str
    resource_id: pulumi.Input[str]
    part: str
    zone: str


@dataclass(frozen=True)
class PrivateEndpointsArgs:
    """The network whose machines use the endpoints, the subnet that has their addresses, and where they lead."""

    placement: Placement
    network_id: pulumi.Input[str]
    subnet_id: pulumi.Input[str]
    targets: Sequence[Target]


class PrivateEndpoints(pulumi.ComponentResource):
    """One endpoint a target, one zone for all of its kind."""

    def __init__(self, name: str, args: PrivateEndpointsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:network:PrivateEndpoints", name, {}, opts)
        self._args = args
        zones = {zone: self._zone(name, zone) for zone in dict.fromkeys(target.zone for target in args.targets)}
        ready = [self._endpoint(target, zones[target.zone]) for target in args.targets]
        self.ready = pulumi.Output.all(*ready)
        self.register_outputs({})

    def _zone(self, name: str, zone: str) -> privatedns.PrivateZone:
        place = self._args.placement
        declared = privatedns.PrivateZone(
            f"{name}-{zone}",
            private_zone_name=zone,
            resource_group_name=place.group_name,
            location="Global",
            tags=place.tags,
            opts=within(self, place),
        )
        privatedns.VirtualNetworkLink(
            f"{name}-{zone}-link",
            virtual_network_link_name="millpond",
            private_zone_name=declared.name,
            resource_group_name=place.group_name,
            location="Global",
            registration_enabled=False,
            virtual_network={"id": self._args.network_id},
            tags=place.tags,
            opts=within(self, place),
        )
        return declared

    def _endpoint(self, target: Target, zone: privatedns.PrivateZone) -> pulumi.Output[str]:
        place, name = self._args.placement, f"pe-{target.name}"
        endpoint = network.PrivateEndpoint(
            name,
            private_endpoint_name=name,
            resource_group_name=place.group_name,
            location=place.location,
            subnet={"id": self._args.subnet_id},
            private_link_service_connections=[
                {"name": target.name, "private_link_service_id": target.resource_id, "group_ids": [target.part]}
            ],
            tags=place.tags,
            opts=within(self, place),
        )
        group = network.PrivateDnsZoneGroup(
            f"{name}-dns",
            private_dns_zone_group_name="default",
            private_endpoint_name=endpoint.name,
            resource_group_name=place.group_name,
            private_dns_zone_configs=[{"name": target.part, "private_dns_zone_id": zone.id}],
            opts=within(self, place),
        )
        return group.id
