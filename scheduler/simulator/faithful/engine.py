"""The faithful replay: the real controller, store and runner, on adapters in memory and a manual clock.

Clients submit the workload's jobs, the controller hands out and decides, machines of the cloud boot and run the
runner's own state machine, and its tasks' processes run for as long as the workload says. Time goes from event to
event: submissions, boots, evictions and ends of processes come when they come, runners tick every second, and the
controller steps when it asked to, or when its bell rings, which a submission does.

While nothing has happened since the controller last looked, and it did nothing then, its next looks would do nothing
either until a deadline of the decision passes. Those are left out: the decision, which is pure, is asked with the same
inputs at each of these times, and the controller steps at the first at which the answer is to act. Every ten minutes it
steps all the same, and once a minute while there is a message that may be found to be lost.

At one instant the order is: boots, ends and evictions; submissions; the controller; ticks.
"""

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import timedelta
from heapq import heappop, heappush

from node_bootstrap.protocol import Outcome
from scheduler.adapters.memory import LeaderRecord, ManualClock, MemoryLease
from scheduler.adapters.sql.deletion_store import SqlDeletionStore
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.controller.assembly import Ports, assemble
from scheduler.controller.loop import RECONCILE_INTERVAL, Controller
from scheduler.controller.observe import VIEW_KEPT
from scheduler.controller.pace import pace_of
from scheduler.model import NewJob
from scheduler.settings import PoolSettings
from scheduler.simulator.faithful.cloud import Cloud, CloudGroup, Machine
from scheduler.simulator.faithful.jobs import Submission, TracePrograms, check_world, submissions
from scheduler.simulator.faithful.looking_on import CountedBlobs, CountedQueues, Watch, log_apart
from scheduler.simulator.faithful.record import Record
from scheduler.simulator.faithful.remembering import OF_DELETIONS, OF_DISPATCH, OF_FLEET, WatchedDatabase
from scheduler.simulator.faithful.runners import EPOCH, Runners
from scheduler.simulator.faithful.wiring import GivenSettings, simulated_settings
from scheduler.simulator.fitting import check_fits, pools_of
from scheduler.simulator.policies.own import OwnPolicy
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload, followers_of
from scheduler.simulator.world import World

# Initial nodes are admitted before the workload begins; they are paid for from its beginning.
WARM_UP = 10.0
# The longest time that the controller is not asked while all is still.
LONGEST = 600.0

HAPPENS, SUBMITS, STEPS, TICKS = range(4)

Progress = Callable[[float], None]


def replay_faithfully(
    workload: Workload,
    world: World,
    policy: OwnPolicy,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    skips: bool = True,
) -> Run:
    """Replay a workload through the real controller, with the rules and the interval of our policy.

    The same arguments give the same run; without `skips` the controller takes every step of its own, which takes longer
    and gives the same. `InvalidRequestError` says what of a world the real system does not do.
    """
    check_world(workload, world)
    check_fits(workload, pools_of(workload, world), world)
    with log_apart():
        return _Faithful(workload, world, policy, seed, progress, skips=skips).run()


