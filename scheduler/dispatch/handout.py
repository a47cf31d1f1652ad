"""Which ready tasks go to which queue now, and how many to a message.

Only as far ahead as the slots of a group need, because what is not yet on a queue can still be reprioritised or
cancelled for nothing. Strictly by priority; among jobs of equal priority the one with the least work out is next;
then the older one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.dispatch.records import GroupSlots, HandOut, QueueLoad, ReadyStep

# A task reference is at most 44 bytes of JSON with 32-bit numbers: 1000 leave 5 KiB of 48 KiB for the rest.
MAX_TASKS_PER_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class HandOutRules:
    """How far ahead and how coarsely work is handed out.

    message_seconds       work that one message aims at: short tasks travel together
    lookahead_seconds     work out per slot up to which more is handed out
    unknown_task_seconds  reckoned for a task whose run time nobody knows
    max_messages          messages made at once, so that a transaction stays short
    """

    message_seconds: float = 10.0
    lookahead_seconds: float = 120.0
    unknown_task_seconds: float = 60.0
    max_messages: int = 500


DEFAULT_RULES = HandOutRules()


@dataclass(slots=True)
class _Queue:
    group: GroupSlots
    messages: int
    seconds: float

    def hungry(self, rules: HandOutRules) -> bool:
        return self.messages < self.group.slots or self.seconds < self.group.slots * rules.lookahead_seconds

    def fullness(self) -> tuple[float, float, str]:
        slots = self.group.slots
        return self.seconds / slots, self.messages / slots, self.group.group.queue


@dataclass(slots=True)
class _Waiting:
    step: ReadyStep
    seconds: float
    batch: int
    ready: int
    suspects: int


@dataclass(slots=True)
class _Contender:
    """A job with ready tasks; `out` is the work it has on queues or nodes."""

    out: float
    waiting: list[_Waiting]

    def turn(self) -> tuple[float, float, object, str]:
        first = self.waiting[0].step
        return -first.priority, self.out, first.armed_at, first.job_id


def plan_hand_out(
    ready: Iterable[ReadyStep],
    loads: Iterable[QueueLoad],
    groups: Iterable[GroupSlots],
    rules: HandOutRules = DEFAULT_RULES,
) -> tuple[HandOut, ...]:
    """Decide the next messages of one pool, in the order they are to be made and sent."""
    loads = tuple(loads)
    queues = _queues(loads, groups)
    jobs = _contenders(ready, loads, sum(queue.group.slots for queue in queues), rules)
    orders: list[HandOut] = []
    while jobs and len(orders) < rules.max_messages:
        hungry = [queue for queue in queues if queue.hungry(rules)]
        if not hungry:
            break
        queue = min(hungry, key=_Queue.fullness)
        job = min(jobs, key=_Contender.turn)
        order = _next_message(job, queue.group)
        orders.append(order)
        queue.messages += 1
        queue.seconds += order.count * order.task_seconds
        if not job.waiting:
            jobs.remove(job)
    return tuple(orders)


def tasks_per_message(task_seconds: float, ready: int, slots: int, rules: HandOutRules = DEFAULT_RULES) -> int:
    """Say how many tasks of this length make one message: enough work for a message, yet something for every slot."""
    shortest = rules.message_seconds / MAX_TASKS_PER_MESSAGE
    by_time = math.floor(rules.message_seconds / max(task_seconds, shortest))
    by_share = math.ceil(ready / max(slots, 1))
    return max(1, min(by_time, by_share, MAX_TASKS_PER_MESSAGE))


def _queues(loads: tuple[QueueLoad, ...], groups: Iterable[GroupSlots]) -> list[_Queue]:
    queues = {
        item.group.queue: _Queue(item, messages=0, seconds=0.0)
        for item in groups
        if item.slots > 0 and item.group.current
    }
    for load in loads:
        if load.queue in queues:
            queues[load.queue].messages += load.messages
            queues[load.queue].seconds += load.seconds
    return list(queues.values())


def _contenders(
    ready: Iterable[ReadyStep], loads: tuple[QueueLoad, ...], slots: int, rules: HandOutRules
) -> list[_Contender]:
    jobs: dict[str, _Contender] = {}
    for step in ready:
        seconds = rules.unknown_task_seconds if step.task_seconds is None else step.task_seconds
        batch = tasks_per_message(seconds, step.ready, slots, rules)
        if step.ready or step.suspects:
            contender = jobs.setdefault(step.job_id, _Contender(out=0.0, waiting=[]))
            contender.waiting.append(_Waiting(step, seconds, batch, step.ready, step.suspects))
    for contender in jobs.values():
        contender.waiting.sort(key=lambda waiting: waiting.step.step)
    for load in loads:
        if load.job_id in jobs:
            jobs[load.job_id].out += load.seconds
    return list(jobs.values())


def _next_message(job: _Contender, group: GroupSlots) -> HandOut:
    waiting = job.waiting[0]
    suspect = waiting.suspects > 0
    count = 1 if suspect else min(waiting.batch, waiting.ready)
    if suspect:
        waiting.suspects -= 1
    else:
        waiting.ready -= count
    if waiting.ready + waiting.suspects == 0:
        job.waiting.pop(0)
    job.out += count * waiting.seconds
    step = waiting.step
    return HandOut(group.group, step.job_id, step.step, count, suspect, waiting.seconds)
