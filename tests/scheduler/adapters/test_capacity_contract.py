"""What the scheduler may expect of capacity: the same over memory, over scale sets and over Batch pools.

Scale sets run against a stand-in at the level of HTTP and, like Batch pools, against the local Azure.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken

from scheduler.adapters.memory import ManualClock, MemoryCapacity
from scheduler.adapters.scale_set import ScaleSetCapacity
from scheduler.errors import (
    AccessDeniedError,
    CapacityError,
    CapacityErrorKind,
    ConflictError,
    NotFoundError,
    PreconditionError,
    ThrottledError,
    UnavailableError,
)
from scheduler.model import GroupKey, GroupPriority, InstanceState, NodeGroup, ScaleSetView
from scheduler.ports.capacity import Capacity
from tests.scheduler.adapters.compute_stand_in import ADDRESS, Answer, ComputeStandIn, ScaleSet, problem
from tests.scheduler.adapters.local_capacity import LocalCloud, local_batch_pool, local_cloud, local_scale_set


def node_group(scale_set: str) -> NodeGroup:
    """Give a group with a scale set of this name."""
    return NodeGroup(
        key=GroupKey("render", "regular", "a1b2"),
        scale_set=scale_set,
        queue="render-regular-a1b2",
        vm_size="Standard_D2s_v5",
        priority=GroupPriority.REGULAR,
        task_slots=2,
        max_nodes=10,
    )


GROUP = node_group("vmss-render")
ABSENT = node_group("vmss-absent")
REFUSALS: dict[CapacityErrorKind, Answer] = {
    CapacityErrorKind.QUOTA: problem(
        409, "OperationNotAllowed", "Operation results in exceeding approved standardDSv5Family Cores quota."
    ),
    CapacityErrorKind.ALLOCATION: problem(409, "AllocationFailed", "We do not have sufficient capacity."),
    CapacityErrorKind.SKU: problem(409, "SkuNotAvailable", "The requested size is currently not available."),
}


class FixedCredential:
    """A credential that always gives the same token."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        """Give the token."""
        assert scopes == (f"{ADDRESS}/.default",)
        return AccessToken("token", int(time.time()) + 3600)


@dataclass(frozen=True)
class Cloud:
    """A capacity with one empty set, the end of what is under way, and refusals on demand."""

    capacity: Capacity
    settle: Callable[[], None]
    refuse: Callable[[CapacityErrorKind], None] | None = None

    def grow(self, to: int) -> None:
        """Raise the set to a capacity."""
        view = self.capacity.observe(GROUP)
        assert view is not None
        self.capacity.raise_to(GROUP, view, to)

    def observed(self) -> ScaleSetView:
        """Observe the set."""
        view = self.capacity.observe(GROUP)
        assert view is not None
        return view

    def listed(self) -> list[tuple[str, str, InstanceState]]:
        """Observe the instances."""
        view = self.capacity.observe(GROUP)
        assert view is not None
        return [(instance.instance_id, instance.node_id, instance.state) for instance in view.instances]


@pytest.fixture
def service() -> ComputeStandIn:
    """Make a service with the one set."""
    made = ComputeStandIn()
    made.sets[GROUP.scale_set] = ScaleSet()
    return made


@pytest.fixture
def real(service: ComputeStandIn) -> Iterator[ScaleSetCapacity]:
    """Make the adapter over that service."""
    made = ScaleSetCapacity(FixedCredential(), "sub", "rg", ADDRESS + "/", service.transport())
    yield made
    made.close()


def local(home: Path, kind: str) -> Iterator[Cloud]:
    """Make a cloud on a local Azure."""
    declare = local_scale_set if kind == "local-scale-set" else local_batch_pool
    with local_cloud(home) as azure, trusting(azure), declare(azure, GROUP.scale_set) as capacity:
        yield Cloud(capacity, azure.settle)


@contextmanager
def trusting(azure: LocalCloud) -> Iterator[None]:
    """Have clients trust the local Azure, as `millpond local env` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(azure.running.azure.certificates.bundle))
        yield


@pytest.fixture(params=["local-scale-set", "local-batch-pool"])
def local_one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cloud]:
    """Make a cloud of each kind on a local Azure."""
    yield from local(tmp_path, request.param)


@pytest.fixture(params=["memory", "azure"])
def refusing(request: pytest.FixtureRequest) -> Cloud:
    """Make a cloud of each kind that can be told to refuse at once."""
    return memory_cloud() if request.param == "memory" else stand_in_cloud(request)


