"""What a role permits: patterns of actions, where an assignment reaches, and what its condition says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from infra.local.permissions.conditions import Expression, Request, holds


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission of a role definition; a `*` in a pattern stands for any text, slashes included."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> "Permission":
        """Read one from the form in which role definitions carry it."""
        names = ("actions", "notActions", "dataActions", "notDataActions")
        return cls(*(tuple(record.get(name) or ()) for name in names))

    def record(self) -> dict[str, list[str]]:
        """Return the form in which role definitions carry it."""
        return {
            "actions": list(self.actions),
            "notActions": list(self.not_actions),
            "dataActions": list(self.data_actions),
            "notDataActions": list(self.not_data_actions),
        }

    def permits(self, action: str, *, data: bool) -> bool:
        """Say whether an action, or a data action, is among those permitted."""
        granted, excluded = (self.data_actions, self.not_data_actions) if data else (self.actions, self.not_actions)
        return matches(action, granted) and not matches(action, excluded)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role assignment, resolved: who may do what, on what and below it, under which condition."""

    assignment_id: str
    principal_id: str
    role_id: str
    scope: str
    permissions: tuple[Permission, ...]
    condition: Expression | None = None
    since: float = 0.0

    def reaches(self, scope: str) -> bool:
        """Say whether a scope is the assignment's or lies below it."""
        return within(scope, self.scope)

    def allows(self, request: Request, scope: str) -> bool:
        """Say whether this assignment alone allows a request."""
        return (
            self.reaches(scope)
            and any(permission.permits(request.action, data=request.data) for permission in self.permissions)
            and (self.condition is None or holds(self.condition, request))
        )


def matches(action: str, patterns: Iterable[str]) -> bool:
    """Say whether an action fits any of the patterns; case does not matter."""
    return any(_pattern(pattern).fullmatch(action) for pattern in patterns)


def within(scope: str, outer: str) -> bool:
    """Say whether a scope equals another or lies below it; case does not matter."""
    return f"{scope.lower().rstrip('/')}/".startswith(f"{outer.lower().rstrip('/')}/")


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE)
