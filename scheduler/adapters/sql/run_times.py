"""Run times as they are kept: a sketch in each step, one for each kind of work of a pool, and one for all of it."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from scheduler.adapters.sql.job_schema import RUN_TIMES, STEPS
from scheduler.dispatch.run_times import POOL_SPAN, STEP_SPAN, moving_mean
from scheduler.sketch import NONE_SEEN, Bucket, RunTimes

# The kind of work under which all work of a pool is kept.
ALL_WORK = ""

_KEEP = (
    update(RUN_TIMES)
    .where(RUN_TIMES.c.pool == bindparam("the_pool"), RUN_TIMES.c.work == bindparam("the_work"))
    .values(run_times=bindparam("sketch"), measured_at=bindparam("at"))
)


def follow_run_times(
    connection: Connection, job: Row[Any], times: Mapping[int, Sequence[float]], now: datetime
) -> None:
    """Take in the newest run times of a job's steps, in seconds: for the steps, their kinds of work, and the pool."""
    by_work: dict[str, list[float]] = {ALL_WORK: []}
    for position, lengths in times.items():
        here = (STEPS.c.job == job.number) & (STEPS.c.position == position)
        known = select(STEPS.c.mean_seconds, STEPS.c.measured, STEPS.c.run_times, STEPS.c.work)
        step = connection.execute(known.where(here)).one()
        mean = moving_mean(step.mean_seconds, step.measured, lengths, STEP_SPAN)
        sketch = to_text(to_run_times(step.run_times).followed_by(lengths, STEP_SPAN))
        measured = step.measured + len(lengths)
        connection.execute(update(STEPS).where(here).values(mean_seconds=mean, measured=measured, run_times=sketch))
        by_work.setdefault(step.work, []).extend(lengths)
        by_work[ALL_WORK].extend(lengths)
    known_work = work_run_times(connection, job.pool, by_work.keys())
    made, changed = [], []
    for work, lengths in by_work.items():
        text = to_text(known_work.get(work, NONE_SEEN).followed_by(lengths, POOL_SPAN))
        if work in known_work:
            changed.append({"the_pool": job.pool, "the_work": work, "sketch": text, "at": now})
        else:
            made.append({"pool": job.pool, "work": work, "run_times": text, "measured_at": now})
    if made:
        connection.execute(insert(RUN_TIMES), made)
    if changed:
        connection.execute(_KEEP, changed)


def work_run_times(connection: Connection, pool: str, works: Collection[str]) -> dict[str, RunTimes]:
    """Give what was seen of these kinds of work, where any was."""
    here = select(RUN_TIMES.c.work, RUN_TIMES.c.run_times).where(RUN_TIMES.c.pool == pool)
    rows = connection.execute(here.where(RUN_TIMES.c.work.in_(sorted(works))))
    return {row.work: to_run_times(row.run_times) for row in rows}


def to_text(times: RunTimes) -> str:
    """Write a sketch as a column holds it, in six digits."""
    rows = [[each.place, float(f"{each.runs:.6g}"), float(f"{each.seconds:.6g}")] for each in times.buckets]
    return json.dumps(rows, separators=(",", ":"))


def to_run_times(text: str | None) -> RunTimes:
    """Read a sketch; one that was never written has seen nothing."""
    return NONE_SEEN if text is None else RunTimes(tuple(Bucket(*row) for row in json.loads(text)))
