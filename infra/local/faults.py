"""Faults on demand: what the local Azure is to do wrong, to whom, how often and until when.

A fault stands until it has struck `remaining` times, until its time is over, or until it is cleared. Whoever could
fail asks `Faults.take` at the moment it would act, and gets the fault to act out or None; it is counted there and
then. Faults are kept in the store, so a restart of the daemon does not end them.

What a `subject` is, and what the one who takes the fault does:

slow-boot           instance (node id `<set>_<n>`): boots `seconds` later than it would
boot-failure        instance: its bootstrap is not run, and it ends as failed
allocation-failure  name of the set or pool: the operation fails, there is no capacity
quota               name of the set or pool: the write is refused, the subscription's cores are used up
stuck-resize        name of the set or pool: the resize stays under way while `is_active` says so
throttling          path of an ARM request, or `<account>` of a storage request: 429 or 503 after `seconds`
server-error        the same: 500
storage-outage      `<account>`: connections are closed without an answer
"""

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from infra.local.arm.store import Store

_SETTING = "faults"


class FaultKind(StrEnum):
    """What goes wrong."""

    SLOW_BOOT = "slow-boot"
    BOOT_FAILURE = "boot-failure"
    ALLOCATION_FAILURE = "allocation-failure"
    QUOTA = "quota"
    PREEMPTION = "preemption"  # an act on one instance, never a standing fault
    THROTTLING = "throttling"
    SERVER_ERROR = "server-error"
    STUCK_RESIZE = "stuck-resize"
    STORAGE_OUTAGE = "storage-outage"


@dataclass(frozen=True, slots=True)
class Fault:
    """One standing fault.

    `target` is a glob over subjects, without regard to case. `remaining` counts strikes still to come (None: no
    limit), `share` is the part of the chances that strike (None: all), `until` is its end in seconds since the epoch
    (None: none). `seconds` is how long one strike lasts, for the kinds that last.
    """

    id: str
    kind: FaultKind
    target: str = "*"
    remaining: int | None = None
    share: float | None = None
    until: float | None = None
    seconds: float = 0.0

    def concerns(self, kind: FaultKind, subject: str, now: float) -> bool:
        """Say whether it could strike here and now."""
        return (
            self.kind is kind
            and self.remaining != 0
            and not self.is_over(now)
            and fnmatchcase(subject.lower(), self.target.lower())
        )

    def is_over(self, now: float) -> bool:
        """Say whether its time has passed."""
        return self.until is not None and now >= self.until

    def is_spent(self, now: float) -> bool:
        """Say whether nothing more can come of it. What is stuck stays so after the last strike, until it is ended."""
        return self.is_over(now) or (self.remaining == 0 and self.kind is not FaultKind.STUCK_RESIZE)


def strike(
    faults: Iterable[Fault], kind: FaultKind, subject: str, now: float, random: Callable[[], float]
) -> tuple[Fault | None, tuple[Fault, ...]]:
    """Decide which fault strikes, the oldest first, and return it with the faults that are left after it."""
    struck: Fault | None = None
    left: list[Fault] = []
    for fault in faults:
        after = fault
        strikes = struck is None and fault.concerns(kind, subject, now)
        if strikes and (fault.share is None or random() < fault.share):
            after = fault if fault.remaining is None else replace(fault, remaining=fault.remaining - 1)
            struck = after
        if not after.is_spent(now):
            left.append(after)
    return struck, tuple(left)


class Faults:
    """The standing faults of one local Azure; may be used from any thread, inside a transaction of the store or not.

    `random` returns numbers from 0 up to 1, `now` the seconds since the epoch.
    """

    def __init__(self, store: Store, random: Callable[[], float], now: Callable[[], float]) -> None:
        self._store = store
        self._random = random
        self._now = now
        # Changed only while the store's transaction is held. It is ahead of the store where a refusal undid a
        # transaction in which a fault was counted: such a fault has struck all the same, and is written next time.
        self._faults = tuple(_read(text) for text in json.loads(store.setting(_SETTING, lambda: "[]")))
        self._unwritten = False
        self._hooks: list[Callable[[], None]] = []

    def take(self, kind: FaultKind, subject: str) -> Fault | None:
        """Return the fault to act out now, counted, or None."""
        now = self._now()
        # Nearly always there is none; then nobody waits for the store.
        if not self._unwritten and not any(fault.concerns(kind, subject, now) for fault in self._faults):
            return None
        with self._store.transaction():
            struck, left = strike(self._faults, kind, subject, now, self._random)
            if self._unwritten or left != self._faults:
                self._write(left)
            return struck

    def is_active(self, fault_id: str) -> bool:
        """Say whether a fault still stands: neither cleared, nor over, nor (other than a stuck resize) used up."""
        now = self._now()
        return any(fault.id == fault_id and not fault.is_spent(now) for fault in self._faults)

    def add(
        self,
        kind: FaultKind,
        *,
        target: str = "*",
        times: int | None = None,
        share: float | None = None,
        for_seconds: float | None = None,
        seconds: float = 0.0,
    ) -> Fault:
        """Let something go wrong from now on; ValueError says which value makes no sense."""
        if kind is FaultKind.PREEMPTION:
            raise ValueError("kind: preemption strikes one node at once and cannot stand; preempt the node instead")
        if times is not None and times < 1:
            raise ValueError(f"times: {times} is less than 1")
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"share: {share:g} is not above 0 and at most 1")
        for name, value in (("for", for_seconds), ("seconds", seconds)):
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name}: {value:g} is not a number of seconds")
        until = None if for_seconds is None else self._now() + for_seconds
        fault = Fault(secrets.token_hex(3), kind, target or "*", times, share, until, seconds)
        with self._store.transaction():
            self._write((*self._alive(), fault))
        self._tell()
        return fault

    def list(self) -> tuple[Fault, ...]:
        """Return the standing faults, oldest first."""
        return self._alive()

    def clear(self, fault_id: str | None = None) -> tuple[Fault, ...]:
        """End one fault, or all of them, and return those that ended."""
        with self._store.transaction():
            standing = self._alive()
            ended = tuple(fault for fault in standing if fault_id is None or fault.id == fault_id)
            self._write(tuple(fault for fault in standing if fault not in ended))
        self._tell()
        return ended

    def on_change(self, hook: Callable[[], None]) -> None:
        """Call this after each `add` and `clear`."""
        self._hooks.append(hook)

    def _alive(self) -> tuple[Fault, ...]:
        now = self._now()
        return tuple(fault for fault in self._faults if not fault.is_spent(now))

    def _write(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        self._unwritten = True
        self._store.keep(_SETTING, json.dumps([asdict(fault) for fault in faults]))
        self._store.after_commit(self._written)

    def _written(self) -> None:
        self._unwritten = False

    def _tell(self) -> None:
        for hook in self._hooks:
            hook()


def _read(record: dict[str, object]) -> Fault:
    return Fault(**{**record, "kind": FaultKind(str(record["kind"]))})  # type: ignore[arg-type] # as it was written
