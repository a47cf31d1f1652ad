"""What has changed from one document to the next, small: most of ten thousand nodes are as they were.

Documents are JSON as Python reads it. A list of records with ids (`node_id`) becomes a table, a list a field, so that
what changes alike in many of them stands together; a change of it says which row each record had before.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

# JSON has no better type; a checker would have to be told of each part what it is.
Json = Any
_ID = "node_id"
# No pool can be called so, nor anything else that names a field here.
_TABLE = "[]"
# Ways to change a value: put another in its place; change some fields of an object, or items of a list that is as long
# as it was; move the rows of a table, and put others in some places of its columns. What has not changed is left out.
_PUT, _FIELDS, _ITEMS, _PLACES, _ROWS = "put", "fields", "items", "places", "rows"


def tabled(value: Json) -> Json:
    """Turn records with ids into tables, wherever they are."""
    if isinstance(value, dict):
        return {name: tabled(each) for name, each in value.items()}
    if not isinstance(value, list):
        return value
    names = list(value[0]) if value and isinstance(value[0], dict) else []
    if _ID in names and all(isinstance(each, dict) and list(each) == names for each in value):
        return {_TABLE: {name: [each[name] for each in value] for name in names}}
    return [tabled(each) for each in value]


def untabled(value: Json) -> Json:
    """Turn tables back."""
    if isinstance(value, list):
        return [untabled(each) for each in value]
    if not isinstance(value, dict):
        return value
    if list(value) == [_TABLE]:
        names = list(value[_TABLE])
        return [dict(zip(names, row, strict=True)) for row in zip(*value[_TABLE].values(), strict=True)]
    return {name: untabled(each) for name, each in value.items()}


def change(before: Json, after: Json) -> dict[str, Json]:
    """Say what makes the one document, with tables, the other; an empty change where they are equal."""
    if before == after:
        return {}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        items = [change(*each) for each in zip(before, after, strict=True)]
        return {_ITEMS: [[place, each] for place, each in enumerate(items) if each]}
    if not (isinstance(before, dict) and isinstance(after, dict) and list(before) == list(after)):
        return {_PUT: after}
    if list(after) == [_TABLE] and list(before[_TABLE]) == list(after[_TABLE]):
        return _table_change(before[_TABLE], after[_TABLE])
    return {_FIELDS: {name: found for name in after if (found := change(before[name], after[name]))}}


def changed(before: Json, found: dict[str, Json]) -> Json:
    """Carry a change out; neither argument is touched."""
    if not found:
        return before
    if _PUT in found:
        return found[_PUT]
    if _FIELDS in found:
        return before | {name: changed(before[name], each) for name, each in found[_FIELDS].items()}
    if _ITEMS in found:
        items = list(before)
        for place, each in found[_ITEMS]:
            items[place] = changed(items[place], each)
        return items
    columns = before[_TABLE]
    rows = None if _ROWS not in found else list(_rows(found[_ROWS]))
    table = {}
    for name, values in columns.items():
        column = list(values) if rows is None else _moved(values, rows)
        for place, value in zip(*found[_PLACES].get(name, ((), ())), strict=True):
            column[place] = value
        table[name] = column
    return {_TABLE: table}


def _table_change(before: dict[str, list[Json]], after: dict[str, list[Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    rows = None
    if before[_ID] != after[_ID]:
        places = {name: place for place, name in enumerate(before[_ID])}
        rows = [places.get(name) for name in after[_ID]]
        found[_ROWS] = list(_runs(rows))
    found[_PLACES] = {}
    for name, values in after.items():
        was = before[name] if rows is None else _moved(before[name], rows)
        at = [place for place, (old, new) in enumerate(zip(was, values, strict=True)) if old != new]
        if at:
            found[_PLACES][name] = [at, [values[place] for place in at]]
    return found


def _moved(values: list[Json], rows: list[int | None]) -> list[Json]:
    return [None if row is None else values[row] for row in rows]


def _runs(rows: list[int | None]) -> Iterator[tuple[int | None, int]]:
    """Write rows as runs: the first of them and how many follow each other."""
    for _, run in groupby(enumerate(rows), key=lambda each: None if each[1] is None else each[1] - each[0]):
        members = [row for _, row in run]
        yield members[0], len(members)


def _rows(runs: list[tuple[int | None, int]]) -> Iterator[int | None]:
    for first, count in runs:
        yield from [None] * count if first is None else range(first, first + count)
