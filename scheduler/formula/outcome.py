"""What an evaluation comes to, in the form of the service's `AutoScaleRun`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scheduler.formula.dialect import Dialect, ResultForm
from scheduler.formula.language import DEALLOCATION, DEDICATED, LOW_PRIORITY
from scheduler.formula.problems import ErrorCode, Problem
from scheduler.formula.values import Value, printed

# The first is documented. The service's sentence for the second is in no document that could be found.
_MESSAGES = {ErrorCode.INSUFFICIENT_DATA: "Autoscale evaluation failed due to insufficient sample data"}
_OTHER = "Autoscale evaluation failed due to an error in the formula"


@dataclass(frozen=True, slots=True)
class RunError:
    """Why an evaluation failed; `values` are names and values, as the service gives them."""

    code: ErrorCode
    message: str
    values: tuple[tuple[str, str], ...]
    problem: Problem


@dataclass(frozen=True, slots=True)
class AutoScaleRun:
    """One evaluation: the targets that the pool has after it, and how they came about.

    With an error the pool keeps its targets, and these are they. `variables` are the formula's own, as assigned.
    """

    at: datetime
    target_dedicated: int
    target_low_priority: int
    deallocation: str
    variables: Mapping[str, Value]
    error: RunError | None
    results: str


def run_error(problem: Problem) -> RunError:
    """Tell a problem in the service's form."""
    message = _MESSAGES.get(problem.code, _OTHER)
    return RunError(problem.code, message, (("Message", str(problem)),), problem)


def result_string(
    dedicated: int, low_priority: int, deallocation: str, variables: Mapping[str, Value], dialect: Dialect
) -> str:
    """Write targets, option and then variables in the order of their names, as the service does."""
    parts = [f"{DEDICATED}={dedicated}", f"{LOW_PRIORITY}={low_priority}"]
    if dialect.result_form is ResultForm.DEDICATED_ONLY:
        parts = parts[:1]
    elif dialect.result_form is ResultForm.FIRST_NAMES:
        parts = [f"$TargetDedicated={dedicated}"]
    parts.append(f"{DEALLOCATION}={deallocation}")
    ordered = sorted(variables, key=lambda name: (name.removeprefix("$").lower(), name))
    return ";".join([*parts, *(f"{name}={printed(variables[name], dialect)}" for name in ordered)])
