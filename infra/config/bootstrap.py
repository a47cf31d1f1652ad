"""How a pool's machines are set up before their first task, as settings."""

import re
import zoneinfo
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from infra.config.section import Duration, Name, PinnedFile, Section, rule
from infra.findings import choose, wrong
from node_bootstrap.boot_plan import BootPackage, BootPlan, Defender, StartCommand
from node_bootstrap.render import OperatingSystem

# The whole boot runs within the extension's 90 minutes (docs: custom script extension); the rest is for what is ours.
MOST_START_TIME = timedelta(minutes=80)
# A plan travels in every node's bundle; what is larger is a package.
MOST_SCRIPT_BYTES = 64 * 1024
MOST_START_COMMANDS = 20
MOST_RETRIES = 10
# A process's whole environment has 32,767 characters on Windows (docs: CreateProcess), and a task's own is in it too.
MOST_ENVIRONMENT_CHARACTERS = 16 * 1024
DEFAULT_TIME_ZONE = "UTC"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = ("AZ_BATCH_", "MILLPOND_")
_SECRET = re.compile(r"(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|SAS|(API|ACCOUNT|ACCESS|PRIVATE)_?KEY)($|_)", re.IGNORECASE)
_IANA = re.compile(r"[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)*")
_WINDOWS_ZONE = re.compile(r"[A-Za-z0-9 .()+-]{1,64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENDINGS = (".tar.gz", ".tgz", ".zip")


def _environment(values: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in values.items():
        if _VARIABLE.fullmatch(name) is None:
            raise wrong(f"{name!r} is not a variable's name", "write letters, digits and _, not beginning with a digit")
        if name.upper().startswith(_OURS):
            raise wrong(f"{name} is set by Millpond", "choose a name that does not begin with AZ_BATCH_ or MILLPOND_")
        if _SECRET.search(name) is not None:
            raise wrong(
                f"{name} looks like a secret, and these values can be read by everybody who may read the stack or"
                " storage",
                "have the script read it from a key vault as the pool's identity, or choose another name",
            )
        if "\0" in value:
            raise wrong(f"the value of {name} has a NUL character", "leave it out")
    if sum(len(name) + len(value) + 2 for name, value in values.items()) > MOST_ENVIRONMENT_CHARACTERS:
        raise wrong(
            f"has more than {MOST_ENVIRONMENT_CHARACTERS} characters", "put what is large into a package, as a file"
        )
    return values


class PackageConfig(PinnedFile):
    """A file that the program mirrors, and that nodes lay into the folder `MILLPOND_PACKAGES` under its name."""

    name: Annotated[
        str, rule(lambda text: _FILE.fullmatch(text) is not None, "up to 100 letters, digits, dots, _ and -")
    ] = Field(examples=["licences"])
    size: int = Field(gt=0, examples=[1048576])

    @property
    def suffix(self) -> str:
        """How its blob's name ends: nodes unpack archives by it."""
        source = self.source.lower()
        return next((ending for ending in _ENDINGS if source.endswith(ending)), "")


class StartCommandConfig(Section):
    """A script that runs before a node's first task, as root or SYSTEM; it has to bear being run again."""

    name: Name = Field(examples=["licences"])
    script: str = Field(min_length=1, examples=['cp "$MILLPOND_PACKAGES"/licences/* /etc/licences/'])
    timeout: Duration = Field(timedelta(minutes=5), examples=["5m"])
    retries: int = Field(0, ge=0, le=MOST_RETRIES, examples=[2])

    @field_validator("script")
    @classmethod
    def _fits(cls, value: str) -> str:
        if "\0" in value:
            raise wrong("has a NUL character", "leave it out")
        if len(value.encode()) > MOST_SCRIPT_BYTES:
            raise wrong(
                f"has {len(value.encode())} bytes, and {MOST_SCRIPT_BYTES} fit",
                "put it into a package and write a script that calls it",
            )
        return value

    @field_validator("timeout")
    @classmethod
    def _bounds(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= value <= MOST_START_TIME:
            raise wrong(f"{value} is out of bounds", "write between 1s and 80m")
        return value


class BootstrapConfig(Section):
    """What is done on a node before its first task; any change of it makes new machines."""

    time_zone: str | None = Field(None, examples=["Europe/Berlin"])
    environment: Annotated[Mapping[str, str], AfterValidator(_environment)] = Field(
        {}, examples=[{"OMP_NUM_THREADS": "1"}]
    )
    packages: tuple[PackageConfig, ...] = Field(
        (), examples=[[{"name": "licences", "file": "licences.zip", "sha256": "(64 digits)", "size": 1048576}]]
    )
    start_commands: tuple[StartCommandConfig, ...] = Field((), examples=[[{"name": "licences", "script": "..."}]])
    metadata_for_tasks: bool = Field(default=False, examples=[True])
    windows_updates: bool = Field(default=False, examples=[True])
    defender: Defender = Field(Defender.EXCLUDE_TASKS, examples=["exclude-tasks"])

    @field_validator("packages", "start_commands")
    @classmethod
    def _names_of_their_own(
        cls, value: tuple[PackageConfig | StartCommandConfig, ...]
    ) -> tuple[PackageConfig | StartCommandConfig, ...]:
        names = [each.name for each in value]
        for name in names:
            if names.count(name) > 1:
                raise wrong(f"{name!r} is there twice", "write a name of its own for each")
        return value

    @field_validator("start_commands")
    @classmethod
    def _few(cls, value: tuple[StartCommandConfig, ...]) -> tuple[StartCommandConfig, ...]:
        if len(value) > MOST_START_COMMANDS:
            raise wrong(f"there are more than {MOST_START_COMMANDS}", "put several into one script")
        return value

    @model_validator(mode="after")
    def _within_the_extension(self) -> "BootstrapConfig":
        if self.longest > MOST_START_TIME:
            raise wrong(
                f"the start commands may take {self.longest} with their retries, and Azure ends a boot after 1:30:00",
                "shorten their timeout, or lower retries",
            )
        return self

    @property
    def longest(self) -> timedelta:
        """The time that its start commands may take, each try up to its limit."""
        return sum((each.timeout * (each.retries + 1) for each in self.start_commands), timedelta())

    @property
    def plan(self) -> BootPlan:
        """The same for the nodes."""
        return BootPlan(
            time_zone=self.time_zone or DEFAULT_TIME_ZONE,
            environment=tuple(sorted(self.environment.items())),
            packages=tuple(
                BootPackage(each.name, f"{each.sha256}{each.suffix}", each.sha256, each.size) for each in self.packages
            ),
            start_commands=tuple(
                StartCommand(each.name, each.script, each.timeout.total_seconds(), each.retries)
                for each in self.start_commands
            ),
            metadata_for_tasks=self.metadata_for_tasks,
            windows_updates=self.windows_updates,
            defender=self.defender,
        )

    def check_for(self, system: OperatingSystem) -> None:
        """Raise pydantic's error for what this system does not know."""
        _check_zone(self.time_zone, system)
        if system is OperatingSystem.LINUX:
            for name in ("windows_updates", "defender"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise wrong(f"{name} is for Windows, and the pool's image is a Linux one", f"leave {name} out")


def _check_zone(zone: str | None, system: OperatingSystem) -> None:
    if zone is None:
        return
    if system is OperatingSystem.WINDOWS:
        if "/" in zone or _WINDOWS_ZONE.fullmatch(zone) is None:
            raise wrong(
                f"Windows has no time zone {zone!r}", "write one of `tzutil /l`, such as W. Europe Standard Time"
            )
        return
    # Known where this machine has a list of them; else what looks like one is taken, and a boot would name it.
    known = zoneinfo.available_timezones()
    if _IANA.fullmatch(zone.replace("_", "-")) is None or (known and zone not in known):
        raise wrong(f"there is no time zone {zone!r}", choose(zone, sorted(known or {"Europe/Berlin", "UTC"})))
