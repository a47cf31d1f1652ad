"""Requests that are sent again are known again, over a change of version, too."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from scheduler.adapters.sql.fingerprint import fingerprint
from scheduler.model import RetryPolicy, Step
from tests.scheduler.job_world import step


@dataclass(frozen=True)
class Retry:
    """What a later version would make of a retry policy."""

    tries: int = 3
    patience: float | None = None


@dataclass(frozen=True)
class EarlierRetry:
    """A retry policy of the version before."""

    tries: int = 3


@dataclass(frozen=True)
class Wish:
    """A record with another inside."""

    name: str
    retries: tuple[object, ...] = ()
    retry: object = None


@given(st.text(), st.lists(st.integers(1, 5)))
def test_a_field_that_is_added_changes_nothing(name: str, tries: list[int]) -> None:
    """A record of a later version, whose new fields are at their defaults, is the same request."""
    before = Wish(name, tuple(EarlierRetry(count) for count in tries), EarlierRetry(9))
    after = Wish(name, tuple(Retry(count) for count in tries), Retry(9))
    assert fingerprint(before) == fingerprint(after)
    assert fingerprint(after) != fingerprint(Wish(name, after.retries, Retry(9, 1.0)))


STEPS = st.builds(
    Step,
    st.builds(lambda name, count: step(name, 0, count).definition, st.sampled_from("ab"), st.integers(1, 3)),
    st.lists(st.sampled_from("cd"), max_size=2).map(tuple),
    st.lists(st.sampled_from("cd"), max_size=2).map(tuple),
    st.builds(RetryPolicy, st.integers(0, 3), st.integers(0, 3)),
    st.none() | st.floats(1, 2),
)


@given(st.lists(STEPS, max_size=2).map(tuple), st.lists(STEPS, max_size=2).map(tuple))
def test_only_equal_steps_are_the_same(some: tuple[Step, ...], others: tuple[Step, ...]) -> None:
    """Two chunks have one hash exactly if they say the same."""
    assert (fingerprint(some) == fingerprint(others)) == (some == others)
