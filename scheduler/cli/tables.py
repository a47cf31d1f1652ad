"""Jobs, tasks, pools and nodes as tables for people, and as JSON for programs."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pydantic_core import to_json
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scheduler.model import Application, Decision, Job, Node, NodePhase, OutputFile, PoolView, Task, TaskCounts
from scheduler.views import Fact, NodeLog

_MINUTE = 60
_HOUR = 3600
_KIBIBYTE = 1024
_BRIEF = 240


def print_json(value: object) -> None:
    """Print a record, or a tuple of them, as JSON."""
    sys.stdout.write(to_json(value, indent=2).decode() + "\n")


def console(*, stderr: bool = False) -> Console:
    """Make the console that people read; output into a pipe is not cut at the width of a terminal."""
    made = _Page(highlight=False, stderr=stderr)
    if not made.is_terminal:
        made = _Page(highlight=False, width=200, stderr=stderr)
    return made


class _Page(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, which ends well: whoever read the output has enough."""
        raise BrokenPipeError


def duration(span: timedelta | None) -> str:
    """Write a span for people."""
    if span is None:
        return "-"
    seconds = span.total_seconds()
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"


def size(length: int) -> str:
    """Write a number of bytes for people."""
    if length < _KIBIBYTE:
        return f"{length} B"
    if length < _KIBIBYTE**2:
        return f"{length / _KIBIBYTE:.1f} KiB"
    return f"{length / _KIBIBYTE**2:.1f} MiB"


def moment(instant: datetime | None) -> str:
    """Write an instant for people, in their own time zone."""
    return "-" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def outcome(job: Job) -> str:
    """Say in a word or two where a job is."""
    return job.state.value if job.result is None else f"{job.state.value}, {job.result.value}"


def tally(counts: TaskCounts) -> str:
    """Say how many tasks are where; zeros are left out."""
    parts = [
        f"{number} {name}"
        for name, number in (
            ("blocked", counts.blocked),
            ("active", counts.active),
            ("running", counts.running),
            ("succeeded", counts.succeeded),
            ("failed", counts.failed),
            ("cancelled", counts.cancelled),
        )
        if number
    ]
    return ", ".join(parts) or "no tasks"


def decision_line(decision: Decision) -> str:
    """Tell one decision and its reason."""
    count = f" {decision.count}" if decision.count else ""
    return f"{decision.action.replace('_', ' ')}{count}, {decision.group.name}: {brief(decision.reason)}"


def brief(text: str) -> str:
    """Cut a reason to what a table has room for; `--json` has the whole."""
    first, _, more = text.strip().partition("\n")
    return f"{first[:_BRIEF]} ..." if more or len(first) > _BRIEF else first


def jobs_table(jobs: Iterable[Job]) -> Table:
    """Lay out jobs."""
    table = new_table("job", "name", "pool", "state", "tasks", "created", "took")
    for job in jobs:
        row = (job.job_id, job.name, job.pool, outcome(job), f"{job.counts.completed}/{job.counts.total}")
        add_row(table, (*row, moment(job.created_at), duration(_took(job))))
    return table


def job_table(job: Job) -> Table:
    """Lay out one job."""
    table = Table(box=None, show_header=False)
    rows = [
        ("job", job.job_id),
        ("name", job.name),
        ("pool", job.pool),
        ("priority", str(job.priority)),
        ("state", outcome(job)),
        ("reason", job.reason),
        ("steps", ", ".join(job.steps)),
        ("tasks", f"{job.counts.total}: {tally(job.counts)}"),
        ("created", moment(job.created_at)),
        ("armed", moment(job.armed_at)),
        ("ended", moment(job.ended_at)),
        ("took", duration(_took(job))),
    ]
    for name, value in rows:
        if value:
            add_row(table, (name, value))
    return table


def tasks_table(tasks: Iterable[Task]) -> Table:
    """Lay out tasks."""
    table = new_table("task", "step", "index", "state", "attempt", "exit code", "node", "took", "reason")
    for task in tasks:
        state = task.state.value if task.result is None else task.result.value
        exit_code = "-" if task.exit_code is None else str(task.exit_code)
        row = (str(task.task_id), task.step, str(task.index), state, str(task.attempt), exit_code)
        add_row(table, (*row, task.node_id or "-", duration(_span(task)), brief(task.reason)))
    return table


def task_table(task: Task) -> Table:
    """Lay out one task."""
    table = Table(box=None, show_header=False)
    rows = [
        ("task", str(task.task_id)),
        ("job", task.job_id),
        ("step", task.step),
        ("index", str(task.index)),
        ("state", task.state.value if task.result is None else f"{task.state.value}, {task.result.value}"),
        ("reason", task.reason),
        ("outcome", "" if task.outcome is None else task.outcome.value),
        ("exit code", "" if task.exit_code is None else str(task.exit_code)),
        ("attempt", str(task.attempt)),
        ("used", f"{task.retries} retries, {task.node_faults} node faults, {task.preemptions} preemptions"),
        ("node", task.node_id or ""),
        ("started", moment(task.started_at)),
        ("ended", moment(task.ended_at)),
        ("took", duration(_span(task))),
    ]
    for name, value in rows:
        if value:
            add_row(table, (name, value))
    return table