class _Faithful:
    def __init__(
        self,
        workload: Workload,
        world: World,
        policy: OwnPolicy,
        seed: int,
        progress: Progress | None,
        *,
        skips: bool,
    ) -> None:
        self._skips = skips
        self._world = world
        self._policy = policy
        self._seed = seed
        self._progress = progress
        self._interval = 5.0 if policy.interval is None else policy.interval
        self._pace = pace_of(timedelta(seconds=self._interval))
        self._clock = ManualClock(EPOCH - timedelta(seconds=WARM_UP))
        self._now = -WARM_UP
        self._heap: list[tuple[float, int, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._record = Record(workload, world, lambda: self._now)
        self._queues, self._blobs = CountedQueues(self._clock), CountedBlobs(self._clock)
        self._cloud = Cloud(
            self._clock,
            lambda: self._now,
            world,
            policy.groups,
            seed,
            self._later,
            self._machine_up,
            self._machine_gone,
        )
        self._programs = TracePrograms(workload, self._begun, self._ended)
        self._runners = Runners(
            self._clock, self._queues, self._blobs, self._programs, self._tick_later, self._later, sleep=skips
        )
        self._database = WatchedDatabase()
        self._jobs, self._dispatch = SqlJobStore(self._database), SqlDispatchStore(self._database)
        self._watch = Watch()
        for group in policy.groups:
            self._queues.create_queue(group.queue)
        self._controller = self._assembled()
        self._due = submissions(workload, world)
        self._submits = workload.submit
        self._total = len(workload)
        self._blockers = [len(after) for after in workload.after] or [0] * len(workload)
        self._followers = followers_of(workload.after)
        self._alone = {each.tasks[0]: each for each in self._due if each.after}
        self._submitted: set[int] = set()
        self._step_token = 0
        self._looked_at = self._step_at = self._news_seen_at = self._now
        self._settles_after = max(0.0, VIEW_KEPT.total_seconds() - self._interval)
        self._news_at_look = -1
        self._skipping = False

    def _assembled(self) -> Controller:
        """Wire the real controller to what is simulated, with the settings that `pulumi up` would have published."""
        numbers = itertools.count(1)
        rules = self._policy.policies
        pools = tuple(
            PoolSettings(pool.name, rules[pool.name], tuple(g for g in self._policy.groups if g.key.pool == pool.name))
            for pool in self._world.pools
        )
        fleet, deletions = SqlFleetStore(self._database), SqlDeletionStore(self._database)
        if self._skips:
            self._database.remember(fleet, OF_FLEET)
            self._database.remember(self._dispatch, OF_DISPATCH)
            self._database.remember(deletions, OF_DELETIONS)
        return assemble(
            Ports(
                MemoryLease(self._clock, LeaderRecord()),
                self._database,
                fleet,
                self._dispatch,
                deletions,
                self._cloud,
                self._queues,
                self._blobs,
            ),
            GivenSettings(simulated_settings(pools, self._policy.limits)),
            self._pace,
            new_message_id=lambda: f"m{next(numbers):09d}",
            decide_on=self._watch,
        )

    # Time.

    def _later(self, at: float, happen: Callable[[], None], rank: int = HAPPENS) -> None:
        heappush(self._heap, (at, rank, next(self._sequence), happen))

    def _tick_later(self, at: float, number: int, happen: Callable[[], None]) -> None:
        """Have a node tick; at one instant nodes tick as they are numbered."""
        heappush(self._heap, (at, TICKS, (number << 48) + next(self._sequence), happen))

    @property
    def _news(self) -> int:
        return self._queues.changes + self._blobs.changes + self._cloud.changes + len(self._submitted)

    def run(self) -> Run:
        self._cloud.begin()
        for each in self._due:
            if not each.after:
                self._later(each.submit, lambda each=each: self._submit(each), SUBMITS)  # type: ignore[misc]
            else:
                self._later(each.submit, lambda each=each: self._come(each), SUBMITS)  # type: ignore[misc]
        self._plan_step(self._now)
        while self._heap and not self._over():
            at, rank, _, happen = heappop(self._heap)
            self._clock.advance(EPOCH + timedelta(seconds=at) - self._clock.now())
            self._now = at
            before = self._news
            happen()
            if self._news != before:
                self._heed_news(rank)
        until = self._now if self._record.remaining else min(self._now, self._record.last_finish)
        self._cloud.close(until)
        for pool in range(len(self._world.pools)):
            self._record.note(pool, self._cloud.groups)
        self._database.close()
        return self._record.run(self._policy.name, self._seed, self._cloud.groups, self._watch.asked)

    def _over(self) -> bool:
        record, at = self._record, self._heap[0][0]
        if record.remaining:
            return at > record.moved_at + self._world.patience and not self._waits_for_clients()
        return at > record.last_finish + self._world.wind_down or not any(each.machines for each in self._cloud.groups)

    def _waits_for_clients(self) -> bool:
        return len(self._submitted) < self._total and any(rank == SUBMITS for _, rank, _, _ in self._heap)

    # Clients.

    def _submit(self, each: Submission) -> None:
        """Submit a job, each request a moment after the one before."""
        job_id = self._jobs.create_job(NewJob(each.name, each.pool, each.name), self._clock.now()).job_id
        self._programs.know(job_id, each.tasks)
        self._jobs.add_steps(job_id, 0, each.steps)
        self._jobs.arm_job(job_id, len(each.tasks), self._clock.now() + timedelta(microseconds=len(self._submitted)))
        for job in each.tasks:
            self._submitted.add(job)
            if not self._blockers[job]:
                self._record.arrive(job)
        self._note(self._record.pool(each.tasks[0]))
        self._plan_step(self._now)

    def _come(self, each: Submission) -> None:
        """Have a client come whose job waits for other jobs."""
        job = each.tasks[0]
        if self._blockers[job]:
            self._alone[job] = each
        else:
            self._alone.pop(job, None)
            self._submit(each)

    # The controller.

    def _plan_step(self, at: float) -> None:
        self._step_token += 1
        token = self._step_token
        self._step_at = at
        self._later(at, lambda: self._step(token), STEPS)

    def _step(self, token: int) -> None:
        if token != self._step_token:
            return
        self._runners.catch_up()
        asked, news, since = self._watch.asked, self._news, self._now - self._looked_at
        pause = self._controller.step(self._clock.now()).total_seconds()
        self._runners.hear_news(self._now)
        still = False
        if self._watch.asked != asked:
            if not self._news == news == self._news_at_look:
                self._news_seen_at = self._now
            # By then a set that was read before the news has been read again.
            still = self._now - self._news_seen_at >= self._settles_after and pause >= self._interval
            self._news_at_look, self._looked_at = self._news, self._now
        self._skipping = still and self._skips
        reconciled = since >= RECONCILE_INTERVAL.total_seconds()
        at = self._first_to_act(reconciled=reconciled) if self._skipping else self._now + max(pause, 1e-3)
        self._plan_step(at)
        self._note_all()

    @property
    def _every(self) -> float:
        return self._pace.idle.total_seconds() if self._controller.idle else self._interval

    def _looks(self) -> Iterator[float]:
        """Give when the controller would look if it took every step and nothing were to be done."""
        return itertools.count(self._looked_at + self._every, self._every)

    def _first_to_act(self, *, reconciled: bool) -> float:
        """Give when the controller would first act if nothing happened before.

        It also takes the last look before the next submission, whose bell it is to find with a fresh reading.
        """
        every = self._every
        place = bisect_right(self._submits, self._now)
        latest = self._submits[place] - every if place < len(self._submits) else math.inf
        latest = min(latest, self._looked_at + self._longest(reconciled=reconciled) - every)
        if self._watch.rests:
            return next(at for at in self._looks() if at > latest)
        return next(at for at in self._looks() if at > latest or self._watch.would_act(EPOCH + timedelta(seconds=at)))

    def _longest(self, *, reconciled: bool) -> float:
        """Give how long the controller need not look while all is still.

        A message that no node has begun by its deadline may be found to be lost, in the next round of reconciling; if
        it was not in this one, then only news can show that it is.
        """
        every = RECONCILE_INTERVAL.total_seconds()
        ahead = [
            (message.deadline - EPOCH).total_seconds() - self._now
            for message in self._dispatch.open_messages()
            if not message.started
        ]
        due = min((each for each in ahead if each > 0 or not reconciled), default=math.inf)
        return LONGEST if due > LONGEST else max(1, math.ceil(due / every)) * every

    def _heed_news(self, rank: int) -> None:
        """Have the controller look when it would have, had none of its looks been left out."""
        if self._skipping:
            self._skipping = False
            at = next(at for at in self._looks() if at > self._now or (at == self._now and rank < STEPS))
            self._plan_step(min(at, self._step_at))

    # Machines and their runners.

    def _machine_up(self, each: CloudGroup, machine: Machine) -> None:
        self._runners.boot(each, f"{each.node_group.scale_set}_{machine.instance_id}", self._now)
        self._note(each.pool)

    def _machine_gone(self, each: CloudGroup, machine: Machine) -> None:
        for job, began_at in self._runners.end(f"{each.node_group.scale_set}_{machine.instance_id}"):
            self._record.lose(job, began_at, each.totals)
        self._note(each.pool)

    def _begun(self, job: int) -> None:
        self._runners.running[job] = self._now
        self._record.begin(job)
        self._note(self._record.pool(job))

    def _ended(self, job: int, outcome: Outcome) -> None:
        began_at = self._runners.running.pop(job)
        if outcome is not Outcome.SUCCESS or self._record.has_ended(job):
            self._record.lose(job, began_at, self._runners.group.totals)
            self._note(self._record.pool(job))
            return
        self._record.finish(job)
        for follower in self._followers.get(job, ()):
            self._blockers[follower] -= 1
            if self._blockers[follower]:
                continue
            if follower in self._submitted:
                self._record.arrive(follower)
            elif follower in self._alone:
                self._release(self._alone[follower])
        self._note(self._record.pool(job))
        done = self._total - self._record.remaining
        if self._progress is not None:
            self._progress(done / self._total)

    def _release(self, each: Submission) -> None:
        if each.submit <= self._now:
            self._later(self._now, lambda: self._come(each), SUBMITS)

    # The record.

    def _note(self, pool: int) -> None:
        self._record.note(pool, self._cloud.groups)

    def _note_all(self) -> None:
        for pool in range(len(self._world.pools)):
            self._note(pool)