def memory_cloud() -> Cloud:
    """Make a cloud in memory."""
    clock = ManualClock()
    memory = MemoryCapacity(clock, [GROUP.scale_set])
    return Cloud(
        memory,
        lambda: void(clock.advance(timedelta(minutes=2))),
        lambda kind: setattr(memory, "refusal", kind),
    )


def stand_in_cloud(request: pytest.FixtureRequest) -> Cloud:
    """Make a cloud at the level of HTTP."""
    service: ComputeStandIn = request.getfixturevalue("service")
    return Cloud(
        request.getfixturevalue("real"),
        service.settle,
        lambda kind: setattr(service, "refusal", REFUSALS[kind]),
    )


@pytest.fixture(params=["memory", "azure", "local-scale-set", "local-batch-pool"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cloud]:
    """Make a cloud of each kind."""
    if request.param.startswith("local"):
        yield from local(tmp_path, request.param)
    elif request.param == "memory":
        yield memory_cloud()
    else:
        yield stand_in_cloud(request)


def void(_: object) -> None:
    """Drop a value."""


def test_a_set_that_is_not_there(cloud: Cloud) -> None:
    """An absent set reads as None, cannot be raised, and has nothing to remove or delete."""
    assert cloud.capacity.observe(ABSENT) is None
    view = cloud.capacity.observe(GROUP)
    assert view is not None
    # Azure may look at the condition before it looks for the set.
    with pytest.raises((NotFoundError, PreconditionError)):
        cloud.capacity.raise_to(ABSENT, view, 1)
    cloud.capacity.remove(ABSENT, ("0",))
    cloud.capacity.delete_group(ABSENT)


def test_instances_come_after_a_raise(cloud: Cloud) -> None:
    """A raise makes as many instances as were asked for, first creating, then running, under their computer names."""
    assert cloud.listed() == []
    cloud.grow(3)
    view = cloud.capacity.observe(GROUP)
    assert view is not None
    assert view.capacity == 3
    assert [state for _, _, state in cloud.listed()] == [InstanceState.CREATING] * 3
    names = [name for *name, _ in cloud.listed()]
    cloud.settle()
    assert cloud.listed() == [(*name, InstanceState.RUNNING) for name in names]


def test_a_node_of_a_scale_set_is_named_after_it(refusing: Cloud) -> None:
    """Nodes of scale sets have their computer name, the set's and the instance's id."""
    refusing.grow(2)
    assert [name for _, name, _ in refusing.listed()] == ["vmss-render_0", "vmss-render_1"]


def test_a_raise_from_an_old_reading_is_refused(cloud: Cloud) -> None:
    """A set that changed since it was read is not touched."""
    old = cloud.capacity.observe(GROUP)
    assert old is not None
    cloud.grow(1)
    with pytest.raises(PreconditionError, match="observe it again"):
        cloud.capacity.raise_to(GROUP, old, 5)
    assert len(cloud.listed()) == 1


@pytest.mark.parametrize("wanted", [2, 1, 0])
def test_capacity_is_only_raised(cloud: Cloud, wanted: int) -> None:
    """A number that is not above what was read is a programming error and nothing is sent."""
    cloud.grow(2)
    view = cloud.capacity.observe(GROUP)
    assert view is not None
    with pytest.raises(ValueError, match="only raised"):
        cloud.capacity.raise_to(GROUP, view, wanted)
    assert len(cloud.listed()) == 2


def test_what_has_not_come_is_given_up(service: ComputeStandIn, real: ScaleSetCapacity) -> None:
    """A set that was asked for more than it has may be asked for less, but never for fewer machines than there are."""
    service.sets[GROUP.scale_set] = ScaleSet(capacity=9, next_number=2, states={"0": "Succeeded", "1": "Deleting"})
    view = real.observe(GROUP)
    assert view is not None
    with pytest.raises(ValueError, match="not above its 1 machines"):
        real.raise_to(GROUP, view, 1)
    real.raise_to(GROUP, view, 3)
    assert service.sets[GROUP.scale_set].capacity == 3


@pytest.mark.parametrize("kind", list(CapacityErrorKind))
def test_a_refusal_says_its_kind(refusing: Cloud, kind: CapacityErrorKind) -> None:
    """Quota, allocation and size refusals are told apart, and nothing was ordered."""
    assert refusing.refuse is not None
    refusing.refuse(kind)
    with pytest.raises(CapacityError) as caught:
        refusing.grow(1)
    assert caught.value.kind is kind
    assert "vmss-render" in str(caught.value)
    assert refusing.listed() == []


def test_exactly_the_named_instances_are_removed(cloud: Cloud) -> None:
    """Removing takes the named ones and lowers the capacity by them; again, or of gone ones, it changes nothing."""
    cloud.grow(4)
    cloud.settle()
    first, second, third, fourth = [number for number, _, _ in cloud.listed()]
    for _ in range(2):
        cloud.capacity.remove(GROUP, (second, fourth, "77"))
        assert cloud.observed().capacity == 2
        states = {number: state for number, _, state in cloud.listed()}
        assert (states.pop(first), states.pop(third)) == (InstanceState.RUNNING, InstanceState.RUNNING)
        assert set(states) <= {second, fourth}
        assert set(states.values()) <= {InstanceState.DELETING}
    cloud.settle()
    for _ in range(2):
        assert [number for number, _, _ in cloud.listed()] == [first, third]
        cloud.capacity.remove(GROUP, (second, fourth))
    cloud.grow(3)
    *old, new = [number for number, _, _ in cloud.listed()]
    assert old == [first, third]
    assert new not in {first, second, third, fourth}


def test_only_an_empty_set_is_deleted(cloud: Cloud) -> None:
    """A set with instances stays; an empty one goes; one that is gone is no error."""
    cloud.grow(1)
    with pytest.raises(ConflictError, match="still has"):
        cloud.capacity.delete_group(GROUP)
    assert len(cloud.listed()) == 1
    cloud.settle()
    cloud.capacity.remove(GROUP, tuple(number for number, _, _ in cloud.listed()))
    cloud.settle()
    cloud.capacity.delete_group(GROUP)
    cloud.settle()
    assert cloud.capacity.observe(GROUP) is None
    cloud.capacity.delete_group(GROUP)


def test_a_raise_sends_the_capacity_alone(service: ComputeStandIn, real: ScaleSetCapacity) -> None:
    """The request is a guarded PATCH of sku.capacity, so that nothing else of the set changes; it is not polled."""
    view = real.observe(GROUP)
    assert view is not None
    real.raise_to(GROUP, view, 7)
    method, _, headers, body = service.requests[-1]
    assert (method, headers["if-match"], body) == ("PATCH", '"1"', {"sku": {"capacity": 7}})


def test_a_stopped_machine_is_not_running(service: ComputeStandIn, real: ScaleSetCapacity) -> None:
    """A deallocated machine reads as stopped though its provisioning succeeded, a failed one as failed."""
    service.sets[GROUP.scale_set].states = {"0": "Succeeded", "1": "Failed", "2": "Updating"}
    service.sets[GROUP.scale_set].power = {"0": "PowerState/deallocated"}
    view = real.observe(GROUP)
    assert view is not None
    assert [instance.state for instance in view.instances] == [
        InstanceState.STOPPED,
        InstanceState.FAILED,
        InstanceState.RUNNING,
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (problem(429, "TooManyRequests", "slow down", {"Retry-After": "60"}), ThrottledError),
        (problem(503, "ServerBusy", "busy", {"Retry-After": "60"}), UnavailableError),
        (problem(409, "AnotherOperationInProgress", "wait"), UnavailableError),
        (problem(403, "AuthorizationFailed", "no"), AccessDeniedError),
        (problem(409, "Conflict", "no"), ConflictError),
    ],
)
def test_other_refusals_are_told_apart_at_once(
    service: ComputeStandIn, real: ScaleSetCapacity, answer: Answer, expected: type[Exception]
) -> None:
    """What the service says becomes our error without a wait, whatever Retry-After asks."""
    view = real.observe(GROUP)
    assert view is not None
    service.refusal = answer
    started = time.monotonic()
    with pytest.raises(expected) as caught:
        real.raise_to(GROUP, view, 1)
    assert type(caught.value) is expected
    assert time.monotonic() - started < 30


def test_an_unreachable_resource_manager_is_unknown() -> None:
    """No answer is UnavailableError, never an absent set."""

    class Open:
        def get_token(self, *scopes: str, **options: object) -> AccessToken:
            return AccessToken("token", int(time.time()) + 3600)

    capacity = ScaleSetCapacity(Open(), "sub", "rg", "https://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="nothing is known"):
        capacity.observe(GROUP)
    capacity.close()
