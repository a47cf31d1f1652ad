"""Pools of Batch accounts as the resource manager has them; the Batch service shows the same pools."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import conflict, invalid, unsupported
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.access.identities import identities_of
from infra.local.services.batch.allocation import BatchAllocation, Target, cores_of, first_resize, fixed_scale
from infra.local.services.batch.nodes import POOL, BatchNodes, now

_LOOK_AGAIN_SECONDS = 0.1
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SIZE = re.compile(r"(basic|standard|extra|small|medium|large)[A-Za-z0-9_-]*", re.IGNORECASE)
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_SMALLEST_TIMEOUT_SECONDS = 300  # docs: resizeTimeout of a pool
_IDENTITY = {"userAssignedIdentities", "type"}

_NO_FORMULAS = {"code": "NotSupportedLocally", "message": "The local Azure does not evaluate formulas."}

# What the service changes only while a pool has no nodes (docs: Pool - Patch).
_FOR_EMPTY_POOLS = ("vmSize", "deploymentConfiguration", "networkConfiguration", "taskSlotsPerNode")
# What a PATCH replaces as a whole (docs: Pool - Update).
_WHOLE = ("startTask", "networkConfiguration", "deploymentConfiguration", "taskSchedulingPolicy", "upgradePolicy")


class BatchPools:
    """The type of pools."""

    def __init__(self, store: Store, nodes: BatchNodes, allocation: BatchAllocation) -> None:
        self._store = store
        self._nodes = nodes
        self._allocation = allocation

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                POOL,
                prepare=self._prepare,
                apply=self._apply,
                release=self._release,
                view=self.view,
                actions={"stopResize": self._acted(self._allocation.stop), "disableAutoScale": self._acted(_manual)},
                created=HTTPStatus.OK,
                follow_delete=Follow.LOCATION,
                tracked=False,
                shows_etag=True,
            ),
        )

    def view(self, pool: Resource, _query: Query) -> dict[str, Any]:
        """Show a pool with its allocation and how many nodes it has."""
        internal = pool.internal
        nodes = self._nodes.of_pool(pool.id)
        dedicated = sum(bool(node.properties["isDedicated"]) for node in nodes)
        properties = pool.properties | {
            "creationTime": internal["created"],
            "lastModified": internal["modified"],
            "provisioningStateTransitionTime": internal["created"],
            "allocationState": internal["allocation"]["state"],
            "allocationStateTransitionTime": internal["allocation"]["since"],
            "currentDedicatedNodes": dedicated,
            "currentLowPriorityNodes": len(nodes) - dedicated,
        }
        if resize := internal.get("resize"):
            steady = internal["allocation"]["state"] == "Steady"
            shown = {key: value for key, value in resize.items() if key != "errors"}
            properties["resizeOperationStatus"] = shown | (
                {"errors": resize["errors"]} if steady and resize["errors"] else {}
            )
        if "autoScale" in pool.properties["scaleSettings"]:
            properties["autoScaleRun"] = {"evaluationTime": internal["modified"], "error": _NO_FORMULAS}
        return pool.body | {"properties": properties}

    def _prepare(self, write: Write) -> None:
        properties, before = write.resource.properties, write.before
        sent = write.body.get("properties") or {}
        for name in _WHOLE:
            if sent.get(name) is not None and name in properties:
                properties[name] = sent[name]
        if _NAME.fullmatch(write.address.name) is None:
            message = (
                "The value provided for the pool's name is invalid: 1 to 64 letters, digits, hyphens, underscores."
            )
            raise invalid(message, "poolName", "InvalidPropertyValue")
        self._check_machines(properties)
        self._check_scale(properties, sent)
        self._check_start_task(properties, write.resource.body)
        if (subnet := (properties.get("networkConfiguration") or {}).get("subnetId")) and not self._store.get(subnet):
            message = f"The specified subnet {subnet} does not exist."
            raise invalid(message, "networkConfiguration.subnetId", "InvalidPropertyValue")
        self._complete_identity(write.resource.body)
        slots = properties.setdefault("taskSlotsPerNode", 1)
        largest = max(1, min(256, 4 * cores_of(properties["vmSize"])))  # docs: four a core, 256 at most
        if not 1 <= slots <= largest:
            message = f"taskSlotsPerNode must be between 1 and {largest} for {properties['vmSize']}, not {slots}."
            raise invalid(message, "taskSlotsPerNode", "InvalidPropertyValue")
        properties.setdefault("interNodeCommunication", "Disabled")
        properties.setdefault("taskSchedulingPolicy", {}).setdefault("nodeFillType", "Spread")
        if "targetNodeCommunicationMode" in properties:
            wanted = properties["targetNodeCommunicationMode"]
            properties["currentNodeCommunicationMode"] = "Simplified" if wanted == "Default" else wanted
        self._check_changes(write)
        _hide_secrets(properties)
        internal = write.resource.internal
        internal.setdefault("created", now())
        internal.setdefault("allocation", {"state": "Steady", "since": now()})
        internal["modified"] = now()
        internal.setdefault("resize", first_resize())
        if before is None:
            self._check_quota(write)

    def _check_machines(self, properties: dict[str, Any]) -> None:
        size = properties.get("vmSize")
        if not size:
            raise invalid("Required parameter 'vmSize' is missing (null).", "vmSize", "InvalidPropertyValue")
        if not _SIZE.fullmatch(str(size)):
            message = f"The value provided for one of the properties in the request body is invalid: vmSize '{size}'."
            raise invalid(message, "vmSize", "InvalidPropertyValue")
        deployment = properties.get("deploymentConfiguration") or {}
        if "cloudServiceConfiguration" in deployment:
            raise unsupported("pools of cloud services (retired in Azure); say virtualMachineConfiguration")
        machine = deployment.get("virtualMachineConfiguration")
        if not machine:
            message = "The pool needs a deploymentConfiguration with a virtualMachineConfiguration."
            raise invalid(message, "deploymentConfiguration", "InvalidPropertyValue")
        image = machine.get("imageReference") or {}
        if not machine.get("nodeAgentSkuId") or not (
            image.get("id") or (image.get("publisher") and image.get("offer"))
        ):
            message = "The virtualMachineConfiguration needs an imageReference and a nodeAgentSkuId."
            raise invalid(message, "virtualMachineConfiguration", "InvalidPropertyValue")
        if "id" not in image:
            image.setdefault("version", "latest")

    def _check_scale(self, properties: dict[str, Any], sent: dict[str, Any]) -> None:
        scale = properties.setdefault("scaleSettings", {})
        wanted = sent.get("scaleSettings") or {}
        if "autoScale" in wanted and "fixedScale" in wanted:
            message = "A pool has either a fixed scale or a formula, not both."
            raise invalid(message, "scaleSettings", "InvalidPropertyValue")
        if "fixedScale" in wanted or not scale:
            scale.pop("autoScale", None)
        if "autoScale" in wanted:
            scale.pop("fixedScale", None)
        if "autoScale" in scale:
            if not scale["autoScale"].get("formula"):
                message = "Required parameter 'formula' is missing (null)."
                raise invalid(message, "scaleSettings.autoScale.formula", "InvalidPropertyValue")
            scale["autoScale"].setdefault("evaluationInterval", "PT15M")
            return
        fixed = scale.setdefault("fixedScale", {})
        for name in ("targetDedicatedNodes", "targetLowPriorityNodes"):
            fixed[name] = whole_number(fixed.get(name), name)
        fixed["resizeTimeout"] = resize_timeout(fixed.get("resizeTimeout"))

    def _check_start_task(self, properties: dict[str, Any], body: dict[str, Any]) -> None:
        task = properties.get("startTask")
        if not task:
            properties.pop("startTask", None)
            return
        if not task.get("commandLine"):
            message = "Required parameter 'commandLine' is missing (null)."
            raise invalid(message, "startTask.commandLine", "InvalidPropertyValue")
        if not (task.get("userIdentity") or {}).get("userName"):
            user = task.setdefault("userIdentity", {}).setdefault("autoUser", {})
            user.setdefault("scope", "Task")
            user.setdefault("elevationLevel", "NonAdmin")
        task["maxTaskRetryCount"] = whole_number(task.get("maxTaskRetryCount"), "maxTaskRetryCount", smallest=-1)
        task.setdefault("waitForSuccess", True)
        identities = {name.lower() for name in (body.get("identity") or {}).get("userAssignedIdentities") or {}}
        for file in task.get("resourceFiles") or ():
            named = (file.get("identityReference") or {}).get("resourceId")
            if named and named.lower() not in identities:
                message = f"The identity {named} of a resource file is none of the pool's."
                raise invalid(message, "startTask.resourceFiles", "InvalidPropertyValue")

    def _complete_identity(self, body: dict[str, Any]) -> None:
        identity = body.get("identity")
        if identity is None:
            return
        kind = identity.setdefault("type", "UserAssigned" if identity.get("userAssignedIdentities") else "None")
        if kind not in {"UserAssigned", "None"}:
            raise invalid(
                f"Identity type '{kind}' is not supported for pools.", "identity.type", "InvalidPropertyValue"
            )
        known = {key: value for key, value in identity.items() if key in _IDENTITY}
        body["identity"] = known | (
            {"userAssignedIdentities": identities_of(self._store, body)} if kind == "UserAssigned" else {}
        )

    def _check_changes(self, write: Write) -> None:
        before = write.before
        if before is None:
            return
        if not self._nodes.of_pool(before.id):
            return
        changed = [
            name for name in _FOR_EMPTY_POOLS if before.properties.get(name) != write.resource.properties.get(name)
        ]
        if (before.body.get("identity") or {}) != (write.resource.body.get("identity") or {}):
            changed.append("identity")
        if changed:
            message = f"{', '.join(changed)} of pool '{before.name}' cannot be updated while the pool has nodes."
            raise conflict("PropertyCannotBeUpdated", message, changed[0])

    def _check_quota(self, write: Write) -> None:
        account = self._store.get(str(write.address.parent))
        quota = account.properties.get("poolQuota") if account else None
        if account is not None and quota is not None and len(self._store.find(POOL, account.id)) >= quota:
            raise conflict("PoolQuotaReached", f"The account has reached its quota of {quota} pools.")

    def _apply(self, write: Write) -> dict[str, Any]:
        """Resize the pool where its declared targets are others than before."""
        pool, before = write.resource, write.before
        if "fixedScale" not in pool.properties["scaleSettings"]:
            return {}
        scale = fixed_scale(pool)
        deallocation = scale.get("nodeDeallocationOption") or "Requeue"
        target = Target(
            scale["targetDedicatedNodes"], scale["targetLowPriorityNodes"], scale["resizeTimeout"], deallocation
        )
        known = fixed_scale(before) if before is not None else {"targetDedicatedNodes": 0, "targetLowPriorityNodes": 0}
        if (target.dedicated, target.low_priority) == (known["targetDedicatedNodes"], known["targetLowPriorityNodes"]):
            self._store.save(pool, changed=False)
        else:
            self._allocation.begin(pool, target)
        return {}

    def _release(self, pool: Resource) -> float | None:
        """Take all nodes away, before the pool goes."""
        with self._store.transaction():
            left = self._nodes.of_pool(pool.id)
            for node in left:
                self._nodes.leave(node)
        return _LOOK_AGAIN_SECONDS if left else None

    def _acted(self, act: Callable[[Resource], None]) -> Callable[[Call], Reply]:
        def answer(call: Call) -> Reply:
            act(call.resource)
            self._store.save(call.resource)
            pool = call.resource
            header = {"id": pool.id, "name": pool.name, "type": POOL, "etag": pool.etag}
            return Reply(header | self.view(pool, {}))

        return answer


def whole_number(value: Any, name: str, smallest: int = 0) -> int:
    """Read a number that a client may send as a string; nothing is 0."""
    try:
        number = int(value or 0)
    except (TypeError, ValueError):
        number = smallest - 1
    if number < smallest:
        message = f"The value {value!r} of '{name}' is no whole number of {smallest} or more."
        raise invalid(message, name, "InvalidPropertyValue")
    return number


def resize_timeout(value: Any) -> str:
    """Check how long a resize may take; 15 minutes where nothing is said."""
    if value is None:
        return "PT15M"
    found = _DURATION.fullmatch(str(value))
    parts = [float(part or 0) for part in found.groups()] if found else [0.0] * 4
    seconds = ((parts[0] * 24 + parts[1]) * 60 + parts[2]) * 60 + parts[3]
    if seconds < _SMALLEST_TIMEOUT_SECONDS:
        message = f"The resizeTimeout '{value}' is less than 5 minutes, or no duration (write PT15M)."
        raise invalid(message, "resizeTimeout", "InvalidPropertyValue")
    return str(value)


def _manual(pool: Resource) -> None:
    scale = pool.properties["scaleSettings"]
    if "autoScale" in scale:
        pool.properties["scaleSettings"] = {
            "fixedScale": {"targetDedicatedNodes": 0, "targetLowPriorityNodes": 0, "resizeTimeout": "PT15M"}
        }


def _hide_secrets(properties: dict[str, Any]) -> None:
    """Drop what Batch never shows again; nothing here uses it."""
    for account in properties.get("userAccounts") or ():
        account.pop("password", None)
        (account.get("linuxUserConfiguration") or {}).pop("sshPrivateKey", None)
    machine = properties["deploymentConfiguration"]["virtualMachineConfiguration"]
    for registry in (machine.get("containerConfiguration") or {}).get("containerRegistries") or ():
        registry.pop("password", None)
    for extension in machine.get("extensions") or ():
        extension.pop("protectedSettings", None)
    for mount in properties.get("mountConfiguration") or ():
        for configuration in mount.values():
            for secret in ("accountKey", "sasKey", "password"):
                configuration.pop(secret, None)
