"""What a pool wants of its machines besides the task runner: the file `boot-plan.json` of its bundle.

It travels in the bundle, so that it is pinned by the bundle's hash, makes a new generation when it changes, and leaves
stage 0 as small as it is. Nodes read it: standard library only.
"""

from dataclasses import dataclass
from enum import StrEnum

PLAN_FILE = "boot-plan.json"


class Defender(StrEnum):
    """What Windows Defender watches in real time on a node."""

    ON = "on"
    EXCLUDE_TASKS = "exclude-tasks"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class BootPackage:
    """A file from the stack's own storage, laid where start commands and tasks find it; archives are unpacked."""

    name: str
    blob: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class StartCommand:
    """A script that runs before the first task, as the system's own account: bash on Linux, PowerShell on Windows."""

    name: str
    script: str
    timeout_seconds: float
    retries: int = 0


@dataclass(frozen=True, slots=True)
class BootPlan:
    """How a pool's machines are set up. `time_zone` is a name of their system's: an IANA one, or Windows's own.

    `environment` is for start commands and tasks; nothing in it is secret. With `metadata_for_tasks`, tasks reach the
    metadata address and so can act as the pool. `windows_updates` and `defender` mean Windows alone.
    """

    time_zone: str = "UTC"
    environment: tuple[tuple[str, str], ...] = ()
    packages: tuple[BootPackage, ...] = ()
    start_commands: tuple[StartCommand, ...] = ()
    metadata_for_tasks: bool = False
    windows_updates: bool = False
    defender: Defender = Defender.EXCLUDE_TASKS
