"""Machines: whether the scripts of a run are at work, have ended, or were killed."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.layout import Layout
from infra.local.machines import BOOT, Machines
from infra.local.processes import kill_all, of_folder


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Machines in a folder of their own."""
    made = Machines(Layout(tmp_path), lambda: "http://127.0.0.1:1")
    yield made
    made.kill("m")


def ended(machines: Machines) -> int | None:
    """How the run of machine m ended, waited for."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        code = machines.ending("m", BOOT)
        if code is not None:
            return code
        time.sleep(0.02)
    return None


def nothing(*, fresh: bool = False) -> frozenset[str]:
    """What a look that misses everything finds."""
    return frozenset()


def test_a_run_that_lives_is_not_taken_for_killed(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a run's own process lives it has not ended, even if a look at all processes misses it."""
    machines.start("m", "nonce", ["sleep 60\n"])
    monkeypatch.setattr(machines, "alive", nothing)
    os.utime(machines.files("m").started(BOOT), (0, 0))
    assert machines.ending("m", BOOT) is None


def test_a_run_is_looked_for_a_second_after_its_start(machines: Machines, tmp_path: Path) -> None:
    """What another daemon started a moment ago is not given up, however long ago it was ordered; later it is."""
    files = machines.files("m")
    files.folder.mkdir(parents=True)
    files.started(BOOT).write_text("0")
    another = Machines(Layout(tmp_path), lambda: "http://127.0.0.1:1")
    assert another.ending("m", BOOT) is None
    os.utime(files.started(BOOT), (0, 0))
    assert another.ending("m", BOOT) == 128 + signal.SIGKILL


def test_a_killed_run_ends_with_the_number_of_its_signal(machines: Machines, tmp_path: Path) -> None:
    """When every process of a run is killed, nobody writes its exit code, and it counts as killed."""
    machines.start("m", "nonce", ["sleep 60\n"])
    kill_all(of_folder(Layout(tmp_path).local))
    os.utime(machines.files("m").started(BOOT), (0, 0))
    assert ended(machines) == 128 + signal.SIGKILL


def test_a_run_ends_with_the_code_of_its_scripts(machines: Machines) -> None:
    """The first script that fails ends the run with its code."""
    machines.start("m", "nonce", ["true\n", "exit 7\n", "exit 8\n"])
    assert ended(machines) == 7
