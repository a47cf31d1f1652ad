"""A job file (YAML): what it may hold, and how it becomes the steps of a job.

    name: value-at-risk              # shown to people
    pool: risk                       # where it runs
    priority: 0                      # higher goes first
    parameters: {tasks: 24}          # with defaults; `--set tasks=48` changes one; null means: must be set. Jobs of a
                                     # schedule may name their time: {day: "${{ schedule.date }}"}; .time, .local_time
    files: [simulate.py]             # put into every task's working directory; or {name there: path here}
    applications: [tool:1.2]         # uploaded before by `millpond application upload`; `tool` alone is its default
    steps:
      - name: simulate
        array: ${{ parameters.tasks }}          # this many tasks; MILLPOND_TASK_INDEX tells them apart
        sweep: {alpha: [0.1, 0.2], seed: {from: 1, to: 1000}}   # or so: a task each combination, the last axis
                                                # fastest; or the name of a CSV file, a task each row
        command: [python3, simulate.py]         # words, or one text that is split into words; no shell is run
        files: {model.json: data/model.json}    # besides those of the job
        environment: {MODE: fast}               # ${{ sweep.alpha }} may stand in command and environment, and each
                                                # task finds it as MILLPOND_PARAMETER_ALPHA, too
        outputs: ["*.bin"]                      # patterns of files to keep; stdout.txt and stderr.txt are always kept
        wall_clock_limit: 10m                   # a number with s, m, h or d
        retries: 3                              # of a task that failed by its own fault
        exit_codes: {permanent: [2], ignorable: [3]}
        expected_time: 2s                       # of one task; sizes the pool before any has been measured
      - name: merge
        command: python3 merge.py
        inputs_from: [simulate]                 # its outputs, as simulate/<task index>/<path>; waits for it, too
        depends_on: [simulate]                  # waits for it without its outputs; for single tasks of it:
                                                #   {step: simulate, tasks: "0-9, 15"}   those of these indices
                                                #   {step: simulate, each: true}         task i for task i alone
        when: {at_least: 95%}                   # starts when all have ended and so many have succeeded; the others'
                                                # indices are in simulate/missing.txt. Or: all (default), any_end

Paths here are relative to the job file. Every finding is reported at once.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from scheduler.cli.job_dependencies import ALL, Dependencies, When
from scheduler.cli.job_dependencies import findings as dependency_findings
from scheduler.cli.job_findings import Findings
from scheduler.cli.parameters import ParameterError, Scalar, filled_later, merge, substitute, written
from scheduler.cli.schedule_references import schedule_findings
from scheduler.cli.sweep import Axes, Numbers, Table, holds_reference, name_findings, read_table, unknown_references
from scheduler.errors import InvalidRequestError

_Item = TypeVar("_Item")

_NAME = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?$"
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>s|m|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# A definition and its ranges are small at any count; this bound catches a slip of the keyboard.
_MAX_ARRAY = 1_000_000


def _duration(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected a number with its unit (s, m, h or d), such as 90s or 1.5h")  # noqa: TRY004  pydantic reports ValueErrors only
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no duration; write a number with its unit (s, m, h or d), such as 90s or 1.5h")
    return timedelta(seconds=float(match["number"]) * _UNIT_SECONDS[match["unit"]])


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return value


def _some(value: tuple[_Item, ...]) -> tuple[_Item, ...]:
    if not value:
        raise ValueError("expected at least one")
    return value


def _text(value: object) -> object:
    return written(value) if isinstance(value, bool | int | float) else value


def _files(value: object) -> object:
    if isinstance(value, list):
        return {str(item): str(item) for item in value}
    return value


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or path == PurePosixPath():
        raise ValueError(f"{name!r} must name a file below the task's working directory; write `name there: path here`")
    return str(path)


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise ValueError(f"{text!r} should have letters, digits and inner - _ . only, at most 64")
    return text


def _pattern(text: str) -> str:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{text!r} must be a pattern of files below the task's working directory, like results/*.csv")
    return text


_Text = Annotated[str, BeforeValidator(_text)]
_Name = Annotated[str, AfterValidator(_name)]
_Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]
_Files = Annotated[dict[Annotated[str, BeforeValidator(_inside)], str], BeforeValidator(_files)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExitCodes(_Part):
    """Which exit codes need no second try (permanent) and which are as good as none (ignorable)."""

    permanent: tuple[int, ...] = ()
    ignorable: tuple[int, ...] = ()


class JobStep(_Part):
    """One step: `array` tasks of one command."""

    name: _Name
    command: Annotated[tuple[_Text, ...], BeforeValidator(_words), AfterValidator(_some)]
    array: Annotated[int, Field(ge=1, le=_MAX_ARRAY)] | None = None
    sweep: Axes | str | None = None
    depends_on: Dependencies = ()
    when: When = ALL
    inputs_from: tuple[str, ...] = ()
    files: _Files = {}
    applications: tuple[str, ...] = ()
    environment: dict[str, _Text] = {}
    outputs: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ()
    wall_clock_limit: _Duration | None = None
    retries: Annotated[int, Field(ge=0)] = 3
    exit_codes: ExitCodes = ExitCodes()
    expected_time: _Duration | None = None


class JobFile(_Part):
    """A whole job, its parameters already put in."""

    name: _Name
    pool: _Name
    priority: int = 0
    parameters: dict[str, Scalar | None] = {}
    files: _Files = {}
    applications: tuple[str, ...] = ()
    steps: Annotated[tuple[JobStep, ...], AfterValidator(_some)]


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """A job file that was read and found right; `folder` is what its paths are relative to."""

    job: JobFile
    folder: Path
    tables: dict[str, Table]

    def count_of(self, step: JobStep) -> int:
        """Say how many tasks a step has."""
        return _count(step, self.tables)

    def files_of(self, step: JobStep) -> dict[str, Path]:
        """Give the files of a step's tasks, the job's included: name there → path here."""
        return {name: self.folder / source for name, source in {**self.job.files, **step.files}.items()}


def load_job(path: Path, settings: Sequence[str] = (), *, scheduled: bool = False) -> LoadedJob:
    """Read a job file; `InvalidRequestError` tells everything that is wrong with it and with the settings.

    Only a scheduled job may name the time of an occurrence.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except OSError as error:
        raise InvalidRequestError(f"the job file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the job file {path} is not UTF-8 text: {error.reason}") from error
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"the job file {path} is not YAML: {error}") from error
    findings = Findings(path, tree)
    if not isinstance(value, dict):
        findings.add((), "expected a mapping with name, pool and steps")
        raise findings.error()
    parameters = _parameters(value.get("parameters"), settings, findings)
    value = {
        key: part if key == "parameters" else _substituted(part, parameters, (key,), findings)
        for key, part in value.items()
    }
    for where, message in schedule_findings(value, scheduled=scheduled):
        findings.add(where, message)
    job = _validated(value, findings)
    tables: dict[str, Table] = {}
    if job is not None:
        tables = _tables(job.steps, path.parent, findings)
        _check_sweeps(job.steps, tables, findings)
        _check_steps(job.steps, tables, findings)
    _check_files(value, path.parent, findings)
    if findings:
        raise findings.error()
    if job is None:
        raise AssertionError("a job that does not validate has findings")
    return LoadedJob(job, path.parent, tables)


