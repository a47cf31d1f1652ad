"""How a Batch pool gets as many nodes as it was asked for: resizes, their errors, and which nodes a smaller one kills.

A pool is resized by one operation at a time. A lower target removes nodes of the service's choosing: it knows of the
tasks of the Batch service alone, and these pools run none, so a busy runner is as idle to it as any other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.local.arm.errors import ArmError, conflict
from infra.local.arm.store import Operation, Resource, Store
from infra.local.faults import FaultKind, Faults
from infra.local.machines import host_runs
from infra.local.services.batch.nodes import POOL, BatchNodes, NewNode, now
from scheduler.catalog import VM_SIZES

RESIZE = "batch-resize"

_LOOK_AGAIN_SECONDS = 0.1
_CORES = re.compile(r"standard_[a-z]+(?P<cores>\d+)(-(?P<constrained>\d+))?[a-z]*(_[a-z0-9]+)*", re.IGNORECASE)
_KINDS = (
    (True, "targetDedicatedNodes", "dedicatedCoreQuota", "AccountCoreQuotaReached", "dedicated"),
    (False, "targetLowPriorityNodes", "lowPriorityCoreQuota", "AccountLowPriorityCoreQuotaReached", "low priority"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a resize asks for."""

    dedicated: int
    low_priority: int
    timeout: str = "PT15M"
    deallocation: str = "Requeue"


class BatchAllocation:
    """Resizes pools; `wake` lets the operations begin that were started."""

    def __init__(self, store: Store, nodes: BatchNodes, faults: Faults, wake: Callable[[], None]) -> None:
        self._store = store
        self._nodes = nodes
        self._faults = faults
        self._wake = wake

    def begin(self, pool: Resource, target: Target) -> None:
        """Within a transaction, resize a pool that is not being resized; what lacks or is too much goes at once."""
        require_steady(pool)
        self._record(pool, target)
        stuck = self._faults.take(FaultKind.STUCK_RESIZE, pool.name)
        if stuck is not None:
            pool.internal["stuck"] = stuck.id
        else:
            self._converge(pool)
        self._follow(pool)

    def remove(self, pool: Resource, nodes: list[Resource], timeout: str, deallocation: str) -> None:
        """Within a transaction, take exactly these nodes out of a steady pool and lower its targets by them."""
        require_steady(pool)
        scale = fixed_scale(pool)
        staying = [node for node in nodes if node.state != "leavingpool"]
        dedicated = sum(bool(node.properties["isDedicated"]) for node in staying)
        target = Target(
            max(0, scale["targetDedicatedNodes"] - dedicated),
            max(0, scale["targetLowPriorityNodes"] - (len(staying) - dedicated)),
            timeout,
            deallocation,
        )
        self._record(pool, target)
        for node in staying:
            self._nodes.leave(node)
        self._follow(pool)

    def stop(self, pool: Resource) -> None:
        """Within a transaction, end a resize where it stands; what there is becomes the target."""
        if pool.internal["allocation"]["state"] == "Steady":
            return
        nodes = [node for node in self._nodes.of_pool(pool.id) if node.state != "leavingpool"]
        dedicated = sum(bool(node.properties["isDedicated"]) for node in nodes)
        fixed_scale(pool).update(targetDedicatedNodes=dedicated, targetLowPriorityNodes=len(nodes) - dedicated)
        pool.internal.pop("stuck", None)
        pool.internal["resize"]["errors"] = [_error("ResizeStopped", "The pool resize was stopped by the user")]
        pool.internal["allocation"] = {"state": "Stopping", "since": now()}
        self._store.save(pool)

    def step(self, operation: Operation) -> float | None:
        """Follow a resize until its nodes are allocated and those that leave are gone."""
        with self._store.transaction():
            pool = self._store.get(operation.resource_id)
            if pool is None or pool.state == "Deleting":
                return None
            stuck = pool.internal.get("stuck")
            if stuck is not None and self._faults.is_active(stuck):
                return _LOOK_AGAIN_SECONDS
            if stuck is not None:
                del pool.internal["stuck"]
                self._converge(pool)
                self._store.save(pool, changed=False)
                self._store.after_commit(self._wake)
            if any(node.state in {"creating", "leavingpool"} for node in self._nodes.of_pool(pool.id)):
                return _LOOK_AGAIN_SECONDS
            pool.internal["allocation"] = {"state": "Steady", "since": now()}
            self._store.save(pool, changed=False)
            return None

    def _record(self, pool: Resource, target: Target) -> None:
        fixed_scale(pool).update(
            targetDedicatedNodes=target.dedicated,
            targetLowPriorityNodes=target.low_priority,
            resizeTimeout=target.timeout,
        )
        pool.internal["allocation"] = {"state": "Resizing", "since": now()}
        pool.internal["resize"] = _status(target)

    def _follow(self, pool: Resource) -> None:
        pool.internal["modified"] = now()
        self._store.save(pool)
        self._store.start(RESIZE, pool.id)
        self._store.after_commit(self._wake)

    def _converge(self, pool: Resource) -> None:
        """Make the nodes that lack, and let those go that are too many."""
        for dedicated, target, quota, reached, words in _KINDS:
            present = [
                node
                for node in self._nodes.of_pool(pool.id)
                if node.state != "leavingpool" and node.properties["isDedicated"] == dedicated
            ]
            lacking = fixed_scale(pool)[target] - len(present)
            if lacking < 0:
                for node in present[lacking:]:
                    self._nodes.leave(node)
            if lacking > 0:
                account = self._account_of(pool)
                granted, error = self._grant(pool, account, lacking, dedicated, (quota, reached, words))
                if error is not None:
                    pool.internal["resize"]["errors"].append(error)
                for _ in range(granted):
                    self._nodes.create(NewNode(pool, account.body["location"], dedicated))

    def _grant(
        self, pool: Resource, account: Resource, lacking: int, dedicated: bool, kind: tuple[str, str, str]
    ) -> tuple[int, dict[str, Any] | None]:
        """Say how many nodes can be had, and why not all."""
        quota, reached, words = kind
        refused = f"Desired number of {words} nodes could not be allocated"
        if not host_runs(windows=is_windows(pool)):
            reason = (
                "this host runs Linux machines and the image is of another system, so the local Azure cannot run it."
                " Choose a Linux image, or deploy this pool to Azure."
            )
            return 0, _error("AllocationFailed", refused, reason)
        if self._faults.take(FaultKind.ALLOCATION_FAILURE, pool.name) is not None:
            reason = "Allocation failed due to insufficient capacity for the requested VM size in the region."
            return 0, _error("AllocationFailed", refused, reason)
        over = "The specified account has reached core quota" if dedicated else f"The account has reached {words} quota"
        if self._faults.take(FaultKind.QUOTA, pool.name) is not None:
            return 0, _error(reached, over, f"Allowed: {account.properties.get(quota)}")
        limit = account.properties.get(quota)
        if limit is None:
            return lacking, None
        free = (limit - self._used(account, dedicated)) // cores_of(pool.properties["vmSize"])
        return (lacking, None) if free >= lacking else (max(0, free), _error(reached, over, f"Allowed: {limit}"))

    def _used(self, account: Resource, dedicated: bool) -> int:
        """Count the cores of all nodes of an account."""
        return sum(
            cores_of(pool.properties["vmSize"])
            * sum(node.properties["isDedicated"] == dedicated for node in self._nodes.of_pool(pool.id))
            for pool in self._store.find(POOL, account.id)
        )

    def _account_of(self, pool: Resource) -> Resource:
        account = self._store.get(pool.id.rsplit("/", 2)[0])
        if account is None:
            raise ArmError(404, "AccountNotFound", f"The Batch account of pool '{pool.name}' is gone.")
        return account


