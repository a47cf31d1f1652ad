"""A world in a TOML file: pools with their groups of nodes, quotas, lag. `docs/simulator.md` has an example."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from scheduler.catalog import VM_SIZES
from scheduler.errors import InvalidRequestError
from scheduler.policy import NO_LIMITS, Limits
from scheduler.simulator.fitting import quotas_of
from scheduler.simulator.quantities import Scalar, seconds_of
from scheduler.simulator.world import (
    Dispatch,
    Distribution,
    Exponential,
    Fixed,
    Group,
    LogNormal,
    Measured,
    Pool,
    Quota,
    World,
)

# Two thirds of what is drawn lie within a factor of e^3, twenty, of the median; wider is no boot time.
_WIDEST = 3.0


def distribution_of(text: str) -> Distribution:
    """Read a distribution: `240s`, `exponential:2h`, `lognormal:240s:0.3`, or measured lengths, `200s,210s,260s`."""
    match text.split(":"):
        case [spans] if "," in spans:
            return Measured(tuple(seconds_of(span) for span in spans.split(",")))
        case [span] | ["fixed", span]:
            return Fixed(seconds_of(span))
        case ["exponential", span]:
            if not seconds_of(span):
                raise InvalidRequestError(f"{text}: the mean of an exponential law is longer than zero")
            return Exponential(seconds_of(span))
        case ["lognormal", span, spread]:
            try:
                sigma = float(spread)
            except ValueError as error:
                raise InvalidRequestError(f"{text}: {spread!r} is not a number") from error
            if not 0 <= sigma <= _WIDEST:
                raise InvalidRequestError(f"{text}: the spread of a lognormal law is from 0 to {_WIDEST:g}")
            return LogNormal(seconds_of(span), sigma)
        case _:
            raise InvalidRequestError(f"{text!r}: write 240s, exponential:240s, lognormal:240s:0.3 or 200s,210s,260s")


def price_of(vm_size: str, *, spot: bool) -> float:
    """Give the catalogue's dollars an hour; `InvalidRequestError` names the sizes that it has."""
    if vm_size not in VM_SIZES:
        raise InvalidRequestError(f"the catalogue has no VM size {vm_size!r}; it has: {', '.join(VM_SIZES)}")
    return VM_SIZES[vm_size].usd_per_hour(spot=spot)


def read_world(path: Path, *, spread: bool = False, boots: tuple[float, ...] = (), known_runs: bool = False) -> World:
    """Read a world. Groups that say nothing of their boots take those measured, where there are any.

    `InvalidRequestError` names the file and all that is wrong with it.
    """
    try:
        found = _World.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        findings = "; ".join(f"{_place(each['loc'])}: {each['msg']}" for each in error.errors())
        raise InvalidRequestError(f"{path}: {findings}") from error
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"{path} is no TOML: {error}") from error
    measured: Distribution = Measured(boots) if boots else Fixed(240.0)
    world = World(
        pools=tuple(pool.made(measured, spread=spread) for pool in found.pools),
        quotas=tuple(Quota(quota.groups, quota.max_nodes) for quota in found.quotas),
        limits=found.limits.made(),
        lag=found.lag,
        known_runs=known_runs,
    )
    names = [f"{pool.name}-{group.name}" for pool, group in world.groups]
    if len(set(names)) < len(names):
        raise InvalidRequestError(f"{path}: <pool>-<group> must differ between groups: {', '.join(names)}")
    try:
        quotas_of(world)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{path}: {error}") from error
    return world


def _span(value: object) -> object:
    if isinstance(value, str):
        try:
            return seconds_of(value)
        except InvalidRequestError as error:
            raise ValueError(str(error)) from error
    return value


def _law(value: object) -> object:
    try:
        return distribution_of(str(value))
    except InvalidRequestError as error:
        raise ValueError(str(error)) from error


def _times(text: str) -> tuple[float, float]:
    begin, dash, end = text.partition("-")
    try:
        times = seconds_of(begin), seconds_of(end)
    except InvalidRequestError as error:
        raise ValueError(f"{text!r} is no span from one time to another; write for example 10h-12h") from error
    if not dash or times[1] <= times[0]:
        raise ValueError(f"{text!r} does not end after it begins")
    return times


def _known(vm_size: str) -> str:
    try:
        price_of(vm_size, spot=False)
    except InvalidRequestError as error:
        raise ValueError(str(error)) from error
    return vm_size


def _differ(named: tuple["_Named", ...]) -> tuple["_Named", ...]:
    names = [each.name for each in named]
    if len(set(names)) < len(names):
        raise ValueError(f"names must differ: {', '.join(names)}")
    return named


Span = Annotated[float, BeforeValidator(_span), Field(ge=0)]
Law = Annotated[object, BeforeValidator(_law)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class _Named(_Part):
    name: Annotated[str, Field(min_length=1, pattern="^[^/]+$")]


class _Group(_Named):
    vm_size: Annotated[str, AfterValidator(_known)] = "Standard_D2s_v5"
    spot: bool = False
    usd_per_hour: Annotated[float, Field(ge=0)] | None = None
    slots: Annotated[int, Field(ge=1)] = 1
    max_nodes: Annotated[int, Field(ge=1)] | None = None
    initial: Annotated[int, Field(ge=0, le=100_000)] = 0
    boot: Law | None = None
    boot_failure: Annotated[float, Field(ge=0, le=1)] = 0.0
    boot_deadline: Span = 900.0
    lifetime: Law | None = None
    refused: tuple[Annotated[str, AfterValidator(_times)], ...] = ()
    listed_after: Span = 0.0
    deleted_after: Span = 0.0

    def made(self, measured: Distribution) -> Group:
        """Make the simulator's group."""
        given = {name: getattr(self, name) for name in _Group.model_fields}
        given["boot"] = measured if self.boot is None else self.boot
        if self.usd_per_hour is None:
            given["usd_per_hour"] = price_of(self.vm_size, spot=self.spot)
        return Group(**given)


class _Pool(_Named):
    groups: Annotated[tuple[_Group, ...], Field(min_length=1), AfterValidator(_differ)] = (_Group(name="nodes"),)
    dispatch: Dispatch = Dispatch.FIFO
    most_waiting: Annotated[int, Field(ge=0)] | None = None
    scaling: dict[str, Scalar] = Field(default_factory=dict)

    def made(self, measured: Distribution, *, spread: bool) -> Pool:
        """Make the simulator's pool."""
        return Pool(
            self.name,
            tuple(group.made(measured) for group in self.groups),
            self.dispatch,
            spread,
            self.most_waiting,
            tuple((name, str(value)) for name, value in self.scaling.items()),
        )


class _Quota(_Part):
    groups: Annotated[tuple[str, ...], Field(min_length=1)]
    max_nodes: Annotated[int, Field(ge=0)]


class _Limits(_Part):
    quota: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    budget_per_hour: Annotated[float, Field(ge=0)] | None = None

    def made(self) -> Limits:
        """Make the limits that our policy is told."""
        return Limits(self.quota, self.budget_per_hour) if self.model_fields_set else NO_LIMITS


class _World(_Part):
    pools: Annotated[tuple[_Pool, ...], Field(min_length=1), AfterValidator(_differ)]
    quotas: tuple[_Quota, ...] = ()
    limits: _Limits = _Limits()
    lag: Span = 0.0


def _place(path: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in path) or "the file"