def _parameters(value: object, settings: Sequence[str], findings: Findings) -> dict[str, Scalar]:
    defaults: dict[str, Scalar | None] = {}
    if isinstance(value, dict):
        for name, default in value.items():
            if default is None or isinstance(default, bool | int | float | str):
                defaults[str(name)] = default
    values, found = merge(defaults, settings)
    for message in found:
        findings.add(("parameters",), message)
    return values


def _substituted(
    value: object, parameters: Mapping[str, Scalar], where: tuple[str | int, ...], findings: Findings
) -> object:
    if isinstance(value, str):
        # A command text is split into words first, so that a value with blanks stays one word.
        if where[-1] == "command":
            value = _split_command(value, where, findings)
        else:
            if holds_reference(value) and not filled_later(where):
                findings.add(where, "sweep values may stand in a step's command and environment only")
            try:
                return substitute(value, parameters)
            except ParameterError as error:
                findings.add(where, str(error))
                return value
    if isinstance(value, dict):
        return {key: _substituted(part, parameters, (*where, str(key)), findings) for key, part in value.items()}
    if isinstance(value, list):
        return [_substituted(part, parameters, (*where, index), findings) for index, part in enumerate(value)]
    return value


def _split_command(text: str, where: tuple[str | int, ...], findings: Findings) -> list[str]:
    # A reference may hold blanks of its own, which do not part words.
    compact = re.sub(r"\$\{\{\s*(.*?)\s*\}\}", r"${{\1}}", text)
    try:
        return shlex.split(compact)
    except ValueError as error:
        findings.add(where, f"cannot be split into words: {error}")
        return [text]


