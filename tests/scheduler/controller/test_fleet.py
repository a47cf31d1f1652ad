"""The fleet's controller over scale sets, blobs and stores that behave as the real ones do."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from node_bootstrap.protocol import Directive, NodeState, StopRef
from scheduler.decision_document import load_record
from scheduler.errors import CapacityErrorKind, StaleLeaderError, ThrottledError
from scheduler.model import NodeGroup, NodePhase
from tests.scheduler.controller.fleet_world import POLICY, POOL, World, group, settings

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    """Give a fresh world."""
    made = World(store_url)
    yield made
    made.database.close()


def grown(world: World, tasks: int = 4) -> str:
    """Submit work and wait until its nodes work."""
    job = world.submit(tasks)
    world.run(2 * MINUTE)
    return job


def wait_for(world: World, phase: NodePhase) -> None:
    """Let time pass until a node is in a phase."""
    for _ in range(60):
        if phase in world.phases().values():
            return
        world.run(10 * SECOND)
    pytest.fail(f"no node became {phase}: {world.phases()}")


def test_the_life_of_a_pool(world: World) -> None:
    """Nodes come with the work, are admitted, drain when idle, are removed by name, and none is left."""
    job = world.submit(8)
    world.step()
    assert world.capacity.raised == [("set-g1", 4)]
    world.run(30 * SECOND)
    assert set(world.phases().values()) == {NodePhase.BOOTING}
    world.run(MINUTE)
    assert set(world.phases().values()) == {NodePhase.WORKING}
    assert world.control("set-g1_0").directive is Directive.WORK
    assert world.step().slots[0].slots == 8
    world.jobs.cancel_job(job, world.clock.now())
    world.run(5 * MINUTE)
    assert world.phases() == {}
    assert sorted(world.capacity.removed[0][1]) == ["0", "1", "2", "3"]
    assert world.decisions() == [("scale_out", 4), ("drain", 4), ("remove", 4)]
    assert [each.target_nodes for each in world.store.samples(POOL, 1000)][-1] == 0
    assert max(each.target_nodes for each in world.store.samples(POOL, 1000)) == 4
    assert world.store.targets(POOL) == (0, 0)


def test_a_node_is_told_to_retire_before_it_is_removed(world: World) -> None:
    """While the `retire` control cannot be written, nothing is removed; then it is."""
    job = grown(world)
    world.jobs.cancel_job(job, world.clock.now())
    wait_for(world, NodePhase.DRAINING)
    world.blobs.read_only = True
    world.run(MINUTE)
    assert set(world.phases().values()) == {NodePhase.REMOVING}
    assert world.capacity.removed == []
    world.blobs.read_only = False
    world.step()
    assert world.control("set-g1_0").directive is Directive.RETIRE
    assert len(world.capacity.removed) == 1


def test_drained_needs_the_newest_control(world: World) -> None:
    """A node that says `drained` to an older control, or holds a message, is not removed."""
    job = grown(world, 2)
    world.jobs.cancel_job(job, world.clock.now())
    wait_for(world, NodePhase.DRAINING)
    number = world.control("set-g1_0").number
    world.report("set-g1_0", NodeState.DRAINED, number - 1)
    world.clock.advance(SECOND)
    world.step()
    assert set(world.phases().values()) == {NodePhase.DRAINING}
    world.held["set-g1_0"] = ("message",)
    world.report("set-g1_0", NodeState.DRAINED, number)
    world.clock.advance(SECOND)
    world.step()
    assert set(world.phases().values()) == {NodePhase.DRAINING}
    world.held.clear()
    world.report("set-g1_0", NodeState.DRAINED, number)
    world.clock.advance(SECOND)
    world.step()
    assert set(world.phases().values()) == {NodePhase.REMOVING}


def test_draining_nodes_are_taken_back(world: World) -> None:
    """New work takes a draining node back, with a higher control number, before anything is bought."""
    job = grown(world, 2)
    world.jobs.cancel_job(job, world.clock.now())
    wait_for(world, NodePhase.DRAINING)
    number = world.control("set-g1_0").number
    world.submit(2)
    world.step()
    assert set(world.phases().values()) == {NodePhase.WORKING}
    assert world.control("set-g1_0").directive is Directive.WORK
    assert world.control("set-g1_0").number > number
    assert len(world.capacity.raised) == 1


def test_a_busy_node_stays(world: World) -> None:
    """A node that holds a message is not drained, however long there is no other work."""
    job = grown(world)
    world.held["set-g1_0"] = ("message",)
    world.nodes_report()
    world.step()
    world.jobs.cancel_job(job, world.clock.now())
    world.run(10 * MINUTE)
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}
    assert [holding.message_id for holding in world.step().observation.held] == ["message"]


def test_a_silent_node_is_replaced(world: World) -> None:
    """A node that stops reporting is lost after the silence deadline, is told to retire and is removed."""
    grown(world, 2)
    world.held["set-g1_0"] = ("message",)
    world.nodes_report()
    world.step()
    world.dead.add("set-g1_0")
    world.run(2 * MINUTE)
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}
    world.run(3 * MINUTE)
    assert world.control("set-g1_0").directive is Directive.RETIRE
    assert ("set-g1", ("0",)) in world.capacity.removed
    assert "message" not in [holding.message_id for holding in world.step().observation.held]
    assert world.phases() == {"set-g1_1": NodePhase.WORKING}


def test_silence_does_not_count_while_nobody_can_listen(world: World) -> None:
    """While statuses cannot be listed no node is lost, nor at once when they can be again."""
    grown(world)
    world.blobs.deaf = True
    world.dead.update(world.phases())
    world.run(20 * MINUTE)
    assert set(world.phases().values()) == {NodePhase.WORKING}
    assert not world.step().observation.statuses_listed
    world.blobs.deaf = False
    world.run(2 * MINUTE)
    assert set(world.phases().values()) == {NodePhase.WORKING}


def test_a_lost_node_that_returns_is_admitted_again(world: World) -> None:
    """A lost node that is heard of before it is given up gets a higher control number."""
    grown(world, 2)
    world.dead.add("set-g1_0")
    number = world.control("set-g1_0").number
    world.run(2 * MINUTE)
    for _ in range(9):
        world.clock.advance(10 * SECOND)
        world.fleet.observe(world.epoch, world.clock.now())
    assert world.phases() == {"set-g1_0": NodePhase.LOST}
    world.dead.clear()
    world.nodes_report()
    world.clock.advance(SECOND)
    world.step()
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}
    assert world.control("set-g1_0").number > number


def test_a_restarted_runner_is_admitted_again(world: World) -> None:
    """A new incarnation waits until a higher control number says `work`."""
    grown(world, 2)
    number = world.control("set-g1_0").number
    world.restarts["set-g1_0"] = 1
    world.nodes_report()
    world.clock.advance(SECOND)
    world.step()
    assert world.control("set-g1_0").number == number + 1
    world.run(MINUTE)
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}
    assert world.control("set-g1_0").number == number + 1


def test_a_waiting_runner_is_admitted_once(world: World) -> None:
    """A runner that stopped leasing by itself gets one higher number, not one a step."""
    grown(world, 2)
    number = world.control("set-g1_0").number
    world.report("set-g1_0", NodeState.WAITING, number)
    for _ in range(5):
        world.clock.advance(SECOND)
        world.step()
    assert world.control("set-g1_0").number == number + 1


def test_failed_boots_are_removed_and_stop_the_buying(world: World) -> None:
    """Instances that fail are removed; after three in a row nothing is bought and the reason is told."""
    world.capacity.failing_boots = 100
    world.submit(8)
    world.run(6 * MINUTE)
    assert world.phases() == {}
    assert [name for name, _ in world.capacity.raised] == ["set-g1"]
    assert any("boots in a row failed" in reason for reason in world.reasons())
    world.capacity.failing_boots = 0
    world.run(15 * MINUTE)
    assert NodePhase.WORKING in world.phases().values()


def test_an_instance_that_never_reports_is_given_up(world: World) -> None:
    """An instance without a status for longer than the boot deadline is removed."""
    world.submit(2)
    world.dead.add("set-g1_0")
    world.run(11 * MINUTE)
    assert ("set-g1", ("0",)) in world.capacity.removed
    assert "set-g1_1" in world.phases()


def test_a_refusal_is_told_and_waited_out(world: World) -> None:
    """What the cloud refuses is recorded with its words, and asked for again only after a while."""
    world.capacity.refusal = CapacityErrorKind.QUOTA
    world.submit(2)
    world.run(2 * MINUTE)
    assert any("quota" in reason for reason in world.reasons())
    world.capacity.refusal = None
    world.run(MINUTE)
    assert world.capacity.raised == []
    world.run(3 * MINUTE)
    assert len(world.capacity.raised) == 1


def test_the_next_group_is_asked_in_the_step_after_a_refusal(world: World) -> None:
    """What one group is refused, the next one that the pool declares gives a second later."""
    world.declare("g1", "g2")
    world.capacity.full = frozenset({"set-g1"})
    world.submit(2)
    world.step()
    assert world.capacity.raised == []
    world.clock.advance(SECOND)
    world.step()
    assert world.capacity.raised == [("set-g2", 1)]


def test_refusals_in_a_row_are_asked_again_ever_more_seldom(world: World) -> None:
    """A group that goes on refusing is asked after 3, 6, 12 minutes, and as at first once it has given a node."""
    world.capacity.full = frozenset({"set-g1"})
    world.submit(2)
    world.run(40 * MINUTE)
    assert world.store.histories(POOL)[group("g1").key].refusals == 4
    world.capacity.full = frozenset()
    world.run(20 * MINUTE)
    assert world.capacity.raised == [("set-g1", 1)]
    assert world.store.histories(POOL)[group("g1").key].refusals == 0


def test_an_order_that_is_given_up_later_is_a_refusal_once(world: World) -> None:
    """What the cloud took and then gave up on is kept as one refusal of that order, however often it is read."""
    world.submit(2)
    world.step()
    world.capacity.given_up = "AllocationFailed: none left"
    world.run(MINUTE)
    history = world.store.histories(POOL)[group("g1").key]
    assert (history.refusals, history.refused_kind) == (1, CapacityErrorKind.ALLOCATION)
    assert history.refused_message == "AllocationFailed: none left"


def test_an_unreadable_set_is_left_alone(world: World) -> None:
    """While a set cannot be read nothing is bought, drained or removed, and the hold says why."""
    job = grown(world)
    world.jobs.cancel_job(job, world.clock.now())
    world.capacity.unreadable = True
    world.run(10 * MINUTE)
    assert set(world.phases().values()) == {NodePhase.WORKING}
    assert any("throttled" in reason for reason in world.reasons())
    world.capacity.unreadable = False
    world.run(5 * MINUTE)
    assert world.phases() == {}


def test_a_set_that_throttles_is_left_alone_for_as_long_as_it_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 429 the set is not asked again before the time it named, and its group is held meanwhile."""
    asked: list[datetime] = []

    def throttle(of: NodeGroup) -> None:
        asked.append(world.clock.now())
        raise ThrottledError("too many requests", 70 * SECOND)

    monkeypatch.setattr(world.capacity, "observe", throttle)
    began = world.clock.now()
    world.submit(4)
    world.run(2 * MINUTE, SECOND)
    assert [at - began for at in asked] == [SECOND, 71 * SECOND]
    assert world.capacity.raised == []
    assert any("not to be asked before" in reason or "too many requests" in reason for reason in world.reasons())


