"""The replay: events in order of time, the policy asked at its interval, its orders carried out.

Only what happens takes time to simulate. At one instant the order is: boots and jobs that end (as they were scheduled),
nodes that time out, jobs that arrive (as given), orders that come late, and last the policy's regular question. Jobs
are dispatched after every single event; with EASY, once all events of the instant are through.
"""

import math
from collections.abc import Callable
from heapq import heappop
from typing import Any, cast

from scheduler.errors import InvalidRequestError
from scheduler.simulator.clock import Clock
from scheduler.simulator.cluster import APPLIES, ARRIVES, NEVER, Cluster
from scheduler.simulator.interface import (
    NOTHING_TILL_SOMETHING_HAPPENS,
    Detail,
    EachAlone,
    FleetPolicy,
    Observation,
    Orders,
    Policy,
)
from scheduler.simulator.nodes import NodeSet
from scheduler.simulator.observing import observe
from scheduler.simulator.ordering import carry_out, set_clock
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World

_REPORTED_EVERY = 256

Progress = Callable[[float], None]


def replay(
    workload: Workload,
    world: World,
    policy: Policy[Any] | FleetPolicy[Any],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Replay a workload through a policy; the same arguments give the same run, byte for byte.

    A `Policy` sizes a world's only group, or every group alone. `progress` is told the part that is done, now and then.
    """
    alone: Policy[Any] | None = None
    if hasattr(policy, "decide"):
        one = cast("Policy[Any]", policy)
        alone = one if len(world.groups) == 1 and not world.lag else None
        policy = EachAlone((one,) * len(world.groups))
    return _Replay(workload, world, policy, alone, seed, progress).run()


class _Replay:
    def __init__(
        self,
        workload: Workload,
        world: World,
        policy: FleetPolicy[Any],
        alone: Policy[Any] | None,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self._cluster = Cluster(workload, world, seed, tells_work=policy.detail >= Detail.WORK)
        self._policy = policy
        # A world's only group is asked about directly, which saves time.
        self._alone = alone
        self._detail = policy.detail
        self._clock = Clock(workload.begins_at)
        self._seed = seed
        self._progress = progress
        self._state = policy.start() if alone is None else alone.start()
        self._interval = policy.interval
        if self._interval is not None and not self._interval > 0:
            raise InvalidRequestError(f"the control interval must be longer than zero, not {self._interval} s")
        if self._interval is None and world.lag:
            raise InvalidRequestError("a policy that is asked after every event cannot be given an observation lag")
        self._questions = 0
        self._asked_at = -NEVER
        self._next_question = world.offset if self._interval is not None else NEVER

    def run(self) -> Run:
        cluster = self._cluster
        self._go_through_events()
        cluster.close()
        return Run(
            workload=cluster.workload,
            world=cluster.world,
            policy=self._policy.name,
            seed=self._seed,
            ready=cluster.ready,
            start=cluster.start,
            end=cluster.end,
            groups=tuple(each.totals for each in cluster.sets),
            series=tuple(cluster.series),
            ended=cluster.now,
            last_finish=cluster.last_finish,
            turned_away=cluster.turned_away,
            questions=self._questions,
        )

    def _go_through_events(self) -> None:  # noqa: C901  the hot loop stays in one piece
        cluster = self._cluster
        heap = cluster.heap
        submit = cluster.workload.submit
        count = len(submit)
        after_every_event = self._interval is None
        batched = [queue for queue in cluster.queues if queue.batched]
        while True:
            event_at = heap[0][0] if heap else NEVER
            arrival_at = submit[cluster.submitted] if cluster.submitted < count else NEVER
            # A submission comes after ends and time-outs of its instant, and before late orders.
            submits = arrival_at < event_at or (arrival_at == event_at < NEVER and heap[0][1] > ARRIVES)
            next_at = arrival_at if submits else event_at
            if batched and next_at > cluster.now and any(queue.touched for queue in batched):
                for queue in batched:
                    cluster.backfill(queue)
                continue
            if self._next_question < next_at:
                if self._over(self._next_question, idle=next_at == NEVER):
                    return
                cluster.now = self._next_question
                self._ask()
                continue
            if next_at == NEVER or self._over(next_at, idle=False):
                return
            cluster.now = next_at
            if submits:
                cluster.submit(cluster.submitted)
                if self._progress is not None and cluster.submitted % _REPORTED_EVERY == 0:
                    self._progress(cluster.submitted / count)
            else:
                _, _, _, happen, first, second = heappop(heap)
                happen(first, second)
            if after_every_event:
                self._ask()
            elif self._next_question > next_at:
                self._ask_soon(next_at)

    def _over(self, next_at: float, *, idle: bool) -> bool:
        """Whether nothing that counts can come any more."""
        cluster = self._cluster
        if cluster.remaining:
            # Nodes may come and go for ever without any that works: it is jobs that must move.
            if next_at <= cluster.moved_at + cluster.world.patience or any(queue.running for queue in cluster.queues):
                return False
            return idle or any(queue.waiting for queue in cluster.queues)
        return next_at > cluster.last_finish + cluster.world.wind_down or not any(each.nodes for each in cluster.sets)

    def _ask_soon(self, now: float) -> None:
        """Have the question come at the first regular time from now on."""
        interval = cast("float", self._interval)
        due = math.ceil((now - self._cluster.world.offset) / interval) * interval + self._cluster.world.offset
        if due <= self._asked_at:
            due += interval
        self._next_question = min(self._next_question, max(due, now))

    def _ask(self) -> None:
        cluster = self._cluster
        now = cluster.now
        self._asked_at = now
        self._questions += 1
        self._next_question = NEVER
        if self._alone is not None:
            each, queue = cluster.sets[0], cluster.queues[0]
            oldest = cluster.ready[queue.waiting[0]] if queue.waiting else None
            seen = observe(each, queue, now, 0.0, self._detail, oldest, cluster.work_of(0), self._clock)
            queue.forget()
            order, self._state = self._alone.decide(seen, self._state)
            again_at = self._obey(each, order)
            if self._interval is not None and again_at < NEVER:
                self._ask_soon(max(again_at, now))
            return
        self._ask_about_all(now)

    def _ask_about_all(self, now: float) -> None:
        cluster = self._cluster
        lag = cluster.world.lag
        oldest = [cluster.ready[queue.waiting[0]] if queue.waiting else None for queue in cluster.queues]
        work = [cluster.work_of(number) for number in range(len(cluster.queues))]
        seen = tuple(
            [
                observe(
                    each,
                    cluster.queues[each.pool],
                    now,
                    lag,
                    self._detail,
                    oldest[each.pool],
                    work[each.pool],
                    self._clock,
                )
                for each in cluster.sets
            ]
        )
        for queue in cluster.queues:
            queue.forget()
        if lag:
            cluster.schedule(now + lag, APPLIES, self._answer, seen, None)
            # Its answer is not known yet, so nothing can be left out.
            self._ask_soon(now)
        else:
            self._answer(seen, None)

    def _answer(self, seen: tuple[Observation, ...], _: None) -> None:
        orders, self._state = self._policy.decide_all(seen, self._state)
        again_at = min([self._obey(each, order) for each, order in zip(self._cluster.sets, orders, strict=True)])
        if self._interval is not None and again_at < NEVER:
            self._ask_soon(max(again_at, self._cluster.now))

    def _obey(self, each: NodeSet, order: Orders) -> float:
        """Carry orders out, and give when the policy wants to be asked again."""
        if order is NOTHING_TILL_SOMETHING_HAPPENS:
            return NEVER
        if order.idle_timeout is not None or order.keep is not None:
            set_clock(self._cluster, each, order)
        if order.changes:
            refused = each.totals.refused
            carry_out(self._cluster, each, order)
            if order.wake_at is None or each.totals.refused > refused:
                return self._cluster.now
        return self._cluster.now if order.wake_at is None else order.wake_at
