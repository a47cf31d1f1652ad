"""The start task of a Batch node as a script that a machine runs, and what it left behind.

Environment variables: "Batch compute node environment variables" of the Batch documentation. The files of a node lie
below its root directory, those of the start task in `startup`.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Where a Linux node of Batch has its tasks.
_ROOT = "mnt/batch/tasks"

_ATTEMPTS = """\
attempt=0
while :; do
  date -u +%Y-%m-%dT%H:%M:%SZ > "$run/began"
  "${{command[@]}}" >> "$startup/stdout.txt" 2>> "$startup/stderr.txt" && code=0 || code=$?
  [ "$code" -eq 0 ] && break
  [ {retries} -ge 0 ] && [ "$attempt" -ge {retries} ] && break
  attempt=$((attempt + 1))
  echo "$attempt" > "$run/retries"
  sleep 0.2
done
date -u +%Y-%m-%dT%H:%M:%SZ > "$run/ended"
exit "$code"
"""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Which node of which pool of which account."""

    node_id: str
    pool: str
    account: str
    account_url: str
    dedicated: bool


def root_of(machine_root: Path) -> Path:
    """Return the root directory that Batch gives a node's tasks."""
    return machine_root / _ROOT


def script(machine_root: Path, node: NodeIdentity, task: Mapping[str, Any]) -> str:
    """Return the script that runs a start task; `ValueError` when its command line cannot be split into words.

    Batch starts the command without a shell, so it is split into words and nothing in it is expanded.
    """
    command = shlex.split(task["commandLine"])
    root = root_of(machine_root)
    startup = root / "startup"
    variables = {
        "AZ_BATCH_ACCOUNT_NAME": node.account,
        "AZ_BATCH_ACCOUNT_URL": node.account_url,
        "AZ_BATCH_NODE_ID": node.node_id,
        "AZ_BATCH_NODE_IS_DEDICATED": str(node.dedicated).lower(),
        "AZ_BATCH_NODE_MOUNTS_DIR": str(root / "fsmounts"),
        "AZ_BATCH_NODE_ROOT_DIR": str(root),
        "AZ_BATCH_NODE_SHARED_DIR": str(root / "shared"),
        "AZ_BATCH_NODE_STARTUP_DIR": str(startup),
        "AZ_BATCH_POOL_ID": node.pool,
        "AZ_BATCH_TASK_DIR": str(startup),
        "AZ_BATCH_TASK_WORKING_DIR": str(startup / "wd"),
    } | {each["name"]: each.get("value", "") for each in task.get("environmentSettings", ())}
    lines = [
        "set -uo pipefail",
        f"run={shlex.quote(str(machine_root.parent))}",
        f"startup={shlex.quote(str(startup))}",
        f'mkdir -p "$startup/wd" {shlex.quote(str(root / "shared"))} {shlex.quote(str(root / "fsmounts"))}',
        'cd "$startup/wd"',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        f"command=({' '.join(map(shlex.quote, command))})",
    ]
    return "\n".join(lines) + "\n" + _ATTEMPTS.format(retries=int(task["maxTaskRetryCount"]))


def information(run: Path, exit_code: int | None) -> dict[str, Any]:
    """Say how the start task of a machine goes, as the node shows it. `run` is the machine's folder."""
    began = _read(run / "began") or datetime.now(UTC).isoformat()
    found: dict[str, Any] = {
        "state": "running" if exit_code is None else "completed",
        "startTime": began,
        "retryCount": int(_read(run / "retries") or "0"),
    }
    if found["retryCount"]:
        found["lastRetryTime"] = began
    if exit_code is not None:
        found |= {"endTime": _read(run / "ended") or began, "exitCode": exit_code}
        found["result"] = "success" if exit_code == 0 else "failure"
    if exit_code:
        found["failureInfo"] = {
            "category": "usererror",
            "code": "FailureExitCode",
            "message": "The task exited with an exit code representing a failure",
            "details": [{"name": "Message", "value": "The task exited with an exit code representing a failure"}],
        }
    return found


def forget(run: Path) -> None:
    """Remove what the last run of the start task left behind."""
    for name in ("began", "ended", "retries"):
        (run / name).unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
