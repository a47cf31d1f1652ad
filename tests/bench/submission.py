"""A client that submits many tasks over HTTP, arms them and lists all, with the scheduler in a process of its own.

    array       one definition and a range
    commands    a step for each task, each with a command of its own, sent in chunks of 1,000

A variant with `-scheduler` behind it is the same work, with the memory of the scheduler's process instead of the
client's. The store is SQLite in a file with synchronous=FULL; listing is in pages of 1,000 tasks.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from scheduler.api.app import create_app
from scheduler.api.client import HttpJobService
from scheduler.api.server import ApiServer
from scheduler.model import NewJob
from tests.bench.millpond_store import CHUNK, POOL, Scheduler, steps
from tests.bench.side import Prepared, main, peak_mib

_TOKEN = "bench"
_SERVE = "serve"


class _Submission:
    """A scheduler's process and a client of it."""

    def __init__(self, size: int, directory: Path, *, tasks_per_step: int | None) -> None:
        self._steps = steps(size, each=tasks_per_step or size, seconds=60.0)
        self._size = size
        self._listed = 0
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.submission", _SERVE, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        self._client = HttpJobService(self._server.stdout.readline().strip(), _TOKEN)

    def work(self) -> None:
        """Submit, arm, and list every task."""
        job = self._client.create_job(NewJob("bench", POOL, "key"))
        for number, start in enumerate(range(0, len(self._steps), CHUNK)):
            self._client.add_steps(job.job_id, number, tuple(self._steps[start : start + CHUNK]))
        self._client.arm_job(job.job_id, self._size)
        after = -1
        while page := self._client.list_tasks(job.job_id, after):
            self._listed += len(page)
            after = page[-1].task_id

    def check(self) -> None:
        """Every task was listed."""
        assert self._listed == self._size, self._listed

    def end(self) -> None:
        """Stop the scheduler."""
        self._client.close()
        self._server.communicate("stop\n", timeout=30)

    def scheduler_mib(self) -> float:
        """The peak memory of the scheduler's process."""
        return peak_mib(self._server.pid)


def submit(size: int, directory: Path, *, tasks_per_step: int | None, of_scheduler: bool) -> Prepared:
    """Submit `size` tasks to a scheduler on files in a directory."""
    made = _Submission(size, directory, tasks_per_step=tasks_per_step)
    memory = made.scheduler_mib if of_scheduler else None
    return Prepared(made.work, size, made.check, memory_mib=memory, end=made.end)


def serve(directory: Path) -> None:
    """Serve a store until a line comes."""
    with ApiServer(create_app(Scheduler(directory).service, _TOKEN)) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    if sys.argv[1] == _SERVE:
        serve(Path(sys.argv[2]))
    else:
        main(
            {
                "array": partial(submit, tasks_per_step=None, of_scheduler=False),
                "array-scheduler": partial(submit, tasks_per_step=None, of_scheduler=True),
                "commands": partial(submit, tasks_per_step=1, of_scheduler=False),
                "commands-scheduler": partial(submit, tasks_per_step=1, of_scheduler=True),
            }
        )
