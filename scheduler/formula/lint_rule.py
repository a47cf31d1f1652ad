"""What a lint rule is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from scheduler.formula.facts import Analysis
from scheduler.formula.problems import Span
from scheduler.formula.syntax import Formula


class Severity(StrEnum):
    """How bad a finding is: the formula fails, it likely does what was not meant, or it is good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class LintSettings:
    """What is known of the pool: its task slots on a node, where they are."""

    slots: int | None = None


Found = Iterator[tuple[Span, str]]
Finder = Callable[[Formula, Analysis, LintSettings], Found]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: `find` yields places with what happens there and what to write; `bad` breaks it, `good` does not."""

    code: str
    severity: Severity
    find: Finder
    bad: str
    good: str
