"""`millpond simulate`: what a scaling policy would have done, before it does."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.group import group, verbatim
from scheduler.cli.replays import bar, drawing, run_all, save_frontier, split_settings
from scheduler.cli.reports import groups_table, report_table, reports_table
from scheduler.cli.shared_options import with_options
from scheduler.cli.simulated import ReplayOptions
from scheduler.cli.tables import console, print_json
from scheduler.simulator.cases import Case, Engine, Judged, grid, run_case
from scheduler.simulator.policies.catalogue import KINDS
from scheduler.simulator.report import report
from scheduler.simulator.targets import check_target

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

Exit codes: 0 replayed, 2 wrong use or an unreadable file, 130 interrupted (what was replayed is shown).
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
        with bar(cases[0].label, 1.0) as moved:
            run = run_case(workload, world, cases[0], progress=moved)
        judged = [Judged(cases[0], report(run))]
        if picture is not None:
            title = f"{workload.name}: {cases[0].label}"
            drawing().save_picture(picture, drawing().draw_timeline(run), title, [judged[0].report])
    else:
        judged = run_all(workload, world, cases, options.processes)
        if picture is not None:
            save_frontier(judged, workload, picture)
    if options.as_json:
        print_json(judged)
        return
    page = console()
    page.print(report_table(judged[0]) if len(judged) == 1 else reports_table(judged))
    if len(judged) == 1 and len(world.groups) > 1:
        page.print(groups_table(judged[0].report))


def _cases(policy: str, policies: list[str], settings: list[str], seed: int) -> list[Case]:
    fixed, varied = split_settings(policy, policies, settings)
    return grid(policy, varied, fixed, seed)
