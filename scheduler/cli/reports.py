"""Reports of simulated runs for people."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from scheduler.simulator.cases import Judged, not_dominated
from scheduler.simulator.objective import Objective, Proposal
from scheduler.simulator.quantities import span_text
from scheduler.simulator.readers.reading import Reading
from scheduler.simulator.regret import Regret
from scheduler.simulator.report import GroupReport, Report


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


def proposal_lines(objective: Objective, proposal: Proposal) -> tuple[str, ...]:
    """Say what is proposed, and whether it keeps the objective."""
    best = proposal.best
    value = objective.value(best.report)
    reached = span_text(value) if objective.number not in {"node_hours", "usd"} else f"{value:,.1f}"
    settings = " ".join(f"{name}={value}" for name, value in best.case.settings)
    if proposal.kept:
        verdict = f"{objective}: kept with {settings} ({reached})"
    else:
        verdict = f"{objective}: kept by none of the settings; {settings} comes nearest ({reached})"
    cost = f"{best.report.node_hours:,.1f} node-hours, mean wait {span_text(best.report.waits.mean)}"
    return verdict, f"it would have cost {cost}"


def history_note(reading: Reading, shown: int) -> tuple[str, ...]:
    """Tell what of a file could not be used."""
    lines = [str(problem) for problem in reading.problems[:shown]]
    if len(reading.problems) > shown:
        lines.append(f"and {len(reading.problems) - shown} more lines that could not be read")
    if reading.left_out:
        lines.append(f"{reading.left_out:,} jobs that never ran are left out")
    return tuple(lines)
