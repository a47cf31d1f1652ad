"""Which jobs of a workload are one workflow, and which of these are one step, as their author would submit them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.simulator.workload import Workload


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """Jobs of a workflow that wait for the same ones, `after`, and are the same kind of work."""

    after: tuple[int, ...]
    jobs: tuple[int, ...]


def joined(workload: Workload) -> list[list[int]]:
    """Give the jobs that are joined by waiting for each other, each with the lowest first."""
    root = list(range(len(workload)))

    def find(job: int) -> int:
        while root[job] != job:
            root[job] = root[root[job]]
            job = root[job]
        return job

    for job, after in enumerate(workload.after):
        for other in after:
            first, second = sorted((find(job), find(other)))
            root[second] = first
    found: dict[int, list[int]] = defaultdict(list)
    for job in range(len(workload)):
        found[find(job)].append(job)
    return list(found.values())


def is_workflow(workload: Workload, members: list[int], pools: Sequence[object]) -> bool:
    """Say whether joined jobs can be submitted as one: they come at the same time, to one pool.

    `pools` has the pool of each job, or nothing where all are of one.
    """
    return len({(workload.submit[job], pools[job] if pools else None) for job in members}) == 1


def steps_of(workload: Workload, members: list[int]) -> list[WorkflowStep]:
    """Sort the jobs of one workflow into steps, each after those that it waits for."""
    layers: dict[tuple[int, tuple[int, ...], str], list[int]] = defaultdict(list)
    depth: dict[int, int] = {}
    for job in _in_order(workload, members):
        after = workload.after[job]
        depth[job] = 1 + max((depth[other] for other in after), default=0)
        layers[depth[job], after, workload.work[job] if workload.work else ""].append(job)
    ordered = sorted(layers.items(), key=lambda item: (item[0][0], item[1][0]))
    return [WorkflowStep(after, tuple(jobs)) for (_, after, _), jobs in ordered]


def _in_order(workload: Workload, members: list[int]) -> list[int]:
    """Give jobs with each after those that it waits for."""
    blockers = {job: len(workload.after[job]) for job in members}
    followers: dict[int, list[int]] = defaultdict(list)
    for job in members:
        for other in workload.after[job]:
            followers[other].append(job)
    ordered = [job for job in members if not blockers[job]]
    for job in ordered:
        for follower in followers[job]:
            blockers[follower] -= 1
            if not blockers[follower]:
                ordered.append(follower)
    return ordered
