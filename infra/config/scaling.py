"""A pool's `scaling`: the scheduler's own `ScalingPolicy`, whose fields and defaults are written down there only.

The `limits` that all pools share are the scheduler's own, too.
"""

import dataclasses
import re
import typing
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetPydanticSchema, ValidationInfo, create_model
from pydantic_core import CoreSchema, core_schema

from infra.config.section import Duration, Section
from infra.findings import choose, wrong
from scheduler.catalog import REGIONAL_QUOTA, SPOT_QUOTA, VM_SIZES, family_of
from scheduler.policy import Floor, Limits, ScalingPolicy, Weekday

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)
_QUOTAS = (REGIONAL_QUOTA, SPOT_QUOTA, *dict.fromkeys(family_of(size) for size in VM_SIZES))


def _clock(value: object) -> object:
    """Read a time of day; 24:00 is the midnight that ends a day."""
    if isinstance(value, time):
        return value
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise wrong(f"{value!r} is not a time of day", 'write hours and minutes in quotes, such as "08:00"')
    return time(int(found[1] or 0), int(found[2] or 0))


def _time_zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        raise wrong(f"{value!r} is not a time zone", "write one of the IANA's names, such as Europe/Zurich") from None
    return value


def _days(value: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
    if not value or len(set(value)) != len(value):
        raise wrong("is empty or names a day twice", "write each day once, such as [mon, tue, wed, thu, fri]")
    return value


def _quotas(value: Mapping[str, int]) -> Mapping[str, int]:
    for name in value:
        if name not in _QUOTAS:
            raise wrong(f"no size in scheduler/catalog.py counts against a quota {name!r}", choose(name, _QUOTAS))
    return value


class FloorSection(Section):
    """Nodes that are up on some days from one time of day to another."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=False, validate_by_alias=True)

    days: Annotated[tuple[Weekday, ...], AfterValidator(_days)] = Field(examples=[["mon", "tue", "wed", "thu", "fri"]])
    begins: Annotated[time, BeforeValidator(_clock)] = Field(alias="from", examples=["08:00"])
    ends: Annotated[time, BeforeValidator(_clock)] = Field(alias="to", examples=["18:00"])
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field("UTC", examples=["Europe/Zurich"])
    nodes: int = Field(ge=1, examples=[4])


def _within_most(floors: tuple[FloorSection, ...], info: ValidationInfo) -> tuple[FloorSection, ...]:
    most = info.data.get("max_nodes")
    for floor in floors:
        if most is not None and floor.nodes > most:
            raise wrong(f"asks for {floor.nodes} nodes, and max_nodes is {most}", "lower nodes or raise max_nodes")
    return floors


class LimitsSection(Section):
    """What all pools share."""

    quota: Annotated[Mapping[str, Annotated[int, Field(ge=0)]], AfterValidator(_quotas)] = Field(
        {}, examples=[{"standardDSv5Family": 100}]
    )
    budget_per_hour: float | None = Field(None, ge=0, allow_inf_nan=False, examples=[12.5])


_TYPES: dict[Any, Any] = {timedelta: Duration, timedelta | None: Duration | None}
_SHARE = Field(ge=0, le=1)
_COUNT = Field(ge=1)
# Bounds of single fields, so that a finding names the field; what two fields must be to each other the policy checks.
_BOUNDED: Mapping[str, Any] = {
    "budget_per_hour": Annotated[float | None, Field(ge=0, allow_inf_nan=False)],
    "spot_share": Annotated[float | None, _SHARE],
    "max_eviction_rate": Annotated[float, _SHARE],
    "max_failed_boots": Annotated[int, _COUNT],
    "max_step_out": Annotated[int | None, _COUNT],
    "max_step_out_per_minute": Annotated[int | None, _COUNT],
    "gang_nodes": Annotated[int, _COUNT],
    "time_zone": Annotated[str, AfterValidator(_time_zone)],
    "floors": Annotated[tuple[FloorSection, ...], AfterValidator(_within_most)],
}


def _section() -> type[Section]:
    hints = typing.get_type_hints(ScalingPolicy)
    fields: dict[str, Any] = {
        field.name: (_BOUNDED.get(field.name, _TYPES.get(hints[field.name], hints[field.name])), field.default)
        for field in dataclasses.fields(ScalingPolicy)
    }
    return create_model("ScalingSection", __base__=Section, **fields)


SCALING_SECTION = _section()


def _policy(section: Section) -> ScalingPolicy:
    try:
        values = dict(section)
        return ScalingPolicy(**{**values, "floors": tuple(Floor(**dict(floor)) for floor in values["floors"])})
    except ValueError as error:
        raise wrong(str(error), "change one of them") from None


def _schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_policy, handler(SCALING_SECTION))


def _limits(section: LimitsSection) -> Limits:
    return Limits(**dict(section))


def _limits_schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_limits, handler(LimitsSection))


SharedLimits = Annotated[Limits, GetPydanticSchema(_limits_schema)]
Scaling = Annotated[ScalingPolicy, GetPydanticSchema(_schema)]
