"""Jobs and nodes while a replay runs, and what happens to them."""

import math
import random
from array import array
from collections.abc import Callable
from heapq import heappush
from typing import Any

from scheduler.simulator.fitting import check_fits, pools_of, quotas_of
from scheduler.simulator.flows import Flows
from scheduler.simulator.interface import WorkView
from scheduler.simulator.nodes import BOOTING, DRAINED, DRAINING, GONE, NodeSet, SimNode
from scheduler.simulator.queues import JobQueue
from scheduler.simulator.run import Series
from scheduler.simulator.workload import Workload, followers_of
from scheduler.simulator.world import World

NEVER = math.inf
# The order of what happens at one instant.
ENDS, TIMES_OUT, ARRIVES, APPLIES = range(4)

Event = tuple[float, int, int, Callable[[Any, Any], None], Any, Any]


class Cluster:
    """Every job and node of a replay. `now` is moved from outside; what is due later is put on `heap`."""

    def __init__(self, workload: Workload, world: World, seed: int, *, tells_work: bool = False) -> None:
        count = len(workload)
        self.workload = workload
        self.world = world
        self.now = 0.0
        self.heap: list[Event] = []
        self.queues = [
            JobQueue(pool, workload, number=number, known_runs=world.known_runs)
            for number, pool in enumerate(world.pools)
        ]
        self.series = [Series() for _ in world.pools]
        self.pool_of = pools_of(workload, world)
        check_fits(workload, self.pool_of, world)
        self.sets: list[NodeSet] = []
        for number, pool in enumerate(world.pools):
            for group in pool.groups:
                self.sets.append(NodeSet(group, len(self.sets), number))
        self.sets_of = [[each for each in self.sets if each.pool == number] for number in range(len(world.pools))]
        self.quotas = [(most, [self.sets[number] for number in numbers]) for most, numbers in quotas_of(world)]
        self.ready = array("d", [math.nan]) * count
        self.start = array("d", [math.nan]) * count
        self.end = array("d", [math.nan]) * count
        # Submitted so far; jobs that wait for others arrive when those have finished.
        self.submitted = 0
        self.remaining = count
        self.last_finish = 0.0
        # When a job last arrived, began or ended.
        self.moved_at = 0.0
        self.turned_away = 0
        self._sequence = 0
        self._run = workload.run
        self._slots = workload.slots
        self._randoms = [random.Random(f"{seed}/{pool.name}/{group.name}") for pool, group in world.groups]  # noqa: S311
        self._began_at = array("d", [math.nan]) * count
        self._attempt = array("l", [0]) * count
        self._nodes_of: dict[int, tuple[tuple[NodeSet, SimNode], ...]] = {}
        self._blockers = [len(after) for after in workload.after]
        self._followers = followers_of(workload.after)
        # Kept only where somebody looks at it.
        self._flows = (
            Flows(workload, self.pool_of, len(world.pools), known_runs=world.known_runs)
            if tells_work and workload.after
            else None
        )
        for each in self.sets:
            for _ in range(each.spec.initial):
                self._come_up(each, each.add(0.0))

    def schedule(self, at: float, rank: int, happen: Callable[[Any, Any], None], first: Any, second: Any) -> None:
        """Have something happen; of what is due at one instant with one rank, what was scheduled first."""
        self._sequence += 1
        heappush(self.heap, (at, rank, self._sequence, happen, first, second))

    # Jobs.

    def submit(self, job: int) -> None:
        """Have the next job submitted; it arrives now unless it must wait for others."""
        self.submitted = job + 1
        if not self._blockers or not self._blockers[job]:
            self._arrive(job, None)

    def _arrive(self, job: int, _: None) -> None:
        self.ready[job] = self.moved_at = self.now
        number = self.pool_of[job] if self.pool_of else 0
        queue = self.queues[number]
        queue.arrive(job)
        if self._flows is not None:
            self._flows.arrive(job)
        self.dispatch(number)
        if queue.most_waiting is not None and len(queue.waiting) > queue.most_waiting:
            turned_away = queue.turn_away()
            if self._flows is not None:
                self._flows.turn_away(turned_away)
            self.turned_away += 1
            self.remaining -= 1
            self.note(number)

    def dispatch(self, number: int) -> None:
        """Start waiting jobs of a pool while they fit."""
        queue = self.queues[number]
        if queue.batched:
            queue.touched = True
            return
        waiting = queue.waiting
        sets = self.sets_of[number]
        while waiting:
            slots = self._slots[waiting[0]]
            if queue.spread:
                if sum(each.free_slots for each in sets) < slots:
                    break
                self._begin_spread(queue, queue.pop(), slots, sets)
                continue
            for each in sets:
                node = each.take(slots)
                if node is not None:
                    self._begin(queue, queue.pop(), each, node, slots)
                    break
            else:
                break
        self.note(number)

    def backfill(self, queue: JobQueue) -> None:
        """Start waiting jobs of a pool by EASY backfilling, now that all events of the instant are through."""
        queue.touched = False
        sets = self.sets_of[queue.number]
        for job in queue.backfill(self.now, sum(each.free_slots for each in sets)):
            queue.remove(job)
            if queue.spread:
                self._begin_spread(queue, job, self._slots[job], sets)
        self.note(queue.number)

    def _begin(self, queue: JobQueue, job: int, each: NodeSet, node: SimNode, slots: int) -> None:
        each.occupy(node, job, slots)
        self._nodes_of[job] = ((each, node),)
        self._schedule_end(queue, job)

    def _begin_spread(self, queue: JobQueue, job: int, slots: int, sets: list[NodeSet]) -> None:
        taken: list[tuple[NodeSet, SimNode]] = []
        for each in sets:
            while len(taken) < slots and (node := each.take(1)) is not None:
                each.occupy(node, job, 1)
                taken.append((each, node))
        self._nodes_of[job] = tuple(taken)
        self._schedule_end(queue, job)

    def _schedule_end(self, queue: JobQueue, job: int) -> None:
        now = self.now
        if self._attempt[job] == 0:
            self.start[job] = now
        self._began_at[job] = self.moved_at = now
        queue.begin(job, now)
        if self._flows is not None:
            self._flows.begin(job, now)
        self.schedule(now + self._run[job], ENDS, self._finish, job, self._attempt[job])

    def _finish(self, job: int, attempt: int) -> None:
        if self._attempt[job] != attempt:
            return
        now = self.now
        number = self.pool_of[job] if self.pool_of else 0
        queue = self.queues[number]
        queue.finish(job, self._run[job])
        if self._flows is not None:
            self._flows.finish(job, self._run[job])
        self.end[job] = now
        self.last_finish = self.moved_at = now
        self.remaining -= 1
        self._free(job, queue)
        for follower in self._followers.get(job, ()):
            self._blockers[follower] -= 1
            # One that is not yet submitted arrives when it is.
            if not self._blockers[follower] and follower < self.submitted:
                self.schedule(now, ARRIVES, self._arrive, follower, None)
        self.dispatch(number)
        self.arm_timers(number)

    def _free(self, job: int, queue: JobQueue) -> None:
        slots = 1 if queue.spread else self._slots[job]
        for each, node in self._nodes_of.pop(job):
            if node.phase == GONE:
                continue
            each.release(node, job, slots, self.now)
            if node.phase == DRAINING and not node.jobs:
                node.phase = DRAINED
                node.idle_since = self.now
                if node.retires:
                    each.remove(node, self.now)

    def work_of(self, number: int) -> WorkView | None:
        """Show what is known of a pool's workflows."""
        return None if self._flows is None else self._flows.view(number)

    # Nodes.

    def boot(self, each: NodeSet) -> None:
        """Begin a node."""
        node = each.add(self.now)
        source = self._randoms[each.index]
        spec = each.spec
        took = spec.boot.draw(source)
        if spec.boot_failure and source.random() < spec.boot_failure:
            self.schedule(self.now + spec.boot_deadline, ENDS, self._fail_boot, each, node)
        else:
            self.schedule(self.now + took, ENDS, self._boot_done, each, node)

    def _boot_done(self, each: NodeSet, node: SimNode) -> None:
        if node.phase != BOOTING:
            return
        each.boots.append(self.now - node.requested_at)
        self._come_up(each, node)

    def _come_up(self, each: NodeSet, node: SimNode) -> None:
        each.ready(node, self.now)
        if each.spec.lifetime is not None:
            lives = each.spec.lifetime.draw(self._randoms[each.index])
            self.schedule(self.now + lives, ENDS, self._preempt, each, node)
        self.dispatch(each.pool)
        self.arm_timers(each.pool)

    def _fail_boot(self, each: NodeSet, node: SimNode) -> None:
        if node.phase == BOOTING:
            each.failed_boots += 1
            each.totals.failed_boots += 1
            each.remove(node, self.now)
            self.note(each.pool)

    def _preempt(self, each: NodeSet, node: SimNode) -> None:
        if node.phase == GONE:
            return
        each.preempted += 1
        each.totals.preempted += 1
        self.lose(each, node)
        self.dispatch(each.pool)

    def lose(self, each: NodeSet, node: SimNode) -> None:
        """End a node whatever it does; its jobs wait again, before all others, in their old order."""
        jobs = sorted(node.jobs, reverse=True)
        each.remove(node, self.now)
        queue = self.queues[each.pool]
        for job in jobs:
            self._attempt[job] += 1
            each.totals.restarts += 1
            each.totals.lost_slot_seconds += (self.now - self._began_at[job]) * self._slots[job]
            queue.give_back(job)
            if self._flows is not None:
                self._flows.give_back(job)
            self._free(job, queue)
        self.note(each.pool)

    def arm_timers(self, number: int) -> None:
        """See to it that the node that has been idle longest is looked at when its time is up."""
        for each in self.sets_of[number]:
            if each.idle and each.idle_timeout < NEVER:
                oldest = each.longest_idle()
                if oldest is not None:
                    due = max(self.now, oldest.idle_since + each.idle_timeout)
                    if due < each.timer_at:
                        each.timer_at = due
                        self.schedule(due, TIMES_OUT, self._time_out, each, due)

    def _time_out(self, each: NodeSet, due: float) -> None:
        if each.timer_at != due:
            return
        each.timer_at = NEVER
        while each.idle and each.up + len(each.booting) > each.keep:
            oldest = each.longest_idle()
            if oldest is None or oldest.idle_since + each.idle_timeout > self.now:
                self.arm_timers(each.pool)
                break
            each.remove(oldest, self.now)
        self.note(each.pool)

    def close(self) -> None:
        """Pay for the nodes that are left: they are a floor, and count until the last job only."""
        for each in self.sets:
            until = self.now if self.remaining else min(self.now, self.last_finish)
            for node in list(each.nodes.values()):
                each.remove(node, max(until, node.requested_at))
        for number in range(len(self.series)):
            self.note(number)

    def note(self, number: int) -> None:
        """Keep a step of a pool's history."""
        queue = self.queues[number]
        sets = self.sets_of[number]
        if len(sets) == 1:
            each = sets[0]
            up, alive = (each.up + len(each.draining)) * each.slots, len(each.nodes) * each.slots
        else:
            up = sum((each.up + len(each.draining)) * each.slots for each in sets)
            alive = sum(len(each.nodes) * each.slots for each in sets)
        self.series[number].note(self.now, queue.waiting_slots, queue.running_slots, up, alive)
