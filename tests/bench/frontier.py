"""The frontier of cost and wait: `make bench-autoscale`, or `python -m tests.bench.frontier [--quick]`.

On each workload and boot time, ours with one setting for all stands beside every peer of the catalogue:

published  with its published defaults, at its own control interval
ours 5 s   with the same, at our control interval
tuned      with each case of its search space (`sweep` in the catalogue): six cases each, the same budget for all; the
           best of them for each workload and boot time count, so that peers are tuned to the trace and ours is not

The two pools that do not look at their queue have no search space; always-max has as many nodes as the clairvoyant
needs at most. The axes are the overhead (node-hours above the sum of run times) against mean wait and p95 wait.
Dominated: another point is no higher in both and more than 1 % lower in one. `hull` is our overhead over what the lower
convex hull of all peers' points costs at our wait; `-` where no peer waits so little.

What has run is kept under out/frontier with a digest of the code that it ran with, so that a run can be resumed.
The workloads lie beside the repository; where they do not, drawn ones stand in, and the title says so.
"""

import argparse
import hashlib
import os
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scheduler.simulator.bounds import Bounds, bounds
from scheduler.simulator.cases import Case, Judged, grid, run_cases
from scheduler.simulator.frontier import Point, dominates, lower_hull, overhead_at
from scheduler.simulator.pictures import draw_frontier, save_picture
from scheduler.simulator.policies.catalogue import PEERS
from scheduler.simulator.quantities import span_text
from scheduler.simulator.report import Report
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.bench.measure import ROOT
from tests.scheduler.simulator.worlds import TRACES, trace

MAIN_TRACES = ("linkerd-gha-2020", "kth-sp2-1996", "metacentrum-2009", "alibaba-gentd26-lora")
BOOTS = (120.0, 240.0, 360.0)
OURS = Case("millpond")
# At our interval; Azure's samples come every 30 s, so that evaluating a formula more often would see nothing new.
AT_OURS = (("interval", "5"),)
FORMULA_AT_OURS = (("evaluation", "30"),)
_WAITS = ("mean", "p95")
_QUICK_JOBS = 400
_CACHED = TypeAdapter(Judged)
_WIDTH = 140


@dataclass(frozen=True, slots=True)
class Standing:
    """Where ours stands on one axis: who dominates it, and its overhead in parts of the hull's."""

    dominated_by: tuple[str, ...]
    to_hull: float | None


def cases(limits: Bounds, *, search: bool) -> list[Case]:
    """Give ours, and every peer published, at our interval and, with `search`, tuned."""
    found = [OURS]
    for kind in PEERS:
        if not kind.sweep:
            own = (("nodes", str(limits.peak)),) if kind.name == "always-max" else ()
            found.append(Case(kind.name, own))
            continue
        found += [Case(kind.name), Case(kind.name, FORMULA_AT_OURS if kind.name == "batch-formula" else AT_OURS)]
        if search:
            values = {name: [str(value) for value in several] for name, several in kind.sweep.items()}
            found += grid(kind.name, values, {}, 0)
    return found


def standing(judged: Sequence[Judged], stat: str) -> Standing:
    """Compare ours with every peer that finished the work."""
    ours = next(_point(each, stat) for each in judged if each.case == OURS)
    peers = [each for each in judged if each.case.policy != OURS.policy and not each.report.unfinished]
    best = overhead_at(lower_hull(_point(each, stat) for each in peers), ours[0])
    return Standing(
        tuple(each.case.label for each in peers if dominates(_point(each, stat), ours)),
        None if best is None else ours[1] / best,
    )


