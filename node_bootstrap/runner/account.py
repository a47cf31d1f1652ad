"""The account that tasks run as, where the runner may switch accounts."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """A user by name and the number of its primary group, which need not bear the user's name.

    Windows has no such number; there `launcher` is the program that starts a command as the user, without a password.
    """

    name: str
    group: int | None
    launcher: Path | None = None


def account_named(name: str, launcher: Path | None = None) -> Account:
    """Look an account up. `OSError` when it is not there: tasks must not run as the runner then."""
    if os.name == "nt":
        if launcher is None or not launcher.exists():
            raise OSError(f"there is no program to start tasks as {name!r} with; the install script makes it")
        return Account(name, None, launcher)
    found = subprocess.run(["id", "-g", name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise OSError(f"the task account {name!r} does not exist; the install script makes it")
    return Account(name, int(found.stdout))


def hand_over(top: Path, account: Account) -> None:
    """Give a folder with all that is in it to an account. `OSError` when that is not to be done."""
    if account.launcher is None:
        for path in (top, *top.rglob("*")):
            shutil.chown(path, account.name, account.group)
        return
    command = ["icacls", str(top), "/grant", f"{account.name}:(OI)(CI)M", "/t", "/q"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{top} cannot be given to {account.name!r}: {done.stdout}{done.stderr}")
