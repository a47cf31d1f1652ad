"""What a step of a job file waits for, as it is read and as it is handed in."""

from pathlib import Path

import pytest

from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.cli.job_file import load_job
from scheduler.cli.submission import submit
from scheduler.errors import InvalidRequestError
from scheduler.model import IndexRange, TaskDependency
from scheduler.service import Service

_HEAD = """
name: film
pool: demo
steps:
  - {name: split, command: run}
  - {name: render, array: 20, command: run}
"""


def _job(folder: Path, *steps: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(_HEAD + "".join(f"  - {step}\n" for step in steps), encoding="utf-8")
    return path


def _findings(folder: Path, *steps: str) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        load_job(_job(folder, *steps))
    return str(raised.value)


def test_dependencies_reach_the_scheduler(service: Service, tmp_path: Path) -> None:
    """Whole steps, indices, one by one and the share that has to succeed are handed in as they are written."""
    path = _job(
        tmp_path,
        "{name: encode, array: 20, command: r, inputs_from: [render], depends_on: [split, {step: render, each: true}]}",
        "{name: preview, command: run, depends_on: [{step: render, tasks: '0-4, 9'}], when: any_end}",
        "{name: merge, command: run, inputs_from: [encode], when: {at_least: 95%}}",
    )
    given = []
    add = service.add_steps

    class Listening:
        def __getattr__(self, name: str) -> object:
            return getattr(service, name)

        def add_steps(self, job_id: str, chunk: int, steps: tuple[object, ...]) -> None:
            given.extend(steps)
            add(job_id, chunk, steps)  # type: ignore[arg-type]

    done = submit(Listening(), MemoryBlobs(ManualClock()), load_job(path), "key")  # type: ignore[arg-type]
    _, _, encode, preview, merge = given
    assert (encode.depends_on, encode.depends_on_tasks) == (("split",), (TaskDependency("render", each=True),))
    assert encode.inputs_from == ("render",)
    assert preview.depends_on == ()
    assert preview.depends_on_tasks == (TaskDependency("render", (IndexRange(0, 4), IndexRange(9, 9))),)
    assert [each.needed_success for each in (encode, preview, merge)] == [1.0, 0.0, 0.95]
    assert merge.depends_on == ("encode",)
    assert (done.job.counts.active, done.job.counts.blocked) == (21, 22)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("{name: a, command: r, depends_on: [none]}", "there is no step 'none'"),
        ("{name: a, command: r, depends_on: [a]}", "'a' must stand before 'a'"),
        ("{name: a, command: r, depends_on: [split, {step: split, tasks: 0}]}", "'split' is named twice"),
        ("{name: a, command: r, depends_on: [{step: render, each: true}]}", "'render' has 20 tasks, this step 1"),
        ("{name: a, command: r, depends_on: [{step: render, tasks: 5-20}]}", "beyond the last task of 'render', 19"),
        ("{name: a, command: r, depends_on: [{step: render, tasks: 5-2}]}", "5-2 is no range"),
        ("{name: a, command: r, depends_on: [{step: render, tasks: '5-9, 8'}]}", "8-8 overlaps"),
        ("{name: a, command: r, depends_on: [{step: render, tasks: five}]}", "'five' is no index"),
        ("{name: a, array: 20, command: r, depends_on: [{step: render, tasks: 1, each: true}]}", "exclude each other"),
        ("{name: a, command: r, when: most}", "'most' is not known; write all, any_end or {at_least: 95%}"),
        ("{name: a, command: r, when: {at_least: 101%}}", "less than or equal to 1"),
        ("{name: a, command: r, when: {at_least: 0.95}}", "expected a percentage, such as 95%"),
    ],
)
def test_wrong_dependencies_are_told(tmp_path: Path, step: str, words: str) -> None:
    """Each mistake is named with the line that it stands on."""
    found = _findings(tmp_path, step)
    assert words in found
    assert "job.yaml:7" in found
