"""Replaying many settings with a bar, what `--set` says, and pictures of what came out: for `simulate` and `tune`."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from scheduler.cli.reports import reports_table
from scheduler.cli.tables import console
from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Case, Judged, run_cases
from scheduler.simulator.policies.catalogue import kind_of
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World


def split_settings(
    policy: str, policies: Sequence[str], settings: list[str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Give the settings of a policy with one value, and those with several.

    A setting without a policy's name is for every policy that has it; `InvalidRequestError` when none has.
    """
    fixed: dict[str, str] = {}
    varied: dict[str, list[str]] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise InvalidRequestError(f"--set {setting}: expected KEY=VALUE")
        owner, dot, name = key.rpartition(".")
        if dot and owner not in policies:
            raise InvalidRequestError(f"--set {setting}: no --policy {owner} is replayed")
        if not dot and not any(name in kind_of(each).settings for each in policies):
            known = "; ".join(f"{each}: {', '.join(kind_of(each).settings) or 'none'}" for each in policies)
            raise InvalidRequestError(f"--set {setting}: no policy here has such a setting; there are, for {known}")
        if owner not in {"", policy} or (not dot and name not in kind_of(policy).settings):
            continue
        values = value.split(",")
        if len(values) == 1:
            fixed[name] = value
        else:
            varied[name] = values
    return fixed, varied


def run_all(workload: Workload, world: World, cases: list[Case], processes: int) -> list[Judged]:
    """Replay cases beside each other, with a bar; when interrupted, what has been replayed is still shown."""
    ended: list[Judged] = []
    with bar(f"{workload.name}, {len(cases)} settings", len(cases)) as moved:

        def done(each: Judged) -> None:
            ended.append(each)
            moved(len(ended))

        try:
            return run_cases(workload, world, cases, processes=processes or os.cpu_count() or 1, done=done)
        except KeyboardInterrupt:
            if ended:
                console().print(reports_table(ended))
            typer.echo(f"{len(ended)} of {len(cases)} settings were replayed", err=True)
            raise


def save_frontier(judged: Sequence[Judged], workload: Workload, target: Path) -> None:
    """Draw many runs by cost and wait."""
    title = f"{workload.name}: {len(judged)} settings by cost and wait"
    named = [replace(each.report, policy=each.case.label) for each in judged]
    drawing().save_picture(target, drawing().draw_frontier(judged, title), title, named)


def drawing() -> Any:
    """Load what draws when something is to be drawn: it takes longer than most replays."""
    return importlib.import_module("scheduler.simulator.pictures")


@contextmanager
def bar(label: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr while something runs, on terminals only; what is given is told how far it is."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        row = bar.add_task(label, total=total)
        yield lambda done: bar.update(row, completed=done)
