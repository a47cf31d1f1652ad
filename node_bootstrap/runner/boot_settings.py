"""Writes the runner's settings: those of stage 0, and what the install script found out about the machine.

`python3 -m node_bootstrap.runner.boot_settings SETTINGS PLAN RUNNER NAME=VALUE...`. A file of its own, replaced whole:
where the boot is run again beside a runner that works, that one never sees settings that are not complete.
"""

import json
import os
import sys
from pathlib import Path

from node_bootstrap.boot_plan import BootPlan
from node_bootstrap.protocol import decode
from node_bootstrap.runner.boot_record import boot_settings

PACKAGES_VARIABLE = "MILLPOND_PACKAGES"


def main(arguments: list[str]) -> None:
    """Write `RUNNER`; names without a value are left as they are in `SETTINGS`."""
    settings_file, plan_file, runner_file, *facts = arguments
    path = Path(settings_file)
    plan = decode(BootPlan, Path(plan_file).read_bytes())
    found = dict(fact.split("=", 1) for fact in facts)
    settings = {**boot_settings(path), **{name: value for name, value in found.items() if value}}
    packages = {PACKAGES_VARIABLE: str(packages_folder(path))} if plan.packages else {}
    settings["environment"] = {**dict(plan.environment), **packages}
    _replace(Path(runner_file), json.dumps(settings))


def packages_folder(settings_file: Path) -> Path:
    """Give the folder in which a machine's packages lie: beside its settings."""
    return settings_file.parent / "packages"


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
