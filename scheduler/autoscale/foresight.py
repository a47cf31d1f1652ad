"""What a node that is asked for now will find when it is up: work that is already known to come.

A forecast only ever adds: it has nodes started before their work is ready, and keeps idle ones that would be bought
again. It never lets one go (`with_foresight`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from scheduler.autoscale.desire import Desire
from scheduler.demand import DemandClass, Foreseen, ForeseenKind
from scheduler.model import PoolDemand

# A draft is filled within seconds; one that is not armed by then was given up.
_DRAFT_LIFE = timedelta(minutes=5)
# Fewer tasks than this are expected to be left: they have ended, as far as one can know.
_NONE_LEFT = 0.5
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Foresight:
    """The pool's work as it is expected to stand a boot from now, and what will have come until then."""

    demand: PoolDemand
    sentence: str


@dataclass(frozen=True, slots=True)
class _Coming:
    """Foreseen tasks that come within a boot; `ended` are tasks, waiting now or running, that will have ended by then.

    Their slots are free for what comes.
    """

    foreseen: Foreseen
    tasks: int
    ended: tuple[tuple[DemandClass, int, int], ...] = ()


def foresee(demand: PoolDemand, boot_time: timedelta, now: datetime) -> Foresight | None:
    """Say what work there will be a boot from now; None where nothing is known to come until then."""
    coming = [found for each in demand.foreseen if (found := _within(each, boot_time, now)) is not None]
    if not coming:
        return None
    told = [_words(each) for each in sorted(coming, key=lambda each: -each.tasks)]
    more = f", and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    sentence = f"within the {boot_time.total_seconds():.0f} s of a boot come {', '.join(told[:_TOLD])}{more}"
    return Foresight(_demand_then(demand, coming), sentence)


def with_foresight(wanted: Desire, later: Desire, sentence: str) -> Desire:
    """Give what is wanted now, or what will be wanted a boot from now where that is more."""
    enough = max(wanted.enough, later.enough)
    if later.slots <= wanted.slots:
        return replace(wanted, enough=enough)
    words = f"{sentence}; then {later.sentence}, against {wanted.slots} slots for the work of now"
    return Desire(later.slots, enough, words)


def _within(each: Foreseen, boot_time: timedelta, now: datetime) -> _Coming | None:
    match each.kind:
        case ForeseenKind.FEEDING:
            there = each.earliest is not None and now - each.earliest <= _DRAFT_LIFE
            return _Coming(each, each.tasks) if there and each.tasks else None
        case ForeseenKind.SCHEDULE:
            due = each.earliest is not None and each.earliest <= now + boot_time
            return _Coming(each, each.tasks) if due and each.tasks else None
        case ForeseenKind.DEPENDENTS:
            if not each.tasks or not all(_ends(behind, boot_time, now) for behind in each.behind):
                return None
            ended = tuple((behind, behind.active_tasks, behind.running_tasks) for behind in each.behind)
            return _Coming(each, each.tasks, ended)
        case ForeseenKind.ONE_BY_ONE:
            return _one_by_one(each, boot_time, now)


def _ends(behind: DemandClass, boot_time: timedelta, now: datetime) -> bool:
    """Say whether all of these tasks are expected to end within a boot, on no more slots than they have now."""
    seconds = behind.task_seconds
    if seconds is None:
        return False
    if behind.active_tasks:
        rounds = behind.active_tasks / behind.running_tasks + 1 if behind.running_tasks else float("inf")
        if rounds * seconds > boot_time.total_seconds():
            return False
    return behind.running_tasks - behind.ending(boot_time, now) < _NONE_LEFT


def _one_by_one(each: Foreseen, boot_time: timedelta, now: datetime) -> _Coming | None:
    """Count those that will have ended within a boot: of each a task follows, on the slot that it leaves."""
    ended = []
    for behind in each.behind:
        running = behind.ending(boot_time, now)
        seconds = behind.task_seconds
        by_then = behind.running_tasks * boot_time.total_seconds() / max(seconds, 1e-3) if seconds is not None else 0.0
        waiting = min(float(behind.active_tasks), max(0.0, by_then - behind.running_tasks))
        ended.append((behind, int(waiting), int(running)))
    tasks = min([each.tasks, *(waiting + running for _, waiting, running in ended)])
    return _Coming(each, tasks, tuple(ended)) if tasks else None


def _demand_then(demand: PoolDemand, coming: Iterable[_Coming]) -> PoolDemand:
    """Take away what will have ended and add what will have come."""
    ended: dict[tuple[str, str], tuple[DemandClass, int, int]] = {}
    for each in coming:
        for behind, active, running in each.ended:
            _, known_active, known_running = ended.get((behind.job, behind.step), (behind, 0, 0))
            ended[behind.job, behind.step] = behind, max(active, known_active), max(running, known_running)
    mean = demand.mean_task_seconds
    active, running, seconds = demand.active_tasks, demand.running_tasks, demand.active_tasks * (mean or 0.0)
    for behind, less_active, less_running in ended.values():
        active -= less_active
        running -= less_running
        seconds -= less_active * _seconds(behind.task_seconds, mean)
    for each in coming:
        active += each.tasks
        seconds += each.tasks * _seconds(each.foreseen.times.mean(), mean)
    # A class may stand in the numbers of now as more or less than its tasks at hand; nothing is less than none.
    active, running, seconds = max(active, 0), max(running, 0), max(seconds, 0.0)
    known = mean is not None or any(each.foreseen.times.lengths for each in coming)
    return replace(
        demand,
        active_tasks=active,
        running_tasks=running,
        mean_task_seconds=seconds / active if known and active else mean,
        classes=(*_left(demand.classes, ended), *(_class(each) for each in coming)),
        foreseen=(),
    )


def _left(
    classes: Iterable[DemandClass], ended: dict[tuple[str, str], tuple[DemandClass, int, int]]
) -> Iterable[DemandClass]:
    for each in classes:
        _, active, running = ended.get((each.job, each.step), (each, 0, 0))
        left = replace(
            each,
            active_tasks=max(0, each.active_tasks - active),
            running_tasks=max(0, each.running_tasks - running),
        )
        if left.slots:
            yield left


def _class(each: _Coming) -> DemandClass:
    return DemandClass(each.foreseen.job, each.foreseen.step, each.tasks, 0, each.foreseen.times)


def _seconds(known: float | None, mean: float | None) -> float:
    return known if known is not None else mean or 0.0


def _words(each: _Coming) -> str:
    foreseen = each.foreseen
    tasks = f"{each.tasks} task{'' if each.tasks == 1 else 's'}"
    what = f"{tasks} of job {foreseen.job}"
    match foreseen.kind:
        case ForeseenKind.FEEDING:
            return f"{what}, which is being sent"
        case ForeseenKind.SCHEDULE:
            at = "" if foreseen.earliest is None else f" at {foreseen.earliest.astimezone(UTC):%H:%M} UTC"
            return f"{tasks} of schedule {foreseen.job}{at}"
        case ForeseenKind.DEPENDENTS | ForeseenKind.ONE_BY_ONE:
            names = " and ".join(behind.step for behind in foreseen.behind)
            left = sum(behind.slots for behind in foreseen.behind)
            when = "ends" if foreseen.kind is ForeseenKind.DEPENDENTS else "ends task by task"
            return f"{what} (step {foreseen.step}) as {names} {when} ({left} left)"
