"""What is looked at of a job beyond its record and its tasks."""

from typing import Protocol

from scheduler.model import Task
from scheduler.views import Handout, StepView


class JobViews(Protocol):
    """Views that explain a job; each raises `NotFoundError` where there is none of that id."""

    def steps(self, job_id: str) -> tuple[StepView, ...]:
        """Give the steps of a job in order; none of a draft."""
        ...

    def handout(self, job_id: str, task_id: int) -> Handout | None:
        """Give the message that carries the task's present attempt; None while it is on none, or has ended."""
        ...

    def troubled(self, job_id: str, limit: int) -> tuple[Task, ...]:
        """Give tasks that failed, then those that were tried more than once, each in order of id."""
        ...

    def tasks_ahead(self, job_id: str) -> int:
        """Count the ready tasks of other jobs of its pool whose priority is at least this one's."""
        ...
