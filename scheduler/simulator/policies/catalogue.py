"""The policies by name, each with its settings and their defaults; a new one is a line here."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from types import MappingProxyType
from typing import Any, cast

from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.policy import ScalingPolicy
from scheduler.simulator.interface import FleetPolicy, Policy
from scheduler.simulator.policies.batch_formula import SHAPES, BatchFormula
from scheduler.simulator.policies.calendars import AlwaysMax, FixedHours
from scheduler.simulator.policies.kubernetes import ClusterAutoscaler, Escalator, Keda
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.policies.packers import CycleCloud, Ray, Slurm
from scheduler.simulator.policies.queue_scalers import Buildkite, SkyPilot, SqsBacklog
from scheduler.simulator.policies.research import Adapt, ConPaaS, Hist, React, Reg
from scheduler.simulator.policies.simple import FixedPool, QueueDepth
from scheduler.simulator.quantities import Scalar, merged
from scheduler.simulator.world import Pool, World

AnyPolicy = Policy[Any] | FleetPolicy[Any]

_NOT_SETTINGS = {"name", "detail"}


@dataclass(frozen=True, slots=True)
class PolicyKind:
    """A policy that can be chosen.

    settings  names and defaults; spans of time are seconds
    sweep     values that a search tries, for the settings that matter
    """

    name: str
    summary: str
    settings: Mapping[str, Scalar]
    make: Callable[[World, Mapping[str, Scalar]], AnyPolicy]
    sweep: Mapping[str, tuple[Scalar, ...]]


def simple_kind(
    name: str, kind: type[Any], summary: str, sweep: Mapping[str, tuple[Scalar, ...]] = MappingProxyType({})
) -> PolicyKind:
    """Make a kind of a dataclass whose fields are its settings."""
    defaults = {
        field.name: cast("Scalar", field.default)
        for field in fields(kind)
        if field.name not in _NOT_SETTINGS and field.default is not MISSING
    }
    return PolicyKind(name, summary, defaults, lambda _, settings: cast("AnyPolicy", kind(**settings)), sweep)


def _scalar(value: Any) -> Scalar:
    """Write a rule as a setting: a span in seconds; None where the scheduler finds it out by itself."""
    return value.total_seconds() if isinstance(value, timedelta) else cast("Scalar", value)


_SPANS = ("acceptable_wait", "default_task_time", "idle_timeout", "boot_deadline", "silence_deadline")
_RULES = ScalingPolicy()
_OWN_DEFAULTS: dict[str, Scalar] = {
    field.name: _scalar(getattr(_RULES, field.name)) for field in fields(ScalingPolicy) if field.name != "max_nodes"
}
# How ours is replayed, which is no rule of a pool.
_OF_THE_REPLAY: Mapping[str, Scalar] = MappingProxyType({"interval": 5.0, "foresight": True})


def _own(world: World, settings: Mapping[str, Scalar]) -> AnyPolicy:
    interval = cast("float", settings["interval"])
    common = {name: value for name, value in settings.items() if name not in _OF_THE_REPLAY}
    rules = {pool.name: _rules(pool, common) for pool in world.pools}
    return own_policy(world, rules, interval=interval, foresight=bool(settings["foresight"]))


def _rules(pool: Pool, common: Mapping[str, Scalar]) -> ScalingPolicy:
    """Make the rules of a pool: its own over the common ones, for as many nodes as its groups may have."""
    owner = f"millpond, pool {pool.name}"
    rules: dict[str, Any] = merged(owner, common, dict(pool.scaling))
    for name in _SPANS:
        if rules[name] is not None:
            try:
                rules[name] = timedelta(seconds=rules[name])
            except OverflowError as error:
                raise InvalidRequestError(f"{owner}: {name} is a span of time, not {rules[name]}") from error
    most = [group.max_nodes for group in pool.groups]
    rules["max_nodes"] = 100_000 if None in most else sum(cast("list[int]", most))
    try:
        return ScalingPolicy(**rules)
    except ValueError as error:
        raise InvalidRequestError(f"{owner}: {error}") from error


# Others' autoscalers by their definitions, each with its published defaults. The search space of each holds six cases,
# the same for all; the last two have none, for they do not look at the queue.
_IDLE: tuple[Scalar, ...] = (30.0, 60.0, 120.0, 240.0, 480.0, 900.0)


def _sweep(**values: tuple[Scalar, ...]) -> Mapping[str, tuple[Scalar, ...]]:
    return MappingProxyType(values)


PEERS: tuple[PolicyKind, ...] = (
    simple_kind(
        "keda",
        Keda,
        "KEDA's azure-queue scaler with the Kubernetes HPA",
        _sweep(queue_length=(1.0, 2.0), stabilisation=(15.0, 120.0, 600.0)),
    ),
    simple_kind("buildkite", Buildkite, "buildkite-agent-scaler; idle agents leave", _sweep(idle_timeout=_IDLE)),
    simple_kind(
        "sqs-backlog",
        SqsBacklog,
        "target tracking of the SQS backlog per instance",
        _sweep(acceptable_latency=(30.0, 120.0, 600.0), points_in=(3, 15)),
    ),
    simple_kind("ray", Ray, "Ray's autoscaler v2", _sweep(idle_timeout=_IDLE)),
    simple_kind(
        "cluster-autoscaler",
        ClusterAutoscaler,
        "Kubernetes' Cluster Autoscaler",
        _sweep(unneeded_time=(60.0, 240.0, 900.0), delay_after_add=(0.0, 240.0)),
    ),
    simple_kind(
        "escalator",
        Escalator,
        "Atlassian's Escalator",
        _sweep(scale_up=(80.0, 95.0), soft_grace=(60.0, 300.0, 900.0)),
    ),
    simple_kind(
        "skypilot",
        SkyPilot,
        "SkyPilot's request-rate autoscaler",
        _sweep(upscale_delay=(20.0, 60.0), downscale_delay=(60.0, 300.0, 600.0)),
    ),
    simple_kind("cyclecloud", CycleCloud, "Azure CycleCloud's scalelib", _sweep(idle_timeout=_IDLE)),
    simple_kind("slurm", Slurm, "Slurm's power saving", _sweep(suspend_time=_IDLE)),
    simple_kind(
        "batch-formula",
        BatchFormula,
        "a documented Azure Batch formula: average, or newest-or-average",
        _sweep(shape=("average", "newest-or-average"), window=(60.0, 180.0, 900.0), evaluation=(300.0,)),
    ),
    simple_kind("react", React, "React", _sweep(head_room=(1.0, 1.2, 1.5), growth=(1.0, 1.2))),
    simple_kind("adapt", Adapt, "Adapt", _sweep(down_divisor=(1.0, 2.0, 4.0), repair=(1.0, 1.1))),
    simple_kind("hist", Hist, "Hist", _sweep(percentile=(0.5, 0.75, 0.95), repair=(1.0, 1.05))),
    simple_kind("reg", Reg, "Reg", _sweep(points=(10, 20, 60), margin=(1.0, 1.5))),
    simple_kind("conpaas", ConPaaS, "ConPaaS", _sweep(smoothing=(0.2, 0.5, 0.8), trend=(0.1, 0.5))),
    simple_kind("always-max", AlwaysMax, "always the maximum"),
    simple_kind("fixed-hours", FixedHours, "so many nodes on weekdays in working hours, so many else"),
)

KINDS: tuple[PolicyKind, ...] = (
    PolicyKind(
        "millpond",
        "ours, as the scheduler runs it: work begun within an acceptable wait",
        MappingProxyType({**_OF_THE_REPLAY, **_OWN_DEFAULTS}),
        _own,
        MappingProxyType(
            {
                "acceptable_wait": ("1min", "5min", "30min"),
                "waiting_cost": (0.1, 0.3, 1.0, 3.0, 10.0),
            }
        ),
    ),
    simple_kind(
        "queue-depth",
        QueueDepth,
        "a node for each waiting job, and an idle time-out; asked after every event",
        MappingProxyType({"idle_timeout": (0.0, 60.0, 120.0, 240.0, 480.0, 900.0, 1800.0, 3600.0)}),
    ),
    simple_kind(
        "fixed",
        FixedPool,
        "a pool that always has so many nodes",
        MappingProxyType({"nodes": (1, 2, 5, 10, 20, 50, 100, 200, 500)}),
    ),
    *PEERS,
)


# What the formulas of some divide by, and settings that are words.
_DIVIDES = {"queue_length", "down_divisor", "scale_up"}
_WORDS = {"shape": tuple(SHAPES)}


def kind_of(name: str) -> PolicyKind:
    """Find a kind by its name."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise NotFoundError(f"there is no policy {name!r}; there are: {', '.join(kind.name for kind in KINDS)}")


def make_policy(name: str, world: World, given: Mapping[str, str]) -> AnyPolicy:
    """Make a policy with settings as people write them."""
    kind = kind_of(name)
    settings = merged(f"the policy {name}", kind.settings, given)
    for setting, value in settings.items():
        if setting in _DIVIDES and value == 0:
            raise InvalidRequestError(f"the policy {name}: {setting} must be more than zero")
        if setting in _WORDS and value not in _WORDS[setting]:
            raise InvalidRequestError(f"the policy {name}: {setting} is {' or '.join(_WORDS[setting])}, not {value!r}")
    return kind.make(world, settings)
