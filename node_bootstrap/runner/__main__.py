"""Start the runner: `python3 -m node_bootstrap.runner SETTINGS`, with the settings file that stage 0 wrote."""

import contextlib
import logging
import logging.handlers
import os
import sys
from pathlib import Path

from node_bootstrap.runner.http import Http
from node_bootstrap.runner.metadata import Metadata
from node_bootstrap.runner.settings import RunnerSettings, read_settings
from node_bootstrap.runner.shell import Runner
from node_bootstrap.runner.storage import Storage

_LOG_BYTES = 5 * 1024 * 1024
_OLD_LOGS = 3
_WRONG_USE = 2
_STDERR = 2


def main(arguments: list[str]) -> int:
    """Run until the end; give the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 -m node_bootstrap.runner SETTINGS\n")
        return _WRONG_USE
    try:
        settings = read_settings(Path(arguments[0]))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the runner's settings cannot be read: {error}\n")
        return _WRONG_USE
    # Whoever started us: tasks of another account must be able to reach their folders. What is secret is 0600.
    os.umask(0o022)
    _keep_from_tasks()
    _log_to_file(settings)
    with contextlib.closing(Http()) as client:
        metadata = Metadata(client, settings.identity_client_id)
        storage = Storage(client, metadata, settings.blob_endpoint, settings.queue_endpoint)
        return Runner(settings, storage, metadata).run()


def _keep_from_tasks() -> None:
    """Have no task inherit a file that whoever started the runner left open to it."""
    opened = Path("/proc/self/fd") if Path("/proc/self/fd").is_dir() else Path("/dev/fd")
    for entry in list(opened.iterdir()) if opened.is_dir() else []:
        if int(entry.name) > _STDERR:
            with contextlib.suppress(OSError):  # the one that this listing was read by
                os.set_inheritable(int(entry.name), False)  # noqa: FBT003  the library takes no name


def _log_to_file(settings: RunnerSettings) -> None:
    settings.root.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        settings.root / "runner.log", maxBytes=_LOG_BYTES, backupCount=_OLD_LOGS, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
