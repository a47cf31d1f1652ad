"""`sweep` in a job file: axes whose combinations are tasks, or a CSV file of which each row is one."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from node_bootstrap.protocol import ParameterAxis, ParameterRows, ParameterTable, encode, sha256_hex
from scheduler.cli.parameters import written

# Rows that a node reads at once for one of its tasks; a few hundred kilobytes.
ROWS_IN_PART = 1000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\{\{\s*sweep\.(.*?)\s*\}\}")


class Numbers(BaseModel):
    """Whole numbers, both ends included."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: Annotated[int, Field(alias="from")]
    end: Annotated[int, Field(alias="to")]
    by: int = 1

    @model_validator(mode="after")
    def _some(self) -> "Numbers":
        if self.by == 0 or (self.end - self.start) // self.by < 0:
            raise ValueError(f"from {self.start} to {self.end} by {self.by} gives no number")
        return self

    @property
    def count(self) -> int:
        """How many there are."""
        return (self.end - self.start) // self.by + 1


def _texts(value: object) -> object:
    if isinstance(value, list):
        return [written(item) if isinstance(item, bool | int | float) else item for item in value]
    return value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a parameter; use letters, digits and _")
    return text


Values = Annotated[tuple[str, ...], Field(min_length=1)]
Axes = Annotated[
    dict[Annotated[str, AfterValidator(_name)], Annotated[Numbers | Values, BeforeValidator(_texts)]],
    Field(min_length=1),
]


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file: its first row names the parameters."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def parts(self) -> tuple[bytes, ...]:
        """Give the rows as nodes read them, some at a time."""
        starts = range(0, len(self.rows), ROWS_IN_PART)
        return tuple(encode(ParameterRows(self.rows[start : start + ROWS_IN_PART])).encode() for start in starts)


def table_record(table: Table) -> ParameterTable:
    """Give what a task definition says of a table."""
    return ParameterTable(table.names, tuple(map(sha256_hex, table.parts())), ROWS_IN_PART)


def axis_records(axes: Mapping[str, Numbers | tuple[str, ...]]) -> tuple[ParameterAxis, ...]:
    """Give what a task definition says of axes."""
    return tuple(
        ParameterAxis(name, start=axis.start, by=axis.by, count=axis.count)
        if isinstance(axis, Numbers)
        else ParameterAxis(name, axis)
        for name, axis in axes.items()
    )


def read_table(path: Path) -> Table:
    """Read a CSV file; `ValueError` says what is wrong with it, and in which line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = tuple(map(_name, next(reader, ())))
            rows = [(reader.line_num, tuple(row)) for row in reader if row]
    except OSError as error:
        raise ValueError(f"the table {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the table {path} is no CSV file in UTF-8: {error}") from error
    if not names or not rows:
        raise ValueError(f"the table {path} needs a row of names, and at least one of values")
    for line, row in rows:
        if len(row) != len(names):
            raise ValueError(f"the table {path} has {len(row)} values in line {line}, and {len(names)} names")
    return Table(names, tuple(row for _, row in rows))


def name_findings(names: Sequence[str]) -> Iterator[str]:
    """Give names that would be one and the same in the environment."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.upper(), name)
        if other is not name:
            yield f"the parameters {other!r} and {name!r} are one name in the environment"


def unknown_references(texts: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Give the references to sweep values that there are none of."""
    for text in texts:
        for name in _REFERENCE.findall(text):
            if name not in names:
                known = ", ".join(names) or "none"
                yield f"there is no sweep value {name!r}; the step's are: {known}"


def holds_reference(text: str) -> bool:
    """Say whether a text refers to a sweep value."""
    return _REFERENCE.search(text) is not None
