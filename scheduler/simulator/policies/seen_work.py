"""The work of a pool as the scheduler's store would tell it, made from what the simulator shows."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind, mean_of_waiting
from scheduler.model import PoolDemand
from scheduler.simulator.interface import ComingView, Observation, StepView, WorkView
from scheduler.sketch import Expected

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=65536)
def instant(seconds: float) -> datetime:
    """Give the instant that a time of the workload stands for."""
    return EPOCH + timedelta(seconds=seconds)


def seconds(at: datetime) -> float:
    """Give the time of the workload that an instant stands for."""
    return (at - EPOCH).total_seconds()


def demand_of(seen: Observation, times: Expected, *, foresight: bool) -> PoolDemand:
    """Give a pool's work; `times` are those of all its jobs, which count where no job waits for others."""
    oldest = None if seen.oldest_waiting_at is None else instant(seen.oldest_waiting_at)
    waiting, running = seen.waiting_slots, seen.running_slots
    if seen.work is None:
        all_of_it = (DemandClass("", "", waiting, running, times),) if waiting or running else ()
        return PoolDemand(waiting, running, times.mean(), oldest, all_of_it)
    classes = _classes(seen.work)
    return PoolDemand(
        active_tasks=waiting,
        running_tasks=running,
        mean_task_seconds=mean_of_waiting(classes, seen.work.times.mean()),
        oldest_active_at=oldest,
        classes=classes,
        foreseen=tuple([_foreseen(each) for each in seen.work.coming]) if foresight else (),
    )


def _classes(work: WorkView) -> tuple[DemandClass, ...]:
    told = [_class(each) for each in work.steps]
    if work.waiting or work.running:
        told.append(DemandClass("", "", work.waiting, work.running, work.times))
    return tuple(told)


def _class(step: StepView) -> DemandClass:
    job, name = _names(step.workflow, step.step)
    cohorts = tuple([Cohort(instant(began), count) for began, count in step.cohorts])
    return DemandClass(job, name, step.waiting, step.running, step.times, cohorts)


def _foreseen(coming: ComingView) -> Foreseen:
    job, name = _names(coming.workflow, coming.step)
    behind = tuple([_part(step, left) for step, left in coming.behind])
    return Foreseen(ForeseenKind.DEPENDENTS, job, name, coming.slots, coming.times, behind=behind)


def _part(step: StepView, left: int) -> DemandClass:
    """Give so many tasks of a step, those that were to start first."""
    running = min(step.running, left)
    return _class(step._replace(running=running, waiting=min(step.waiting, left - running)))


def _names(workflow: int, step: int) -> tuple[str, str]:
    return ("", "") if workflow < 0 else (f"job-{workflow:08d}", f"s{step}")
