"""Virtual machine scale sets: their model and its checks, as simple-minded as Azure's.

A lower capacity deletes instances of the service's choosing, busy or not. A changed model does not touch instances
that are there, unless the upgrade policy says so. Ids of instances are never used again.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Follow, Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.faults import FaultKind, Faults
from infra.local.services.access.identities import identities_of
from infra.local.services.compute.instances import INSTANCE, Instances
from infra.local.services.compute.machine_power import complete_os_profile
from infra.local.services.compute.platform_images import check_reference
from infra.local.services.compute.quotas import Quotas
from infra.local.services.compute.scale_set_actions import ScaleSetActions
from infra.local.services.compute.scale_set_capacity import Capacity
from infra.local.services.compute.scale_set_extensions import ScaleSetExtensions, take_secrets
from infra.local.services.compute.vm_sizes import size_of
from infra.local.services.network.references import missing_reference
from infra.local.services.network.service import subnets_of

SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"

_LOOK_AGAIN_SECONDS = 0.1
_BUSY = frozenset({"Creating", "Updating", "Deleting"})
_MOST_INSTANCES = 1000  # docs: scale sets of marketplace images


class ScaleSets:
    """The type of scale sets; `start_delete` begins to delete an instance."""

    def __init__(
        self,
        store: Store,
        instances: Instances,
        capacity: Capacity,
        actions: ScaleSetActions,
        quotas: Quotas,
        faults: Faults,
        start_delete: Callable[[Resource], None],
    ) -> None:
        self._store = store
        self._instances = instances
        self._capacity = capacity
        self._actions = actions
        self._quotas = quotas
        self._faults = faults
        self._start_delete = start_delete
        self._extensions = ScaleSetExtensions(store)

    def types(self, page_size: int) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                SCALE_SET,
                prepare=self._prepare,
                apply=self._apply,
                provision=self._settled,
                release=self._release,
                view=_view,
                actions=self._actions.actions(),
                views=self._actions.views(),
                follow_create=Follow.BOTH,
                follow_update=Follow.BOTH,
                follow_delete=Follow.BOTH,
                merges=True,
                shows_etag=True,
                immutable=("properties.orchestrationMode", "zones"),
            ),
            *self._extensions.types(),
            *self._instances.types(page_size),
        )

    def _prepare(self, write: Write) -> None:
        body, properties = write.resource.body, write.resource.properties
        flexible = properties.setdefault("orchestrationMode", "Uniform") == "Flexible"
        if flexible:
            properties.setdefault("platformFaultDomainCount", 1)
        else:
            properties.setdefault("upgradePolicy", {}).setdefault("mode", "Manual")
            if "virtualMachineProfile" not in properties:
                raise invalid("Required parameter 'virtualMachineProfile' is missing (null).", "virtualMachineProfile")
        profile = properties.get("virtualMachineProfile") or {}
        if profile or not flexible:
            self._check_sku(write)
            _check_spot(profile)
            check_reference(profile)
            complete_os_profile(profile)
        for subnet in subnets_of(properties):
            if self._store.get(subnet) is None:
                raise missing_reference(subnet, write.resource.id)
        if body.get("identity"):
            body["identity"] = body["identity"] | {"userAssignedIdentities": identities_of(self._store, body)}
        take_secrets(write.resource)
        properties.setdefault("singlePlacementGroup", not flexible)
        properties.setdefault("uniqueId", str(uuid.uuid4()))
        properties.setdefault("timeCreated", datetime.now(UTC).isoformat())

    def _check_sku(self, write: Write) -> None:
        sku = write.resource.body.get("sku") or {}
        sent = write.body.get("sku")
        if not sku.get("name"):
            raise invalid("Required parameter 'sku.name' is missing (null).", "sku.name")
        size = size_of(sku["name"], "sku.name")
        if sku.get("capacity") is None or (write.before is None and "capacity" not in (sent or {})):
            raise invalid("Required parameter 'sku.capacity' is missing (null).", "sku.capacity")
        try:
            capacity = sku["capacity"] = int(sku["capacity"])  # az sends it as a string
        except (TypeError, ValueError):
            raise invalid(f"The capacity {sku['capacity']!r} is not a number.", "sku.capacity") from None
        sku.setdefault("tier", size.tier)
        if not 0 <= capacity <= _MOST_INSTANCES:
            raise invalid(f"The capacity {capacity} is not between 0 and {_MOST_INSTANCES}.", "sku.capacity")
        profile = write.resource.properties.get("virtualMachineProfile") or {}
        spot = profile.get("priority") in {"Spot", "Low"}
        if spot and not size.spot:
            message = f"The VM size '{size.name}' is not supported for Azure Spot Virtual Machines; choose another."
            raise invalid(message, "sku.name")
        more = capacity - len(self._capacity.present(write.resource))
        if more > 0:
            location = write.resource.body["location"]
            if self._faults.take(FaultKind.QUOTA, write.address.name):
                raise self._quotas.exhausted(location, size, more)
            self._quotas.check(location, size, more, spot=spot)

    def _apply(self, write: Write) -> dict[str, Any]:
        """Bring the number of instances to the capacity, and the instances to the model where the policy says so."""
        scale_set = write.resource
        payload = self._capacity.adjust(scale_set)
        self._extensions.sync(scale_set)
        mode = (scale_set.properties.get("upgradePolicy") or {}).get("mode")
        if write.before is not None and mode in {"Automatic", "Rolling"}:
            payload["instances"] += self._actions.upgrade(scale_set)
        return payload

    def _settled(self, _scale_set: Resource, payload: dict[str, Any]) -> float | None:
        """Wait until the instances that an operation touched are running, failed or gone."""
        if (stuck := payload.get("stuck")) and self._faults.is_active(stuck):
            return _LOOK_AGAIN_SECONDS
        failures = []
        for identifier in payload.get("instances", []):
            instance = self._store.get(identifier)
            if instance is None:
                continue
            machine = self._instances.machine(instance)
            if machine.state in _BUSY or instance.state == "Deleting":
                return _LOOK_AGAIN_SECONDS
            if machine.state == "Failed":
                failures.append(machine.internal["error"])
        if failures:
            raise conflict(failures[0]["code"], failures[0]["message"])
        return None

    def _release(self, scale_set: Resource) -> float | None:
        with self._store.transaction():
            left = self._store.find(INSTANCE, scale_set.id)
            for instance in left:
                self._start_delete(instance)
        return _LOOK_AGAIN_SECONDS if left else None


def _view(scale_set: Resource, query: Query) -> dict[str, Any]:
    """Show a set; user data only when it is asked for, as Azure does."""
    profile = scale_set.properties.get("virtualMachineProfile") or {}
    if "userData" not in profile or "userdata" in query.get("$expand", "").lower():
        return scale_set.body
    shown = {name: value for name, value in profile.items() if name != "userData"}
    return scale_set.body | {"properties": scale_set.properties | {"virtualMachineProfile": shown}}


def _check_spot(profile: dict[str, Any]) -> None:
    """Refuse what only Spot machines have."""
    if profile.get("priority") in {"Spot", "Low"}:
        price = (profile.get("billingProfile") or {}).get("maxPrice", -1)
        if isinstance(price, bool) or not isinstance(price, int | float) or (price != -1 and price <= 0):
            message = f"Max price {price} is not valid for an Azure Spot Virtual Machine: -1, or more than 0 dollars."
            raise invalid(message, "billingProfile.maxPrice")
        return
    if profile.get("evictionPolicy"):
        message = (
            "Eviction policy can be set only on Azure Spot Virtual Machines. For more information, see"
            " http://aka.ms/AzureSpot/errormessages."
        )
        raise invalid(message, "evictionPolicy")
    if (profile.get("billingProfile") or {}).get("maxPrice") is not None:
        message = (
            "Max price can be set only on Azure Spot Virtual Machines. For more information, see"
            " http://aka.ms/AzureSpot/errormessages."
        )
        raise invalid(message, "billingProfile.maxPrice")
