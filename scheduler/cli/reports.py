"""Reports of simulated runs for people."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from scheduler.simulator.cases import Judged, not_dominated
from scheduler.simulator.objective import Objective
from scheduler.simulator.quantities import span_text
from scheduler.simulator.readers.reading import Reading
from scheduler.simulator.regret import Regret
from scheduler.simulator.report import GroupReport, Report
from scheduler.simulator.tuning import Spells, monthly


def report_table(judged: Judged) -> Table:
    """Lay out one run."""
    report = judged.report
    waits, elasticity = report.waits, report.elasticity
    rows = [
        ("workload", f"{report.workload}: {report.jobs:,} jobs in {span_text(report.span_hours * 3600)}"),
        ("policy", judged.case.label),
        ("cost", f"{report.node_hours:,.1f} node-hours, about {report.usd:,.2f} USD"),
        ("overhead", f"{report.overhead_hours:,.1f} node-hours above the sum of run times"),
        ("utilisation", f"{report.utilisation:.1%} of the slots that were paid for"),
        ("wait", (f"mean {span_text(waits.mean)}, p50 {span_text(waits.p50)}, p95 {span_text(waits.p95)}, "
                 f"p99 {span_text(waits.p99)}, max {span_text(waits.max)}; {waits.part_waiting:.1%} of jobs waited")),
        ("bounded slowdown", f"{report.bounded_slowdown:,.2f} on average; {report.elastic_slowdown:,.2f} unbounded"),
        ("nodes", (f"{report.node_starts:,} started, {report.peak_nodes:,} at most at once, "
                  f"{report.cancelled_boots:,} boots cancelled, {report.failed_boots:,} failed")),
        ("supply", (f"short {elasticity.under_share:.1%} and too much {elasticity.over_share:.1%} of the time; "
                   f"{elasticity.under:.2%} and {elasticity.over:.2%} of the resources on average, "
                   f"{elasticity.idle:.2%} idle; deviation {elasticity.deviation:.3f}")),
        ("instability", (f"supply rose against demand in {elasticity.rises:.1%} of minutes, fell against it in "
                        f"{elasticity.falls:.1%}")),
    ]  # fmt: skip
    if report.gap is not None:
        rows.append(
            ("beside bounds",
             (f"{report.gap.to_work:.3f} x the work alone, {report.gap.to_clairvoyant:.3f} x the clairvoyant without "
             f"wait ({report.gap.clairvoyant_hours:,.1f} h), {report.gap.to_ski_rental:.3f} x ski rental by level "
             f"({report.gap.ski_rental_hours:,.1f} h)"))
        )  # fmt: skip
    if report.preempted or report.restarts or report.lost_slot_hours:
        rows.append(
            ("lost", (f"{report.preempted:,} nodes taken away, {report.restarts:,} jobs begun again, "
                     f"{report.lost_slot_hours:,.1f} slot-hours of work"))
        )  # fmt: skip
    if report.refused:
        rows.append(("refused", f"{report.refused:,} nodes asked for in vain"))
    if report.unfinished:
        rows.append(("NOT RUN", f"{report.unfinished:,} jobs never finished"))
    table = Table(box=None, show_header=False)
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table


def groups_table(report: Report) -> Table:
    """Lay out what each pool and each group of its nodes came to."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("pool, group", overflow="fold")
    headings = ("node-hours", "USD", "used", "mean wait", "p95", "starts", "peak", "failed", "refused")
    for heading in (*headings, "taken away", "reruns", "lost h"):
        table.add_column(heading, justify="right")
    for pool in report.pools:
        own = pool.groups
        table.add_row(
            Text(pool.name, style="bold"),
            f"{pool.node_hours:,.1f}",
            f"{pool.usd:,.2f}",
            f"{pool.utilisation:.1%}",
            span_text(pool.waits.mean),
            span_text(pool.waits.p95),
            *_counts(own),
        )
        for group in own:
            name = f"  {group.name} ({group.vm_size}{', Spot' if group.spot else ''})"
            table.add_row(Text(name), f"{group.node_hours:,.1f}", f"{group.usd:,.2f}", "", "", "", *_counts((group,)))
    return table


def _counts(groups: Sequence[GroupReport]) -> tuple[str, ...]:
    numbers = ("node_starts", "peak_nodes", "failed_boots", "refused", "preempted", "restarts")
    counts = [f"{sum(getattr(group, number) for group in groups):,}" for number in numbers]
    return *counts, f"{sum(group.lost_slot_hours for group in groups):,.1f}"


