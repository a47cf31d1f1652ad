"""What no policy can beat, and what simple guarantees reach: node-seconds for a workload of which no job waits.

With every job started when it is ready, the number of nodes in use over time is given. Level n of it is in use while n
or more nodes are; each level is a node of its own that may stay up through a gap or stop and boot again, which costs a
boot. For identical nodes with one job each that is exact (Lin et al., ToN'13; `reference` of the optimum by levels).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.simulator.workload import Workload, followers_of


@dataclass(frozen=True, slots=True)
class Bounds:
    """Node-seconds by which a run is judged.

    work           sum of run times, packed perfectly: the least for any policy that does all the work
    clairvoyant    no job waits; boots begin ahead of demand; each gap is bridged or not, whichever is cheaper
    ski_rental     no job waits either, but a node cannot know how long it will be idle: it stops after one boot time,
                   which costs at most twice the best on each gap
    starts         boots of the clairvoyant
    peak           most nodes in use at once
    """

    work: float
    clairvoyant: float
    ski_rental: float
    starts: int
    peak: int


def bounds(workload: Workload, slots_per_node: int, boot: float, jobs: Sequence[int] | None = None) -> Bounds:
    """Find the bounds of a workload for nodes of so many slots that boot in so many seconds.

    With `jobs` the bounds of these alone, the jobs of one pool; the others start when they are ready, too.
    """
    members = range(len(workload)) if jobs is None else jobs
    changes = demand_changes(workload, members)
    busy: list[float] = []
    gaps: list[float] = []
    closed_at: list[float] = []
    slots = level = 0
    since = 0.0
    for at, change in changes:
        slots += change
        needed = -(-slots // slots_per_node)
        if needed == level:
            continue
        busy.append(level * (at - since))
        since = at
        while level < needed:
            if level < len(closed_at):
                gaps.append(at - closed_at[level])
            else:
                closed_at.append(math.nan)
            level += 1
        while level > needed:
            level -= 1
            closed_at[level] = at
    peak = len(closed_at)
    used = math.fsum(busy)
    return Bounds(
        work=math.fsum(workload.run[job] * workload.slots[job] for job in members) / slots_per_node,
        clairvoyant=used + peak * boot + math.fsum(min(gap, boot) for gap in gaps),
        ski_rental=used + peak * 2 * boot + math.fsum(gap if gap <= boot else 2 * boot for gap in gaps),
        starts=peak + sum(gap > boot for gap in gaps),
        peak=peak,
    )


def demand_changes(workload: Workload, jobs: Sequence[int]) -> list[tuple[float, int]]:
    """Give when how many slots more or fewer are in use if every job starts as soon as it is ready, net of ties."""
    changes: dict[float, int] = {}
    ready = ready_times(workload)
    for job in jobs:
        begin, run, slots = ready[job], workload.run[job], workload.slots[job]
        changes[begin] = changes.get(begin, 0) + slots
        changes[begin + run] = changes.get(begin + run, 0) - slots
    return sorted(changes.items())


def ready_times(workload: Workload) -> list[float]:
    """Give when each job is ready if none ever waits for a node."""
    if not workload.after:
        return list(workload.submit)
    ready = list(workload.submit)
    blockers = [len(after) for after in workload.after]
    followers = followers_of(workload.after)
    free = [job for job, count in enumerate(blockers) if count == 0]
    while free:
        job = free.pop()
        for follower in followers.get(job, ()):
            ready[follower] = max(ready[follower], ready[job] + workload.run[job])
            blockers[follower] -= 1
            if blockers[follower] == 0:
                free.append(follower)
    return ready
