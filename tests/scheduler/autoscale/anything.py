"""All that a decision can be made from, by a number: pools, groups, bounds, what was learned and what is to come.

Hypothesis takes twenty times as long for as much, so here chance is a seed: nothing is made smaller when a test fails,
but tens of thousands of worlds take seconds (`MILLPOND_EXPLORE=20000`).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from scheduler.autoscale.inputs import Inputs
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import GroupFleet, GroupHistory
from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupPriority, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import Floor, Limits, ScalingPolicy, Weekday
from scheduler.sketch import NOTHING_KNOWN, RunTimes
from tests.scheduler.autoscale.fleets import NOW, group, kept, node
from tests.scheduler.autoscale.situations import ERRORS, EVERY_AGE, SETTLED, SHAPES

SEEDS = st.integers(0, 2**64 - 1)
SIZES = ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_E4ds_v5", "Unheard_of")
QUOTAS = ("cores", "lowPriorityCores", "standardDSv5Family", "standardEDSv5Family")
_MINUTE = timedelta(minutes=1)
_TIMES = (NOTHING_KNOWN, *(RunTimes.of(runs).expected() for runs in ([1.0], [60.0] * 3, [3600.0] * 20, [1.0, 3600.0])))
_FEW = (0, 0, 1, 2, 5, 40)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Kind:
    """What worlds are like: the most pools and groups, what may be unread or in motion, and which bounds they have."""

    pools: int = 2
    groups: int = 3
    retired: bool = True
    known: bool = False
    settled: bool = False
    steps: bool = True
    gangs: bool = True
    spot: bool = True
    money: bool = True
    floors: bool = True
    foreseen: bool = True


class World:
    """Draws the inputs of a decision, always the same by the same seed."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.kind = kind

    def inputs(self) -> Inputs:
        """Draw all of them."""
        policies: dict[str, ScalingPolicy] = {}
        demand: dict[str, PoolDemand | None] = {}
        learned: dict[str, PoolHistory] = {}
        fleet: list[GroupFleet] = []
        for number in range(self.chance.randint(1, self.kind.pools)):
            pool = f"pool{number}"
            policy, work = policies[pool], demand[pool] = self._policy(), self._demand()
            names = [(name, "g1") for name in ("main", "spare", "last")[: self.chance.randint(1, self.kind.groups)]]
            if self.kind.retired:
                older = [("main", "g0"), ("spare", "g0"), ("main", "f9")]
                names += self.chance.sample(older, self.chance.randint(0, 2))
            fleet += [self._group(policy, pool, *name) for name in names]
            if self._odds(0.5):
                learned[pool] = self._learned(work)
            if not self.kind.known and self._odds(0.05):
                demand[pool] = None
        quotas = self.chance.sample(QUOTAS, self._one((0, 0, 1, 2))) if self.kind.money else []
        limits = Limits({each: self.chance.randint(0, 100) for each in quotas}, self._money())
        history = tuple((each.group.key, self._past(policies[each.group.key.pool])) for each in fleet)
        return Inputs(policies, demand, tuple(fleet), history, NOW, learned=learned, limits=limits)

    def foreseen(self) -> Foreseen:
        """Draw tasks that are to come."""
        due = self._maybe(lambda: NOW + self._one((7, 1, -3)) * _MINUTE)
        behind = tuple(self._class() for _ in range(self.chance.randint(0, 2)))
        kind, step = self._one(tuple(ForeseenKind)), self._one("def")
        return Foreseen(kind, "j", step, self._one(_FEW), self._one(_TIMES), due, behind)

    def more(self) -> int:
        """Draw a number of tasks that come on top."""
        return self._one((1, 2, 3, 5, 20, 50, 1000, 1_000_000))

    def _one(self, among: Sequence[_Value]) -> _Value:
        return self.chance.choice(among)

    def _odds(self, odds: float) -> bool:
        return self.chance.random() < odds

    def _maybe(self, draw: Callable[[], _Value], odds: float = 0.5) -> _Value | None:
        return draw() if self._odds(odds) else None

    def _money(self) -> float | None:
        return self._maybe(lambda: self.chance.uniform(0, 5)) if self.kind.money else None

    def _ago(self, policy: ScalingPolicy, odds: float = 0.5) -> datetime | None:
        return self._maybe(lambda: NOW - self._one(EVERY_AGE).of(policy), odds)

    def _policy(self) -> ScalingPolicy:
        least, most = sorted((self._one((0, 0, 1, 2, 3, 6)), self._one((0, 3, 8, 14, 30))))
        step = lambda: self._maybe(lambda: self.chance.randint(1, 8)) if self.kind.steps else None  # noqa: E731
        floors = tuple(
            Floor(tuple(Weekday), *self._one(((time(9), time(11)), (time(12, 1), time(18)))), "UTC", nodes)
            for nodes in range(0, most + 1, 5)
            if self.kind.floors and self._odds(0.2)
        )
        return ScalingPolicy(
            acceptable_wait=self._one((timedelta(seconds=1), 5 * _MINUTE, timedelta(hours=2))),
            min_nodes=least,
            max_nodes=most,
            default_task_time=self._one((timedelta(seconds=1), _MINUTE, timedelta(hours=1))),
            idle_timeout=self._one((None, None, timedelta(microseconds=1), 2 * _MINUTE)),
            boot_deadline=self._one((5 * _MINUTE, 15 * _MINUTE)),
            max_failed_boots=self.chance.randint(1, 3),
            waiting_cost=self._one((1.0, 1.0, 0.0, 0.01, 1000.0)),
            priority=self.chance.randint(0, 1),
            budget_per_hour=self._money(),
            spot_share=self._one((None, 0.0, 0.3, 0.5, 0.9, 1.0)) if self.kind.spot else None,
            spot_fallback=self._odds(0.5),
            max_step_out=step(),
            max_step_out_per_minute=step(),
            floors=floors,
            gang_nodes=self._one((1, 1, 1, min(max(1, most), 3))) if self.kind.gangs else 1,
        )

    def _demand(self) -> PoolDemand:
        active, running = self._one((0, 0, 0, 0, 1, 2, 5, 40, 1_000_000)), self._one((0, 0, 0, 1, 2, 3, 8, 60))
        mean = self._maybe(lambda: self._one((0.0, 0.001, 1.0, 30.0, 600.0, 1e7)), 0.7)
        coming = [self.foreseen() for _ in range(self._one((0, 0, 1, 2)))] if self.kind.foreseen else []
        behind = tuple(each for one in coming for each in one.behind)
        return PoolDemand(active, running, mean, self._ago(ScalingPolicy()), behind, tuple(coming))

    def _class(self) -> DemandClass:
        begun = [NOW - self._one((0, 1, 6)) * _MINUTE for _ in range(self.chance.randint(0, 2))]
        cohorts = tuple(Cohort(at, self.chance.randint(1, 40)) for at in begun)
        return DemandClass("j", self._one("abc"), self._one(_FEW), self._one(_FEW), self._one(_TIMES), cohorts)

    def _learned(self, work: PoolDemand) -> PoolHistory:
        known = PoolHistory()
        for step in range(self.chance.randint(0, 8), 0, -1):
            known = observed(known, self.chance.randint(0, 12), NOW - step * 2 * _MINUTE)
        return observed(known, work.active_tasks + work.running_tasks, NOW)

    def _group(self, policy: ScalingPolicy, pool: str, name: str, generation: str) -> GroupFleet:
        drawn = group(
            name,
            generation,
            slots=self.chance.randint(1, 4),
            most=self._one((0, 1, 3, 12)),
            current=generation == "g1",
        )
        owner = replace(
            drawn,
            key=replace(drawn.key, pool=pool),
            scale_set=f"{pool}-{name}-{generation}",
            vm_size=self._one(SIZES) if self.kind.money else SIZES[0],
            priority=self._one(tuple(GroupPriority)) if self.kind.spot else GroupPriority.REGULAR,
            windows=self.kind.money and self._odds(0.5),
        )
        nodes = tuple(self._node(policy, owner, number) for number in range(self.chance.randint(0, 7)))
        more = 0 if self.kind.settled else self.chance.randint(-1, 3)
        unread = "throttled" if not (self.kind.known or self.kind.settled) and self._odds(0.2) else None
        error = None if self.kind.settled else self._one(ERRORS)
        return GroupFleet(owner, nodes, max(0, kept(nodes) + more), unread, error)

    def _node(self, policy: ScalingPolicy, owner: NodeGroup, number: int) -> Node:
        shape = self._one(SETTLED if self.kind.settled else SHAPES)
        held = ("m1", "m2")[: owner.task_slots] if shape.busy else ()
        idle = self._maybe(lambda: self._one(EVERY_AGE).of(policy), 0.8) if shape.phase is NodePhase.WORKING else None
        age = self._one(EVERY_AGE).of(policy)
        made = node(number, shape.phase, owner, idle=idle, age=age, held=held, ready=shape.ready)
        return replace(made, drain_asked_at=NOW) if self.kind.retired and self._odds(0.15) else made

    def _past(self, policy: ScalingPolicy) -> GroupHistory:
        boot = self._maybe(lambda: self._one(EVERY_AGE).of(policy))
        if self.kind.settled:
            return GroupHistory(boot_time=boot)
        evicted = [NOW - self._one(EVERY_AGE).of(policy) for _ in range(self._one((0, 0, 2, 3)))]
        return GroupHistory(
            failed_boots=self.chance.randint(0, 4),
            failed_boot_at=self._ago(policy),
            refused_at=self._ago(policy),
            refused_kind=self._one((None, *CapacityErrorKind)),
            ordered_at=self._ago(policy),
            boot_time=boot,
            refusals=self._one((0, 0, 1, 5)),
            evicted_at=tuple(sorted(evicted)),
        )
