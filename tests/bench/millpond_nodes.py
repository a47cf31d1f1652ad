"""Millpond's side of "overhead": tasks that do nothing, each a process of its own, on two nodes of one slot.

Two runners, Azurite and the controller over SQLite, all real: from submitting the job until every task is committed
and the job has ended. Each task has a directory of its own, its exit code, start and end are kept, and its stdout and
stderr are uploaded with hashes.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import sleep

from node_bootstrap.protocol import TaskDefinition
from scheduler.model import JobResult, JobState, NewJob, Step
from tests.bench.deployment import POOL, deployed
from tests.bench.side import Prepared, main

NODES = 2
COMMAND = "true"
_LOOK_SECONDS = 0.05


def millpond(size: int, folder: Path) -> Prepared:
    """Run a sweep of `size` tasks."""
    opened = ExitStack()
    service = opened.enter_context(deployed(folder, NODES)).app.service

    def work() -> None:
        job = service.create_job(NewJob("overhead", POOL, "overhead"))
        service.add_steps(job.job_id, 0, (Step(TaskDefinition("only", (COMMAND,), 0, size)),))
        job = service.arm_job(job.job_id, size)
        while job.state is not JobState.COMPLETED:
            sleep(_LOOK_SECONDS)
            job = service.get_job(job.job_id)

    def check() -> None:
        (job,) = service.list_jobs()
        assert (job.result, job.counts.succeeded) == (JobResult.SUCCESS, size), job
        files = service.list_outputs(job.job_id)
        assert {(file.task_id, file.file.path) for file in files} == {
            (task_id, name) for task_id in range(size) for name in ("stdout.txt", "stderr.txt")
        }

    return Prepared(work, size, check, end=opened.close)


VARIANTS: Mapping[str, Callable[[int, Path], Prepared]] = {"overhead": millpond}

if __name__ == "__main__":
    main(VARIANTS)
