"""What is known of a pool's work beyond its numbers: its classes, and what is to come of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.sketch import NOTHING_KNOWN, Expected


@dataclass(frozen=True, slots=True)
class Cohort:
    """Tasks that run and were begun at about the same time."""

    started_at: datetime
    tasks: int


@dataclass(frozen=True, slots=True)
class DemandClass:
    """The waiting and running tasks of one step of a job; the many small ones of a pool are one class without names.

    A task takes one slot. `times` is what to expect of a run, `cohorts` since when the running ones run.
    """

    job: str
    step: str
    active_tasks: int
    running_tasks: int
    times: Expected = NOTHING_KNOWN
    cohorts: tuple[Cohort, ...] = ()

    @property
    def task_seconds(self) -> float | None:
        """The estimated run time of a task; None where nothing is known."""
        return self.times.mean()

    @property
    def slots(self) -> int:
        """Slots that these tasks would take if all ran at once."""
        return self.active_tasks + self.running_tasks

    def ending(self, span: timedelta, now: datetime) -> float:
        """Give how many of the running tasks are expected to end within `span`: none where nothing is known of them.

        Those whose start is not known count as just begun.
        """
        begun = self.cohorts or (Cohort(now, max(self.running_tasks, 1)),)
        odds = [
            (cohort.tasks, self.times.ends_within(span.total_seconds(), _age(cohort, now)) or 0.0) for cohort in begun
        ]
        return self.running_tasks * sum(tasks * each for tasks, each in odds) / sum(tasks for tasks, _ in odds)


def _age(cohort: Cohort, now: datetime) -> float:
    return max(0.0, (now - cohort.started_at).total_seconds())


def ending(classes: tuple[DemandClass, ...], span: timedelta, now: datetime) -> float:
    """Give how many of the running tasks of all classes are expected to end within `span`."""
    return sum(each.ending(span, now) for each in classes)


def mean_of_waiting(classes: tuple[DemandClass, ...], otherwise: float | None) -> float | None:
    """Weigh what is expected of the waiting tasks, in seconds, as far as anything is; `otherwise` where nothing is."""
    known = [(each.active_tasks, seconds) for each in classes if (seconds := each.task_seconds) is not None]
    waiting = sum(tasks for tasks, _ in known)
    return sum(tasks * seconds for tasks, seconds in known) / waiting if waiting else otherwise


def waiting_times(active_tasks: int, classes: tuple[DemandClass, ...], mean: float) -> tuple[tuple[float, float], ...]:
    """Give lengths, in seconds, each with how many of a pool's waiting tasks are expected to take so long.

    Tasks of which no more is known take the mean.
    """
    found: list[tuple[float, float]] = []
    left = active_tasks
    for each in classes:
        tasks = min(each.active_tasks, left)
        if tasks and each.times.lengths:
            share = tasks / each.times.runs
            found += [(length, runs * share) for length, runs in each.times.lengths]
            left -= tasks
    return (*found, (mean, float(left))) if left else tuple(found)


class ForeseenKind(StrEnum):
    """How it is known that tasks are to come.

    FEEDING     a draft takes its chunks; it is armed once it is whole
    DEPENDENTS  a step becomes ready when other steps have ended
    ONE_BY_ONE  each task becomes ready when the one that it depends on has ended
    SCHEDULE    a job begins at a time that is set
    """

    FEEDING = "feeding"
    DEPENDENTS = "dependents"
    ONE_BY_ONE = "one_by_one"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Tasks that neither wait nor run yet.

    job        the job, or the schedule that will make it
    earliest   when they may come, for a schedule; since when the draft is filled
    behind     what must have ended before: the open tasks of each step that these wait for
    """

    kind: ForeseenKind
    job: str
    step: str
    tasks: int
    times: Expected = NOTHING_KNOWN
    earliest: datetime | None = None
    behind: tuple[DemandClass, ...] = ()