def _validated(value: Mapping[str, Any], findings: Findings) -> JobFile | None:
    try:
        return JobFile.model_validate(value)
    except ValidationError as error:
        for item in error.errors():
            where = [part for part in item["loc"] if part != "[key]"]
            message = item["msg"].removeprefix("Value error, ")
            if item["type"] == "extra_forbidden":
                message = "this key is not known; see the job file's format in `millpond job submit --help`"
            findings.add(where, message)
        return None


def _count(step: JobStep, tables: Mapping[str, Table]) -> int:
    if isinstance(step.sweep, str):
        return len(tables[step.sweep].rows) if step.sweep in tables else 1
    if step.sweep is not None:
        return math.prod(axis.count if isinstance(axis, Numbers) else len(axis) for axis in step.sweep.values())
    return step.array or 1


def _tables(steps: Sequence[JobStep], folder: Path, findings: Findings) -> dict[str, Table]:
    tables = {}
    for index, step in enumerate(steps):
        if isinstance(step.sweep, str) and step.sweep not in tables:
            try:
                tables[step.sweep] = read_table(folder / step.sweep)
            except ValueError as error:
                findings.add(("steps", index, "sweep"), str(error))
    return tables


def _check_sweeps(steps: Sequence[JobStep], tables: Mapping[str, Table], findings: Findings) -> None:
    for index, step in enumerate(steps):
        here = ("steps", index, "sweep")
        if step.sweep is not None and step.array is not None:
            findings.add(here, "array and sweep exclude each other")
        if _count(step, tables) > _MAX_ARRAY:
            findings.add(here, f"{_count(step, tables)} tasks are too many; at most {_MAX_ARRAY}")
        if isinstance(step.sweep, str) and step.sweep not in tables:
            continue
        names = tables[step.sweep].names if isinstance(step.sweep, str) else tuple(step.sweep or ())
        for message in (*name_findings(names), *unknown_references((*step.command, *step.environment.values()), names)):
            findings.add(here if step.sweep is not None else ("steps", index), message)


def _check_steps(steps: Sequence[JobStep], tables: Mapping[str, Table], findings: Findings) -> None:
    seen: set[str] = set()
    counts = {step.name: _count(step, tables) for step in steps}
    names = counts.keys()
    for index, step in enumerate(steps):
        if step.name in seen:
            findings.add(("steps", index, "name"), f"there are two steps {step.name!r}")
        depends_on = tuple(other.step for other in step.depends_on)
        for key, others in (("depends_on", depends_on), ("inputs_from", step.inputs_from)):
            for other in others:
                if other not in names:
                    findings.add(("steps", index, key), f"there is no step {other!r}")
                elif other not in seen:
                    findings.add(("steps", index, key), f"the step {other!r} must stand before {step.name!r}")
            for other, times in Counter(others).items():
                if times > 1:
                    findings.add(("steps", index, key), f"the step {other!r} is named twice")
        for position, message in dependency_findings(step.depends_on, counts[step.name], counts):
            findings.add(("steps", index, "depends_on", position), message)
        seen.add(step.name)


def _check_files(value: Mapping[str, Any], folder: Path, findings: Findings) -> None:
    for where, name, source in _sources(value):
        path = folder / source
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            findings.add((*where, name), f"the input file {path} {what}")


def _sources(value: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Give every input file that a job names, as far as it can be understood: where, name there, path here."""
    steps = value.get("steps")
    parts: list[tuple[tuple[str | int, ...], object]] = [(("files",), value.get("files"))]
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            parts.append((("steps", index, "files"), step.get("files")))
    for where, files in parts:
        named = _files(files)
        if isinstance(named, dict):
            for name, source in named.items():
                if isinstance(source, str):
                    yield where, str(name), source
