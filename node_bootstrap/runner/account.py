"""The account that tasks run as, where the runner may switch accounts."""

import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A user by name and the number of its primary group, which need not bear the user's name."""

    name: str
    group: int


def account_named(name: str) -> Account:
    """Look an account up. `OSError` when it is not there: tasks must not run as the runner then."""
    found = subprocess.run(["id", "-g", name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise OSError(f"the task account {name!r} does not exist; the install script makes it")
    return Account(name, int(found.stdout))
