"""What a deployment does to work that runs (design decision 14): told by `preview`, `up` and `destroy`.

A node group is never updated in place: a change declares a new generation beside the old one, whose nodes end what they
run before they are removed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NODE_GROUP_TYPE = "millpond:pool:NodeGroup"


@dataclass(frozen=True, slots=True)
class DeployedGroup:
    """A generation of a node group as the stack's outputs of before name it."""

    pool: str
    group: str
    generation: str
    set_name: str


@dataclass
class GenerationChanges:
    """The declarations of node groups that an engine operation adds and takes out, by their names."""

    added: set[str] = field(default_factory=set)
    taken_out: set[str] = field(default_factory=set)


def deployed_groups(outputs: Mapping[str, Any]) -> tuple[DeployedGroup, ...]:
    """Read the generations that a stack's outputs name; none where it was never deployed whole."""
    return tuple(
        DeployedGroup(pool["name"], group["name"], group["generation"], group["scale_set"])
        for pool in outputs.get("pools") or ()
        for group in pool["groups"]
    )


def effects(
    changes: GenerationChanges, before: Iterable[DeployedGroup], nodes: Mapping[str, int] | None
) -> tuple[str, ...]:
    """Say for each generation that goes what its nodes do and where new work goes.

    `nodes` counts the nodes of each set by its name; None where the scheduler could not be asked.
    """
    old = tuple(before)
    gone = [each for name in sorted(changes.taken_out) for each in old if each.set_name.startswith(name)]
    staying = [each for each in old if each not in gone]
    return tuple(_effect(each, changes.added, staying, nodes) for each in gone)


def _effect(
    each: DeployedGroup, added: Iterable[str], staying: Sequence[DeployedGroup], nodes: Mapping[str, int] | None
) -> str:
    if nodes is None:
        who = f"nodes of generation {each.generation} (the scheduler could not be asked how many) drain"
    else:
        count = nodes.get(each.set_name, 0)
        who = f"{count} node{'' if count == 1 else 's'} of generation {each.generation} drain{'s' * (count == 1)}"
    prefix = f"{each.pool}-{each.group}-"
    # The name of a group with a hyphen may begin so too: what follows the prefix is to be the generation alone.
    successors = [name for name in sorted(added) if name.startswith(prefix) and "-" not in name.removeprefix(prefix)]
    if successors:
        then = f"new work goes to generation {successors[0].removeprefix(prefix)}"
    elif any(other.pool == each.pool for other in staying):
        then = "new work goes to the pool's other groups"
    else:
        then = f"new work of pool {each.pool} waits, because no other group of it is left"
    return f"pool {each.pool}, group {each.group}: {who} after the work they hold; {then}"
