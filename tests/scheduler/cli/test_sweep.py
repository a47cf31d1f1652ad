"""Sweeps of a job file: one definition for any number of tasks."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_bootstrap.protocol import (
    INPUTS,
    ParameterAxis,
    ParameterRows,
    TaskDefinition,
    decode,
    file_blob,
)
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.cli.job_file import load_job
from scheduler.cli.submission import submit
from scheduler.cli.sweep import ROWS_IN_PART
from scheduler.errors import InvalidRequestError
from scheduler.model import Step
from scheduler.service import Service


def _job(folder: Path, step: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(f"name: j\npool: demo\nparameters: {{greeting: hello}}\nsteps:\n  - {step}\n", encoding="utf-8")
    return path


class _Listening:
    """The service, with what was handed in."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.definitions: list[TaskDefinition] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._service, name)

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Keep the definitions and pass them on."""
        self.definitions += [step.definition for step in steps]
        self._service.add_steps(job_id, chunk, steps)


def test_axes_are_one_definition(service: Service, tmp_path: Path) -> None:
    """A sweep of thousands is a handful of lines; parameters of the job and of the sweep stand side by side."""
    step = (
        "{name: s, sweep: {alpha: [0.1, x y, true], seed: {from: 1, to: 999, by: 2}}, "
        "command: 'run ${{ parameters.greeting }} --alpha=${{ sweep.alpha }}', environment: {S: '${{ sweep.seed }}'}}"
    )
    listening = _Listening(service)
    done = submit(listening, MemoryBlobs(ManualClock()), load_job(_job(tmp_path, step)), "key")  # type: ignore[arg-type]
    (definition,) = listening.definitions
    assert done.job.counts.total == definition.task_count == 1500
    assert definition.axes == (ParameterAxis("alpha", ("0.1", "x y", "true")), ParameterAxis("seed", (), 1, 2, 500))
    assert definition.command == ("run", "hello", "--alpha=${{sweep.alpha}}")
    assert definition.environment == (("S", "${{ sweep.seed }}"),)


def test_a_table_is_sent_once_in_parts(service: Service, tmp_path: Path) -> None:
    """A CSV file of any values becomes parts by content; the same table again sends nothing."""
    rows = [f'{number},"a ""quoted"", näme {number}"' for number in range(2 * ROWS_IN_PART + 1)]
    (tmp_path / "cases.csv").write_text("\n".join(["n,name", *rows]), encoding="utf-8")
    blobs, listening = MemoryBlobs(ManualClock(datetime.now(UTC))), _Listening(service)
    loaded = load_job(_job(tmp_path, "{name: s, sweep: cases.csv, command: [run, '${{ sweep.name }}']}"))
    done = submit(listening, blobs, loaded, "key")  # type: ignore[arg-type]
    (definition,) = listening.definitions
    assert definition.table is not None
    assert (done.job.counts.total, definition.table.names) == (2 * ROWS_IN_PART + 1, ("n", "name"))
    parts = [decode(ParameterRows, blobs.read(INPUTS, file_blob(part))) for part in definition.table.parts]
    assert [len(part.rows) for part in parts] == [ROWS_IN_PART, ROWS_IN_PART, 1]
    assert parts[2].rows[0] == (str(2 * ROWS_IN_PART), f'a "quoted", näme {2 * ROWS_IN_PART}')
    before = {entry.name: entry.etag for entry in blobs.list(INPUTS, "")}
    submit(service, blobs, loaded, "another key")
    assert {entry.name: entry.etag for entry in blobs.list(INPUTS, "")} == before


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("{name: s, command: r, sweep: {a: []}}", "at least 1 item"),
        ("{name: s, command: r, sweep: {}}", "at least 1 item"),
        ("{name: s, command: r, sweep: {a b: [1]}}", "'a b' is no name of a parameter"),
        ("{name: s, command: r, sweep: {a: {from: 3, to: 1}}}", "from 3 to 1 by 1 gives no number"),
        ("{name: s, command: r, sweep: {a: {from: 1, to: 3, by: 0}}}", "by 0 gives no number"),
        ("{name: s, command: r, sweep: {a: [1], A: [2]}}", "are one name in the environment"),
        ("{name: s, command: r, array: 2, sweep: {a: [1]}}", "array and sweep exclude each other"),
        ("{name: s, command: 'r ${{ sweep.b }}', sweep: {a: [1]}}", "no sweep value 'b'; the step's are: a"),
        ("{name: s, command: 'r ${{ sweep.b }}'}", "no sweep value 'b'; the step's are: none"),
        ("{name: s, command: r, outputs: ['${{ sweep.a }}'], sweep: {a: [1]}}", "in a step's command and environment"),
        (
            "{name: s, command: r, sweep: {a: {from: 1, to: 2000}, b: {from: 1, to: 2000}}}",
            "4000000 tasks are too many",
        ),
        ("{name: s, command: r, sweep: none.csv}", "none.csv cannot be read: No such file"),
        ("{name: s, command: r, sweep: odd.csv}", "3 values in line 3, and 2 names"),
        ("{name: s, command: r, sweep: empty.csv}", "needs a row of names"),
    ],
)
def test_wrong_sweeps_are_told(tmp_path: Path, step: str, words: str) -> None:
    """Each mistake is named with its line; nothing is sent."""
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n1,2,3\n")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidRequestError) as raised:
        load_job(_job(tmp_path, step))
    assert words in str(raised.value)
    assert "job.yaml:5" in str(raised.value)