def test_capacity_changed_by_another_is_observed_again(world: World) -> None:
    """A raise from an outdated reading does nothing in its step and succeeds in the next."""
    world.submit(2)
    reading = world.fleet.observe(world.epoch, world.clock.now())
    view = world.capacity.observe(group("g1"))
    world.capacity.raise_to(group("g1"), view, 1)
    world.fleet.act(world.epoch, reading, world.clock.now())
    assert [count for _, count in world.capacity.raised] == [1]
    world.clock.advance(SECOND)
    world.step()
    assert [count for _, count in world.capacity.raised] == [1]
    world.run(2 * MINUTE)
    assert len(world.phases()) == 1


def test_a_new_generation_takes_over(world: World) -> None:
    """Old nodes end what they hold and go, new ones come, and the old set and queue are deleted."""
    grown(world)
    world.held["set-g1_0"] = ("message",)
    world.nodes_report()
    world.step()
    world.declare("g2")
    world.run(3 * MINUTE)
    assert world.phases()["set-g1_0"] is NodePhase.DRAINING
    assert {name for name, phase in world.phases().items() if phase is NodePhase.WORKING} == {"set-g2_0", "set-g2_1"}
    observation = world.step().observation
    assert observation.retired == observation.unread == {"work-g1"}
    world.held.clear()
    world.run(3 * MINUTE)
    assert world.capacity.scale_sets() == ("set-g2",)
    assert "work-g1" not in world.queues.names()
    assert [each.key.generation for each in world.store.groups(POOL)] == ["g2"]
    removed = [name for scale_set, names in world.capacity.removed if scale_set == "set-g1" for name in names]
    assert sorted(removed) == ["0", "1"]


