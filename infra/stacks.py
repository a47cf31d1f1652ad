"""Stacks as their settings files name them: what a file says, and in which environment its commands run.

Light to load: every `millpond` command may need it.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml

from infra.local.environment import environment, environment_at
from infra.local.layout import Layout, read_state
from scheduler.cli.place import DEPLOYMENT_FILE, default_home
from scheduler.errors import InvalidRequestError

PROJECT_ROOT = Path(__file__).resolve().parents[1]
DEFAULT_STACK = "local"

_PREFIX = "millpond:"


def settings_of(stack: str) -> Mapping[str, object]:
    """Read a stack's own settings, without the project's prefix; `InvalidRequestError` when there are none."""
    path = PROJECT_ROOT / f"Pulumi.{stack}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = sorted(file.name.split(".")[1] for file in PROJECT_ROOT.glob("Pulumi.*.yaml"))
        raise InvalidRequestError(
            f"there is no stack {stack!r}: {path} is not there; stacks here are: {', '.join(known)}"
        ) from None
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{path} is not YAML: {error}") from error
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise InvalidRequestError(f"{path} has no settings: write them below `config:`, as in Pulumi.local.yaml")
    return {key.removeprefix(_PREFIX): value for key, value in config.items() if str(key).startswith(_PREFIX)}


def environment_of(stack: str) -> dict[str, str]:
    """Give the variables with which a stack's commands run: those of the local Azure where its settings say so.

    Raises `infra.local.layout.LocalAzureError` when that is not up.
    """
    return environment(default_home()) if settings_of(stack).get("cloud") == "local" else {}


def environment_if_any(stack: str) -> dict[str, str]:
    """Give the same for commands that may do without: nothing for an unknown stack or a local Azure that is down.

    One that has crashed comes back at its addresses, and what needs only the scheduler works meanwhile.
    """
    layout = Layout(default_home())
    state = read_state(layout)
    if state is None or not (PROJECT_ROOT / f"Pulumi.{stack}.yaml").exists():
        return {}
    return environment_at(layout, state) if settings_of(stack).get("cloud") == "local" else {}


def deployment_file(stack: str) -> Path:
    """Where `millpond up` writes what the scheduler starts from."""
    return default_home() / stack / DEPLOYMENT_FILE
