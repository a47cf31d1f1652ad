"""Files that `millpond formula` reads: formulas, samples (CSV or JSON), a policy's settings (YAML), and `--dialect`."""

import csv
import dataclasses
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from scheduler.durations import parse_duration
from scheduler.errors import InvalidRequestError
from scheduler.formula.check import meant
from scheduler.formula.dialect import Dialect
from scheduler.formula.language import METRICS
from scheduler.formula.samples import SAMPLE_PERIOD, MetricSamples
from scheduler.policy import ScalingPolicy

_Record = TypeVar("_Record")

STDIN = "-"
_TIME = "at"
_PERIOD = timedelta(seconds=SAMPLE_PERIOD)

# A sample without a time stands a period before the one after it; the last one is of now.
_Points = list[tuple[datetime | None, float]]


def read_text(path: str) -> str:
    """Read a file, or standard input where its name is a hyphen."""
    try:
        return sys.stdin.read() if path == STDIN else Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{path} is no text in UTF-8: byte {error.start} is not") from error


def read_samples(path: str | None, now: datetime | None) -> tuple[dict[str, MetricSamples], datetime]:
    """Read samples of metrics; without `now`, it is the newest sample's time, or this moment."""
    if path is None:
        return {}, now or datetime.now(UTC)
    text = read_text(path)
    try:
        points = _from_json(json.loads(text)) if text.lstrip().startswith("{") else _from_csv(text)
    except RecursionError as error:
        raise InvalidRequestError(f"{path}: its brackets are nested too deep") from error
    except (ValueError, csv.Error) as error:
        raise InvalidRequestError(f"{path}: {error}") from error
    times = [at for metric in points.values() for at, _ in metric if at is not None]
    moment = now or max(times, default=datetime.now(UTC))
    return {name: MetricSamples.of(_timed(metric, moment)) for name, metric in points.items()}, moment


def _timed(points: _Points, now: datetime) -> Iterable[tuple[datetime, float]]:
    for age, (at, value) in enumerate(reversed(points)):
        yield (now - _PERIOD * age if at is None else at), value


def _from_json(data: Any) -> dict[str, _Points]:
    found: dict[str, _Points] = {}
    for name, samples in data.items():
        if not isinstance(samples, list):
            raise ValueError(f"{name}: expected a list of numbers, or of [time, number]")  # noqa: TRY004  told with its file
        found[_metric(name)] = [
            (_time(each[0]), _number(each[1])) if isinstance(each, list) and len(each) == 2 else (None, _number(each))  # noqa: PLR2004  time and number
            for each in samples
        ]
    return found


def _from_csv(text: str) -> dict[str, _Points]:
    rows = list(csv.DictReader(io.StringIO(text), skipinitialspace=True))
    if not rows:
        raise ValueError("no samples; expected a line of names such as at,$ActiveTasks,$RunningTasks, then a line each")
    found: dict[str, _Points] = {}
    for line, row in enumerate(rows, start=2):
        if None in row:
            raise ValueError(f"line {line} has more cells than the first line has names")
        try:
            at = _time(row[_TIME]) if row.get(_TIME) else None
            for name, cell in row.items():
                if name != _TIME and cell:
                    found.setdefault(_metric(name), []).append((at, _number(cell)))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from error
    return found


def _metric(name: str) -> str:
    metric = name if name.startswith("$") else f"${name}"
    if metric not in METRICS:
        raise ValueError(f"{name} is no metric; there are {', '.join(sorted(METRICS))}")
    return metric


def _time(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no time; write 2026-03-01T12:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_time(text: str) -> datetime:
    """Read `--now`."""
    try:
        return _time(text)
    except ValueError as error:
        raise InvalidRequestError(f"--now: {error}") from error


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is no number") from error
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is no sample: metrics are 0 or more")
    return number


def read_policy(path: str | None, changes: Sequence[str]) -> ScalingPolicy:
    """Read a pool's `scaling`, as in `Pulumi.<stack>.yaml`, with `name=value` changes; without a file, the defaults."""
    try:
        data = yaml.safe_load(read_text(path)) if path is not None else {}
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{path} is no YAML: {error}") from error
    settings = data.get("scaling", data) if isinstance(data, Mapping) else data
    if settings is not None and not isinstance(settings, Mapping):
        raise InvalidRequestError(f"{path}: expected settings such as max_nodes: 10")
    where = path or "--set"
    spans = {name for name, hint in get_type_hints(ScalingPolicy).items() if timedelta in {hint, *get_args(hint)}}
    wanted = {
        name: read_duration(str(value), f"{where}: {name}") if name in spans and value is not None else value
        for name, value in {**(settings or {}), **_assignments(changes)}.items()
    }
    return _validated(_POLICY, ScalingPolicy, wanted, where)


def read_dialect(changes: Sequence[str]) -> Dialect:
    """Read `--dialect name=value` options."""
    return _validated(_DIALECT, Dialect, _assignments(changes), "--dialect")


def _validated(adapter: TypeAdapter[_Record], kind: type[Any], values: Mapping[str, Any], where: str) -> _Record:
    known = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise InvalidRequestError(f"{where}: there is no setting {name}{meant(str(name), known) or _listed(known)}")
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(f"{where}: {f'{place}: ' if place else ''}{first['msg']}") from error


def _listed(names: Iterable[str]) -> str:
    return f"; there are {', '.join(names)}"


def _assignments(changes: Sequence[str]) -> dict[str, str]:
    found = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not sign:
            raise InvalidRequestError(f"{change!r}: expected name=value")
        found[name.strip()] = value.strip()
    return found


def read_duration(text: str, option: str) -> timedelta:
    """Read an option that is a duration."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidRequestError(f"{option}: {error}") from error


_POLICY: TypeAdapter[ScalingPolicy] = TypeAdapter(ScalingPolicy)
_DIALECT: TypeAdapter[Dialect] = TypeAdapter(Dialect)
