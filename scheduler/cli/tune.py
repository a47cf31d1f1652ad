"""`millpond tune`: the setting that serves an objective, what it is expected to cost, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.group import FAILED, verbatim
from scheduler.cli.replays import bar, run_all, save_frontier, split_settings
from scheduler.cli.reports import proposal_lines, tuned_table
from scheduler.cli.shared_options import with_options
from scheduler.cli.simulate import commands
from scheduler.cli.simulated import ReplayOptions
from scheduler.cli.tables import console, print_json
from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Case, Judged, grid, run_case
from scheduler.simulator.objective import Objective, Proposal, propose, read_objective
from scheduler.simulator.policies.catalogue import kind_of
from scheduler.simulator.report import limits_of, report
from scheduler.simulator.targets import check_target
from scheduler.simulator.tuning import Spells, around, newest, parts_of, settings_text, spells_of
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World

_OWN = "millpond"
_HELP = """Find the setting that serves an objective at the least cost, by replaying a history with many.

The objective bounds one number: `p95 wait 5 min` (mean, p50, p95, p99 or max), `cost 200 node-hours`, `cost 40 usd`,
or `cost 500 usd a month` (a day, week, month). Among the settings that keep it, a wait's bound takes the fewest
node-hours, a cost's bound the least mean wait. Where none keeps a wait, nodes that are always up are tried (min_nodes).

The search sees the first two thirds of the history, of these the newest 20,000 jobs. On the last third, held back, the
proposal is tried, beside what the pool has today (--today, else the defaults) and the next settings on either side. A
bound on the cost of the whole history is sought, and shown, on all of it. Node boots are drawn from those of the
history where it has any, else --boot holds.

Examples:
  millpond history render > render.jsonl
  millpond tune --history render.jsonl --objective "p95 wait 5 min" --today acceptable_wait=10m
  millpond tune --history jobs.csv --boot 3min --slots 4 --objective "cost 500 usd a month" --picture tried.html

Exit codes: 0 the objective can be kept, 1 it is kept by no setting (the nearest is shown), 2 wrong use or an unreadable
file, 130 interrupted (what was replayed is shown).
"""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search came to, as `--json` prints it.

    tried      every setting, on the part of the history that was searched: all of it where it is too short to divide
    kept       whether `best` keeps the objective there
    today      what the pool has, `best` and those on either side of it in `around`: on the whole history
    held_back  the same, in the order today, best, around, on the part that the search did not see; else empty
    spells     in how many days or weeks of the whole history `best` kept the objective
    settings   of `best`, for Pulumi.<stack>.yaml
    """

    objective: str
    kept: bool
    best: Judged
    today: Judged
    around: tuple[Judged, ...]
    held_back: tuple[Judged, ...]
    spells: Spells | None
    settings: str
    tried: tuple[Judged, ...]


@commands.command(help=verbatim(_HELP))
@with_options(ReplayOptions)
def tune(
    *,
    history: Annotated[
        Path, typer.Option("--history", metavar="FILE", help="The workload; see `millpond history`. -: standard input.")
    ],
    objective: Annotated[str, typer.Option("--objective", help="What is wanted, such as 'p95 wait 5 min'.")],
    policy: Annotated[str, typer.Option("--policy", help="The policy whose setting is sought.")] = _OWN,
    today: Annotated[
        list[str],
        typer.Option("--today", metavar="KEY=VALUE", help="A setting that the pool has now, to compare with; repeat."),
    ] = [],  # noqa: B006
    options: ReplayOptions,
) -> None:
    """Find the setting that serves an objective at the least cost."""
    wanted = read_objective(objective)
    if options.picture is not None:
        check_target(options.picture)
    workload, world = options.read(history)
    found = _tuned(wanted, workload, world, policy, today, options)
    if options.picture is not None:
        save_frontier(found.tried, workload, options.picture)
    if options.as_json:
        print_json(found)
    else:
        page = console()
        page.print(tuned_table(wanted, found.today, found.best, found.around, found.held_back))
        for line in proposal_lines(
            wanted, found.kept, found.best, found.today, found.held_back, found.spells, found.settings, len(found.tried)
        ):
            page.print(line, markup=False, soft_wrap=True)
    if not found.kept:
        raise typer.Exit(FAILED)


def _tuned(
    wanted: Objective, workload: Workload, world: World, policy: str, today: Sequence[str], options: ReplayOptions
) -> Tuned:
    kind = kind_of(policy)
    fixed, varied = split_settings(policy, (policy,), options.settings)
    now, several = split_settings(policy, (policy,), list(today))
    if several:
        raise InvalidRequestError(f"--today {next(iter(several))}: the pool has one value today, not several")
    searched = {name: [str(value) for value in values] for name, values in kind.sweep.items() if name not in fixed}
    searched |= varied
    if not searched:
        raise InvalidRequestError("there is nothing to search: give --set with several values, separated by commas")
    parts = None if wanted.bounds_cost and not wanted.each else parts_of(workload)
    seen = workload if parts is None else newest(parts[0])
    cases = grid(policy, searched, fixed, options.seed)
    tried = run_all(seen, world, cases, options.processes)
    proposal = propose(wanted, tried)
    if not proposal.kept and not wanted.bounds_cost and policy == _OWN and "min_nodes" not in {**searched, **fixed}:
        peaks = [limits.peak for limits in limits_of(seen, world) if limits is not None]
        tried += run_all(seen, world, _with_nodes_up(proposal, peaks), options.processes)
        proposal = propose(wanted, tried)
    before = Case(policy, tuple({**fixed, **now}.items()), options.seed)
    best, neighbours = proposal.best.case, [each.case for each in around(wanted, tried, proposal.best)]
    whole = run_all(workload, world, [before, *neighbours], options.processes)
    with bar(f"{workload.name}, week by week", 1.0) as moved:
        run = run_case(workload, world, best, progress=moved)
    return Tuned(
        objective=str(wanted),
        kept=proposal.kept,
        best=Judged(best, report(run)),
        today=whole[0],
        around=tuple(whole[1:]),
        held_back=()
        if parts is None
        else tuple(run_all(parts[1], world, [before, best, *neighbours], options.processes)),
        spells=spells_of(run, wanted),
        settings=settings_text(best.settings) if policy == _OWN else "",
        tried=tuple(tried),
    )


def _with_nodes_up(proposal: Proposal, peaks: Sequence[int]) -> list[Case]:
    """Give the best case with ever more nodes that are always up, to as many as the work needs at most."""
    case, most = proposal.best.case, max(peaks, default=1)
    counts: list[int] = []
    count = 1
    while count < most:
        counts.append(count)
        count = max(count + 1, round(count * 1.6))
    return [Case(case.policy, (*case.settings, ("min_nodes", str(number))), case.seed) for number in (*counts, most)]