def main(arguments: Sequence[str] | None = None) -> Path:
    """Replay what has not been, print the tables, draw the pictures, and give their folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.frontier")
    parser.add_argument("--quick", action="store_true", help="first jobs, one boot time, no search: shows that it runs")
    parser.add_argument("--trace", action="append", choices=MAIN_TRACES, help="only these workloads")
    parser.add_argument("--boot", action="append", type=float, help="only these boot times, in seconds")
    parser.add_argument("--no-search", action="store_true", help="peers published and at our interval only")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "frontier")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=_WIDTH)
    search = not (options.quick or options.no_search)
    all_standings: list[dict[str, Standing]] = []
    for load in _workloads(options.trace or MAIN_TRACES, quick=options.quick):
        for boot in options.boot or ((240.0,) if options.quick else BOOTS):
            limits = bounds(load, 1, boot)
            judged = _replayed(load, boot, cases(limits, search=search), options.out, options.processes)
            found = {stat: standing(judged, stat) for stat in _WAITS}
            all_standings.append(found)
            _show(console, load, boot, judged, found, limits)
            title = f"{load.name}, boot {span_text(boot)}"
            picture = draw_frontier(judged, title)
            for ending in (".png", ".html"):
                target = options.out / f"{load.name}-{boot:g}{ending}"
                save_picture(target, picture, title, [_labelled(each) for each in judged])
    _conclude(console, all_standings)
    console.print(f"pictures and results: {options.out}")
    return Path(options.out)


def _workloads(names: Iterable[str], *, quick: bool) -> Iterable[Workload]:
    for name in names:
        if (TRACES / name).exists():
            whole = trace(name)
            yield _first(whole, _QUICK_JOBS) if quick else whole
        else:
            yield drawn(f"drawn-for-{name}", name, _QUICK_JOBS if quick else 5000)


def drawn(name: str, seed: str, count: int) -> Workload:
    """Draw bursts of jobs with run times over three powers of ten."""
    source = random.Random(seed)  # noqa: S311
    now = 0.0
    jobs: list[SimulatedJob] = []
    while len(jobs) < count:
        now += source.expovariate(1 / 900)
        jobs += [SimulatedJob(now, source.lognormvariate(5.5, 1.3)) for _ in range(source.choice((1, 1, 1, 3, 12)))]
    return workload_of(name, jobs[:count])


def _first(load: Workload, count: int) -> Workload:
    jobs = (SimulatedJob(submit, run) for submit, run in zip(load.submit[:count], load.run[:count], strict=True))
    return workload_of(f"{load.name}-first-{count}", jobs)


def _replayed(load: Workload, boot: float, wanted: list[Case], folder: Path, processes: int) -> list[Judged]:
    """Replay the cases that are not kept yet, and keep each as it ends."""
    kept: dict[Case, Judged] = {}
    by_policy = {name: folder / f"{load.name}-{boot:g}-{_digest(name)}.jsonl" for name in {c.policy for c in wanted}}
    for file in set(by_policy.values()):
        if file.exists():
            lines = file.read_bytes().splitlines()
            # The last line of a run that was cut off may be half a line.
            kept |= {each.case: each for each in map(_CACHED.validate_json, filter(lambda x: x.endswith(b"}"), lines))}
    missing = [case for case in wanted if case not in kept]

    with Progress(transient=True) as progress:
        bar = progress.add_task(f"{load.name}, boot {span_text(boot)}", total=len(missing))

        def keep(each: Judged) -> None:
            kept[each.case] = each
            with by_policy[each.case.policy].open("ab") as stream:
                stream.write(_CACHED.dump_json(each) + b"\n")
            progress.advance(bar)

        if missing:
            run_cases(load, one_pool(Group(boot=Fixed(boot))), missing, processes=processes, done=keep)
    return [kept[case] for case in wanted]


def _digest(policy: str) -> str:
    """Name the code that a result depends on: ours on the decision too."""
    folders = ["scheduler/simulator", "scheduler/formula", *(["scheduler/autoscale"] if policy == OURS.policy else [])]
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    if policy == OURS.policy:
        files += [ROOT / "scheduler" / "policy.py", ROOT / "scheduler" / "dispatch" / "run_times.py"]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _point(each: Judged, stat: str) -> Point:
    return getattr(each.report.waits, stat), each.report.overhead_hours


def _labelled(each: Judged) -> Report:
    return replace(each.report, policy=each.case.label)


def _show(
    console: Console, load: Workload, boot: float, judged: list[Judged], found: dict[str, Standing], limits: Bounds
) -> None:
    work = limits.work / 3600
    table = Table(
        title=f"{load.name}: {len(load):,} jobs, {work:,.1f} h of work, boot {span_text(boot)}; without any wait the"
        f" clairvoyant's overhead is {limits.clairvoyant / 3600 - work:,.1f} h,"
        f" ski rental's {limits.ski_rental / 3600 - work:,.1f} h",
        title_justify="left",
    )
    table.add_column("policy", no_wrap=True)
    for head in ("overhead h", "x clairvoyant", "mean wait s", "p95 wait s", "starts"):
        table.add_column(head, justify="right")
    table.add_column("on the hull of peers")
    peers = [each for each in judged if each.case.policy != OURS.policy and not each.report.unfinished]
    hulls = {stat: set(lower_hull(_point(each, stat) for each in peers)) for stat in _WAITS}
    for each in judged:
        report = each.report
        on = [stat for stat in _WAITS if each in peers and _point(each, stat) in hulls[stat]]
        as_published = each.case.settings in {(), AT_OURS, FORMULA_AT_OURS} or each.case.policy == "always-max"
        if not as_published and not on:
            continue
        least = limits.clairvoyant / 3600 - work
        table.add_row(
            each.case.label,
            f"{report.overhead_hours:,.1f}",
            f"{report.overhead_hours / least:.2f}" if least else "-",
            f"{report.waits.mean:,.1f}",
            f"{report.waits.p95:,.1f}",
            f"{report.node_starts:,}",
            "unfinished" if report.unfinished else ", ".join(on),
            style="bold" if each.case == OURS else None,
        )
    console.print(table)
    for stat, ours in found.items():
        ratio = "-" if ours.to_hull is None else f"{ours.to_hull:.3f}"
        by = ", ".join(ours.dominated_by) or "none"
        console.print(f"against {stat} wait: hull {ratio}; ours is dominated by {by}", highlight=False)
    console.print()


def _conclude(console: Console, standings: list[dict[str, Standing]]) -> None:
    for stat in _WAITS:
        ratios = [each[stat].to_hull for each in standings]
        known = [ratio for ratio in ratios if ratio is not None]
        dominated = sum(bool(each[stat].dominated_by) for each in standings)
        figures = f"median {statistics.median(known):.3f}, worst {max(known):.3f}" if known else "none"
        console.print(
            f"{stat} wait: ours dominated in {dominated} of {len(standings)}; overhead over the hull of all peers at"
            f" equal wait: {figures} ({len(ratios) - len(known)} with less wait than any peer)",
            highlight=False,
        )


if __name__ == "__main__":
    main()
