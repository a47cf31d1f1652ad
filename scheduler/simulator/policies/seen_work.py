"""The work of a pool as the scheduler's store would tell it, made from what the simulator shows."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind
from scheduler.model import PoolDemand
from scheduler.simulator.interface import ComingView, Observation, StepView, WorkView

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=65536)
def instant(seconds: float) -> datetime:
    """Give the instant that a time of the workload stands for."""
    return EPOCH + timedelta(seconds=seconds)


def seconds(at: datetime) -> float:
    """Give the time of the workload that an instant stands for."""
    return (at - EPOCH).total_seconds()


def demand_of(seen: Observation, mean: float | None, *, foresight: bool) -> PoolDemand:
    """Give a pool's work; `mean` is its run times' moving mean, which counts where no job waits for others."""
    oldest = None if seen.oldest_waiting_at is None else instant(seen.oldest_waiting_at)
    if seen.work is None:
        return PoolDemand(seen.waiting_slots, seen.running_slots, mean, oldest)
    classes = _classes(seen.work)
    return PoolDemand(
        active_tasks=seen.waiting_slots,
        running_tasks=seen.running_slots,
        mean_task_seconds=_mean(classes, seen.work),
        oldest_active_at=oldest,
        classes=classes,
        foreseen=tuple([_foreseen(each) for each in seen.work.coming]) if foresight else (),
    )


def _classes(work: WorkView) -> tuple[DemandClass, ...]:
    told = [_class(each) for each in work.steps]
    if work.waiting or work.running:
        told.append(DemandClass("", "", work.waiting, work.running, work.times))
    return tuple(told)


def _mean(classes: tuple[DemandClass, ...], work: WorkView) -> float | None:
    """Weigh what is expected of the waiting tasks, as far as anything is."""
    known = [(each.active_tasks, length) for each in classes if (length := each.task_seconds) is not None]
    waiting = sum(tasks for tasks, _ in known)
    return sum(tasks * length for tasks, length in known) / waiting if waiting else work.times.mean()


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
