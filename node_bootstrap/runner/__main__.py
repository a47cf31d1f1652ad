"""Start the runner: `python3 -m node_bootstrap.runner SETTINGS`, with the settings file that stage 0 wrote."""

import logging
import logging.handlers
import os
import sys
from pathlib import Path

from node_bootstrap.runner.settings import RunnerSettings, read_settings
from node_bootstrap.runner.shell import Runner

_LOG_BYTES = 5 * 1024 * 1024
_OLD_LOGS = 3
_WRONG_USE = 2


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
    _log_to_file(settings)
    return Runner(settings).run()


def _log_to_file(settings: RunnerSettings) -> None:
    settings.root.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        settings.root / "runner.log", maxBytes=_LOG_BYTES, backupCount=_OLD_LOGS, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
