"""`millpond simulate`, `tune` and `history`: what a scaling policy would have done, before it does."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from scheduler.cli.group import group, verbatim
from scheduler.cli.reports import groups_table, proposal_lines, report_table, reports_table
from scheduler.cli.shared_options import with_options
from scheduler.cli.simulated import ReplayOptions
from scheduler.cli.tables import console, print_json
from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Case, Engine, Judged, grid, run_case, run_cases
from scheduler.simulator.objective import propose, read_objective
from scheduler.simulator.policies.catalogue import KINDS, kind_of
from scheduler.simulator.report import report
from scheduler.simulator.targets import check_target
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World

commands = group("simulator", "Replay workloads through scaling policies.")

_POLICIES = "\n".join(
    f"  {kind.name:<14} {kind.summary}\n{'':17}{' '.join(f'{name}={value}' for name, value in kind.settings.items())}"
    for kind in KINDS
)

_HELP = f"""Replay a recorded workload through scaling policies: what each would have cost, how long work had waited.

FILE may be a log in Standard Workload Format, a table (submit_s,run_s[,slots,estimate_s,pool,id,after]), a workflow in
WfFormat 1.5 or a history that `millpond history` wrote; compressed with gzip or not. Jobs are tasks; a node runs one
for each of its slots.

Policies, with --policy, and their settings; give several to compare them:
{_POLICIES}

Settings: --set idle_timeout=5min for all policies that have it, --set millpond.idle_timeout=5min for one. With values
separated by commas every combination is replayed.

Examples:
  millpond simulate --trace jobs.swf.gz --policy queue-depth
  millpond simulate --trace jobs.csv --policy millpond --set acceptable_wait=1min,5min,20min --picture frontier.html
  millpond simulate --trace jobs.csv --world pools.toml --engine faithful
"""

_TUNE_HELP = """Find the setting that serves an objective at the least cost, by replaying a history with many.

The objective bounds one number: `p95 wait 5 min` (mean, p50, p95, p99 or max), `cost 200 node-hours` or `cost 40 usd`.
Among the settings that keep it, a wait's bound takes the fewest node-hours, a cost's bound the least mean wait.

A proposal fits the history that it was found with: what comes may differ. Node boots are drawn from those of the
history where it has any, else --boot holds.

Example:
  millpond history render > render.jsonl
  millpond tune --history render.jsonl --objective "p95 wait 5 min"
"""


@commands.command(help=verbatim(_HELP))
@with_options(ReplayOptions)
def simulate(
    *,
    trace: Annotated[Path, typer.Option("--trace", metavar="FILE", help="The workload.")],
    policy: Annotated[list[str], typer.Option("--policy", help="A policy; may be repeated.")] = ["millpond"],  # noqa: B006
    engine: Annotated[
        Engine,
        typer.Option("--engine", help="faithful: the real controller, store and runner; slow, and for millpond only."),
    ] = Engine.FAST,
    options: ReplayOptions,
) -> None:
    """Replay a workload through policies."""
    picture = options.picture
    if picture is not None:
        check_target(picture)
    workload, world = options.read(trace)
    cases = [
        replace(case, engine=engine) for name in policy for case in _cases(name, policy, options.settings, options.seed)
    ]
    if len(cases) == 1:
        with _bar(cases[0].label, 1.0) as moved:
            run = run_case(workload, world, cases[0], progress=moved)
        judged = [Judged(cases[0], report(run))]
        if picture is not None:
            drawing = _drawing()
            title = f"{workload.name}: {cases[0].label}"
            drawing.save_picture(picture, drawing.draw_timeline(run), title, [judged[0].report])
    else:
        judged = _run_all(workload, world, cases, options.processes)
        if picture is not None:
            _draw_frontier(judged, workload, picture)
    if options.as_json:
        print_json(judged)
        return
    page = console()
    page.print(report_table(judged[0]) if len(judged) == 1 else reports_table(judged))
    if len(judged) == 1 and len(world.groups) > 1:
        page.print(groups_table(judged[0].report))


@commands.command(help=verbatim(_TUNE_HELP))
@with_options(ReplayOptions)
def tune(
    *,
    history: Annotated[Path, typer.Option("--history", metavar="FILE", help="The workload; see `millpond history`.")],
    objective: Annotated[str, typer.Option("--objective", help="What is wanted, such as 'p95 wait 5 min'.")],
    policy: Annotated[str, typer.Option("--policy", help="The policy whose setting is sought.")] = "millpond",
    options: ReplayOptions,
) -> None:
    """Find the setting that serves an objective at the least cost."""
    wanted = read_objective(objective)
    if options.picture is not None:
        check_target(options.picture)
    kind = kind_of(policy)
    workload, world = options.read(history)
    fixed, varied = _split(policy, (policy,), options.settings)
    searched = {name: [str(value) for value in values] for name, values in kind.sweep.items() if name not in fixed}
    searched |= varied
    if not searched:
        raise InvalidRequestError("there is nothing to search: give --set with several values, separated by commas")
    judged = _run_all(workload, world, grid(policy, searched, fixed, options.seed), options.processes)
    proposal = propose(wanted, judged)
    if options.picture is not None:
        _draw_frontier(judged, workload, options.picture)
    if options.as_json:
        print_json({"objective": str(wanted), "kept": proposal.kept, "best": proposal.best, "tried": judged})
        return
    page = console()
    page.print(reports_table(judged))
    for line in proposal_lines(wanted, proposal):
        page.print(line, markup=False, soft_wrap=True)


def _split(
    policy: str, policies: tuple[str, ...] | list[str], settings: list[str]
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


def _cases(policy: str, policies: list[str], settings: list[str], seed: int) -> list[Case]:
    fixed, varied = _split(policy, policies, settings)
    return grid(policy, varied, fixed, seed)


def _run_all(workload: Workload, world: World, cases: list[Case], processes: int) -> list[Judged]:
    with _bar(f"{workload.name}, {len(cases)} settings", len(cases)) as moved:
        ended = 0

        def done(_: Judged) -> None:
            nonlocal ended
            ended += 1
            moved(ended)

        return run_cases(workload, world, cases, processes=processes or os.cpu_count() or 1, done=done)


def _draw_frontier(judged: list[Judged], workload: Workload, target: Path) -> None:
    title = f"{workload.name}: {len(judged)} settings by cost and wait"
    named = [replace(each.report, policy=each.case.label) for each in judged]
    drawing = _drawing()
    drawing.save_picture(target, drawing.draw_frontier(judged, title), title, named)


def _drawing() -> Any:
    """Load what draws when something is to be drawn: it takes longer than most replays."""
    return importlib.import_module("scheduler.simulator.pictures")


@contextmanager
def _bar(label: str, total: float) -> Iterator[Callable[[float], None]]:
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
