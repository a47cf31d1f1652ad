"""What a task leaves behind is noticed without a search, and then ended."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node_bootstrap.runner.workers import Workers
from tests.node_bootstrap.runner.processes import processes_of

# In a process of its own, as adopting orphans is for its whole life. Runs a command as the runner does: not from the
# main thread. Prints whether a search was needed, and whether nothing is left of what had been adopted.
PROGRAM = """
import pathlib, sys, threading
from node_bootstrap.protocol import ExitCodeRules
from node_bootstrap.runner import process_tree, task_process
from node_bootstrap.runner.process_tree import RUN_MARK, Orphans
folder, text = pathlib.Path(sys.argv[1]), sys.argv[2]
searches = []
search = process_tree.end_tree
process_tree.end_tree = lambda leader, mark: (searches.append(leader), search(leader, mark))
mark = f"{folder}/1"
environment = {"PATH": "/usr/bin:/bin", RUN_MARK: mark}
command = task_process.Command(("sh", "-c", text), folder, environment, folder / "out", folder / "err", mark)
orphans = Orphans()
thread = threading.Thread(target=task_process.TaskProcess(orphans).run, args=(command, ExitCodeRules()))
thread.start()
thread.join()
print(len(searches) > 0, orphans.possible(0))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can tell")
@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("exit 3", False),
        ("sleep 600 & exit 0", True),
        ("setsid sleep 600 & exit 0", True),
        ("(setsid sh -c 'sleep 600 & exit 0' &) ; exit 0", True),
        ("env -i setsid sleep 600 & exit 0", True),
    ],
)
def test_only_what_is_left_behind_is_searched_for(tmp_path: Path, text: str, searched: bool) -> None:
    """No search where nothing is left; where something is, it is ended, daemons with a session of their own too."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), text], capture_output=True, text=True, check=True, timeout=30.0
    )
    found, left = done.stdout.split()
    assert left == "False"
    assert found == str(searched)
    assert processes_of(tmp_path) == []


def test_threads_are_kept_and_none_waits_for_another() -> None:
    """Pieces of work that wait for each other all run; one after the other needs one thread."""
    workers = Workers()
    meeting = threading.Barrier(5)

    def meet() -> None:
        meeting.wait(10.0)

    for _ in range(4):
        workers.do(meet)
    meet()
    seen: list[int] = []
    for count in range(1, 21):
        done = threading.Event()

        def note(done: threading.Event = done) -> None:
            seen.append(threading.get_ident())
            done.set()

        workers.do(note)
        assert done.wait(10.0)
        assert len(seen) == count
    assert len(set(seen)) <= 5
