"""How often the controller looks, from how much there is to see."""

from dataclasses import dataclass, replace
from datetime import timedelta

# What is looked at less often while there is nothing to do: ten times, as an idle hour then costs fewer than 2,000
# requests to storage (docs/benchmarks.md has what is counted).
_IDLE = 10
# After a report more are on their way, and what they free can be handed out.
_QUICK = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """Times between two looks.

    interval   everything, while a task is open or the fleet changes
    quick      events alone, after some came or work was handed out; twice as long each time that none came
    idle       everything, while nothing is to be done; the store is asked every interval whether something is
    renew      the leader's lease: a third of it, so that two renewals may fail
    stand_by   the lease, while another holds it; the most that is added to it when a leader dies
    """

    interval: timedelta = timedelta(seconds=1)
    quick: timedelta = timedelta(seconds=0.1)
    idle: timedelta = timedelta(seconds=10)
    renew: timedelta = timedelta(seconds=10)
    stand_by: timedelta = timedelta(seconds=2)


USUAL = Pace()


def pace_of(interval: timedelta) -> Pace:
    """Make the pace of a scheduler that steps so often while it is busy."""
    return replace(USUAL, interval=interval, quick=interval * _QUICK, idle=min(interval * _IDLE, USUAL.idle))


def within(age: timedelta, limit: timedelta) -> bool:
    """Say whether something is younger than a limit; after a clock was set back it is not."""
    return timedelta(0) <= age < limit
