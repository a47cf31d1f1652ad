"""What the scheduler may expect of capacity: the same over memory and over azure-mgmt-compute."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

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
    UnavailableError,
)
from scheduler.model import GroupKey, GroupPriority, InstanceState, NodeGroup
from scheduler.ports.capacity import Capacity
from tests.scheduler.adapters.compute_stand_in import ADDRESS, Answer, ComputeStandIn, ScaleSet, problem


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
    refuse: Callable[[CapacityErrorKind], None]

    def grow(self, to: int) -> None:
        """Raise the set to a capacity."""
        view = self.capacity.observe(GROUP)
        assert view is not None
        self.capacity.raise_to(GROUP, view, to)

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


@pytest.fixture(params=["memory", "azure"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """Make a cloud of each kind."""
    if request.param == "memory":
        clock = ManualClock()
        memory = MemoryCapacity(clock, [GROUP.scale_set])
        return Cloud(
            memory,
            lambda: void(clock.advance(timedelta(minutes=2))),
            lambda kind: setattr(memory, "refusal", kind),
        )
    service: ComputeStandIn = request.getfixturevalue("service")
    return Cloud(
        request.getfixturevalue("real"),
        service.settle,
        lambda kind: setattr(service, "refusal", REFUSALS[kind]),
    )


def void(_: object) -> None:
    """Drop a value."""


def test_a_set_that_is_not_there(cloud: Cloud) -> None:
    """An absent set reads as None, cannot be raised, and has nothing to remove or delete."""
    assert cloud.capacity.observe(ABSENT) is None
    view = cloud.capacity.observe(GROUP)
    assert view is not None
    with pytest.raises(NotFoundError):
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
    names = [(str(number), f"vmss-render_{number}") for number in range(3)]
    assert cloud.listed() == [(*name, InstanceState.CREATING) for name in names]
    cloud.settle()
    assert cloud.listed() == [(*name, InstanceState.RUNNING) for name in names]


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


@pytest.mark.parametrize("kind", list(CapacityErrorKind))
def test_a_refusal_says_its_kind(cloud: Cloud, kind: CapacityErrorKind) -> None:
    """Quota, allocation and size refusals are told apart, and nothing was ordered."""
    cloud.refuse(kind)
    with pytest.raises(CapacityError) as caught:
        cloud.grow(1)
    assert caught.value.kind is kind
    assert "vmss-render" in str(caught.value)
    assert cloud.listed() == []


def test_exactly_the_named_instances_are_removed(cloud: Cloud) -> None:
    """Removing takes the named ones and lowers the capacity by them; again, or of gone ones, it changes nothing."""
    cloud.grow(4)
    cloud.settle()
    for _ in range(2):
        cloud.capacity.remove(GROUP, ("1", "3", "77"))
        view = cloud.capacity.observe(GROUP)
        assert view is not None
        assert view.capacity == 2
        assert [state for _, _, state in cloud.listed()] == [
            InstanceState.RUNNING,
            InstanceState.DELETING,
            InstanceState.RUNNING,
            InstanceState.DELETING,
        ]
    cloud.settle()
    for _ in range(2):
        assert [number for number, _, _ in cloud.listed()] == ["0", "2"]
        cloud.capacity.remove(GROUP, ("1", "3"))
    cloud.grow(3)
    assert [number for number, _, _ in cloud.listed()] == ["0", "2", "4"]


def test_only_an_empty_set_is_deleted(cloud: Cloud) -> None:
    """A set with instances stays; an empty one goes; one that is gone is no error."""
    cloud.grow(1)
    with pytest.raises(ConflictError, match="still has"):
        cloud.capacity.delete_group(GROUP)
    assert len(cloud.listed()) == 1
    cloud.settle()
    cloud.capacity.remove(GROUP, ("0",))
    cloud.settle()
    cloud.capacity.delete_group(GROUP)
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
        (problem(429, "TooManyRequests", "slow down", {"Retry-After": "60"}), UnavailableError),
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
    assert time.monotonic() - started < 2


def test_an_unreachable_resource_manager_is_unknown() -> None:
    """No answer is UnavailableError, never an absent set."""

    class Open:
        def get_token(self, *scopes: str, **options: object) -> AccessToken:
            return AccessToken("token", int(time.time()) + 3600)

    capacity = ScaleSetCapacity(Open(), "sub", "rg", "https://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="nothing is known"):
        capacity.observe(GROUP)
    capacity.close()
