"""Why a node was bought, what it does, and why it went."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from scheduler.explain.words import ago, at, clause, facts, listed, number, span
from scheduler.model import Decision, Node, NodePhase
from scheduler.views import Explanation, Fact

_ENDS = frozenset({"drain", "remove"})


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node, and the decisions about its pool, oldest first."""

    node: Node
    decisions: tuple[Decision, ...]

    @property
    def bought(self) -> Decision | None:
        """The order that it came from: the last one of its group before it was first seen."""
        orders = (
            decision
            for decision in reversed(self.decisions)
            if decision.action == "scale_out"
            and decision.group == self.node.group
            and decision.at <= self.node.first_seen_at
        )
        return next(orders, None)

    @property
    def about_it(self) -> tuple[Decision, ...]:
        """The decisions that name it and are about this machine, not one that had its name before."""
        return tuple(
            decision
            for decision in self.decisions
            if self.node.node_id in decision.nodes and decision.at >= self.node.first_seen_at
        )


def explain_node(known: NodeFacts, now: datetime) -> Explanation:
    """Say in a paragraph why the node is there, or why it went."""
    node = known.node
    paragraph = " ".join([*_origin(known), *_present(known, now), *_ending(known)])
    return Explanation(f"node {node.node_id}", paragraph, _facts(known))


def _origin(known: NodeFacts) -> Iterator[str]:
    node, bought = known.node, known.bought
    if bought is None:
        yield f"It was first seen at {at(node.first_seen_at)}; the decision that bought it is no longer kept."
    else:
        yield (
            f"It was bought at {at(bought.at)}, one of {number(bought.count, 'node')}, because {clause(bought.reason)}."
        )
    if node.ready_at is not None:
        yield f"It was ready {span(node.ready_at - node.first_seen_at)} after it was first listed."


def _present(known: NodeFacts, now: datetime) -> Iterator[str]:
    node = known.node
    match node.phase:
        case NodePhase.BOOTING:
            yield f"It has been booting for {span(now - node.first_seen_at)} and has not reported yet."
        case NodePhase.WORKING:
            yield _at_work(node, now)
        case NodePhase.DRAINING:
            yield f"It is draining: it ends the {number(len(node.held), 'message')} it holds and takes no more."
        case NodePhase.DRAINED:
            yield "It is drained: nothing runs on it, and it is about to be removed."
        case NodePhase.REMOVING:
            yield "It is being removed."
        case NodePhase.LOST:
            yield f"It is lost: {clause(node.reason)}. What it held is handed out to others."
        case NodePhase.GONE:
            lived = f" after {span(node.gone_at - node.first_seen_at)}" if node.gone_at is not None else ""
            yield f"It is gone{lived}."
    if node.status_at is not None and node.phase is not NodePhase.GONE:
        yield f"It was last heard of {ago(node.status_at, now)}."


def _at_work(node: Node, now: datetime) -> str:
    if node.held:
        return f"It works: it holds {number(len(node.held), 'message')}."
    if node.idle_since is not None:
        return f"It has had nothing to do for {span(now - node.idle_since)}."
    return "It is ready for work."


def _ending(known: NodeFacts) -> Iterator[str]:
    node = known.node
    if node.drain_asked_at is not None:
        yield f"A person asked at {at(node.drain_asked_at)} for it to go."
    if node.phase in {NodePhase.BOOTING, NodePhase.WORKING}:
        return
    told = [decision for decision in known.about_it if decision.action in _ENDS]
    for decision in told:
        word = "drained" if decision.action == "drain" else "removed"
        yield f"It was to be {word} from {at(decision.at)}, because {clause(decision.reason)}."
    if not told and node.phase is NodePhase.GONE and node.reason:
        yield f"Nothing was decided about it; it went by itself: {clause(node.reason)}."


def _facts(known: NodeFacts) -> tuple[Fact, ...]:
    node = known.node
    return facts(
        ("phase", node.phase.value),
        ("group", str(node.group)),
        ("first listed", node.first_seen_at),
        ("ready", node.ready_at),
        ("last heard of", node.status_at),
        ("idle since", node.idle_since),
        ("gone", node.gone_at),
        ("drain asked for", node.drain_asked_at),
        ("messages held", listed(node.held)),
        ("reason kept", node.reason),
        *(
            (f"decision at {at(decision.at)}", f"{decision.action.replace('_', ' ')}: {decision.reason}")
            for decision in ((known.bought,) if known.bought is not None else ()) + known.about_it
        ),
    )
