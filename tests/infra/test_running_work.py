"""What a deployment says of running work."""

import pytest
from pulumi.automation import EngineEvent, OpType, StepEventMetadata
from rich.console import Console

from infra.program import pool_output
from infra.progress import Progress
from infra.running_work import NODE_GROUP_TYPE, DeployedGroup, GenerationChanges, deployed_groups, effects
from scheduler.model import GroupKey, GroupPriority, NodeGroup
from scheduler.policy import ScalingPolicy
from scheduler.settings import PoolSettings

OLD = DeployedGroup("risk", "main", "aaaaaaaa11111111", "risk-main-aaaaaaaa11111111")
SPOT = DeployedGroup("risk", "main-spot", "cccccccc11111111", "risk-main-spot-cccccccc11111111")


@pytest.mark.parametrize(
    ("nodes", "who"),
    [
        ({OLD.set_name: 3, SPOT.set_name: 9}, "3 nodes of generation aaaaaaaa11111111 drain"),
        ({OLD.set_name: 1}, "1 node of generation aaaaaaaa11111111 drains"),
        ({}, "0 nodes of generation"),
        (None, "nodes of generation aaaaaaaa11111111 (the scheduler could not be asked how many) drain"),
    ],
)
def test_a_new_generation_says_who_drains_and_where_work_goes(nodes: dict[str, int] | None, who: str) -> None:
    """The group's own nodes are counted, not those of a group whose name begins alike."""
    changes = GenerationChanges({"risk-main-bbbbbbbb", "risk-main-spot-dddddddd"}, {"risk-main-aaaaaaaa"})
    (line,) = effects(changes, (OLD, SPOT), nodes)
    assert line.startswith("pool risk, group main: ")
    assert who in line
    assert line.endswith("after the work they hold; new work goes to generation bbbbbbbb")


def test_a_group_that_goes_says_who_takes_its_work() -> None:
    """Other groups of the pool, or nobody."""
    changes = GenerationChanges(set(), {"risk-main-spot-cccccccc"})
    assert effects(changes, (OLD, SPOT), {})[0].endswith("new work goes to the pool's other groups")
    assert "new work of pool risk waits" in effects(changes, (SPOT,), {})[0]
    whole = GenerationChanges(set(), {"risk-main-aaaaaaaa", "risk-main-spot-cccccccc"})
    assert all("no other group of it is left" in line for line in effects(whole, (OLD, SPOT), {}))


def test_outputs_name_what_is_deployed() -> None:
    """Generations are read from the outputs as the program writes them; a stack without any has none."""
    key = GroupKey(OLD.pool, OLD.group, OLD.generation)
    group = NodeGroup(key, OLD.set_name, "queue", "Standard_D2s_v5", GroupPriority.REGULAR, 1, 1)
    outputs = {"pools": [pool_output(PoolSettings(OLD.pool, ScalingPolicy(), (group,)))]}
    assert deployed_groups(outputs) == (OLD,)
    assert deployed_groups({}) == ()


def test_progress_notes_generations_by_the_engines_events() -> None:
    """Only declarations of node groups that come or go are noted."""
    progress = Progress(Console(quiet=True), "previewing", planning=True)
    for op, kind, name in (
        (OpType.CREATE, NODE_GROUP_TYPE, "risk-main-bbbbbbbb"),
        (OpType.DELETE, NODE_GROUP_TYPE, "risk-main-aaaaaaaa"),
        (OpType.SAME, NODE_GROUP_TYPE, "risk-other-cccccccc"),
        (OpType.CREATE, "azure-native:storage:Queue", "risk-main-bbbbbbbb"),
    ):
        event = EngineEvent(sequence=1, timestamp=1)
        event.resource_pre_event = type("Event", (), {"metadata": _step(op, kind, name)})()
        progress.on_event(event)
    assert progress.generations == GenerationChanges({"risk-main-bbbbbbbb"}, {"risk-main-aaaaaaaa"})


def _step(op: OpType, kind: str, name: str) -> StepEventMetadata:
    urn = f"urn:pulumi:local::millpond::{kind}::{name}"
    return StepEventMetadata(op=op, urn=urn, type=kind, provider="")
