"""What the engine does, told while it does it: a line a change, and in a terminal a live line for what runs."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from pulumi.automation import EngineEvent, OpType, StepEventMetadata
from rich.console import Console
from rich.status import Status

from infra.running_work import NODE_GROUP_TYPE, GenerationChanges

_DONE = {
    OpType.CREATE: "created",
    OpType.UPDATE: "updated",
    OpType.DELETE: "deleted",
    OpType.REPLACE: "replaced",
    OpType.CREATE_REPLACEMENT: "created anew",
    OpType.DELETE_REPLACED: "deleted the old",
    OpType.READ: "read",
    OpType.IMPORT: "taken over",
}
_PLANNED = {
    OpType.CREATE: "create",
    OpType.UPDATE: "update",
    OpType.DELETE: "delete",
    OpType.REPLACE: "replace",
    OpType.CREATE_REPLACEMENT: "create anew",
    OpType.DELETE_REPLACED: "delete the old",
    OpType.READ: "read",
    OpType.IMPORT: "take over",
}
_NAMES_SHOWN = 3
# What the engine adds after the errors themselves.
_GENERIC = ("update failed", "preview failed", "destroy failed")


@dataclass
class Progress:
    """Follows one engine operation by its events.

    `retained` are the URNs that the engine forgets without deleting them, so that a line does not claim otherwise.
    """

    console: Console
    title: str
    planning: bool = False
    retained: frozenset[str] = frozenset()
    changes: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    generations: GenerationChanges = field(default_factory=GenerationChanges)
    unchanged: int = 0
    _running: dict[str, float] = field(default_factory=dict)
    _status: Status | None = None

    def live(self) -> AbstractContextManager[object]:
        """Show the live line while the block runs; nothing where there is no terminal."""
        if not self.console.is_terminal:
            return nullcontext()
        self._status = self.console.status(f"{self.title} ...")
        return self._status

    def on_event(self, event: EngineEvent) -> None:
        """Take one event."""
        if event.resource_pre_event:
            self._started(event.resource_pre_event.metadata)
        elif event.res_outputs_event:
            self._ended(event.res_outputs_event.metadata)
        elif event.diagnostic_event and event.diagnostic_event.severity in {"error", "warning"}:
            self._diagnosed(event.diagnostic_event.severity, event.diagnostic_event.message)

    def _started(self, step: StepEventMetadata) -> None:
        if step.type == NODE_GROUP_TYPE:
            self._noted(step)
        if not _is_own(step) or step.op is OpType.SAME:
            return
        self._running[step.urn] = time.monotonic()
        if self.planning:
            self._tell(step, _PLANNED.get(step.op, step.op.value), 0.0)
        self._refresh()

    def _noted(self, step: StepEventMetadata) -> None:
        """Note a generation that comes or goes; its line is told at the end, when both are known."""
        if step.op is OpType.CREATE:
            self.generations.added.add(_name(step.urn))
        elif step.op is OpType.DELETE:
            self.generations.taken_out.add(_name(step.urn))

    def _ended(self, step: StepEventMetadata) -> None:
        if not _is_own(step):
            return
        started = self._running.pop(step.urn, None)
        if step.op is OpType.SAME:
            self.unchanged += 1
        elif not self.planning:
            took = time.monotonic() - started if started is not None else 0.0
            self._tell(step, _DONE.get(step.op, step.op.value), took)
        self._refresh()

    def _tell(self, step: StepEventMetadata, verb: str, took: float) -> None:
        if step.op is OpType.DELETE and step.urn in self.retained:
            verb = "retain" if self.planning else "retained"
        self.changes[verb] = self.changes.get(verb, 0) + 1
        seconds = f"  {took:.1f} s" if took >= 0.1 else ""  # noqa: PLR2004 - what a person would call at once
        self.console.print(
            f"  {verb:<13} {_kind(step.type):<28} {_name(step.urn)}{seconds}", markup=False, highlight=False
        )

    def _diagnosed(self, severity: str, message: str) -> None:
        text = message.strip()
        if severity == "error":
            if text and text not in (*self.problems, *_GENERIC):
                self.problems.append(text)
        elif text:
            self.console.print(f"  warning: {text}", markup=False, highlight=False)

    def _refresh(self) -> None:
        if self._status is not None:
            names = [_name(urn) for urn in self._running]
            shown = ", ".join(names[:_NAMES_SHOWN]) + (" ..." if len(names) > _NAMES_SHOWN else "")
            self._status.update(f"{self.title}: {sum(self.changes.values())} done  {shown}")

    def summary(self) -> str:
        """Say in a few words what changed."""
        parts = [f"{count} {verb}" for verb, count in self.changes.items()]
        unchanged = [f"{self.unchanged} unchanged"] if self.unchanged else []
        return ", ".join(parts + unchanged) if parts else f"nothing to change ({self.unchanged} resources)"


def _is_own(step: Any) -> bool:
    """Whether the step is about a resource of Azure, not a component, the stack or a provider."""
    return str(step.type).startswith("azure-native:")


def _kind(kind: str) -> str:
    return kind.removeprefix("azure-native:")


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]
