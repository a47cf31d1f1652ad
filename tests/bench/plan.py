"""Which sides stand beside each other, and at what size."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

# Of so many pools the first `up` alone takes minutes: the engine writes its whole state at each step.
_MANY_POOLS = 100


@dataclass(frozen=True, slots=True)
class Side:
    """A variant of a side's module at a size; `label` names it for people."""

    label: str
    module: str
    variant: str
    size: int


@dataclass(frozen=True, slots=True)
class Bench:
    """Sides that are measured in turn, A B A B; `unit` is what one of their units is.

    On a busy machine no round is begun that would likely end after `budget_seconds`; a side that takes longer than
    `patience_seconds` has failed.
    """

    title: str
    unit: str
    budget_seconds: float
    sides: tuple[Side, ...]
    patience_seconds: float = 120.0


def benches(*, quick: bool) -> tuple[Bench, ...]:
    """Give every bench; quick ones only show that all of it runs."""
    return (
        _accept(100 if quick else 1),
        _submit(100 if quick else 1),
        _hand_out(100 if quick else 1),
        _run_tasks(100 if quick else 1),
        _overhead(100 if quick else 1),
        *_decide(quick=quick),
        _decide_many(quick=quick),
        _simulate(100 if quick else 1),
        _simulate_faithfully(20 if quick else 1),
        _formula(10 if quick else 1000),
        *_local_azure(quick=quick),
    )


def _accept(part: int) -> Bench:
    sides = (
        Side("millpond, one job of one step", "millpond_store", "accept-one-step", 10_000 // part),
        Side("huey, one call a task", "huey_queue", "accept", 10_000 // part),
        Side("huey's rows in one commit", "huey_queue", "accept-rows", 10_000 // part),
        Side("millpond, one job of N steps", "millpond_store", "accept-n-steps", 10_000 // part),
        Side("millpond, N jobs of one task", "millpond_store", "accept-n-jobs", 200 // part),
        Side("millpond, one job of one step", "millpond_store", "accept-one-step", 100_000 // part),
        Side("huey's rows in one commit", "huey_queue", "accept-rows", 100_000 // part),
    )
    return Bench("accept: tasks durably in the store", "task", 80.0, sides)


def _submit(part: int) -> Bench:
    sides = tuple(
        Side(f"{what}, memory of the {whose}", "submission", variant + ending, size // part)
        for what, variant, size in (("an array", "array", 100_000), ("a command each", "commands", 20_000))
        for whose, ending in (("client", ""), ("scheduler", "-scheduler"))
    )
    return Bench("submit over HTTP: sent, armed and listed", "task", 60.0, sides)


def _hand_out(part: int) -> Bench:
    sides = (
        Side("millpond, a task a message", "millpond_store", "hand-out-alone", 500 // part),
        Side("huey, one worker", "huey_queue", "hand-out", 500 // part),
        Side("millpond, 100 tasks a message", "millpond_store", "hand-out-hundreds", 5_000 // part),
        Side("huey, one worker", "huey_queue", "hand-out", 5_000 // part),
    )
    return Bench("hand out and commit: tasks of no work, from accepted to committed", "task", 90.0, sides)


def _run_tasks(part: int) -> Bench:
    sides = (Side("runner of one slot, storage in memory", "task_runner", "one-node", 2_000 // part),)
    return Bench("run: tasks of the command `true`, each a process, from message to manifest", "task", 60.0, sides)


def _overhead(part: int) -> Bench:
    ours = Side("millpond, two nodes of one slot", "millpond_nodes", "overhead", 10_000 // part)
    peer = Side("hyperqueue, two workers of one cpu", "hyperqueue_cluster", "overhead", 10_000 // part)
    # There are wheels of it for this kind of machine only.
    sides = (ours, peer) if (sys.platform, platform.machine()) == ("linux", "x86_64") else (ours,)
    return Bench("overhead: `true`, each its own process, directory and stdout", "task", 150.0, sides, 400.0)


def _decide(*, quick: bool) -> tuple[Bench, ...]:
    return tuple(
        Bench(
            f"decide: {pools} pool{'s' if pools > 1 else ''} with 1,000 nodes together",
            "decision",
            15.0,
            (
                Side("millpond decide", "scaling", "decide", pools),
                Side("KEDA/HPA formula", "scaling", "formula", pools),
            ),
        )
        for pools in ((1,) if quick else (1, 10, 100))
    )


def _decide_many(*, quick: bool) -> Bench:
    nodes = 200 if quick else 10_000
    sides = tuple(
        Side(label, "scaling", variant, nodes)
        for label, variant in (
            ("nodes in mid-life", "mixed"),
            ("all busy", "busy"),
            ("all idle, and no task", "idle"),
            ("all booting", "booting"),
            ("all draining, taken back", "draining"),
            ("all drained, and no task", "drained"),
            ("all of a retired generation", "retired"),
            ("all asked to go by a person", "asked-to-go"),
            ("in mid-life, a hundred pools", "hundred-pools"),
        )
    )
    # The sides are alike but for their nodes: a few show that they run.
    return Bench(f"decide: {nodes:,} nodes, a million waiting tasks", "decision", 40.0, sides[::4] if quick else sides)


def _simulate(part: int) -> Bench:
    jobs = 100_000 // part
    sides = (
        Side("millpond, fixed pool", "simulator_side", "fixed", jobs),
        Side("SimPy, fixed pool", "simulator_side", "simpy", jobs),
        Side("millpond, elastic, asked every 5 s", "simulator_side", "elastic", jobs),
    )
    return Bench("simulate: jobs over half a year, a policy on one core", "job", 60.0, sides)


def _simulate_faithfully(part: int) -> Bench:
    sides = (
        Side("millpond, faithful engine", "simulator_side", "faithful", 60 // part),
        Side("millpond, fast engine", "simulator_side", "same-fast", 60 // part),
    )
    return Bench("simulate faithfully: jobs of a quarter of an hour over a day", "job", 60.0, sides)


def _formula(count: int) -> Bench:
    sides = (
        Side("millpond, evaluate", "formulas", "evaluate", count),
        Side("millpond, read and check", "formulas", "read", count),
    )
    return Bench("formula: one of 100 statements, an hour of samples", "formula", 30.0, sides)


def _local_azure(*, quick: bool) -> Iterator[Bench]:
    module, requests = "local_azure", 20 if quick else 500
    yield Bench(
        "local Azure: to the first answer",
        "start",
        60.0,
        (Side("daemon, tools at hand", module, "start", 1), Side("storage account, by its PUT", module, "storage", 1)),
    )
    yield Bench(
        "local Azure: requests to the resource manager, one after the other",
        "request",
        60.0,
        (
            Side("GET of a group, kept connection", module, "raw-get", requests),
            Side("PUT of a group, kept connection", module, "raw-put", requests),
            Side("GET of a group, azure-mgmt-resource", module, "sdk-get", requests),
            Side("PUT of a group, azure-mgmt-resource", module, "sdk-put", requests),
        ),
    )
    for pools in (1,) if quick else (1, 10, _MANY_POOLS):
        first = (Side("preview of all", module, "preview", pools), Side("up of all", module, "up", pools))
        again = Side("up again, nothing to change", module, "again", pools)
        yield Bench(
            f"local Azure: plain pulumi on a program of {pools} pool{'s' if pools > 1 else ''}",
            "run",
            120.0,
            (*(() if quick else first), *((again,) if pools < _MANY_POOLS else ())),
            patience_seconds=900.0,
        )
