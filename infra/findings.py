"""What is wrong with settings: findings with their path, and the error that lists them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic_core import PydanticCustomError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: where (as `pulumi config` writes paths), what, and what to write instead."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


class ConfigError(Exception):
    """A stack's settings are wrong; `findings` has everything that is."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        count = "one thing" if len(self.findings) == 1 else f"{len(self.findings)} things"
        super().__init__("\n".join([f"The stack's settings have {count} to mend:", *(f"  {f}" for f in self.findings)]))


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """Make the error that a validator raises: what is wrong, and what to write instead."""
    return PydanticCustomError("finding", "{problem}", {"problem": problem, "remedy": remedy})


def choose(text: str, known: Sequence[str]) -> str:
    """Say what to write instead of an unknown word: the nearest known ones, else all of them."""
    near = get_close_matches(text.lower(), known, n=3, cutoff=0.6) or get_close_matches(text, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"write one of: {', '.join(known)}"
