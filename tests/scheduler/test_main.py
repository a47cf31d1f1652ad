"""`python -m scheduler` on a machine that has the scheduler alone."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_runs_without_the_rest_of_the_project(tmp_path: Path) -> None:
    """With the scheduler, the records on the wire and nothing else of ours, every command of it loads."""
    shutil.copytree(ROOT / "scheduler", tmp_path / "scheduler", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "node_bootstrap").mkdir()
    for name in ("__init__.py", "protocol.py", "codec.py"):
        shutil.copy(ROOT / "node_bootstrap" / name, tmp_path / "node_bootstrap" / name)
    # Its own import path instead of this installation's editable one.
    program = (
        f"import runpy, sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
        f" sys.path[:] = [{str(tmp_path)!r}] + [p for p in sys.path if p and p != {str(ROOT)!r}];"
        " sys.argv = ['millpond', 'scheduler', 'run', '--help'];"
        " runpy.run_module('scheduler', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--settings-url" in done.stdout


def test_it_has_the_commands_that_need_no_deployment_here() -> None:
    """Jobs, pools and the process itself; all from the scheduler's own package."""
    tree = ast.parse((ROOT / "scheduler" / "__main__.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = ("group", "jobs", "nodes", "pools", "process", "schedules", "tasks", "ui", "why")
    assert modules == {f"scheduler.cli.{name}" for name in names}
