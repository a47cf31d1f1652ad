"""Whether a workload fits a world: pools that jobs name, slots that they need, groups that quotas name."""

import math
from array import array

from scheduler.errors import InvalidRequestError
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Dispatch, World


def pools_of(workload: Workload, world: World) -> "array[int]":
    """Give the pool of each job, or nothing where all are of the first."""
    names = {pool.name: number for number, pool in enumerate(world.pools)}
    if not workload.pool or (len(names) == 1 and not any(workload.pool)):
        return array("i")
    unknown = sorted({name for name in workload.pool if name and name not in names})
    if unknown:
        raise InvalidRequestError(f"the workload names pools that are not declared: {', '.join(unknown)}")
    return array("i", [names[name] if name else 0 for name in workload.pool])


def check_fits(workload: Workload, pool_of: "array[int]", world: World) -> None:
    """Refuse a world in which a job could never start."""
    for pool in world.pools:
        if pool.dispatch is Dispatch.EASY and not pool.spread:
            raise InvalidRequestError(f"pool {pool.name}: EASY backfilling is for jobs that spread over nodes")
        if pool.most_waiting is not None and (pool.dispatch is Dispatch.EASY or pool.most_waiting < 0):
            raise InvalidRequestError(f"pool {pool.name}: a bound of waiting jobs is zero or more, and needs FIFO")
        if pool.spread and any(group.slots != 1 for group in pool.groups):
            raise InvalidRequestError(f"pool {pool.name}: jobs can spread only over nodes with one slot each")
    roomy = [math.inf if pool.spread else max(group.slots for group in pool.groups) for pool in world.pools]
    for job, slots in enumerate(workload.slots):
        number = pool_of[job] if pool_of else 0
        if slots > roomy[number]:
            raise InvalidRequestError(
                f"job {job} of {workload.name} needs {slots} slots, but nodes of pool {world.pools[number].name} have"
                f" at most {roomy[number]:g}; give the nodes more slots, let jobs spread, or ignore the slots"
            )


def quotas_of(world: World) -> list[tuple[int, list[int]]]:
    """Give each quota's most nodes and the numbers of the groups that share it."""
    places = {f"{pool.name}/{group.name}": number for number, (pool, group) in enumerate(world.groups)}
    unknown = [name for quota in world.quotas for name in quota.groups if name not in places]
    if unknown:
        known = ", ".join(places)
        raise InvalidRequestError(f"a quota names the group {unknown[0]!r}, which is not declared; there are: {known}")
    return [(quota.max_nodes, [places[name] for name in quota.groups]) for quota in world.quotas]
