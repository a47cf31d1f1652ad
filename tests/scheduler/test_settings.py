"""The settings that `pulumi up` publishes."""

import json
from datetime import timedelta

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


def test_settings_of_another_version_are_not_guessed_at() -> None:
    """Settings that a newer program wrote for newer schedulers are refused by their version."""
    with pytest.raises(InvalidRequestError, match="have version 2, and this scheduler reads 1"):
        load_settings('{"schema_version": 2, "clusters": []}')


def test_settings_of_other_versions_are_read_while_the_schema_is_the_same() -> None:
    """Fields that are not known are left out, and those that older programs did not write have their defaults."""
    address = dict.fromkeys(
        (
            "environment", "subscription_id", "resource_group", "location", "resource_manager", "blob_endpoint",
            "queue_endpoint", "storage_account",
        ),
        "x",
    )  # fmt: skip
    policy = {"acceptable_wait": "PT1M", "min_nodes": 0, "max_nodes": 6, "of_a_later_version": {"a": 1}}
    group = {
        "key": {"pool": "p", "name": "main", "generation": "g1"}, "scale_set": "set-g1", "queue": "work-g1",
        "vm_size": "Standard_D2s_v5", "priority": "regular", "task_slots": 2, "max_nodes": 5,
    }  # fmt: skip
    pools = [{"name": "p", "policy": policy, "groups": [group]}]
    read = load_settings(json.dumps(address | {"pools": pools, "of_a_later_version": 1}))
    (pool,) = read.pools
    assert pool.policy == ScalingPolicy(acceptable_wait=timedelta(minutes=1), max_nodes=6)
    assert pool.groups[0].key == GroupKey("p", "main", "g1")