def applications_table(applications: Iterable[Application]) -> Table:
    """Lay out applications."""
    table = new_table("application", "version", "default", "size", "uploaded", "sha256")
    for each in applications:
        row = (each.name, each.version, "yes" if each.default else "", size(each.file.length), moment(each.created_at))
        add_row(table, (*row, each.file.sha256[:12]))
    return table


def outputs_table(outputs: Iterable[OutputFile]) -> Table:
    """Lay out committed files."""
    table = new_table("task", "step", "index", "file", "size", "sha256")
    for output in outputs:
        row = (str(output.task_id), output.step, str(output.index), output.file.path)
        add_row(table, (*row, size(output.file.length), output.file.sha256[:12]))
    return table


def pools_table(pools: Iterable[PoolView]) -> Table:
    """Lay out pools, each with the last decision about it."""
    table = new_table("pool", "current", "target", "bounds", "acceptable wait", "tasks", "last decision")
    for pool in pools:
        last = "-" if pool.last_decision is None else decision_line(pool.last_decision)
        row = (pool.name, str(pool.current_nodes), str(pool.target_nodes), f"{pool.min_nodes} to {pool.max_nodes}")
        add_row(table, (*row, duration(pool.acceptable_wait), tally(pool.counts), last))
    return table


def groups_table(pool: PoolView) -> Table:
    """Lay out the node groups of a pool."""
    table = new_table("node group", "generation", "VM size", "bought as", "slots", "at most", "scale set")
    for group in pool.groups:
        generation = group.key.generation if group.current else f"{group.key.generation} (retiring)"
        row = (group.key.name, generation, group.vm_size, group.priority.value, str(group.task_slots))
        add_row(table, (*row, str(group.max_nodes), group.scale_set))
    return table


def decisions_table(decisions: Iterable[Decision]) -> Table:
    """Lay out decisions with their reasons."""
    table = new_table("time", "node group", "decision", "count", "reason")
    for decision in decisions:
        count = str(decision.count) if decision.count else ""
        add_row(
            table,
            (
                moment(decision.at),
                decision.group.name,
                decision.action.replace("_", " "),
                count,
                brief(decision.reason),
            ),
        )
    return table


def nodes_table(nodes: Sequence[Node], now: datetime) -> Table:
    """Lay out the nodes of a pool."""
    table = new_table("node", "phase", "messages", "since", "boot took", "idle for", "reason")
    for node in nodes:
        idle = now - node.idle_since if node.idle_since and node.phase is not NodePhase.GONE else None
        boot = node.ready_at - node.first_seen_at if node.ready_at else None
        row = (node.node_id, node.phase.value, str(len(node.held)), moment(node.first_seen_at))
        add_row(table, (*row, duration(boot), duration(idle), brief(node.reason)))
    return table


def facts_table(facts: Iterable[Fact]) -> Table:
    """Lay out the facts behind an explanation."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for fact in facts:
        add_row(table, (fact.name, brief(fact.value)))
    return table


def print_node_log(page: Console, log: NodeLog) -> None:
    """Print what a node left: the steps of its boot with their output, then what its runner last said."""
    phase = "no longer known to the scheduler" if log.node is None else log.node.phase.value
    reason = f": {log.node.reason}" if log.node is not None and log.node.reason else ""
    page.print(f"node {log.node_id}, {phase}{reason}", markup=False, style="bold")
    for record in log.boot:
        ended = f"took {duration(record.ended_at - record.started_at)}" if record.ended_at else "has not ended"
        code = "" if record.exit_code is None else f", exit code {record.exit_code}"
        page.print(f"{moment(record.started_at)}  boot step {record.step}: {ended}{code}", markup=False)
        for line in record.output.rstrip("\n").splitlines():
            page.print(f"    {printable(line)}", markup=False, soft_wrap=True)
    if not log.boot:
        page.print("it recorded no step of its boot", markup=False)
    for problem in log.unreadable:
        page.print(f"cannot be read: {problem}", markup=False)
    if log.status is None:
        page.print("its runner has said nothing", markup=False)
        return
    status = log.status
    held = ", ".join(f"{item.message_id} ({len(item.running)} running)" for item in status.held) or "nothing"
    said = f"{status.state.value}, holds {held}, runner {status.runner_version}, started {moment(status.started_at)}"
    note = f"; {printable(status.note)}" if status.note else ""
    page.print(f"{moment(log.status_at)}  its runner last said: {said}{note}", markup=False)


def printable(text: str) -> str:
    """Show what is no text as escapes, so that a node's output cannot drive the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\t" else f"\\x{ord(letter):02x}" for letter in text)


def _took(job: Job) -> timedelta | None:
    if job.armed_at is None:
        return None
    return (job.ended_at or datetime.now(UTC)) - job.armed_at


def _span(task: Task) -> timedelta | None:
    return task.ended_at - task.started_at if task.started_at and task.ended_at else None


def new_table(*columns: str) -> Table:
    """Make a table with these columns, whose cells are folded where there is no room."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def add_row(table: Table, cells: Iterable[str]) -> None:
    """Add a row of plain texts."""
    # Texts of users and clouds are neither markup nor orders to the terminal.
    table.add_row(*(Text(printable(cell)) for cell in cells))
