"""The parameters of one task of a sweep: by its index, so that no task needs a row of its own."""

import re
from collections.abc import Mapping
from dataclasses import replace

from node_bootstrap.protocol import ParameterRows, ParameterTable, TaskDefinition

_REFERENCE = re.compile(r"\$\{\{\s*sweep\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_PREFIX = "MILLPOND_PARAMETER_"


def from_axes(definition: TaskDefinition, index: int) -> dict[str, str]:
    """Give the values of a combination of axes; the last axis changes fastest."""
    found = {}
    for axis in reversed(definition.axes):
        index, place = divmod(index, axis.length)
        found[axis.name] = axis.values[place] if axis.values else str(axis.start + place * axis.by)
    return {axis.name: found[axis.name] for axis in definition.axes}


def part_of(table: ParameterTable, index: int) -> tuple[str, int]:
    """Say in which part of a table a row is, and which of its rows it is."""
    part, row = divmod(index, table.rows_in_part)
    return table.parts[part], row


def from_table(table: ParameterTable, rows: ParameterRows, row: int) -> dict[str, str]:
    """Give the values of a row of a part."""
    return dict(zip(table.names, rows.rows[row], strict=True))


def with_parameters(definition: TaskDefinition, values: Mapping[str, str]) -> TaskDefinition:
    """Put a task's parameters into its command and environment. A value is not searched again."""
    if not values:
        return definition

    def filled(text: str) -> str:
        return _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)

    named = tuple((f"{_PREFIX}{name.upper()}", value) for name, value in values.items())
    own = tuple((name, filled(value)) for name, value in definition.environment)
    return replace(definition, command=tuple(map(filled, definition.command)), environment=(*named, *own))
