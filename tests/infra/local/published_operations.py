"""The published operations of Azure, to hold the statuses of the local Azure against: OpenAPI files and Python SDKs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "azure"
_TABLE = _SHARED / "operations-from-swagger.json"
_SDKS = _SHARED / "sdk-operations.json"
_FIRST_ERROR = 400

Known = list[tuple[str, re.Pattern[str], set[int]]]


def unexpected_statuses(requests_log: Path) -> list[str]:
    """Return the requests whose status no published operation of that method and path has; skip without the table."""
    return sorted(set(_unexpected(requests_log, _of_openapi())))


def statuses_that_sdks_refuse(requests_log: Path) -> list[str]:
    """Return the requests whose status the Python SDKs would raise an error for; skip without the table."""
    return sorted(set(_unexpected(requests_log, _of_sdks())))


def _of_openapi() -> Known:
    if not _TABLE.exists():
        pytest.skip(f"{_TABLE} is not there")
    operations = json.loads(_TABLE.read_text())
    return [
        (operation["method"], _pattern(operation["path"]), {int(s) for s in operation["responses"] if s.isdigit()})
        for operation in operations
    ]


def _of_sdks() -> Known:
    if not _SDKS.exists():
        pytest.skip(f"{_SDKS} is not there")
    packages = json.loads(_SDKS.read_text()).values()
    operations = [operation for package in packages for operation in package.values()]
    return [(operation["method"], _pattern(operation["url"]), set(operation["codes"])) for operation in operations]


def _pattern(path: str) -> re.Pattern[str]:
    pattern = re.sub(r"\\\{(scope)\\\}", ".*", re.escape(path).replace("/", "/+"))
    return re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern), re.IGNORECASE)


def _unexpected(requests_log: Path, known: Known) -> Iterator[str]:
    for line in requests_log.read_text().splitlines():
        request = json.loads(line)
        fitting = [
            statuses
            for method, pattern, statuses in known
            if method == request["method"] and pattern.fullmatch(request["path"])
        ]
        allowed = set().union(*fitting)
        if allowed and request["status"] < _FIRST_ERROR and request["status"] not in allowed:
            yield f"{request['method']} {request['path']}: {request['status']}, published are {sorted(allowed)}"
