"""Why a pool has the nodes that it has."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from scheduler.explain.words import ago, clause, facts, listed, number
from scheduler.model import Decision, GroupKey, Node, NodePhase, PoolView
from scheduler.views import Explanation

_SHOWN = (
    NodePhase.WORKING,
    NodePhase.BOOTING,
    NodePhase.DRAINING,
    NodePhase.DRAINED,
    NodePhase.REMOVING,
    NodePhase.LOST,
)


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A pool, its nodes and its decisions, oldest first."""

    view: PoolView
    nodes: tuple[Node, ...]
    decisions: tuple[Decision, ...]

    def in_phase(self, phase: NodePhase) -> int:
        """Count the nodes in a phase."""
        return sum(node.phase is phase for node in self.nodes)

    def newest(self) -> tuple[Decision, ...]:
        """Give the last decision about each current group, in declared order."""
        last: dict[GroupKey, Decision] = {decision.group: decision for decision in self.decisions}
        return tuple(last[group.key] for group in self.view.groups if group.current and group.key in last)


def explain_pool(pool: PoolFacts, now: datetime) -> Explanation:
    """Say what the pool has, and the reason of the last decision about each of its groups."""
    view = pool.view
    sentences = [f"Pool {view.name} has {nodes_of(pool)}, between {view.min_nodes} and {view.max_nodes} allowed."]
    if view.target_nodes != view.current_nodes:
        sentences.append(f"It is to have {view.target_nodes}.")
    sentences += [f"{decided(decision, now)}." for decision in pool.newest()]
    return Explanation(
        f"pool {view.name}",
        " ".join(sentences),
        facts(
            ("current nodes", view.current_nodes),
            ("target nodes", view.target_nodes),
            ("tasks waiting", view.counts.active),
            ("tasks running", view.counts.running),
            ("acceptable wait", view.acceptable_wait),
            ("groups", listed(f"{group.key.name} ({group.vm_size})" for group in view.groups if group.current)),
        ),
    )


def nodes_of(pool: PoolFacts) -> str:
    """Say how many nodes are in which phase."""
    counted = Counter(node.phase for node in pool.nodes)
    parts = [f"{counted[phase]} {phase.value}" for phase in _SHOWN if counted[phase]]
    if not parts:
        return "no nodes"
    total = sum(counted[phase] for phase in _SHOWN)
    return f"{number(total, 'node')} ({listed(parts)})"


def decided(decision: Decision, now: datetime) -> str:
    """Tell a decision with its reason, as a sentence without its full stop."""
    what = decision.action.replace("_", " ")
    count = f" of {number(decision.count, 'node')}" if decision.count else ""
    when = ago(decision.at, now)
    return f"Last decision about group {decision.group.name}, {when}: {what}{count}, because {clause(decision.reason)}"
