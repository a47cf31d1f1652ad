"""What the runner is told at its start: the settings file that stage 0 wrote."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# What a disk of 30 GB, the least that images have, bears of several tasks at once.
LOG_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """The settings of one node. `root` is the runner's own folder; `task_account` runs the tasks where it is given.

    `task_launcher` starts them as that account where Python cannot (Windows). `environment` is the pool's, for tasks.
    Of each log of a task the first `log_bytes` are kept.
    """

    node_id: str
    pool: str
    blob_endpoint: str
    queue_endpoint: str
    work_queue: str
    events_queue: str
    identity_client_id: str
    task_slots: int
    status_interval_seconds: float
    bundle_sha256: str
    root: Path
    task_account: str | None = None
    task_launcher: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    log_bytes: int = LOG_BYTES


def read_settings(path: Path) -> RunnerSettings:
    """Read a settings file; fields that are not the runner's are left alone. `ValueError` says what is wrong."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return RunnerSettings(
            node_id=str(fields["node_id"]),
            pool=str(fields["pool"]),
            blob_endpoint=str(fields["blob_endpoint"]),
            queue_endpoint=str(fields["queue_endpoint"]),
            work_queue=str(fields["work_queue"]),
            events_queue=str(fields["events_queue"]),
            identity_client_id=str(fields["identity_client_id"]),
            task_slots=int(fields["task_slots"]),
            status_interval_seconds=float(fields["status_interval_seconds"]),
            bundle_sha256=str(fields["bundle_sha256"]),
            root=Path(fields["root"]),
            task_account=fields.get("task_account") or None,
            task_launcher=Path(fields["task_launcher"]) if fields.get("task_launcher") else None,
            environment={str(name): str(value) for name, value in fields.get("environment", {}).items()},
            log_bytes=int(fields.get("log_bytes", LOG_BYTES)),
        )
    except KeyError as error:
        raise ValueError(f"{path}: the field {error} is missing; stage 0 of the same version writes it") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
