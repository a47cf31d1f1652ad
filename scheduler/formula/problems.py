"""Where something stands in a formula, what can be wrong with it, and how that is told."""

from dataclasses import dataclass
from enum import StrEnum

from scheduler.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a formula; line and column of the first one count from 1."""

    start: int
    end: int
    line: int
    column: int

    def to(self, other: "Span") -> "Span":
        """Reach from here to the end of another span."""
        return Span(self.start, other.end, self.line, self.column)

    def __str__(self) -> str:
        return f"Line {self.line}, Col {self.column}"


NOWHERE = Span(0, 0, 1, 1)


class ErrorCode(StrEnum):
    """The service's own names for what is wrong with a formula."""

    SYNTAX = "AutoScalingFormulaSyntaxError"
    # Both AutoScaleFormulaTooLong and this spelling appear in Microsoft's documents.
    TOO_LONG = "AutoScalingFormulaTooLong"
    EVALUATION = "AutoScalingFormulaEvaluationError"
    INSUFFICIENT_DATA = "InsufficientSampleData"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to write instead."""

    code: ErrorCode
    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.span}: {self.message}"


class FormulaError(InvalidRequestError):
    """A formula that the service would refuse, or that fails when it is evaluated."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


# As much of a line as a terminal shows.
_WIDTH = 100
_LEAD = 60


def excerpt(text: str, span: Span) -> str:
    """Show the line of a span with carets under it; of a long line what stands around it."""
    begin = text.rfind("\n", 0, span.start) + 1
    end = text.find("\n", span.start)
    line = text[begin : len(text) if end < 0 else end].rstrip("\r")
    at = span.start - begin
    length = max(1, min(span.end, begin + len(line)) - span.start)
    if len(line) > _WIDTH:
        first = max(0, at - _LEAD)
        shown = line[first : first + _WIDTH]
        length = max(1, min(length, first + len(shown) - at))
        at -= first
        line, at = (f"...{shown}", at + 3) if first else (shown, at)
        line = f"{line}..." if begin + first + _WIDTH < (len(text) if end < 0 else end) else line
    before = "".join(" " if letter != "\t" else letter for letter in line[:at])
    return f"{line}\n{before}{'^' * length}"
