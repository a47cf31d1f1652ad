"""Where local state lies. Light to load: every `millpond` command asks."""

import os
from pathlib import Path

HOME_VARIABLE = "MILLPOND_HOME"
DEPLOYMENT_FILE = "deployment.json"


def default_home() -> Path:
    """Give the folder of all local state: `$MILLPOND_HOME`, else `.millpond` beside the source."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser().resolve() if named else Path(__file__).resolve().parents[2] / ".millpond"
