"""EASY backfilling: which waiting jobs start now."""

from collections.abc import Iterable, Sequence


def easy(
    now: float, free: int, running: Iterable[tuple[float, int]], waiting: Sequence[tuple[int, int, float]]
) -> list[int]:
    """Give the jobs that start now, in order.

    running  when each running job is expected to end, and its slots
    waiting  (job, slots, expected run time) in order of arrival

    Jobs start in order while they fit. The first that does not fit has a reservation: the earliest time at which enough
    slots are expected to be free. A later job may start if it fits now and either is expected to end by then, or needs
    no more than the slots that are left over then (Lifka 1995; Mu'alem and Feitelson 2001).
    """
    starts: list[int] = []
    ends = list(running)
    place = 0
    for job, slots, run in waiting:
        if slots > free:
            break
        starts.append(job)
        free -= slots
        ends.append((now + run, slots))
        place += 1
    if place >= len(waiting) or free == 0:
        return starts
    reserved_at, spare = _reservation(free, ends, waiting[place][1])
    for job, slots, run in waiting[place + 1 :]:
        if slots > free:
            continue
        if now + run <= reserved_at:
            starts.append(job)
            free -= slots
        elif slots <= spare:
            starts.append(job)
            free -= slots
            spare -= slots
        if free == 0:
            break
    return starts


def _reservation(free: int, ends: list[tuple[float, int]], wanted: int) -> tuple[float, int]:
    """Say when so many slots are expected to be free, and how many more there will be then."""
    ends.sort()
    will_be_free = free
    for position, (end, slots) in enumerate(ends):
        will_be_free += slots
        if will_be_free >= wanted and (position + 1 == len(ends) or ends[position + 1][0] > end):
            return end, will_be_free - wanted
    return float("inf"), 0
