"""The work of a pool as the scheduler's store would tell it, made from what the simulator shows."""

from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind, mean_of_waiting
from scheduler.model import PoolDemand
from scheduler.simulator.clock import Clock
from scheduler.simulator.interface import ComingView, Observation, StepView, WorkView
from scheduler.sketch import Expected


def demand_of(seen: Observation, times: Expected, *, foresight: bool) -> PoolDemand:
    """Give a pool's work; `times` are those of all its jobs, which count where no job waits for others."""
    oldest = None if seen.oldest_waiting_at is None else seen.clock.instant(seen.oldest_waiting_at)
    waiting, running = seen.waiting_slots, seen.running_slots
    if seen.work is None:
        all_of_it = (DemandClass("", "", waiting, running, times),) if waiting or running else ()
        return PoolDemand(waiting, running, times.mean(), oldest, all_of_it)
    classes = _classes(seen.work, seen.clock)
    return PoolDemand(
        active_tasks=waiting,
        running_tasks=running,
        mean_task_seconds=mean_of_waiting(classes, seen.work.times.mean()),
        oldest_active_at=oldest,
        classes=classes,
        foreseen=tuple([_foreseen(each, seen.clock) for each in seen.work.coming]) if foresight else (),
    )


def _classes(work: WorkView, clock: Clock) -> tuple[DemandClass, ...]:
    told = [_class(each, clock) for each in work.steps]
    if work.waiting or work.running:
        told.append(DemandClass("", "", work.waiting, work.running, work.times))
    return tuple(told)


def _class(step: StepView, clock: Clock) -> DemandClass:
    job, name = _names(step.workflow, step.step)
    cohorts = tuple([Cohort(clock.instant(began), count) for began, count in step.cohorts])
    return DemandClass(job, name, step.waiting, step.running, step.times, cohorts)


def _foreseen(coming: ComingView, clock: Clock) -> Foreseen:
    job, name = _names(coming.workflow, coming.step)
    behind = tuple([_part(step, left, clock) for step, left in coming.behind])
    return Foreseen(ForeseenKind.DEPENDENTS, job, name, coming.slots, coming.times, behind=behind)


def _part(step: StepView, left: int, clock: Clock) -> DemandClass:
    """Give so many tasks of a step, those that were to start first."""
    running = min(step.running, left)
    return _class(step._replace(running=running, waiting=min(step.waiting, left - running)), clock)


def _names(workflow: int, step: int) -> tuple[str, str]:
    return ("", "") if workflow < 0 else (f"job-{workflow:08d}", f"s{step}")
