"""Load balancers: frontends, backend pools, probes and rules, kept and checked."""

import uuid
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network.embedded import Embedded, keep, network_type
from infra.local.services.network.private_addresses import PrivateAddresses
from infra.local.services.network.references import check_references, users_of

BALANCER = "Microsoft.Network/loadBalancers"

_LISTS = (
    "frontendIPConfigurations",
    "backendAddressPools",
    "loadBalancingRules",
    "probes",
    "inboundNatRules",
    "inboundNatPools",
    "outboundRules",
)
# What the parts of a balancer show of each other: rules on frontends and pools, interfaces on pools.
_SHOWN_ON = {
    "frontendIPConfigurations": ("loadBalancingRules", "inboundNatRules", "inboundNatPools", "outboundRules"),
    "backendAddressPools": ("loadBalancingRules", "outboundRules", "inboundNatRules"),
    "probes": ("loadBalancingRules",),
}
_INTERFACE = "Microsoft.Network/networkInterfaces"
_SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"


class LoadBalancers:
    """The types of load balancers and their parts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._addresses = PrivateAddresses(store)
        self._lists = {name: Embedded(store, BALANCER, name) for name in _LISTS}

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        parts = [
            network_type(
                part.type,
                prepare=self._prepare_part,
                view=lambda found, _query: self._show_part(found),
                tracked=False,
            )
            for part in self._lists.values()
        ]
        balancer = network_type(
            BALANCER, prepare=self._prepare, apply=self._apply, view=self._show, leave=self._check_unused
        )
        return (balancer, *parts)

    def _prepare(self, write: Write) -> None:
        body, properties = write.resource.body, write.resource.properties
        sku = body.setdefault("sku", {})
        sku.setdefault("name", "Standard" if write.before is None else write.before.body["sku"]["name"])
        sku.setdefault("tier", "Regional")
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        for name, part in self._lists.items():
            if write.before is None:
                properties.setdefault(name, [])
            for member in part.declared(write) or []:
                inner = member["properties"] = member.get("properties") or {}
                for shown in _SHOWN_ON.get(name, ()):
                    inner.pop(shown, None)
                inner.pop("backendIPConfigurations", None)
        check_references(self._store, write)
        internal = []
        for member in self._lists["frontendIPConfigurations"].declared(write) or []:
            inner = member["properties"]
            if not (inner.get("subnet") or inner.get("publicIPAddress") or inner.get("publicIPPrefix")):
                message = (
                    f"Frontend IP configuration {member['name']} of {write.resource.id} must reference either a subnet,"
                    " a public IP address or a public IP prefix."
                )
                raise invalid(message, code="LoadBalancerFrontendIPConfigurationInvalid")
            inner.setdefault("privateIPAllocationMethod", "Dynamic")
            if inner.get("subnet"):
                internal.append((f"{write.resource.id}/frontendIPConfigurations/{member['name']}", inner))
        self._addresses.assign(internal, write.before or write.resource)

    def _apply(self, write: Write) -> dict[str, Any]:
        for part in self._lists.values():
            part.take(write)
        self._store.save(write.resource, changed=False)
        return {}

    def _show(self, balancer: Resource, _query: Query) -> dict[str, Any]:
        lists = {
            name: [part.show(member) | self._show_part(member) for member in part.members(balancer)]
            for name, part in self._lists.items()
        }
        return balancer.body | {"properties": balancer.properties | lists}

    def _prepare_part(self, write: Write) -> None:
        check_references(self._store, write)

    def _show_part(self, part: Resource) -> dict[str, Any]:
        balancer, collection, _ = part.id.rsplit("/", 2)
        shown = {}
        for name in _SHOWN_ON.get(collection, ()):
            users = [
                {"id": other.id}
                for other in self._store.find(self._lists[name].type, balancer)
                if any(users_of(other, [part.key]))
            ]
            if users:
                shown[name] = users
        if collection == "backendAddressPools":
            members = [{"id": user} for other in self._store.find(_INTERFACE) for user in users_of(other, [part.key])]
            if members:
                shown["backendIPConfigurations"] = members
        return part.body | {"properties": part.properties | shown}

    def _check_unused(self, balancer: Resource) -> None:
        parts = [part.key for name in _LISTS for part in self._store.find(self._lists[name].type, balancer.id)]
        for scale_set in self._store.find(_SCALE_SET):
            if any(users_of(scale_set, parts)):
                message = (
                    f"Cannot delete load balancer {balancer.id} since its child resources {balancer.name} are in use by"
                    f" virtual machine scale set {scale_set.id}."
                )
                raise invalid(message, code="LoadBalancerInUseByVirtualMachineScaleSet")
        for interface in self._store.find(_INTERFACE):
            for user in users_of(interface, parts):
                message = f"Cannot delete load balancer {balancer.id} since its child resources are in use by {user}."
                raise invalid(message, code="LoadBalancerInUseByNetworkInterface")
