"""What becomes of each rule of a scaling policy in a formula: kept, approximated or lost, and what to do then."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy

# What is said of a setting that is newer than this compiler.
UNTOLD = "the formula sizes the pool as if it were not set"
_OUTSIDE = "let Millpond's scheduler size the pool, or watch for it outside the formula"


class Standing(StrEnum):
    """How much of a rule a formula can hold."""

    EXACT = "exact"
    APPROXIMATED = "approximated"
    NOT_EXPRESSED = "not expressed"


@dataclass(frozen=True, slots=True)
class Element:
    """One rule of a policy: its field (or what it is about), how it is rendered, what is lost, what to do about it."""

    name: str
    standing: Standing
    how: str
    loss: str = ""
    advice: str = ""


# What is lost with a setting that no formula can hold, and what to do, by the setting's name: a line each.
_CANNOT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "priority": ("pools that share a quota do not wait for each other", "give each pool a max_nodes of its own"),
        "budget_per_hour": ("a formula sees no prices and no other pool", "choose max_nodes by the price of a node"),
        "spot_share": ("the formula sizes nodes of one kind", "write one with --spot and one without, each a part"),
        "spot_fallback": ("a formula does not see that Azure has no Spot machines", _OUTSIDE),
        "max_eviction_rate": ("a formula sees preempted nodes, but not since when", _OUTSIDE),
        "gang_nodes": ("a formula sets a number, and part of a gang may be left", "choose max_nodes in whole gangs"),
        "anticipate": (
            "nodes are not there before work that comes at the same time each day or week",
            "add max(..., time().hour >= 8 ? 5 : 0) by hand, in UTC",
        ),
        "time_zone": ("a formula's time() is UTC", "write hours in UTC"),
        "max_step_out": ("all nodes that are wanted are asked for at once", "choose a smaller max_nodes"),
        "max_step_out_per_minute": ("all nodes that are wanted are asked for at once", "choose a smaller max_nodes"),
        "floors": (
            "nodes are not there before the work comes",
            "add max(..., time().hour >= 8 ? 5 : 0) by hand, in UTC",
        ),
    }
)


def elements(policy: ScalingPolicy, *, spot: bool, interval: timedelta) -> tuple[Element, ...]:
    """Tell what becomes of a policy, the rules that are kept first."""
    told = (*_kept(policy), *_approximated(policy, interval), *_lost(policy))
    known = {element.name for element in told}
    rest = (
        _cannot(field.name, getattr(policy, field.name))
        for field in dataclasses.fields(policy)
        if field.name not in known
    )
    return (*told, *_preemption(spot=spot), *rest)


def _cannot(name: str, value: object) -> Element:
    how = f"this setting ({value!s}) has no rendering in a formula"
    loss, advice = _CANNOT.get(name, (UNTOLD, _OUTSIDE))
    return Element(name, Standing.NOT_EXPRESSED, how, loss, advice)


def _kept(policy: ScalingPolicy) -> Iterator[Element]:
    exact = Standing.EXACT
    yield Element("min_nodes", exact, f"max({policy.min_nodes}, ...) is applied last, without samples too")
    yield Element("max_nodes", exact, f"min({policy.max_nodes}, ...) is applied after everything but the minimum")
    wait = _words(policy.acceptable_wait)
    how = f"the seconds of waiting tasks and half of the running ones, over {wait}, rounded up"
    yield Element("acceptable_wait", exact, f"{how}; never fewer slots than run, never more than tasks")
    how = "without a sample in 5 minutes the target stays as it is, within the bounds"
    yield Element("unknown demand", exact, how)


def _approximated(policy: ScalingPolicy, interval: timedelta) -> Iterator[Element]:
    roughly = Standing.APPROXIMATED
    time = _words(policy.default_task_time)
    yield Element(
        "default_task_time",
        roughly,
        f"every task is counted with {time}",
        "a formula sees no run times: tasks that take twice as long get half of the nodes they need",
        "set default_task_time to the mean of your tasks and compile again when it changes",
    )
    yield Element(
        "waiting_cost",
        roughly,
        f"a fixed part of the waiting tasks get slots of their own, for tasks of {time} and a boot of"
        f" {_words(UNMEASURED_BOOT)}",
        "a formula sees neither run times nor boots, and nodes of many slots are counted as of one where the formula"
        " asks the pool for them",
        "set default_task_time to the mean of your tasks, and say how many slots a node has",
    )
    idle = _words(policy.idle_timeout or policy.restart_cost(None))
    yield Element(
        "idle_timeout",
        roughly,
        f"as many nodes stay as tasks have run on at once within {idle}",
        "it is counted over the pool, not for each node: a node may go earlier, and which one goes Azure decides",
    )
    yield Element(
        "nodes that work",
        roughly,
        "taskcompletion lets running tasks end",
        "Azure picks the nodes: one that works may be chosen while another idles, and takes no new task",
    )
    often = _words(interval)
    yield Element(
        "how often it is decided",
        roughly,
        f"Azure evaluates every {often}",
        f"work that arrives just after an evaluation waits {often} more, and idle nodes stay as much longer",
        "5 minutes is the shortest interval that Azure takes",
    )


def _lost(policy: ScalingPolicy) -> Iterator[Element]:
    lost = Standing.NOT_EXPRESSED
    yield Element(
        "overdue tasks",
        lost,
        "a formula does not see how long a task has waited",
        "the extra slots for tasks that have waited beyond acceptable_wait are not given",
        "choose a shorter acceptable_wait if long tasks hold up short ones",
    )
    for name, what in (
        ("boot_deadline", "nodes that do not come up keep counting as current"),
        ("silence_deadline", "a node that went silent is not replaced"),
    ):
        how = f"a formula names no node and knows no times of nodes ({_words(getattr(policy, name))})"
        yield Element(name, lost, how, what, "remove unusable nodes outside the formula (`az batch node delete`)")
    yield Element(
        "max_failed_boots",
        lost,
        "a formula has no memory and sees no start task fail",
        f"nodes are bought on and on where boots fail, beyond {policy.max_failed_boots} in a row",
        _OUTSIDE,
    )


def _preemption(*, spot: bool) -> Iterator[Element]:
    if spot:
        yield Element(
            "preempted nodes",
            Standing.APPROXIMATED,
            "Azure tries to fill the Spot target again",
            "$CurrentLowPriorityNodes counts preempted nodes too, so after preemptions too many may stay for a while",
        )


def _words(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds >= 60 and seconds % 60 == 0:  # noqa: PLR2004  seconds of a minute
        return f"{seconds / 60:g} min"
    return f"{seconds:g} s"
