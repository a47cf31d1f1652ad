"""`millpond simulate`, `tune` and `history`: what a scaling policy would have done, before it does."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from scheduler.catalog import VM_SIZES
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, group, verbatim
from scheduler.cli.reports import history_note, proposal_lines, report_table, reports_table
from scheduler.cli.tables import console, print_json
from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.simulator.cases import Case, Engine, Judged, grid, run_case, run_cases
from scheduler.simulator.objective import propose, read_objective
from scheduler.simulator.pictures import check_target, draw_frontier, draw_timeline, save_picture
from scheduler.simulator.policies.catalogue import KINDS, kind_of
from scheduler.simulator.quantities import seconds_of
from scheduler.simulator.readers.history import record_history
from scheduler.simulator.readers.reading import Reading
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.report import report
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import (
    Dispatch,
    Distribution,
    Exponential,
    Fixed,
    Group,
    LogNormal,
    Measured,
    Pool,
    World,
)

commands = group("simulator", "Replay workloads through scaling policies.")

_DEFAULT_BOOT = 240.0
_SHOWN_PROBLEMS = 5
_POLICIES = "\n".join(
    f"  {kind.name:<14} {kind.summary}\n{'':17}{' '.join(f'{name}={value}' for name, value in kind.settings.items())}"
    for kind in KINDS
)

_HELP = f"""Replay a recorded workload through scaling policies: what each would have cost, how long work had waited.

FILE may be a log in Standard Workload Format, a table (submit_s,run_s[,slots,estimate_s,id,after]), a workflow in
WfFormat 1.5 or a history that `millpond history` wrote; compressed with gzip or not. Jobs are tasks; a node runs one
for each of its slots.

Policies, with --policy, and their settings; give several to compare them:
{_POLICIES}

Settings: --set idle_timeout=5min for all policies that have it, --set millpond.idle_timeout=5min for one. With values
separated by commas every combination is replayed.

Examples:
  millpond simulate --trace jobs.swf.gz --policy queue-depth
  millpond simulate --trace jobs.csv --policy millpond --set acceptable_wait=1min,5min,20min --picture frontier.html
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

Boot = Annotated[
    str | None,
    typer.Option(
        "--boot",
        help="Time from asking for a node until it takes work, paid for: 240s, or lognormal:240s:0.3, or"
        " exponential:240s. Default: the history's own, else 240s.",
    ),
]
Slots = Annotated[int, typer.Option("--slots", min=1, help="Task slots of a node.")]
MaxNodes = Annotated[int | None, typer.Option("--max-nodes", min=1, help="Most nodes; without it, any number.")]
JobSlots = Annotated[
    str,
    typer.Option(
        "--job-slots",
        help="one: each job takes one slot, whatever the log says; recorded: as recorded, on one node; spread: as"
        " recorded, over nodes of one slot each.",
    ),
]
VmSize = Annotated[str, typer.Option("--vm-size", help="For the price, by the catalogue of VM sizes.")]
Spot = Annotated[bool, typer.Option("--spot", help="Price of Spot machines.")]
Lifetime = Annotated[
    str | None,
    typer.Option("--lifetime", help="Mean time until the cloud takes a node back (exponential), as Spot's evictions."),
]
BootFailure = Annotated[float, typer.Option("--boot-failure", min=0, max=1, help="Part of boots that fail.")]
Lag = Annotated[str, typer.Option("--lag", help="How old what a policy sees is when it acts.")]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting; may be repeated.")]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn; the same gives the same.")]
Picture = Annotated[
    Path | None,
    typer.Option("--picture", help="Draw to FILE.png or FILE.html: one run over time, many by cost and wait."),
]
Processes = Annotated[int, typer.Option("--processes", min=0, help="Replays beside each other; 0: one a core.")]


