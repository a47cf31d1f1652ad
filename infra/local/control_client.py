"""Asking the running local Azure of a home to do something wrong, or no longer to."""

import json
import urllib.error
import urllib.parse
from pathlib import Path
from typing import Any

from infra.local.health import ask
from infra.local.layout import Layout, LocalAzureError
from infra.local.lock import require_running

Json = dict[str, Any]


def add_fault(home: Path, fault: Json) -> Json:
    """Let something go wrong from now on; values that are None are left to the local Azure."""
    return _ask(home, "POST", "/faults", {name: value for name, value in fault.items() if value is not None})


def list_faults(home: Path) -> list[Json]:
    """Return the standing faults, oldest first."""
    return list(_ask(home, "GET", "/faults")["faults"])


def clear_faults(home: Path, fault_id: str | None) -> list[Json]:
    """End one fault, or all of them, and return those that ended."""
    query = f"?{urllib.parse.urlencode({'id': fault_id})}" if fault_id else ""
    return list(_ask(home, "DELETE", f"/faults{query}")["faults"])


def preempt(home: Path, node_id: str, notice_seconds: float) -> None:
    """Give an instance notice that it will be taken away, and take it away then."""
    _ask(home, "POST", "/preemptions", {"node_id": node_id, "notice_seconds": notice_seconds})


def _ask(home: Path, method: str, path: str, body: Json | None = None) -> Json:
    state = require_running(Layout(home.resolve()))
    try:
        answer: Json = ask(f"{state.metadata_url}{path}", state, method, body)
    except urllib.error.HTTPError as error:
        with error:
            raise LocalAzureError(_reason(error)) from error
    except OSError as error:
        raise LocalAzureError(f"the local Azure does not answer ({error}); run: millpond local status") from error
    return answer


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the local Azure answered {error.code} {error.reason}; run: millpond local logs"