def test_a_new_leader_goes_on(world: World) -> None:
    """A leader that begins anew in the middle changes nothing that was right, and the old one writes nothing."""
    job = grown(world)
    old_fleet, old_epoch = world.fleet, world.epoch
    numbers = {name: world.control(name).number for name in world.phases()}
    world.lead()
    world.run(MINUTE)
    assert {name: world.control(name).number for name in world.phases()} == numbers
    with pytest.raises(StaleLeaderError):
        old_fleet.act(old_epoch, old_fleet.observe(old_epoch, world.clock.now()), world.clock.now())
    world.jobs.cancel_job(job, world.clock.now())
    for _ in range(30):
        world.lead()
        world.run(10 * SECOND)
    assert world.phases() == {}


def test_a_set_made_anew_may_reuse_names(world: World) -> None:
    """After destroy and deploy, instances with old names are new nodes, not ones that are being removed."""
    job = grown(world, 2)
    world.jobs.cancel_job(job, world.clock.now())
    world.run(5 * MINUTE)
    assert world.phases() == {}
    world.destroy()
    grown(world, 2)
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}


def test_stop_lists_reach_the_nodes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new stop list is written to each working node once, with a higher number."""
    grown(world, 2)
    number = world.control("set-g1_0").number
    stops = (StopRef("job"),)
    monkeypatch.setattr(world.dispatch, "stops", lambda pool: stops)
    world.run(30 * SECOND)
    control = world.control("set-g1_0")
    assert (control.stop, control.number) == (stops, number + 1)


def test_a_node_that_a_person_asks_to_go_goes(world: World) -> None:
    """It ends its work, is removed and never taken back, although there is work; another one is bought after it."""
    grown(world)
    first, second = (node.node_id for node in world.rows())
    world.held[first] = ("m1",)
    world.run(20 * SECOND)
    world.store.ask_drain(POOL, (first,), world.clock.now())
    world.run(MINUTE)
    assert world.phases()[first] is NodePhase.DRAINING
    control = world.control(first)
    assert control is not None
    assert control.directive is Directive.DRAIN
    world.lead()
    world.run(MINUTE)
    assert world.phases()[first] is NodePhase.DRAINING
    del world.held[first]
    world.run(3 * MINUTE)
    assert first not in world.phases()
    assert world.phases()[second] is NodePhase.WORKING
    assert len(world.phases()) == 2
    assert ("undrain", 1) not in world.decisions()
    assert any("a person asked" in reason for reason in world.reasons())


def test_decisions_are_kept_with_what_they_were_made_from(world: World) -> None:
    """Each instant with news has one document, which gives the same again; without news nothing is kept."""
    job = grown(world)
    world.jobs.cancel_job(job, world.clock.now())
    world.run(5 * MINUTE)
    kept = world.store.kept_decisions(POOL, 100)
    told = [decision for each in kept for decision in each.decisions]
    assert told == list(world.store.decisions(POOL, 100))
    assert {"scale_out", "drain", "remove", "hold"} == {decision.action for decision in told}
    for each in kept:
        record = load_record(each.document)
        assert (record.pool, record.inputs.now) == (POOL, each.at)
        assert record.replay() == record.decided
        assert set(each.decisions) <= set(record.decided)
    world.run(MINUTE)
    assert world.store.kept_decisions(POOL, 100) == kept


def test_a_refusal_stands_beside_the_order_that_was_decided(world: World) -> None:
    """The document says what was decided, the decisions what came of it."""
    world.capacity.refusal = CapacityErrorKind.SKU
    world.submit(4)
    world.step()
    (kept,) = world.store.kept_decisions(POOL, 9)
    assert [each.action for each in kept.decisions] == ["hold"]
    assert [each.action for each in load_record(kept.document).decided] == ["scale_out"]


def test_what_cannot_be_written_down_is_decided_upon_nevertheless(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a surrogate pair in an error of Azure costs the document, with a warning, and not the decision."""
    world.submit(4)
    world.capacity.given_up = "\ud800"
    world.step()
    assert world.decisions() == [("scale_out", 2)]
    assert world.store.kept_decisions(POOL, 9) == ()
    assert "cannot be replayed later" in caplog.text


def test_a_proposed_policy_is_decided_by_and_changes_nothing(world: World) -> None:
    """What it would do is kept where that is news, also while the live policy holds; nothing is bought."""
    shadow = replace(POLICY, acceptable_wait=5 * SECOND, min_nodes=1)
    world.store.sync_groups(world.epoch, settings("g1", shadow=shadow), world.clock.now())
    world.step()
    (kept,) = world.store.kept_decisions(POOL, 9)
    record = load_record(kept.document)
    assert [each.action for each in record.decided] == ["hold"]
    assert [(each.action, each.count) for each in record.would_be() or ()] == [("scale_out", 1)]
    assert world.capacity.raised == []
    world.run(MINUTE)
    assert world.store.kept_decisions(POOL, 9) == (kept,)
    world.lead()
    world.step()
    assert len(world.store.kept_decisions(POOL, 9)) == 2
    world.declare("g1")
    world.run(10 * SECOND)
    newest = load_record(world.store.kept_decisions(POOL, 1)[0].document)
    assert (newest.would_be(), newest.inputs.policies) == (None, {POOL: POLICY})
    assert world.store.decisions(POOL, 9) == kept.decisions