def reports_table(judged: Sequence[Judged]) -> Table:
    """Lay out many runs side by side; a star marks those that no other beats in both cost and mean wait."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", overflow="fold")
    headings = (
        "node-hours",
        "overhead",
        "USD",
        "mean wait",
        "p95",
        "p99",
        "max",
        "slowdown",
        "used",
        "starts",
        "not run",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    best = set(not_dominated((each.report.node_hours, each.report.waits.mean) for each in judged))
    for place, each in enumerate(judged):
        report = each.report
        waits = report.waits
        table.add_row(
            Text(("* " if place in best else "  ") + each.case.label),
            f"{report.node_hours:,.1f}",
            f"{report.overhead_hours:,.1f}",
            f"{report.usd:,.2f}",
            *(span_text(wait) for wait in (waits.mean, waits.p95, waits.p99, waits.max)),
            f"{report.bounded_slowdown:,.2f}",
            f"{report.utilisation:.1%}",
            f"{report.node_starts:,}",
            f"{report.unfinished:,}" if report.unfinished else "",
        )
    return table


def regret_table(found: Regret) -> Table:
    """Lay out a policy and its formula side by side, and the difference."""
    sides = (("the policy", found.policy), ("its formula", found.formula))
    without = ((f"without: {name}", each) for name, each in found.without.items())
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "node-hours", "mean wait", "p95", "max", "starts", "not run"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, report in (*sides, *without):
        waits = (span_text(wait) for wait in _waits(report))
        unfinished = f"{report.unfinished:,}" if report.unfinished else ""
        table.add_row(name, f"{report.node_hours:,.1f}", *waits, f"{report.node_starts:,}", unfinished)
    part = f" ({found.node_hours / found.policy.node_hours:+.1%})" if found.policy.node_hours else ""
    longer = (after - before for before, after in zip(*(_waits(report) for _, report in sides), strict=True))
    signed = (("-" if more < 0 else "+") + span_text(abs(more)) for more in longer)
    starts = found.formula.node_starts - found.policy.node_starts
    table.add_row("regret", f"{found.node_hours:+,.1f}{part}", *signed, f"{starts:+,}")
    return table


def _waits(report: Report) -> tuple[float, float, float]:
    return report.waits.mean, report.waits.p95, report.waits.max


def tuned_table(
    objective: Objective, today: Judged, best: Judged, around: Sequence[Judged], held_back: Sequence[Judged]
) -> Table:
    """Lay out what a pool has today, what is proposed and what lies around it: on the whole history, and held back."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for heading in ("node-hours", "USD", "USD in 30 days", "mean wait", "p95", "max", "starts"):
        table.add_column(heading, justify="right")
    if held_back:
        table.add_column(f"held back: {objective}")
    names = ("today", "PROPOSED", *("around it" for _ in around))
    for place, (name, each) in enumerate(zip(names, (today, best, *around), strict=True)):
        report, waits = each.report, each.report.waits
        cells: list[str | Text] = [
            Text(name),
            Text(_settings(each) or "the defaults"),
            f"{report.node_hours:,.1f}",
            f"{report.usd:,.2f}",
            f"{monthly(report.usd, report.span_hours):,.2f}",
            *(span_text(wait) for wait in (waits.mean, waits.p95, waits.max)),
            f"{report.node_starts:,}",
        ]
        if held_back:
            value = objective.value(held_back[place].report)
            cells.append(f"{'kept' if value <= objective.most else 'NOT KEPT'}, {objective.text(value)}")
        table.add_row(*cells, style="bold" if name == "PROPOSED" else None)
    return table


def proposal_lines(
    objective: Objective,
    kept: bool,
    best: Judged,
    today: Judged,
    held_back: Sequence[Judged],
    spells: Spells | None,
    settings: str,
    tried: int,
) -> tuple[str, ...]:
    """Say what is proposed, what it costs beside today's, how sure that is, and what to paste where."""
    value = objective.value(best.report)
    if not kept:
        verdict = f"KEPT BY NONE of {tried} settings; {_settings(best)} comes nearest"
    elif value <= objective.most:
        verdict = f"kept with {_settings(best)}"
    else:
        verdict = f"kept with {_settings(best)} on the part that was searched, NOT ON THE WHOLE"
    lines = [f"{objective}: {verdict} ({objective.text(value)} on the whole history)"]
    if not kept:
        lines.append(_advice(objective, best))
    saved = today.report.usd - best.report.usd
    part = f", {abs(saved) / today.report.usd:.0%}" if today.report.usd else ""
    month = monthly(best.report.usd, best.report.span_hours)
    longer = best.report.waits.mean - today.report.waits.mean
    lines.append(
        f"expected: {best.report.node_hours:,.1f} node-hours, about {month:,.2f} USD in 30 days; against today"
        f" {abs(saved):,.2f} USD {'less' if saved >= 0 else 'more'}{part}, mean wait {span_text(abs(longer))}"
        f" {'longer' if longer > 0 else 'shorter'}"
    )
    lines.append(_sureness(objective, held_back, spells))
    if settings:
        text = "\n".join(f"      {line}" for line in settings.splitlines())
        lines.append(f"to paste at the pool in Pulumi.<stack>.yaml:\n{text}")
    return tuple(lines)


def _settings(judged: Judged) -> str:
    return " ".join(f"{name}={value}" for name, value in judged.case.settings)


def _advice(objective: Objective, best: Judged) -> str:
    if objective.bounds_cost:
        gap = best.report.gap
        least = "" if gap is None else f" (the run times alone are {gap.work_hours:,.1f} node-hours)"
        return f"what would help: a dearer bound{least}, nodes of more slots, or Spot"
    return "what would help: a longer wait, nodes that boot faster (--boot), more of them (--max-nodes, if it binds)"


def _sureness(objective: Objective, held_back: Sequence[Judged], spells: Spells | None) -> str:
    said = []
    if len(held_back) > 1:
        value = objective.value(held_back[1].report)
        verdict = "kept" if value <= objective.most else "NOT KEPT: the work there was another"
        said.append(f"found on the first two thirds; on the third held back {objective.text(value)}, {verdict}")
    else:
        said.append("the history is too short to hold a part back: it fits what was, and what comes may differ")
    if spells is not None and spells.count > 1:
        worst = span_text(spells.worst)
        said.append(f"kept in {spells.kept} of {spells.count} {spells.unit}s with work, {worst} in the worst")
    return f"how sure: {'; '.join(said)}"


def history_note(reading: Reading, shown: int) -> tuple[str, ...]:
    """Tell what of a file could not be used."""
    lines = [str(problem) for problem in reading.problems[:shown]]
    if len(reading.problems) > shown:
        lines.append(f"and {len(reading.problems) - shown} more lines that could not be read")
    if reading.left_out:
        lines.append(f"{reading.left_out:,} jobs that never ran are left out")
    return tuple(lines)
