"""Processes are found by the marks in their environment, whatever they are doing."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from infra.local.layout import FOLDER_MARK
from infra.local.processes import kill_all, marked, of_folder


def test_a_process_is_found_while_it_executes_another_program(tmp_path: Path) -> None:
    """A script that executes itself again and again is seen by every look, though Linux hides its words at times."""
    script = tmp_path / "again.sh"
    script.write_text('exec bash "$0"\n')
    started = subprocess.Popen(["bash", str(script)], env=os.environ | {FOLDER_MARK: str(tmp_path)})
    try:
        looks = [[process.pid for process, _ in marked(of_folder(tmp_path))] for _ in range(100)]
        assert all(found == [started.pid] for found in looks)
    finally:
        kill_all(of_folder(tmp_path))
        started.wait()


def test_what_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When killing is in vain for as long as one is patient, the error names the processes."""
    started = subprocess.Popen(["sleep", "60"], env=os.environ | {FOLDER_MARK: str(tmp_path)})
    try:
        monkeypatch.setattr("psutil.Process.kill", lambda process: None)
        with pytest.raises(TimeoutError, match=str(started.pid)):
            kill_all(of_folder(tmp_path), patience_seconds=0.1)
    finally:
        started.kill()
        started.wait(timeout=time.monotonic())
