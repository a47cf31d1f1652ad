"""A decision that is kept with its inputs, told in plain words and decided again."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta

from scheduler.autoscale.assess import Assessment
from scheduler.autoscale.inputs import DecisionRecord, bounds_reached, weigh_pool
from scheduler.autoscale.plan import GroupFleet, GroupHistory
from scheduler.autoscale.weigh import Weighed
from scheduler.demand import ForeseenKind
from scheduler.explain.words import at, clause, listed, number, span
from scheduler.model import Decision, GroupKey, Node, NodePhase, PoolDemand, Sample
from scheduler.policy import Floor, ScalingPolicy
from scheduler.views import DecisionStory

_SHOWN = tuple(phase for phase in NodePhase if phase is not NodePhase.GONE)
# A decision may be about thousands of nodes; `pool show --json` and exported files have all their names.
_NAMED = 10
_SCHEDULES_TOLD = 3
_HOLD, _SCALE_OUT, _UNDRAIN, _ENDS = "hold", "scale_out", "undrain", frozenset({"drain", "remove"})


def tell(record: DecisionRecord, done: tuple[Decision, ...] | None = None) -> DecisionStory:
    """Tell a decision; `done` is what became of it, as the store has it, where that is known."""
    inputs, again = record.inputs, record.replay()
    weighed = weigh_pool(inputs, record.pool)
    own = inputs.of(record.pool)
    histories = dict(own.history)
    return DecisionStory(
        pool=record.pool,
        at=inputs.now,
        seen=(
            _work(inputs.demand.get(record.pool), inputs.now),
            *(_group(each, histories.get(each.group.key), weighed, inputs.now) for each in own.fleet),
        ),
        wanted=tuple(_wanted(weighed)),
        decided=tuple(_told(decision, done) for decision in record.decided),
        held_back=tuple(_held_back(record, weighed)) if weighed is not None else (),
        replayed=tuple(_replayed(record.decided, again)),
        same=_ways(again) == _ways(record.decided),
        proposed=tuple(_proposed(record)),
    )


def difference(live: ScalingPolicy, proposed: ScalingPolicy) -> str:
    """Say in what a proposed policy differs."""
    changes = []
    for each in fields(ScalingPolicy):
        before, after = getattr(live, each.name), getattr(proposed, each.name)
        if before != after:
            changes.append(f"{each.name} {_value(after)} in place of {_value(before)}")
    return listed(changes) or "nothing changed"


def _value(value: object) -> str:
    match value:
        case None | ():
            return "none"
        case timedelta():
            return span(value)
        case Floor():
            when = f"{value.begins:%H:%M} to {value.ends:%H:%M} {value.time_zone}"
            return f"{number(value.nodes, 'node')} {' '.join(value.days)} {when}"
        case tuple():
            return " and ".join(map(_value, value))
        case _:
            return str(value)


def _proposed(record: DecisionRecord) -> Iterator[str]:
    would_be, proposed = record.would_be(), record.inputs.proposed.get(record.pool)
    if would_be is None or proposed is None:
        return
    policy = f"The proposed policy ({difference(record.inputs.policies.get(record.pool, ScalingPolicy()), proposed)})"
    if _ways(would_be) == _ways(record.decided):
        yield f"{policy} would have done the same."
        return
    yield f"{policy} would have, with these nodes:"
    for decision in would_be:
        yield f"{_action(decision)}, because {clause(decision.reason)}."


def _ways(decisions: tuple[Decision, ...]) -> list[tuple[object, ...]]:
    """Give what decisions do, their words aside."""
    return [(each.group, each.action, each.count, each.nodes) for each in decisions]


def _work(demand: PoolDemand | None, now: datetime) -> str:
    if demand is None:
        return "The pool's work could not be read."
    mean = demand.mean_task_seconds
    length = "of unknown length" if mean is None else f"of about {mean:.3g} s each"
    text = f"Tasks: {demand.active_tasks:,} waited and {demand.running_tasks:,} ran, {length}"
    if demand.oldest_active_at is not None and demand.active_tasks:
        text += f"; the oldest had waited for {span(now - demand.oldest_active_at)}"
    later = [each for each in demand.foreseen if each.kind is not ForeseenKind.SCHEDULE]
    if foreseen := sum(each.tasks for each in later):
        text += f"; {foreseen:,} more were known to come sometime"
    return f"{text}{_scheduled(demand)}."


def _scheduled(demand: PoolDemand) -> str:
    """Tell the next occurrences of schedules."""
    tasks: dict[tuple[datetime, str], int] = {}
    for each in demand.foreseen:
        if each.kind is ForeseenKind.SCHEDULE and each.earliest is not None:
            coming = (each.earliest, each.job)
            tasks[coming] = tasks.get(coming, 0) + each.tasks
    told = [f"{tasks[due, name]:,} of schedule {name} at {at(due)}" for due, name in sorted(tasks)[:_SCHEDULES_TOLD]]
    return f"; to come are {', '.join(told)}" if told else ""


def _group(fleet: GroupFleet, history: GroupHistory | None, weighed: Weighed | None, now: datetime) -> str:
    group = fleet.group
    counted = Counter(node.phase for node in fleet.nodes)
    parts = [f"{counted[phase]} {phase.value}{_detail(fleet.nodes, phase, now)}" for phase in _SHOWN if counted[phase]]
    assessed = _assessment(weighed, fleet)
    if assessed is not None and assessed.ordered:
        parts.append(f"{assessed.ordered} asked for and not listed yet")
    name = group.key.name if group.current else f"{group.key.name} {group.key.generation}, retired"
    text = f"Group {name} ({group.vm_size}, {number(group.task_slots, 'slot')} a node): {listed(parts) or 'no nodes'}"
    if fleet.unknown is not None:
        text += f"; this was the last known, since it could not be read: {clause(fleet.unknown)}"
    if history is not None and history.boot_time is not None:
        text += f"; a boot took {span(history.boot_time)}"
    if history is not None and history.failed_boots:
        text += f"; {number(history.failed_boots, 'boot')} in a row had failed"
    return f"{text}."


def _detail(nodes: tuple[Node, ...], phase: NodePhase, now: datetime) -> str:
    """Say of working nodes how many idled, and of booting ones for how long they had been at it."""
    those = [node for node in nodes if node.phase is phase]
    if phase is NodePhase.WORKING:
        idle = sum(map(_is_idle, those))
        return f" ({idle} without work)" if idle else ""
    if phase is NodePhase.BOOTING:
        return f" (for up to {span(max(now - node.first_seen_at for node in those))})"
    return ""


def _wanted(weighed: Weighed | None) -> Iterator[str]:
    if weighed is None:
        return
    yield f"{weighed.wanted.sentence[:1].upper()}{weighed.wanted.sentence[1:]}."
    served = sum(each.serving_slots for each in weighed.groups if each.group.current)
    yield f"Nodes that served or would soon had {number(served, 'slot')}."
    if weighed.kept.slots > weighed.wanted.slots:
        yield f"Nodes are kept for {number(weighed.kept.slots, 'slot')}, which are wanted a boot from now."
    policy = weighed.policy
    yield f"Bounds of the pool: {policy.min_nodes} to {number(policy.max_nodes, 'node')}."
    if policy.min_nodes:
        yield f"{weighed.minimum[:1].upper()}{weighed.minimum[1:]}."


def _told(decision: Decision, done: tuple[Decision, ...] | None) -> str:
    text = f"{_action(decision)}, because {clause(decision.reason)}"
    outcome = None if done is None or decision.action == _HOLD else _outcome(decision, done)
    return f"{text}." if outcome is None else f"{text}. {outcome}"


def _action(decision: Decision) -> str:
    what = decision.action.replace("_", " ").capitalize()
    count = f" {number(decision.count, 'node')}" if decision.count else ""
    return f"{what}{count} of group {decision.group.name}{_names(decision.nodes)}"


def _names(nodes: tuple[str, ...]) -> str:
    more = f" and {number(len(nodes) - _NAMED, 'other')}" if len(nodes) > _NAMED else ""
    return f": {listed(nodes[:_NAMED])}{more}" if nodes else ""


def _outcome(decision: Decision, done: tuple[Decision, ...]) -> str | None:
    """Say what became of an action where that is not all of it."""
    same = [each for each in done if each.group == decision.group and each.action == decision.action]
    if any(each.reason == decision.reason and each.count == decision.count for each in same):
        return None
    if decision.action == _SCALE_OUT:
        refused = [each for each in done if each.group == decision.group and each.action == _HOLD]
        if refused:
            return f"It came to nothing: {clause(refused[0].reason)}."
    for each in same:
        if each.reason == decision.reason:
            return f"It was done for {each.count} of them; the others had changed meanwhile."
    return "It was not carried out: it was refused as before, or what it is about had changed meanwhile."


def _held_back(record: DecisionRecord, weighed: Weighed) -> Iterator[str]:
    """Say what is missing once this is done and why it is not bought, or what is to spare and why it is kept."""
    current = [each for each in weighed.groups if each.group.current]
    added: Counter[GroupKey] = Counter()
    for each in record.decided:
        if each.action in {_SCALE_OUT, _UNDRAIN}:
            added[each.group] += each.count
    going = {node for each in record.decided for node in each.nodes if each.action in _ENDS}
    nodes = {each.group.key: _kept(each, going) + added[each.group.key] for each in current}
    slots = sum(nodes[each.group.key] * each.group.task_slots for each in current)
    if slots < weighed.wanted.slots or sum(nodes.values()) < weighed.policy.min_nodes:
        yield from _short(record, current, weighed.wanted.slots - slots)
    else:
        yield from _spare(weighed, current, slots - weighed.wanted.slots, going)


def _kept(each: Assessment, going: set[str]) -> int:
    """Count the nodes that serve or will soon, without those that are to go now."""
    return each.serving - sum(node.node_id in going for node in each.working + each.booting)


def _short(record: DecisionRecord, current: list[Assessment], missing: int) -> Iterator[str]:
    if missing > 0:
        yield f"{number(missing, 'slot')} more would have been of use."
    bought = {each.group: each.count for each in record.decided if each.action == _SCALE_OUT}
    full = bounds_reached(record.inputs)
    for each in current:
        name, ordered = each.group.key.name, bought.get(each.group.key, 0)
        if each.unknown is not None:
            yield f"Group {name} could not be read: {clause(each.unknown)}."
        elif each.blocked is not None:
            yield f"Group {name}: {clause(each.blocked.sentence)}."
        elif ordered and each.asked_for + ordered >= each.group.max_nodes:
            yield f"Group {name}: with this order it is at its maximum of {number(each.group.max_nodes, 'node')}."
        elif each.group.key in full:
            yield f"Group {name}: {clause(full[each.group.key].sentence)}."


def _spare(weighed: Weighed, current: list[Assessment], spare: int, going: set[str]) -> Iterator[str]:
    yield "Nothing more was wanted." if spare == 0 else f"Nothing more was wanted; {number(spare, 'slot')} to spare."
    least, how_long = number(weighed.policy.min_nodes, "node"), _for_how_long(weighed.policy)
    for each in current:
        idle = sum(_is_idle(node) and node.node_id not in going for node in each.working)
        if idle:
            yield (
                f"Group {each.group.key.name}: {number(idle, 'node')} without work, kept {how_long}, and longer while "
                f"the work or the minimum of {least} needs them."
            )


def _is_idle(node: Node) -> bool:
    return node.idle_since is not None and not node.held


def _for_how_long(policy: ScalingPolicy) -> str:
    if policy.idle_timeout is not None:
        return f"for {span(policy.idle_timeout)} as the owner says"
    return "as long as it pays off by the pauses that the work has had"


def _replayed(decided: tuple[Decision, ...], again: tuple[Decision, ...]) -> Iterator[str]:
    if decided == again:
        yield "Decided again from its inputs, the same comes out."
        return
    if _ways(decided) == _ways(again):
        yield "Decided again from its inputs, the same comes out, with another reason:"
    else:
        yield "Decided again from its inputs, something else comes out, so the way of deciding has changed since:"
    for decision in again:
        if decision not in decided:
            yield f"{_action(decision)}, because {clause(decision.reason)}."


def _assessment(weighed: Weighed | None, fleet: GroupFleet) -> Assessment | None:
    if weighed is None:
        return None
    return next(each for each in weighed.groups if each.group.key == fleet.group.key)


def still_held(sample: Sample) -> str:
    """Tell how a pool stood at a later point of its timeline, while a decision was in force."""
    return (
        f"At {at(sample.at)} this still held: {sample.active_tasks:,} tasks waited and {sample.running_tasks:,} ran; "
        f"{number(sample.current_nodes, 'node')}, {sample.booting_nodes} of them booting, "
        f"of {sample.target_nodes} that were to be there"
    )


def title(story: DecisionStory) -> str:
    """Head a story."""
    return f"Pool {story.pool}, decided at {at(story.at)}"
