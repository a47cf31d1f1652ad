"""The published operations of Azure (OpenAPI), to hold the statuses of the local Azure against."""

import json
import re
from pathlib import Path

import pytest

_TABLE = Path(__file__).resolve().parents[3].parent / "shared" / "azure" / "operations-from-swagger.json"
_FIRST_ERROR = 400


def unexpected_statuses(requests_log: Path) -> list[str]:
    """Return the requests whose status no published operation of that method and path has; skip without the table."""
    if not _TABLE.exists():
        pytest.skip(f"{_TABLE} is not there")
    known: list[tuple[str, re.Pattern[str], set[int]]] = []
    for operation in json.loads(_TABLE.read_text()):
        pattern = re.sub(r"\\\{(scope)\\\}", ".*", re.escape(operation["path"]).replace("/", "/+"))
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", pattern)
        statuses = {int(status) for status in operation["responses"] if status.isdigit()}
        known.append((operation["method"], re.compile(pattern, re.IGNORECASE), statuses))
    wrong = []
    for line in requests_log.read_text().splitlines():
        request = json.loads(line)
        fitting = [
            statuses
            for method, pattern, statuses in known
            if method == request["method"] and pattern.fullmatch(request["path"])
        ]
        allowed = set().union(*fitting)
        if allowed and request["status"] < _FIRST_ERROR and request["status"] not in allowed:
            wrong.append(f"{request['method']} {request['path']}: {request['status']}, published are {sorted(allowed)}")
    return wrong
