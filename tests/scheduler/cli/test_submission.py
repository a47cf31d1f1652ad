"""From a job file to an armed job, also over a connection that breaks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node_bootstrap.protocol import INPUTS, TaskDefinition
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.cli.job_file import LoadedJob, load_job
from scheduler.cli.submission import submit
from scheduler.errors import UnavailableError
from scheduler.model import JobState, RetryPolicy, Step
from scheduler.service import Service

_JOB = """
name: var
pool: demo
priority: 7
files: [run.py]
steps:
  - {name: simulate, array: 3, command: python3 run.py, retries: 1, expected_time: 2s, wall_clock_limit: 1m}
  - {name: merge, command: [python3, run.py], inputs_from: [simulate], exit_codes: {permanent: [2]}}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedJob:
    """Give a job of an array and a merge with one file."""
    (tmp_path / "run.py").write_text("print()")
    (tmp_path / "job.yaml").write_text(_JOB)
    return load_job(tmp_path / "job.yaml")


class _Breaking:
    """The service behind a connection that breaks at some calls: `before` it arrives or `after` it was done."""

    def __init__(self, service: Service, breaks: dict[int, str]) -> None:
        self._service = service
        self._breaks = breaks
        self.calls = 0
        self.steps: tuple[Step, ...] = ()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if self._breaks.get(number) == "before":
                raise UnavailableError("broken")
            answer = getattr(self._service, name)(*arguments)
            if name == "add_steps":
                self.steps = arguments[2]
            if self._breaks.get(number) == "after":
                raise UnavailableError("broken")
            return answer

        return call


def test_a_job_file_becomes_a_job(service: Service, loaded: LoadedJob) -> None:
    """Everything that the file says arrives at the scheduler, and the file's content lies in storage."""
    blobs = MemoryBlobs(ManualClock())
    connection = _Breaking(service, {})
    done = submit(connection, blobs, loaded, "key")
    simulate, merge = connection.steps
    (file,) = simulate.definition.resource_files
    assert (done.job.state, done.job.priority, done.job.counts.total) == (JobState.ACTIVE, 7, 4)
    assert (done.sent_files, done.unchanged_files) == (1, 0)
    assert (file.path, blobs.read(INPUTS, file.blob)) == ("run.py", b"print()")
    assert simulate.definition == TaskDefinition(
        step="simulate",
        command=("python3", "run.py"),
        first_task_id=0,
        task_count=3,
        resource_files=(file,),
        wall_clock_limit_seconds=60.0,
    )
    assert (simulate.retry, simulate.expected_task_seconds) == (RetryPolicy(max_task_retries=1), 2.0)
    assert (merge.depends_on, merge.inputs_from, merge.definition.first_task_id) == (("simulate",), ("simulate",), 3)


@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_broken_connection_leaves_one_whole_job(service: Service, loaded: LoadedJob, call: int, moment: str) -> None:
    """Wherever the connection breaks, trying again with the same key ends with one armed job."""
    connection = _Breaking(service, {call: moment})
    submit(connection, MemoryBlobs(ManualClock()), loaded, "key", sleep=lambda _: None)
    (job,) = service.list_jobs()
    assert (job.state, job.counts.total) == (JobState.ACTIVE, 4)


def test_another_process_goes_on_with_the_same_key(service: Service, loaded: LoadedJob) -> None:
    """A submission that gave up is continued by a later one with its key; nothing is sent twice."""
    blobs = MemoryBlobs(ManualClock())
    dead = _Breaking(service, dict.fromkeys(range(1, 100), "before"))
    with pytest.raises(UnavailableError, match="broken"):
        submit(dead, blobs, loaded, "key", sleep=lambda _: None)
    assert [job.state for job in service.list_jobs()] == [JobState.DRAFT]
    done = submit(service, blobs, loaded, "key")
    assert [job.state for job in service.list_jobs()] == [JobState.ACTIVE]
    assert (done.sent_files, done.unchanged_files) == (0, 1)
