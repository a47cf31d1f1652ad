"""The runner's machine for long times in which its looks find nothing new, and when its node ticks."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from node_bootstrap.protocol import NodeState
from node_bootstrap.runner.machine import (
    CONTROL_WHILE_IDLE,
    CONTROL_WHILE_WORKING,
    QUICK_FOR,
    QUICK_POLL,
    SLOW_POLL,
    RunnerMachine,
)

# What the runner promises itself; it also ticks when a process ends.
TICK = timedelta(seconds=1)
_LEAST = timedelta(microseconds=1)
# Far below the clock's microsecond, far above what sums of seconds are wrong by.
_ROUNDING = 1e-8


@dataclass(slots=True)
class Ticks:
    """Instants one tick apart, in seconds of the workload; `token` names the one that is planned."""

    first: float
    token: int = 0
    asleep: bool = False

    def at_or_after(self, at: float) -> float:
        """Give the first tick that is not before a time."""
        pause = TICK.total_seconds()
        return self.first + math.ceil((at - self.first) / pause - _ROUNDING) * pause


class QuietMachine(RunnerMachine):
    """A machine that can leave out ticks at which it would read what it knows and say what it has said."""

    @property
    def polls(self) -> bool:
        """Whether it asks its queue for messages."""
        return len(self._runs) < self._settings.task_slots

    def quiet_until(self, now: datetime) -> datetime | None:
        """Give until when it does nothing but look and repeat its status, if nothing is new; None if it does more."""
        under_way = self._reading_control or self._receiving or self._asked is not None or self._faults.failing
        if under_way or self._state is not NodeState.WORKING or self._written != self._status:
            return None
        if self.polls and self._poll != QUICK_POLL:
            return None
        times = [self._had_work_at + QUICK_FOR] if self._is_quick(now) else []
        for run in self._runs.values():
            rests_until = run.rests_until
            if rests_until is None:
                return None
            times.append(rests_until)
        return min(times, default=datetime.max.replace(tzinfo=now.tzinfo))

    def pass_over(self, first: datetime, before: datetime) -> datetime | None:
        """Have ticked up to an instant, where that is quiet, and say when the status was last repeated, if it was.

        `first` is any of the ticks.
        """
        now = before - _LEAST
        quick = self._is_quick(now)
        if self._control_at is not None:
            pause = CONTROL_WHILE_WORKING if self._runs or quick else CONTROL_WHILE_IDLE
            self._control_at = _last(self._control_at, pause, first, before)
        if self.polls and self._receive_at is not None:
            pause = QUICK_POLL if quick else SLOW_POLL
            self._receive_at = _last(self._receive_at - pause, pause, first, before) + pause
        if self._status_at is None:
            return None
        repeated_at = _last(self._status_at, self._settings.status_interval, first, before)
        if repeated_at == self._status_at:
            return None
        self._status_at = self._heard_at = repeated_at
        return repeated_at


def _last(last: datetime, pause: timedelta, first: datetime, before: datetime) -> datetime:
    """Give the last of the looks, which come at the first tick after a pause, that is before an instant."""
    start = first - (first - (last + pause)) // TICK * TICK
    if start >= before:
        return last
    step = -(-pause // TICK) * TICK
    return start + (before - _LEAST - start) // step * step
