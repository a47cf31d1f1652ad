"""A pool's `scaling`: the scheduler's own `ScalingPolicy`, whose fields and defaults are written down there only.

Its `shadow` has the same fields; what is left out is as in `scaling`.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import GetPydanticSchema, create_model
from pydantic_core import CoreSchema, core_schema

from infra.config.section import Duration, Section
from infra.findings import wrong
from scheduler.policy import ScalingPolicy

_TYPES: dict[Any, Any] = {timedelta: Duration, timedelta | None: Duration | None}


def _section() -> type[Section]:
    hints = typing.get_type_hints(ScalingPolicy)
    fields: dict[str, Any] = {
        field.name: (_TYPES.get(hints[field.name], hints[field.name]), field.default)
        for field in dataclasses.fields(ScalingPolicy)
    }
    return create_model("ScalingSection", __base__=Section, **fields)


SCALING_SECTION = _section()


def _policy(section: Section) -> ScalingPolicy:
    try:
        return ScalingPolicy(**dict(section))
    except ValueError as error:
        raise wrong(str(error), "change one of them") from None


def _schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_policy, handler(SCALING_SECTION))


Scaling = Annotated[ScalingPolicy, GetPydanticSchema(_schema)]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The fields of a policy that would be other than they are."""

    fields: Mapping[str, Any]

    def beside(self, policy: ScalingPolicy) -> ScalingPolicy:
        """Give the whole proposed policy."""
        try:
            return dataclasses.replace(policy, **self.fields)
        except ValueError as error:
            raise wrong(str(error), "change one of them; what is left out is as in scaling") from None


def _proposal(section: Section) -> Proposal:
    return Proposal({name: value for name, value in section if name in section.model_fields_set})


def _proposal_schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_proposal, handler(SCALING_SECTION))


Shadow = Annotated[Proposal, GetPydanticSchema(_proposal_schema)]
