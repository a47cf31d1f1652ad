"""`Capacity` over the pools of an Azure Batch account, by azure-batch.

A pool can be resized, and nodes can be removed, only while its allocation is steady; until then the caller observes
again. The Batch service knows nothing of our runner: to it every node is idle. So a target is only ever raised, and
nodes are removed by their ids alone (design decisions 2 and 3).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from azure.batch import BatchClient
from azure.batch import models as batch
from azure.core.credentials import TokenCredential
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest

from scheduler.adapters.azure_capacity import (
    CONNECTION_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    retry_policy,
    still_there,
)
from scheduler.adapters.azure_errors import translated
from scheduler.errors import ConflictError, NotFoundError, PreconditionError
from scheduler.model import GroupPriority, Instance, InstanceState, NodeGroup, ScaleSetView
from scheduler.ports.capacity import check_raise

# The client's own writes wait for their end in a thread each, so they are sent here, in the client's version.
_API_VERSION = "2025-06-01"
_CONTENT_TYPE = "application/json; odata=minimalmetadata"
_LARGEST_REMOVAL = 100  # docs: Pool - Remove Nodes
_STEADY = batch.AllocationState.STEADY.value

_STATES: Mapping[str, InstanceState] = MappingProxyType(
    {
        "creating": InstanceState.CREATING,
        "starting": InstanceState.CREATING,
        "waitingforstarttask": InstanceState.CREATING,
        "starttaskfailed": InstanceState.FAILED,
        "unusable": InstanceState.FAILED,
        "leavingpool": InstanceState.DELETING,
        # A preempted node stays listed until it is removed or Azure finds it a machine again.
        "preempted": InstanceState.STOPPED,
        "deallocating": InstanceState.STOPPED,
        "deallocated": InstanceState.STOPPED,
    }
)


class BatchPoolCapacity:
    """The pools of one Batch account. One thread calls it."""

    def __init__(
        self, credential: TokenCredential, endpoint: str, transport: HttpTransport[Any, Any] | None = None
    ) -> None:
        """Use the account at an https address; `transport` replaces the SDK's own, as a proxy may need."""
        self._client = BatchClient(
            endpoint.rstrip("/"),
            credential,
            retry_policy=retry_policy(),
            connection_timeout=CONNECTION_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read the pool, then list all its nodes; None when the pool does not exist.

        A resize that failed is over, and the service does not try again. What it was asked for will not come, so the
        capacity is then what there is.
        """
        try:
            pool = self._read(group)
            nodes = self._nodes(group)
        except NotFoundError:
            return None
        errors = "; ".join(_sentence(each) for each in pool.resize_errors or ())
        staying = sum(node.state is not InstanceState.DELETING for node in nodes)
        capacity = min(_asked_for(pool), staying) if errors and _is_steady(pool) else _asked_for(pool)
        return ScaleSetView(group.scale_set, capacity, pool.etag, nodes, errors or None)

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Resize the pool upwards, provided that it is as it was read and no resize is under way.

        The target never falls, also where it stands above what a failed resize could get.
        """
        check_raise(group, view, capacity)
        pool = self._read(group)
        if pool.etag != view.etag or not _is_steady(pool):
            raise PreconditionError(
                f"the Batch pool {group.scale_set} is being resized or changed since it was read; observe it again"
            )
        spot = group.priority is GroupPriority.SPOT
        wanted, other = pool.target_dedicated_nodes or 0, pool.target_low_priority_nodes or 0
        if spot:
            wanted, other = other, wanted
        wanted = max(wanted, capacity - other)
        dedicated, low_priority = (other, wanted) if spot else (wanted, other)
        body = {"targetDedicatedNodes": dedicated, "targetLowPriorityNodes": low_priority}
        what = f"asking {capacity} nodes of Batch pool {group.scale_set} in place of {view.capacity}"
        try:
            self._send(what, "POST", f"/pools/{group.scale_set}/resize", body, view.etag)
        except ConflictError as error:
            raise PreconditionError(f"{error}; observe it again") from error

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Remove exactly these nodes, a hundred at a time; the rest is for the next call.

        `ConflictError` while the pool is being resized. The service refuses ids that are gone, so the present ones are
        asked for.
        """
        try:
            pool = self._read(group)
            listed = self._nodes(group)
        except NotFoundError:
            return
        present = still_there(listed, instance_ids)
        if not present:
            return
        if not _is_steady(pool):
            raise ConflictError(f"the Batch pool {group.scale_set} is being resized; nodes are removed after that")
        body = {"nodeList": present[:_LARGEST_REMOVAL], "nodeDeallocationOption": "taskcompletion"}
        what = f"removing nodes {', '.join(present[:_LARGEST_REMOVAL])} of Batch pool {group.scale_set}"
        self._send(what, "POST", f"/pools/{group.scale_set}/removenodes", body)

    def delete_group(self, group: NodeGroup) -> None:
        """Delete an empty pool."""
        view = self.observe(group)
        if view is None:
            return
        if view.instances or view.capacity:
            raise ConflictError(
                f"the Batch pool {group.scale_set} still has {len(view.instances)} nodes and capacity {view.capacity};"
                " remove them first"
            )
        try:
            self._send(f"deleting Batch pool {group.scale_set}", "DELETE", f"/pools/{group.scale_set}", None, view.etag)
        except NotFoundError:
            return

    def _read(self, group: NodeGroup) -> batch.BatchPool:
        with translated(f"reading Batch pool {group.scale_set}"):
            return self._client.get_pool(group.scale_set)

    def _nodes(self, group: NodeGroup) -> tuple[Instance, ...]:
        with translated(f"listing the nodes of Batch pool {group.scale_set}"):
            return tuple(_instance(node) for node in self._client.list_nodes(group.scale_set))

    def _send(self, what: str, method: str, path: str, body: Mapping[str, Any] | None, etag: str | None = None) -> None:
        headers = {"Content-Type": _CONTENT_TYPE} if body is not None else {}
        if etag is not None:
            headers["If-Match"] = etag
        request = HttpRequest(method, path, params={"api-version": _API_VERSION}, headers=headers, json=body)
        with translated(what):
            self._client.send_request(request).raise_for_status()


def _asked_for(pool: batch.BatchPool) -> int:
    return (pool.target_dedicated_nodes or 0) + (pool.target_low_priority_nodes or 0)


def _is_steady(pool: batch.BatchPool) -> bool:
    return str(getattr(pool.allocation_state, "value", pool.allocation_state)) == _STEADY


def _sentence(error: batch.ResizeError) -> str:
    values = " ".join(str(each.value) for each in error.error_values or ())
    return f"{error.code}: {error.message}" + (f" ({values})" if values else "")


def _instance(node: batch.BatchNode) -> Instance:
    """Read a node; states in which it may still work, or that are not known, count as running."""
    state = _STATES.get(str(getattr(node.state, "value", node.state)).lower(), InstanceState.RUNNING)
    reasons = [f"{each.code}: {each.message}" for each in node.errors or ()]
    failure = node.start_task_info.failure_info if node.start_task_info is not None else None
    if state is InstanceState.FAILED and failure is not None:
        exit_code = node.start_task_info.exit_code if node.start_task_info is not None else None
        reasons.append(f"start task: {failure.code}: {failure.message}, exit code {exit_code}")
    return Instance(node.id, node.id, state, "; ".join(reasons))
