"""What went wrong on purpose in the demonstration, and what became of it: told from what the scheduler kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.model import Decision, Node, Task, TaskResult


@dataclass(frozen=True, slots=True)
class Trouble:
    """A node that was killed, and a log that was followed: its lines with the time at which each arrived."""

    killed: str
    killed_at: datetime
    followed_task: int
    followed_from: datetime
    lines: tuple[tuple[datetime, str], ...]


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of what happened when."""

    at: datetime
    what: str


def followed_live(trouble: Trouble, tasks: Sequence[Task]) -> bool:
    """Whether the first line of the log arrived before its task had ended."""
    ended = next((task.ended_at for task in tasks if task.task_id == trouble.followed_task), None)
    return bool(trouble.lines) and ended is not None and trouble.lines[0][0] < ended


def happenings(
    trouble: Trouble, tasks: Sequence[Task], nodes: Sequence[Node], decisions: Sequence[Decision]
) -> tuple[Happening, ...]:
    """Tell what happened, in order of time."""
    return tuple(sorted(_told(trouble, tasks, nodes, decisions), key=lambda each: each.at))


def _told(
    trouble: Trouble, tasks: Sequence[Task], nodes: Sequence[Node], decisions: Sequence[Decision]
) -> Iterator[Happening]:
    yield Happening(trouble.killed_at, f"node {trouble.killed} was killed while it worked")
    if trouble.lines:
        first, last = trouble.lines[0][0], trouble.lines[-1][0]
        span = (last - first).total_seconds()
        followed = f"task {trouble.followed_task}"
        how = "was followed while it ran" if followed_live(trouble, tasks) else "was read after it had ended"
        text = f"the log of {followed} {how}: {len(trouble.lines)} lines, the last {span:.1f} s after the first"
        yield Happening(first, text)
    for decision in decisions:
        if trouble.killed in decision.nodes and decision.at >= trouble.killed_at:
            yield Happening(decision.at, f"{decision.action.replace('_', ' ')}, {trouble.killed}: {decision.reason}")
    for node in nodes:
        if node.node_id == trouble.killed and node.gone_at is not None:
            yield Happening(node.gone_at, f"node {node.node_id} was gone")
    for task in tasks:
        if task.attempt > 1 and task.started_at is not None:
            cause = "its node had been lost while it ran" if task.node_faults else "its message was lost with the node"
            ended = "succeeded" if task.result is TaskResult.SUCCESS else "ended without success"
            yield Happening(
                task.started_at,
                f"task {task.task_id} ({task.step} {task.index}) began attempt {task.attempt} on {task.node_id}, "
                f"because {cause}; it {ended}",
            )
