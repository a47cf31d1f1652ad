"""The language's names: variables, constants, properties, functions and methods, with what each takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

DEDICATED = "$TargetDedicatedNodes"
LOW_PRIORITY = "$TargetLowPriorityNodes"
DEALLOCATION = "$NodeDeallocationOption"
# First names, which still work; where both are set the full one wins.
FIRST_NAMES: Mapping[str, str] = MappingProxyType(
    {"$TargetDedicated": DEDICATED, "$TargetLowPriority": LOW_PRIORITY, "$CurrentDedicated": "$CurrentDedicatedNodes"}
)
TARGETS = frozenset({DEDICATED, LOW_PRIORITY, "$TargetDedicated", "$TargetLowPriority"})
WRITABLE = TARGETS | {DEALLOCATION}

DEALLOCATION_OPTIONS = frozenset({"requeue", "terminate", "taskcompletion", "retaineddata"})
DEFAULT_DEALLOCATION = "requeue"

TASK_METRICS = frozenset({"$ActiveTasks", "$RunningTasks", "$PendingTasks", "$SucceededTasks", "$FailedTasks"})
# Known of the pool itself, so that they have a value without any sample.
POOL_METRICS = frozenset(
    {"$CurrentDedicatedNodes", "$CurrentDedicated", "$CurrentLowPriorityNodes", "$TaskSlotsPerNode"}
)
# In the article of 2019; by Microsoft's announcement retired on 31 March 2024.
RETIRED_METRICS = frozenset(
    {
        "$WallClockSeconds",
        "$MemoryBytes",
        "$DiskBytes",
        "$DiskReadBytes",
        "$DiskWriteBytes",
        "$DiskReadOps",
        "$DiskWriteOps",
        "$NetworkInBytes",
        "$NetworkOutBytes",
        "$SampleNodeCount",
    }
)
METRICS = TASK_METRICS | POOL_METRICS | RETIRED_METRICS | {"$CPUPercent", "$PreemptedNodeCount", "$UsableNodeCount"}

TICKS_PER_SECOND = 10_000_000
_TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND
# `TimeInterval_Year` has no documented length: the dialect says it.
INTERVALS: Mapping[str, int] = MappingProxyType(
    {
        "TimeInterval_Zero": 0,
        "TimeInterval_100ns": 1,
        "TimeInterval_Microsecond": 10,
        "TimeInterval_Millisecond": 10_000,
        "TimeInterval_Second": TICKS_PER_SECOND,
        "TimeInterval_Minute": 60 * TICKS_PER_SECOND,
        "TimeInterval_Hour": 3600 * TICKS_PER_SECOND,
        "TimeInterval_Day": _TICKS_PER_DAY,
        "TimeInterval_Week": 7 * _TICKS_PER_DAY,
    }
)
YEAR = "TimeInterval_Year"
CONSTANTS = frozenset({*INTERVALS, YEAR})

PROPERTIES = frozenset({"year", "month", "day", "weekday", "hour", "minute", "second"})


@dataclass(frozen=True, slots=True)
class Arity:
    """How many arguments are taken, and how they read in the documents."""

    least: int
    most: int | None
    signature: str

    def takes(self, count: int) -> bool:
        """Whether so many arguments are taken."""
        return self.least <= count and (self.most is None or count <= self.most)


def _arities(*signatures: tuple[str, int, int | None]) -> Mapping[str, Arity]:
    return MappingProxyType(
        {signature.partition("(")[0]: Arity(least, most, signature) for signature, least, most in signatures}
    )


FUNCTIONS = _arities(
    ("avg(doubleVecList)", 1, None),
    ("ceil(double or doubleVec)", 1, 1),
    ("floor(double or doubleVec)", 1, 1),
    ("len(doubleVecList)", 1, None),
    ("lg(double or doubleVec)", 1, 1),
    ("ln(double or doubleVec)", 1, 1),
    ("log(double or doubleVec)", 1, 1),
    ("max(doubleVecList)", 1, None),
    ("min(doubleVecList)", 1, None),
    ("norm(doubleVecList)", 1, None),
    ("percentile(doubleVec v, double p)", 2, 2),
    ("rand()", 0, 0),
    ("range(doubleVecList)", 1, None),
    ("round(double or doubleVec)", 1, 1),
    ("std(doubleVecList)", 1, None),
    ("stop()", 0, 0),
    ("sum(doubleVecList)", 1, None),
    ('time(string dateTime="")', 0, 1),
    ("val(doubleVec v, double i)", 2, 2),
)

METHODS = _arities(
    ("GetSample(double count) or GetSample(start [, end] [, double samplePercent])", 1, 3),
    ("GetSamplePercent(start [, end])", 1, 2),
    ("GetSamplePeriod()", 0, 0),
    ("Count()", 0, 0),
    ("HistoryBeginTime()", 0, 0),
)
