"""What clients do to the instances of a whole scale set, named or all."""

from collections.abc import Callable
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Reply
from infra.local.arm.store import Resource, Store
from infra.local.services.compute.instance_view import count_extensions
from infra.local.services.compute.instances import Instances
from infra.local.services.compute.machine_power import ACTIONS, Act, MachinePower
from infra.local.services.compute.scale_set_capacity import Capacity
from infra.local.services.compute.vm_sizes import SIZES

_ACTS = ACTIONS | {"reimageall": Act.REIMAGE, "manualupgrade": Act.UPGRADE}
_MOST_INSTANCES = 1000  # docs: scale sets of marketplace images


class ScaleSetActions:
    """The actions and views of scale sets."""

    def __init__(self, store: Store, power: MachinePower, instances: Instances, capacity: Capacity) -> None:
        self._store = store
        self._power = power
        self._instances = instances
        self._capacity = capacity

    def actions(self) -> dict[str, Callable[[Call], Reply]]:
        """Return the actions by name."""
        return {name: self._acting(name, act) for name, act in _ACTS.items()} | {
            "delete": self._delete,
            # Its model is always applied: there is nothing left to do.
            "reapply": lambda call: self._follow(call.resource, []),
        }

    def views(self) -> dict[str, Callable[[Resource], dict[str, Any]]]:
        """Return the views by name."""
        return {"instanceView": self._instance_view, "skus": _skus, "osUpgradeHistory": lambda _: {"value": []}}

    def upgrade(self, scale_set: Resource) -> list[str]:
        """Within a transaction, give every instance the latest model; return their ids."""
        return self._act(self._chosen(scale_set, None), Act.UPGRADE)

    def _acting(self, name: str, act: Act) -> Callable[[Call], Reply]:
        def serve(call: Call) -> Reply:
            wanted = call.body.get("instanceIds")
            if act is Act.UPGRADE and not wanted:
                raise invalid("Required parameter 'instanceIds' is missing (null).", "instanceIds")
            if call.resource.properties["orchestrationMode"] == "Flexible" and act in {Act.REIMAGE, Act.REDEPLOY}:
                raise _not_for_flexible(name)
            touched = self._act(self._chosen(call.resource, wanted), act)
            return self._follow(call.resource, touched)

        return serve

    def _act(self, instances: list[Resource], act: Act) -> list[str]:
        touched = []
        for instance in instances:
            if instance.state != "Deleting" and not self._instances.is_protected(instance, from_actions=True):
                self._power.act(self._instances.machine(instance), act)
                touched.append(instance.id)
        return touched

    def _delete(self, call: Call) -> Reply:
        wanted = call.body.get("instanceIds")
        if not isinstance(wanted, list) or not wanted:
            raise invalid("Required parameter 'instanceIds' is missing (null).", "instanceIds")
        return self._follow(call.resource, self._capacity.remove(call.resource, self._chosen(call.resource, wanted)))

    def _chosen(self, scale_set: Resource, wanted: Any) -> list[Resource]:
        """Return the named instances, or all of them; refuse a name that is not there."""
        known = {found.name.lower(): found for found in self._instances.of(scale_set)}
        if not wanted or wanted == ["*"]:
            return list(known.values())
        for name in wanted:
            if str(name).lower() not in known:
                message = f"The provided instanceId {name} is not an active Virtual Machine Scale Set VM instanceId."
                raise invalid(message, "instanceIds")
        return [known[name] for name in dict.fromkeys(str(name).lower() for name in wanted)]

    def _follow(self, scale_set: Resource, touched: list[str]) -> Reply:
        scale_set.state = "Updating"
        self._store.save(scale_set)
        return Reply(operation=self._store.start("action", scale_set.id, {"instances": touched}), follow=Follow.BOTH)

    def _instance_view(self, scale_set: Resource) -> dict[str, Any]:
        if scale_set.properties["orchestrationMode"] == "Flexible":
            raise _not_for_flexible("instanceView")
        counts: dict[str, int] = {}
        instances = self._instances.of(scale_set)
        for instance in instances:
            code = "/".join(self._power.statuses(instance)[0]["code"].split("/")[:2])
            counts[code] = counts.get(code, 0) + 1
        state = (scale_set.state or "").lower()
        status = {"code": f"ProvisioningState/{state}", "level": "Info", "displayStatus": f"Provisioning {state}"}
        profile = scale_set.properties.get("virtualMachineProfile") or {}
        extensions = (profile.get("extensionProfile") or {}).get("extensions") or []
        return {
            "virtualMachine": {"statusesSummary": [{"code": code, "count": counts[code]} for code in sorted(counts)]},
            "extensions": count_extensions(extensions, [instance.state for instance in instances]),
            "statuses": [status | {"time": scale_set.properties["timeCreated"]}],
            "orchestrationServices": [],
        }


def _skus(_scale_set: Resource) -> dict[str, Any]:
    """List the sizes that a set may be changed to, and how many instances it may have."""
    capacity = {"minimum": 0, "maximum": _MOST_INSTANCES, "defaultCapacity": 1, "scaleType": "Automatic"}
    return {
        "value": [
            {
                "resourceType": "Microsoft.Compute/virtualMachineScaleSets",
                "sku": {"name": size.name, "tier": size.tier},
                "capacity": capacity,
            }
            for size in sorted(SIZES.values(), key=lambda size: size.name)
        ]
    }


def _not_for_flexible(name: str) -> Exception:
    message = (
        f"Operation '{name}' is not supported on a Virtual Machine Scale Set with orchestration mode Flexible. Use the"
        " virtual machines of the set."
    )
    return conflict("OperationNotAllowed", message)