@commands.command(help=verbatim(_HELP))
def simulate(
    *,
    trace: Annotated[Path, typer.Option("--trace", metavar="FILE", help="The workload.")],
    policy: Annotated[list[str], typer.Option("--policy", help="A policy; may be repeated.")] = ["millpond"],  # noqa: B006
    settings: Settings = [],  # noqa: B006
    boot: Boot = None,
    slots: Slots = 1,
    max_nodes: MaxNodes = None,
    job_slots: JobSlots = "one",
    dispatch: Annotated[
        Dispatch, typer.Option("--dispatch", help="Order in which jobs start; easy needs --job-slots spread.")
    ] = Dispatch.FIFO,
    initial: Annotated[int, typer.Option("--initial", min=0, help="Nodes that are up at the start.")] = 0,
    vm_size: VmSize = "Standard_D2s_v5",
    spot: Spot = False,
    lifetime: Lifetime = None,
    boot_failure: BootFailure = 0.0,
    lag: Lag = "0s",
    engine: Annotated[
        Engine,
        typer.Option(
            "--engine", help="faithful: the real controller, store and runner; slower, and for millpond only."
        ),
    ] = Engine.FAST,
    seed: Seed = 0,
    processes: Processes = 0,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Replay a workload through policies."""
    if picture is not None:
        check_target(picture)
    reading, workload = _read(trace, job_slots)
    nodes = replace(
        _nodes(reading, boot, slots, max_nodes, vm_size, lifetime, boot_failure, spot=spot), initial=initial
    )
    world = World((Pool(groups=(nodes,), dispatch=dispatch, spread=job_slots == "spread"),), lag=seconds_of(lag))
    cases = [replace(case, engine=engine) for name in policy for case in _cases(name, policy, settings, seed)]
    if len(cases) == 1:
        with _bar(cases[0].label, 1.0) as moved:
            run = run_case(workload, world, cases[0], progress=moved)
        judged = [Judged(cases[0], report(run))]
        if picture is not None:
            save_picture(picture, draw_timeline(run), f"{workload.name}: {cases[0].label}", [judged[0].report])
    else:
        judged = _run_all(workload, world, cases, processes)
        if picture is not None:
            _draw_frontier(judged, workload, picture)
    if as_json:
        print_json(judged)
    else:
        console().print(report_table(judged[0]) if len(judged) == 1 else reports_table(judged))


@commands.command(help=verbatim(_TUNE_HELP))
def tune(
    *,
    history: Annotated[Path, typer.Option("--history", metavar="FILE", help="The workload; see `millpond history`.")],
    objective: Annotated[str, typer.Option("--objective", help="What is wanted, such as 'p95 wait 5 min'.")],
    policy: Annotated[str, typer.Option("--policy", help="The policy whose setting is sought.")] = "millpond",
    settings: Settings = [],  # noqa: B006
    boot: Boot = None,
    slots: Slots = 1,
    max_nodes: MaxNodes = None,
    job_slots: JobSlots = "one",
    vm_size: VmSize = "Standard_D2s_v5",
    spot: Spot = False,
    lifetime: Lifetime = None,
    boot_failure: BootFailure = 0.0,
    lag: Lag = "0s",
    seed: Seed = 0,
    processes: Processes = 0,
    picture: Picture = None,
    as_json: AsJson = False,
) -> None:
    """Find the setting that serves an objective at the least cost."""
    wanted = read_objective(objective)
    if picture is not None:
        check_target(picture)
    kind = kind_of(policy)
    reading, workload = _read(history, job_slots)
    nodes = _nodes(reading, boot, slots, max_nodes, vm_size, lifetime, boot_failure, spot=spot)
    world = World((Pool(groups=(nodes,), spread=job_slots == "spread"),), lag=seconds_of(lag))
    fixed, varied = _split(policy, (policy,), settings)
    searched = {name: [str(value) for value in values] for name, values in kind.sweep.items() if name not in fixed}
    searched |= varied
    if not searched:
        raise InvalidRequestError("there is nothing to search: give --set with several values, separated by commas")
    judged = _run_all(workload, world, grid(policy, searched, fixed, seed), processes)
    proposal = propose(wanted, judged)
    if picture is not None:
        _draw_frontier(judged, workload, picture)
    if as_json:
        print_json({"objective": str(wanted), "kept": proposal.kept, "best": proposal.best, "tried": judged})
        return
    page = console()
    page.print(reports_table(judged))
    for line in proposal_lines(wanted, proposal):
        page.print(line, markup=False, soft_wrap=True)


@commands.command()
def history(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")],
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Write the history of a pool: its tasks' times and its nodes' boots, for `simulate` and `tune`."""
    with scheduler_of(stack) as service:
        if pool not in {view.name for view in service.list_pools()}:
            raise NotFoundError(f"there is no pool {pool!r}; `millpond pool show` lists them")
        for line in record_history(service, pool):
            sys.stdout.write(line + "\n")


def _read(path: Path, job_slots: str) -> tuple[Reading, Workload]:
    """Read a workload, and tell on stderr what could not be used."""
    if job_slots not in {"one", "recorded", "spread"}:
        raise InvalidRequestError(f"--job-slots {job_slots}: it is one, recorded or spread")
    reading = read_trace(path)
    for line in history_note(reading, _SHOWN_PROBLEMS):
        typer.echo(f"{path.name}: {line}", err=True)
    return reading, reading.workload.single_slots() if job_slots == "one" else reading.workload


def _nodes(
    reading: Reading,
    boot: str | None,
    slots: int,
    max_nodes: int | None,
    vm_size: str,
    lifetime: str | None,
    boot_failure: float,
    *,
    spot: bool,
) -> Group:
    if vm_size not in VM_SIZES:
        raise NotFoundError(f"the catalogue has no VM size {vm_size!r}; it has: {', '.join(VM_SIZES)}")
    measured = Measured(reading.boots) if reading.boots else Fixed(_DEFAULT_BOOT)
    return Group(
        slots=slots,
        max_nodes=max_nodes,
        boot=measured if boot is None else _distribution(boot),
        boot_failure=boot_failure,
        lifetime=None if lifetime is None else Exponential(seconds_of(lifetime)),
        usd_per_hour=VM_SIZES[vm_size].usd_per_hour(spot=spot),
        vm_size=vm_size,
        spot=spot,
    )


def _distribution(text: str) -> Distribution:
    match text.split(":"):
        case [span] | ["fixed", span]:
            return Fixed(seconds_of(span))
        case ["exponential", span]:
            return Exponential(seconds_of(span))
        case ["lognormal", span, spread]:
            try:
                return LogNormal(seconds_of(span), float(spread))
            except ValueError as error:
                raise InvalidRequestError(f"--boot {text}: {spread!r} is not a number") from error
        case _:
            raise InvalidRequestError(f"--boot {text}: write 240s, exponential:240s or lognormal:240s:0.3")


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
    save_picture(target, draw_frontier(judged, title), title, named)


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
