"""Starting, limiting and ending processes."""

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import ExitCodeRules, Outcome
from node_bootstrap.runner.account import account_named
from node_bootstrap.runner.process_tree import RUN_MARK, end_marked
from node_bootstrap.runner.task_process import Command, Ending, TaskProcess, ending_of
from tests.node_bootstrap.runner.processes import processes_of

RULES = ExitCodeRules(permanent=(2, 137), ignorable=(7,))


def command(folder: Path, *arguments: str, **more: object) -> Command:
    """A command in a folder, marked with it."""
    environment = {"PATH": os.environ["PATH"], RUN_MARK: f"{folder}/1"}
    return Command(
        arguments,
        folder,
        environment,
        folder / "out",
        folder / "err",
        f"{folder}/1",
        **more,  # type: ignore[arg-type]
    )


def python(folder: Path, text: str, **more: object) -> Command:
    """A Python script in a folder."""
    return command(folder, sys.executable, "-c", text, **more)


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0, Outcome.SUCCESS), (1, Outcome.RETRYABLE), (2, Outcome.PERMANENT), (7, Outcome.IGNORABLE)],
)
def test_exit_codes_follow_the_rules(tmp_path: Path, code: int, outcome: Outcome) -> None:
    """Listed codes are what the step says; others are a success if 0 and retryable otherwise."""
    ending = TaskProcess().run(python(tmp_path, f"raise SystemExit({code})"), RULES)
    assert (ending.outcome, ending.exit_code) == (outcome, code)


@given(code=st.integers(-64, 255), permanent=st.sets(st.integers(0, 255)), ignorable=st.sets(st.integers(0, 255)))
def test_every_exit_code_has_one_meaning(code: int, permanent: set[int], ignorable: set[int]) -> None:
    """Permanent wins over ignorable, a list over the value, and only success needs no reason."""
    ending = ending_of(code, ExitCodeRules(tuple(permanent), tuple(ignorable)))
    shown = code if code >= 0 else 128 - code
    expected = Outcome.SUCCESS if shown == 0 else Outcome.RETRYABLE
    if shown in ignorable:
        expected = Outcome.IGNORABLE
    if shown in permanent:
        expected = Outcome.PERMANENT
    assert (ending.outcome, ending.exit_code) == (expected, shown)
    assert bool(ending.reason) == (expected is not Outcome.SUCCESS)


def test_a_signal_is_named(tmp_path: Path) -> None:
    """A crash is told as shells tell it, and rules know it by that number."""
    ending = TaskProcess().run(python(tmp_path, "import os; os.kill(os.getpid(), 9)"), RULES)
    assert ending == Ending(Outcome.PERMANENT, 137, "killed by signal 9 (SIGKILL)")


@pytest.mark.parametrize("arguments", [("no-such-program",), ("./data",), ("a\0b",)])
def test_what_cannot_be_started_is_permanent(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """No node could start it, so it is not tried again."""
    (tmp_path / "data").write_text("text")
    ending = TaskProcess().run(command(tmp_path, *arguments), RULES)
    assert ending.outcome is Outcome.PERMANENT
    assert "cannot be started" in ending.reason


def test_a_missing_folder_is_not_the_commands_fault(tmp_path: Path) -> None:
    """The node lost the folder, so the node is to blame."""
    begun = command(tmp_path / "gone", "true")
    with pytest.raises(OSError, match="gone"):
        TaskProcess().run(
            Command("x", tmp_path / "gone", begun.environment, tmp_path / "o", tmp_path / "e", "m"), RULES
        )


def test_the_wall_clock_limit_kills_the_tree(tmp_path: Path) -> None:
    """A run over its limit is retryable, and what it started is gone, in another session too."""
    text = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    started = time.monotonic()
    ending = TaskProcess().run(python(tmp_path, text, limit_seconds=0.7), RULES)
    assert 0.6 < time.monotonic() - started < 60
    assert (ending.outcome, ending.exit_code) == (Outcome.RETRYABLE, 137)
    assert ending.reason == "stopped after its wall-clock limit of 0.7 s"


def test_what_a_task_leaves_behind_is_ended(tmp_path: Path) -> None:
    """A daemon that a successful task started does not outlive it."""
    text = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    assert TaskProcess().run(python(tmp_path, text), RULES).outcome is Outcome.SUCCESS


def test_stop_kills_from_another_thread(tmp_path: Path) -> None:
    """The run then has the outcome that the stop says."""
    process = TaskProcess()
    threading.Timer(0.3, process.stop, (Outcome.CANCELLED, "asked")).start()
    assert process.run(command(tmp_path, "sleep", "600"), RULES) == Ending(Outcome.CANCELLED, None, "asked")


def test_stop_before_the_start_lets_nothing_start(tmp_path: Path) -> None:
    """A stop that comes while inputs are staged is not lost."""
    process = TaskProcess()
    process.stop(Outcome.PREEMPTED, "asked")
    assert process.run(command(tmp_path, "touch", "ran"), RULES).outcome is Outcome.PREEMPTED
    assert not (tmp_path / "ran").exists()


def test_stop_after_the_end_changes_nothing(tmp_path: Path) -> None:
    """A task that had ended by itself keeps its outcome."""
    process = TaskProcess()
    assert process.run(command(tmp_path, "true"), RULES).outcome is Outcome.SUCCESS
    process.stop(Outcome.CANCELLED, "asked")
    assert process.stopped is None


def test_leftovers_of_an_earlier_runner_are_ended(tmp_path: Path) -> None:
    """A runner that was killed leaves processes; the next one ends them by their mark."""
    process = TaskProcess()
    thread = threading.Thread(target=process.run, args=(command(tmp_path, "sleep", "600"), RULES))
    thread.start()
    while not processes_of(tmp_path):
        time.sleep(0.01)
    end_marked(f"{tmp_path}/")
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may switch accounts")
def test_tasks_run_as_another_account() -> None:
    """Without the runner's groups, and without a way to its files."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o777)
        secret = folder / "secret"
        secret.touch(0o600)
        text = f"import os; print(os.getuid(), os.getgroups()); open({str(secret)!r})"
        begun = command(folder, "/usr/bin/env", "python3", "-c", text, account=account_named("nobody"))
        assert TaskProcess().run(begun, RULES).exit_code == 1
        assert (folder / "out").read_text().split()[0] != "0"
        assert "PermissionError" in (folder / "err").read_text()
    finally:
        shutil.rmtree(folder)


def test_an_account_that_is_not_there_is_refused() -> None:
    """Tasks never fall back to the runner's own account."""
    with pytest.raises(OSError, match="does not exist"):
        account_named("no-such-account")


@pytest.mark.parametrize("seconds", [0.0, 1.2], ids=["brief", "long"])
def test_a_grandchild_in_a_session_of_its_own_is_ended(tmp_path: Path, seconds: float) -> None:
    """However long its task ran, and though its parent ended first, so that nothing leads to it but its words."""
    inner = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    text = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {inner!r}]); time.sleep({seconds})"
    assert TaskProcess().run(python(tmp_path, text), RULES).outcome is Outcome.SUCCESS


def test_a_task_is_ended_whole_though_many_others_start(tmp_path: Path) -> None:
    """A brief task beside which more processes start than are looked at one by one is searched for everywhere."""
    text = (
        "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True);"
        "[subprocess.run(['true']) for _ in range(150)]"
    )
    assert TaskProcess().run(python(tmp_path, text), RULES).outcome is Outcome.SUCCESS
