"""What is known of run times: a mean that follows changes, kept as two numbers, and what to expect of tasks."""

import re
from collections.abc import Iterable

from node_bootstrap.protocol import TaskDefinition
from scheduler.sketch import Expected, RunTimes

# About how many of the newest runs a mean or a sketch stands for.
STEP_SPAN = 50
POOL_SPAN = 200
# Words of a command that say what it does: a program, and a script or a subcommand.
_WORDS = 2
_LONGEST_KEY = 200


def moving_mean(mean: float | None, measured: int, lengths: Iterable[float], span: int) -> float:
    """Take more run times, in seconds, into a mean of `measured` ones.

    A plain mean of the first `span`; after that each new one weighs 1/span.
    """
    now = 0.0 if mean is None else mean
    for count, length in enumerate(lengths, start=measured + 1):
        now += (length - now) / min(count, span)
    return now


def work_key(definition: TaskDefinition) -> str:
    """Name the kind of work that a step is: its application packages and the first words of its command.

    Numbers are left out, since they say which day or part it is and not what is done.
    """
    packages = ", ".join(package.name for package in definition.application_packages)
    command = " ".join(definition.command[:_WORDS])
    return re.sub(r"\d+", "#", f"{packages}: {command}" if packages else command)[:_LONGEST_KEY] or "#"


def expected_run_times(step: RunTimes, author_seconds: float | None, work: RunTimes, pool: RunTimes) -> Expected:
    """Say what to expect of a step's tasks: what was seen of them, leaning on the same kind of work in other jobs.

    That leans on what the step's author expects, or where he says nothing, on all work of the pool.
    """
    base = pool if author_seconds is None else RunTimes.of([author_seconds])
    return step.expected().leaning_on(work.expected().leaning_on(base.expected()))
