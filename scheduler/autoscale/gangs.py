"""Nodes in whole gangs: work that begins only when so many nodes are there, and ends when one of them goes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scheduler.autoscale.plan import Action, Drain, Remove
from scheduler.model import GroupKey


def nodes_for(slots: int, task_slots: int, least: int, gang: int) -> int:
    """Count the nodes that have so many slots, are at least so many, and are whole gangs."""
    nodes = max(math.ceil(slots / task_slots), least, 0)
    return math.ceil(nodes / gang) * gang


def whole_purchases(counts: Mapping[GroupKey, int], serving: int, gang: int) -> Mapping[GroupKey, int]:
    """Leave out, from the last group first, what is bought beyond whole gangs of all that serves then."""
    bought = sum(counts.values())
    excess = min(bought, (serving + bought) % gang)
    kept = dict(counts)
    for group in reversed(list(counts)):
        left_out = min(kept[group], excess)
        kept[group] -= left_out
        excess -= left_out
    return kept


def keep_whole(actions: Iterable[Action], serving: int, gang: int) -> list[Action]:
    """Let as many fewer nodes go, the last ones first, as complete the gangs of those that stay."""
    going = list(actions)
    if gang == 1:
        return going
    count = sum(len(action.nodes) for action in going if isinstance(action, Drain | Remove))
    kept = min(count, (count - serving) % gang)
    for index in reversed(range(len(going))):
        action = going[index]
        if isinstance(action, Drain | Remove):
            stay = min(len(action.nodes), kept)
            going[index] = replace(action, nodes=action.nodes[: len(action.nodes) - stay])
            kept -= stay
    return [action for action in going if not isinstance(action, Drain | Remove) or action.nodes]
