"""Where the controller finds what users have deleted, and forgets it once its files are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DeletedJob:
    """A job whose rows are gone; `inputs` are the blobs that it named and that may be garbage now."""

    job_id: str
    inputs: tuple[str, ...]


class DeletionStore(Protocol):
    """Deleting jobs, deleted ones, and who names which input. Methods that take an `epoch` are fenced by it."""

    def to_clear(self) -> tuple[str, ...]:
        """Give the deleting jobs of which no message is out: no run of them will be told of any more."""
        ...

    def forget(self, epoch: int, job_id: str, now: datetime) -> None:
        """Remove every row of a deleting job but its id, in one transaction; harmless when they are gone."""
        ...

    def forgotten(self, before: datetime) -> tuple[DeletedJob, ...]:
        """Give the jobs deleted before that instant whose inputs are not settled yet."""
        ...

    def named(self, inputs: Sequence[str]) -> frozenset[str]:
        """Give those of these blobs of `inputs` that a job names, drafts included, or a schedule's jobs will."""
        ...

    def settle(self, epoch: int, job_id: str, left: Sequence[str]) -> None:
        """Keep which inputs of a deleted job are still to be looked at; none means that all is done."""
        ...
