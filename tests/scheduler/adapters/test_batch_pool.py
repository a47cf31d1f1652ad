"""Pools of a Batch account as capacity: what is theirs alone. The rest is in the contract of `Capacity`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.faults import FaultKind
from scheduler.adapters.batch_pool import BatchPoolCapacity
from scheduler.adapters.capacity_by_kind import CapacityByKind
from scheduler.adapters.memory import ManualClock, MemoryCapacity
from scheduler.errors import ConflictError, InvalidRequestError, PreconditionError, UnavailableError
from scheduler.model import GroupKey, GroupKind, GroupPriority, InstanceState, NodeGroup, ScaleSetView
from tests.scheduler.adapters.local_capacity import LocalCloud, local_batch_pool, local_cloud

GROUP = NodeGroup(
    GroupKey("risk", "main", "g1"),
    "risk-main-g1",
    "q",
    "Standard_D2s_v5",
    GroupPriority.REGULAR,
    2,
    10,
    kind=GroupKind.BATCH,
)


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """A local Azure that clients trust."""
    with local_cloud(tmp_path) as made:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.running.azure.certificates.bundle))
        yield made


@pytest.fixture
def capacity(azure: LocalCloud) -> Iterator[BatchPoolCapacity]:
    """The adapter over an account with one empty pool."""
    with local_batch_pool(azure, GROUP.scale_set) as made:
        yield made


def view_of(capacity: BatchPoolCapacity, group: NodeGroup = GROUP) -> ScaleSetView:
    """Observe the pool."""
    view = capacity.observe(group)
    assert view is not None
    return view


def test_nothing_is_asked_of_a_pool_that_is_being_resized(azure: LocalCloud, capacity: BatchPoolCapacity) -> None:
    """A raise is to be observed again, a removal to be tried again; when the pool is steady both are done."""
    capacity.raise_to(GROUP, view_of(capacity), 2)
    (node, _) = view_of(capacity).instances
    with pytest.raises(PreconditionError, match="observe it again"):
        capacity.raise_to(GROUP, view_of(capacity), 3)
    with pytest.raises(ConflictError, match="being resized"):
        capacity.remove(GROUP, (node.instance_id,))
    azure.settle()
    capacity.remove(GROUP, (node.instance_id,))
    azure.settle()
    assert node not in view_of(capacity).instances
    capacity.raise_to(GROUP, view_of(capacity), 3)
    assert view_of(capacity).capacity == 3


@pytest.mark.parametrize(
    ("kind", "words"),
    [(FaultKind.ALLOCATION_FAILURE, "AllocationFailed"), (FaultKind.QUOTA, "AccountCoreQuotaReached")],
)
def test_an_order_that_comes_to_nothing_is_seen(
    azure: LocalCloud, capacity: BatchPoolCapacity, kind: FaultKind, words: str
) -> None:
    """The reading has the error, and as capacity what there is; a new order is at least the old one, never less."""
    azure.fail(kind)
    capacity.raise_to(GROUP, view_of(capacity), 4)
    azure.settle()
    view = view_of(capacity)
    assert (view.capacity, view.instances) == (0, ())
    assert view.error is not None
    assert words in view.error
    capacity.raise_to(GROUP, view, 1)
    azure.settle()
    view = view_of(capacity)
    assert (view.capacity, len(view.instances), view.error) == (4, 4, None)


def test_a_spot_group_asks_for_spot_nodes(azure: LocalCloud, capacity: BatchPoolCapacity) -> None:
    """The target of the group's priority is raised and the other one stays."""
    spot = replace(GROUP, priority=GroupPriority.SPOT)
    capacity.raise_to(spot, view_of(capacity), 2)
    assert [instance.node_id[-2:] for instance in view_of(capacity).instances] == ["_p", "_p"]
    azure.settle()
    assert view_of(capacity).capacity == 2


def test_a_node_that_failed_to_start_is_failed(azure: LocalCloud, capacity: BatchPoolCapacity) -> None:
    """A start task that fails is a failed instance with the service's words; its id is the node's own."""
    azure.fail(FaultKind.BOOT_FAILURE)
    azure.running.azure.store.transaction()
    pool = azure.running.azure.store.find("Microsoft.Batch/batchAccounts/pools")[0]
    pool.properties["startTask"] = {"commandLine": "true", "maxTaskRetryCount": 0, "waitForSuccess": True}
    azure.running.azure.store.save(pool)
    capacity.raise_to(GROUP, view_of(capacity), 1)
    azure.settle()
    (instance,) = view_of(capacity).instances
    assert (instance.instance_id, instance.state) == (instance.node_id, InstanceState.FAILED)
    assert "boot-failure" in instance.error


def test_an_unreachable_account_is_unknown(azure: LocalCloud) -> None:
    """No answer is UnavailableError, never an absent pool."""
    capacity = BatchPoolCapacity(azure.running.azure.credential(), "https://127.0.0.1:9/batch/acct")
    with pytest.raises(UnavailableError, match="nothing is known"):
        capacity.observe(GROUP)
    capacity.close()


def test_each_group_goes_to_the_adapter_of_its_kind() -> None:
    """Scale sets and Batch pools of one name are different things; without an account a Batch group is refused."""
    sets, pools = MemoryCapacity(ManualClock(), [GROUP.scale_set]), MemoryCapacity(ManualClock())
    plain = replace(GROUP, kind=GroupKind.SCALE_SET)
    both = CapacityByKind(sets, pools)
    assert both.observe(plain) is not None
    assert both.observe(GROUP) is None
    view = both.observe(plain)
    assert view is not None
    both.raise_to(plain, view, 1)
    both.remove(plain, ("0",))
    both.delete_group(GROUP)
    with pytest.raises(InvalidRequestError, match="batch_endpoint"):
        CapacityByKind(sets, None).observe(GROUP)
