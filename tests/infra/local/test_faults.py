"""Which fault strikes whom, how often and until when."""

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.arm.store import Store
from infra.local.faults import Fault, FaultKind, Faults, strike

KINDS = [kind for kind in FaultKind if kind is not FaultKind.PREEMPTION]


@dataclass
class Clock:
    """A clock that stands until it is set."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store."""
    opened = Store(tmp_path / "arm.sqlite")
    yield opened
    opened.close()


def faults_in(store: Store, clock: Clock | None = None) -> Faults:
    """Make the faults of a store, with chance fixed."""
    return Faults(store, random.Random(1).random, clock or Clock())  # noqa: S311 - no secret is made of it


@given(times=st.integers(1, 20), tries=st.integers(0, 30), kind=st.sampled_from(KINDS))
def test_a_fault_strikes_as_often_as_it_was_told(times: int, tries: int, kind: FaultKind) -> None:
    """Of any number of chances as many strike as the fault has, and then it is gone (a stuck resize stays, spent)."""
    faults: tuple[Fault, ...] = (Fault("a", kind, remaining=times),)
    struck = 0
    for _ in range(tries):
        found, faults = strike(faults, kind, "any", 0.0, lambda: 0.0)
        struck += found is not None
    assert struck == min(times, tries)
    stays = kind is FaultKind.STUCK_RESIZE or tries < times
    assert [fault.remaining for fault in faults] == ([max(times - tries, 0)] if stays else [])


@given(share=st.floats(0.01, 1.0), chances=st.lists(st.floats(0.0, 0.999), max_size=50))
def test_a_share_strikes_by_chance_alone(share: float, chances: list[float]) -> None:
    """A chance below the share strikes, any other does not, and the fault stays."""
    draws = iter(chances)
    faults: tuple[Fault, ...] = (Fault("a", FaultKind.QUOTA, share=share),)
    for chance in chances:
        found, faults = strike(faults, FaultKind.QUOTA, "any", 0.0, lambda: next(draws))
        assert (found is not None) == (chance < share)
    assert len(faults) == 1


@given(name=st.text("abcXYZ019-_", min_size=1, max_size=12), other=st.text("abcXYZ019-_", min_size=1, max_size=12))
def test_a_target_is_a_glob_without_regard_to_case(name: str, other: str) -> None:
    """A name is hit by itself in any case and by its own beginning with a star, another name is not."""
    for target in (name.upper(), name.lower(), f"{name}*", "*"):
        assert Fault("a", FaultKind.QUOTA, target).concerns(FaultKind.QUOTA, name, 0.0)
    if other.lower() != name.lower():
        assert not Fault("a", FaultKind.QUOTA, name).concerns(FaultKind.QUOTA, other, 0.0)


def test_only_its_kind_is_struck_and_the_oldest_first(store: Store) -> None:
    """A kind is its own, and of two faults for one subject the older is used up first."""
    faults = faults_in(store)
    first = faults.add(FaultKind.SLOW_BOOT, times=1, seconds=5)
    second = faults.add(FaultKind.SLOW_BOOT, times=1, seconds=9)
    assert faults.take(FaultKind.BOOT_FAILURE, "pool_0") is None
    assert [faults.take(FaultKind.SLOW_BOOT, "pool_0"), faults.take(FaultKind.SLOW_BOOT, "pool_0")] == [
        Fault(first.id, FaultKind.SLOW_BOOT, remaining=0, seconds=5),
        Fault(second.id, FaultKind.SLOW_BOOT, remaining=0, seconds=9),
    ]
    assert faults.take(FaultKind.SLOW_BOOT, "pool_0") is None
    assert faults.list() == ()


def test_a_fault_ends_with_its_time(store: Store) -> None:
    """A fault for a while strikes until then, and is not listed after it."""
    clock = Clock()
    faults = faults_in(store, clock)
    fault = faults.add(FaultKind.THROTTLING, for_seconds=60)
    clock.seconds += 59
    assert faults.take(FaultKind.THROTTLING, "/subscriptions/x") == fault
    clock.seconds += 1
    assert faults.take(FaultKind.THROTTLING, "/subscriptions/x") is None
    assert not faults.is_active(fault.id)
    assert faults.list() == ()


def test_faults_survive_a_restart(store: Store) -> None:
    """Another process with the same store has the faults with what is left of them."""
    faults = faults_in(store)
    fault = faults.add(FaultKind.QUOTA, target="vmss-*", times=3, share=None)
    assert faults.take(FaultKind.QUOTA, "vmss-a") is not None
    assert faults_in(store).list() == (Fault(fault.id, FaultKind.QUOTA, "vmss-*", remaining=2),)


def test_a_strike_counts_even_if_the_refusal_undoes_the_write(store: Store) -> None:
    """A transaction that the fault itself makes fail does not bring the fault back, here or after a restart."""
    faults = faults_in(store)
    faults.add(FaultKind.QUOTA, times=1)
    with suppress(RuntimeError), store.transaction():
        assert faults.take(FaultKind.QUOTA, "vmss") is not None
        raise RuntimeError("refused")
    assert faults.take(FaultKind.QUOTA, "vmss") is None
    assert faults_in(store).list() == ()


def test_what_is_stuck_stays_stuck_until_the_fault_ends(store: Store) -> None:
    """A stuck resize that has struck its last is active until it is cleared."""
    faults = faults_in(store)
    fault = faults.add(FaultKind.STUCK_RESIZE, times=1)
    assert faults.take(FaultKind.STUCK_RESIZE, "vmss") is not None
    assert faults.take(FaultKind.STUCK_RESIZE, "other") is None
    assert faults.is_active(fault.id)
    faults.clear(fault.id)
    assert not faults.is_active(fault.id)


def test_clearing_ends_one_or_all_and_is_told(store: Store) -> None:
    """Clearing by id ends that one, without an id all, and hooks hear of each change."""
    faults = faults_in(store)
    heard: list[int] = []
    faults.on_change(lambda: heard.append(len(faults.list())))
    one, two = faults.add(FaultKind.QUOTA), faults.add(FaultKind.SERVER_ERROR)
    assert faults.clear(one.id) == (one,)
    assert faults.clear("unknown") == ()
    assert faults.clear() == (two,)
    assert heard == [1, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"times": 0}, "times"),
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
        ({"for_seconds": -1.0}, "for"),
        ({"seconds": float("nan")}, "seconds"),
    ],
)
def test_values_without_sense_are_named(store: Store, values: dict[str, float], named: str) -> None:
    """A number that no fault can have is refused by its name."""
    with pytest.raises(ValueError, match=f"^{named}: "):
        faults_in(store).add(FaultKind.QUOTA, **values)  # type: ignore[arg-type] # whichever it is


def test_a_preemption_does_not_stand(store: Store) -> None:
    """Preemption strikes one node at once; as a standing fault it is refused."""
    with pytest.raises(ValueError, match="cannot stand"):
        faults_in(store).add(FaultKind.PREEMPTION)