def first_resize() -> dict[str, Any]:
    """Return the status of the resize with which a pool begins: to no nodes, and done."""
    return _status(Target(0, 0))


def _status(target: Target) -> dict[str, Any]:
    return {
        "startTime": now(),
        "targetDedicatedNodes": target.dedicated,
        "targetLowPriorityNodes": target.low_priority,
        "resizeTimeout": target.timeout,
        "nodeDeallocationOption": target.deallocation,
        "errors": [],
    }


def fixed_scale(pool: Resource) -> dict[str, Any]:
    """Return the fixed scale of a pool, that of no nodes where a formula scales it."""
    scale: dict[str, Any] = pool.properties["scaleSettings"].get("fixedScale") or {}
    scale.setdefault("targetDedicatedNodes", 0)
    scale.setdefault("targetLowPriorityNodes", 0)
    return scale


def require_steady(pool: Resource) -> None:
    """Refuse to resize a pool that is being resized."""
    if pool.internal["allocation"]["state"] != "Steady":
        message = f"The specified pool '{pool.name}' is being resized; try again when its allocation state is steady."
        raise conflict("PoolBeingResized", message)


def is_windows(pool: Resource) -> bool:
    """Say whether the nodes of a pool run Windows."""
    machine = pool.properties["deploymentConfiguration"]["virtualMachineConfiguration"]
    return "windows" in str(machine.get("nodeAgentSkuId", "")).lower()


def cores_of(vm_size: str) -> int:
    """Count the cores of a VM size, by the catalogue or else by its name."""
    for size in VM_SIZES.values():
        if size.name.lower() == vm_size.lower():
            return size.vcpus
    found = _CORES.fullmatch(vm_size)
    return int(found["constrained"] or found["cores"]) if found else 1


def _error(code: str, message: str, reason: str | None = None) -> dict[str, Any]:
    details = [{"code": "Reason", "message": reason}] if reason else []
    return {"code": code, "message": message, "details": details}
