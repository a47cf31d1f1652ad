"""Nodes of Batch pools: machines that run the pool's start task, and their way from `creating` to `leavingpool`.

The states are those of the Batch service. A node is a machine like an instance of a scale set: a folder, a process
group, a metadata service with the identities of its pool.
"""

import secrets
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.store import Operation, Resource, Status, Store
from infra.local.faults import FaultKind, Faults
from infra.local.machines import Machines
from infra.local.services.batch import start_task as batch_start_task
from infra.local.services.batch.start_task import NodeIdentity

POOL = "Microsoft.Batch/batchAccounts/pools"
NODE = f"{POOL}/nodes"

BOOT = "batch-boot"
LEAVE = "batch-leave"
DEALLOCATE = "batch-deallocate"
PREEMPT = "batch-preempt"

_SLOWEST_LOOK_SECONDS = 1.0
_BOOTING = frozenset({"creating", "starting", "rebooting", "reimaging"})
_WAITING = "waitingforstarttask"


@dataclass(frozen=True, slots=True)
class NewNode:
    """What a node is made from: its pool as it is declared now."""

    pool: Resource
    location: str
    dedicated: bool


class BatchNodes:
    """Makes nodes, brings them up and takes them away.

    `account_url` names the data plane of an account, `wake` lets operations begin.
    """

    def __init__(
        self,
        store: Store,
        machines: Machines,
        faults: Faults,
        account_url: Callable[[str], str],
        wake: Callable[[], None],
        boot_delay_seconds: float,
    ) -> None:
        self._store = store
        self._machines = machines
        self._faults = faults
        self._account_url = account_url
        self._wake = wake
        self._boot_delay_seconds = boot_delay_seconds

    def of_pool(self, pool_id: str) -> list[Resource]:
        """List the nodes of a pool, oldest first."""
        return self._store.find(NODE, pool_id)

    def by_nonce(self, nonce: str) -> Resource | None:
        """Find the node whose metadata service has this secret in its address."""
        return next((node for node in self._store.find(NODE) if node.internal["nonce"] == nonce), None)

    def create(self, new: NewNode) -> Resource:
        """Within a transaction, add a node to a pool; it boots by itself."""
        number = new.pool.internal.get("next_node", 0) + 1
        new.pool.internal["next_node"] = number
        node_id = f"tvmps_{secrets.token_hex(32)}_{'d' if new.dedicated else 'p'}"
        created = now()
        machine = new.pool.properties["deploymentConfiguration"]["virtualMachineConfiguration"]
        properties = {
            "provisioningState": "creating",
            "stateTransitionTime": created,
            "allocationTime": created,
            "ipAddress": f"10.0.{number // 250}.{number % 250 + 4}",
            "isDedicated": new.dedicated,
            "schedulingState": "enabled",
            "hardwareProfile": {"vmSize": new.pool.properties["vmSize"]},
            "storageProfile": {"imageReference": machine.get("imageReference", {})},
            "vmId": str(uuid.uuid4()),
        }
        identities = (new.pool.body.get("identity") or {}).get("userAssignedIdentities") or {}
        node = Resource(
            f"{new.pool.id}/nodes/{node_id}",
            NODE,
            {"location": new.location, "properties": properties},
            {"nonce": secrets.token_urlsafe(24), "identities": list(identities)},
        )
        self._store.save(node)
        slow = self._faults.take(FaultKind.SLOW_BOOT, node_id)
        delay = self._boot_delay_seconds + (slow.seconds if slow else 0.0)
        self._store.start(BOOT, node.id, delay_seconds=delay)
        return node

    def boot(self, operation: Operation) -> float | None:
        """Take one step of the boot of a node: creating, starting, waiting for the start task, idle."""
        node = self._store.get(operation.resource_id)
        pool = self._pool_of(node)
        if node is None or pool is None or node.state not in {*_BOOTING, _WAITING, "idle"}:
            return None
        if node.state == "creating":
            self._change(node, "starting", lastBootTime=now())
            return 0.0
        if node.state in {"rebooting", "reimaging"}:
            self._end_everything(node)
            self._change(node, "starting")
            return self._boot_delay_seconds
        if node.state == "starting":
            return self._run_start_task(node, pool)
        return self._follow_start_task(node, time.time() - operation.created)

    def reboot(self, node: Resource, *, reimage: bool) -> None:
        """Within a transaction, end everything on a node and boot it again, with an empty disk after a reimage."""
        self._stop_operations(node)
        self._set(node, "reimaging" if reimage else "rebooting", lastBootTime=now())
        self._store.start(BOOT, node.id)

    def deallocate(self, node: Resource) -> None:
        """Within a transaction, stop a node and keep its disk."""
        self._stop_operations(node)
        self._set(node, "deallocating")
        self._store.start(DEALLOCATE, node.id)

    def start(self, node: Resource) -> None:
        """Within a transaction, start a node that does not run."""
        self._stop_operations(node)
        self._forget_boot(node)
        self._set(node, "starting", lastBootTime=now())
        self._store.start(BOOT, node.id, delay_seconds=self._boot_delay_seconds)

    def schedule(self, node: Resource, *, enabled: bool) -> None:
        """Within a transaction, let the service's own tasks onto a node or keep them off."""
        node.properties["schedulingState"] = "enabled" if enabled else "disabled"
        if node.state in {"idle", "offline"}:
            self._set(node, "idle" if enabled else "offline")
        else:
            self._store.save(node)

    def wake_after_commit(self) -> None:
        """Within a transaction, let what was started begin at its end."""
        self._store.after_commit(self._wake)

    def leave(self, node: Resource) -> None:
        """Within a transaction, begin to take a node out of its pool, whatever runs on it."""
        if node.state == "leavingpool":
            return
        self._stop_operations(node)
        self._set(node, "leavingpool")
        self._store.start(LEAVE, node.id)

    def preempt(self, node_id: str, notice_seconds: float) -> bool:
        """Take a node's machine away after a notice; False when there is no such node. The pool still lists it."""
        with self._store.transaction():
            for node in self._store.find(NODE):
                if node.name == node_id and node.state != "leavingpool":
                    self._store.start(PREEMPT, node.id, delay_seconds=notice_seconds)
                    self.wake_after_commit()
                    return True
        return False

    def take_machine(self, operation: Operation) -> None:
        """End what runs on a node that is preempted."""
        node = self._store.get(operation.resource_id)
        if node is not None and node.state != "leavingpool":
            self._machines.kill(node.name)
            self._change(node, "preempted")

    def delete(self, operation: Operation) -> None:
        """Kill a node and forget it."""
        self._machines.delete(operation.resource_id.rsplit("/", 1)[1])
        self._store.remove(operation.resource_id)

    def switch_off(self, operation: Operation) -> None:
        """End what runs on a node that is being deallocated."""
        node = self._store.get(operation.resource_id)
        if node is not None and node.state == "deallocating":
            self._machines.kill(node.name)
            self._change(node, "deallocated")

    def power_on(self) -> None:
        """Boot the nodes again that stopped with the host."""
        with self._store.transaction():
            for node in self._store.find(NODE):
                if node.state in {"idle", "offline", _WAITING}:
                    self.start(node)

    def start_task_information(self, node: Resource) -> dict[str, Any] | None:
        """Say how a node's start task goes; None where it has none or has not begun."""
        if "startTask" not in node.internal:
            return None
        if "startTaskInfo" in node.internal:
            return dict(node.internal["startTaskInfo"])
        return batch_start_task.information(self._machines.files(node.name).folder, self._machines.exit_code(node.name))

    def _end_everything(self, node: Resource) -> None:
        self._machines.kill(node.name)
        self._forget_boot(node)
        if node.state == "reimaging":
            shutil.rmtree(self._machines.files(node.name).root, ignore_errors=True)

    def _forget_boot(self, node: Resource) -> None:
        self._machines.switch_off(node.name)
        batch_start_task.forget(self._machines.files(node.name).folder)

    def _run_start_task(self, node: Resource, pool: Resource) -> float | None:
        task = pool.properties.get("startTask")
        node.internal.pop("startTaskInfo", None)
        if task is None:
            node.internal.pop("startTask", None)
            self._machines.start(node.name, node.internal["nonce"], [])
            self._change(node, "idle")
            return None
        node.internal["startTask"] = task
        if self._faults.take(FaultKind.BOOT_FAILURE, node.name) is not None:
            self._refuse_start_task(node, "the local Azure was told to fail this boot (boot-failure)")
            return None
        if task.get("resourceFiles") or task.get("containerSettings"):
            self._refuse_start_task(
                node, "the local Azure fetches no resource files and has no containers for start tasks"
            )
            return None
        account = pool.id.split("/")[-3]
        identity = NodeIdentity(
            node.name, pool.name, account, self._account_url(account), node.properties["isDedicated"]
        )
        try:
            text = batch_start_task.script(self._machines.files(node.name).root, identity, task)
        except ValueError as error:
            self._refuse_start_task(node, f"the command line cannot be split into words: {error}")
            return None
        self._machines.start(node.name, node.internal["nonce"], [text])
        self._change(node, _WAITING if task.get("waitForSuccess") else "idle")
        return 0.05

    def _follow_start_task(self, node: Resource, age_seconds: float) -> float | None:
        code = self._machines.exit_code(node.name)
        if code is None:
            return min(_SLOWEST_LOOK_SECONDS, 0.05 + age_seconds / 100)
        if node.state == _WAITING:
            self._change(node, "idle" if code == 0 else "starttaskfailed")
        return None

    def _refuse_start_task(self, node: Resource, why: str) -> None:
        failure = {"category": "servererror", "code": "StartTaskNotRun", "message": why}
        ended = now()
        node.internal["startTaskInfo"] = {
            "state": "completed",
            "startTime": ended,
            "endTime": ended,
            "retryCount": 0,
            "result": "failure",
            "failureInfo": failure,
        }
        self._change(node, "starttaskfailed")

    def _pool_of(self, node: Resource | None) -> Resource | None:
        return self._store.get(node.id.rsplit("/", 2)[0]) if node is not None else None

    def _change(self, node: Resource, state: str, **properties: Any) -> None:
        """Give a node another state, unless it leaves in the meantime."""
        with self._store.transaction():
            current = self._store.get(node.id)
            if current is not None and current.state != "leavingpool":
                self._set(node, state, **properties)

    def _set(self, node: Resource, state: str, **properties: Any) -> None:
        node.state = state
        node.properties.update(properties, stateTransitionTime=now())
        self._store.save(node)

    def _stop_operations(self, node: Resource) -> None:
        for operation in self._store.unfinished(node.id):
            self._store.finish(operation.id, Status.CANCELED)


def now() -> str:
    """Write the present instant as the service does."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
