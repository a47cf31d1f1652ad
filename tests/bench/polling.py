"""What waiting costs: requests of an idle node and an idle scheduler, and how long a task waits for them. No peer.

One run with one node: jobs of one task, submitted while the node idles for less than a minute, then for more than one.
A wait is from the call that arms the job to the task's start by the node's clock. Requests are the lines of Azurite's
own log in the windows in which the node idled for more than a minute; who made one is told by its path.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node_bootstrap.protocol import TaskDefinition
from scheduler.model import JobState, NewJob, Step
from tests.bench.deployment import POOL, QUEUE, Deployment, deployed

_HOUR = 3600.0
_MONTH_HOURS = 730.0
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 60.0
# The node's queue is asked often for a minute after work.
_QUICK_SECONDS = 60.0
_LINE = re.compile(r'"(?P<method>[A-Z]+) /[^/]+/(?P<path>[^ ?]*)(?:\?(?P<query>\S*))? HTTP')
# Dollars for 10,000 operations: hot blobs and queues of a general-purpose v2 account with LRS in eastus. From Azure's
# public price pages as known in 2024, written down 2026-11-29 without a look at them: an order of magnitude, no quote.
_USD = {"blob write": 0.05, "blob list": 0.05, "blob read": 0.004, "queue": 0.004}
_OPERATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How often and how long is measured; a window begins a minute after work where `settle_seconds` says so."""

    quick: int
    slow: int
    settle_seconds: float
    window_seconds: float


FULL = Sizes(quick=20, slow=6, settle_seconds=_QUICK_SECONDS + 2, window_seconds=40.0)
QUICK = Sizes(quick=1, slow=1, settle_seconds=0.5, window_seconds=1.0)


@dataclass(frozen=True, slots=True)
class Polling:
    """What was seen. Waits in seconds; requests and dollars of one idle node and one idle scheduler."""

    quick_waits: tuple[float, ...]
    slow_waits: tuple[float, ...]
    requests_an_hour: Mapping[str, float]
    usd_a_month: Mapping[str, float]


def measure_polling(folder: Path, sizes: Sizes) -> Polling:
    """Run the whole, about ten minutes at full size."""
    chance = random.Random(0)  # noqa: S311  spreads submits over the polls, the same in every run
    counts: Counter[tuple[str, str]] = Counter()
    seconds = 0.0
    with deployed(folder, 1) as made:
        _wait(made, "first")
        quick = []
        for number in range(sizes.quick):
            time.sleep(chance.uniform(0.0, 4.0))
            quick.append(_wait(made, f"quick {number}"))
        slow = []
        for number in range(sizes.slow):
            time.sleep(sizes.settle_seconds)
            began = time.monotonic()
            position = made.storage.log.stat().st_size
            time.sleep(sizes.window_seconds + chance.uniform(0.0, 5.0))
            with made.storage.log.open("rb") as log:
                log.seek(position)
                counts += _requests(log.read().decode())
            seconds += time.monotonic() - began
            slow.append(_wait(made, f"slow {number}"))
    hourly = {key: count * _HOUR / seconds for key, count in counts.items()}
    return Polling(tuple(quick), tuple(slow), _sums(hourly, lambda kind: 1.0), _sums(hourly, _usd_a_month))


def percentile_95(waits: tuple[float, ...]) -> float:
    """Give the smallest wait that at least 95 % do not exceed."""
    ordered = sorted(waits)
    return ordered[-(-len(ordered) * 95 // 100) - 1]


def _wait(made: Deployment, name: str) -> float:
    """Run one task, and say how long after its job was armed it started."""
    service = made.app.service
    job = service.create_job(NewJob(name, POOL, name))
    service.add_steps(job.job_id, 0, (Step(TaskDefinition("only", ("true",), 0, 1)),))
    armed_at = datetime.now(UTC)
    service.arm_job(job.job_id, 1)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while service.get_job(job.job_id).state is not JobState.COMPLETED:
        if time.monotonic() > deadline:
            raise RuntimeError(f"job {name} did not end within {_PATIENCE_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)
    (task,) = service.list_tasks(job.job_id)
    assert task.started_at is not None
    return (task.started_at - armed_at).total_seconds()


def _requests(log: str) -> Counter[tuple[str, str]]:
    """Count requests by who made them and what they are billed as."""
    found: Counter[tuple[str, str]] = Counter()
    for line in _LINE.finditer(log):
        method, path, query = line["method"], line["path"], line["query"] or ""
        of_node = (
            path.startswith(f"{QUEUE}/")
            or (method == "GET" and path.startswith("control/"))
            or (method == "PUT" and path.startswith("nodes/"))
        )
        if "/messages" in path:
            kind = "queue"
        elif "comp=list" in query:
            kind = "blob list"
        else:
            kind = "blob read" if method in {"GET", "HEAD"} else "blob write"
        found["node" if of_node else "scheduler", kind] += 1
    return found


def _usd_a_month(kind: str) -> float:
    return _USD[kind] * _MONTH_HOURS / _OPERATIONS


def _sums(hourly: Mapping[tuple[str, str], float], weight: Callable[[str], float]) -> Mapping[str, float]:
    sums = {"node": 0.0, "scheduler": 0.0}
    for (who, kind), count in hourly.items():
        sums[who] += count * weight(kind)
    return sums
