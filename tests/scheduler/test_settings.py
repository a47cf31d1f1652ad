"""The settings that `pulumi up` publishes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import InvalidRequestError
from scheduler.model import GroupKey, NodeGroup
from scheduler.policy import ScalingPolicy
from scheduler.settings import PoolSettings, SchedulerSettings, dump_settings, load_settings

GROUPS = st.builds(NodeGroup, key=st.builds(GroupKey))
SETTINGS = st.builds(
    SchedulerSettings,
    pools=st.lists(
        st.builds(PoolSettings, policy=st.just(ScalingPolicy()), groups=st.lists(GROUPS, max_size=2).map(tuple)),
        max_size=2,
    ).map(tuple),
)


@given(SETTINGS)
def test_settings_survive_the_trip(settings: SchedulerSettings) -> None:
    """What is written is read again as it was."""
    assert load_settings(dump_settings(settings)) == settings


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"environment": 1}', b"\xff"])
def test_wrong_settings_are_refused(text: str | bytes) -> None:
    """Settings that cannot be read say what to do."""
    with pytest.raises(InvalidRequestError, match="run `millpond up` again"):
        load_settings(text)
