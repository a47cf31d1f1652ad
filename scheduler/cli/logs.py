"""What a task printed, committed or still growing: read by the scheduler, so users need no right on nodes' records."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from scheduler.errors import UnavailableError
from scheduler.ports.job_service import JobService
from scheduler.views import FilePart

LOGS = ("stdout.txt", "stderr.txt")
_PIECE_BYTES = 1024 * 1024
# A log that grows is asked for quickly, one that rests slowly.
_QUICK_SECONDS = 0.25
_SLOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LogPart:
    """More of one log of a task; `attempt` is the one that wrote it."""

    log: str
    data: bytes
    attempt: int


def read_logs(
    service: JobService,
    job_id: str,
    task_id: int,
    logs: Sequence[str] = LOGS,
    *,
    follow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[LogPart]:
    """Give the logs of a task as they are now, in pieces; with `follow`, go on until it has ended.

    A new attempt begins its logs anew. `UnavailableError` when what was read is not what the node vouched for.
    """
    readings = [_Reading(log) for log in logs]
    while True:
        moved = False
        for reading in readings:
            for part in reading.more(service, job_id, task_id):
                moved = True
                yield part
        if not follow or all(reading.complete for reading in readings):
            return
        sleep(_QUICK_SECONDS if moved else _SLOW_SECONDS)


@dataclass(slots=True)
class _Reading:
    """How far one log has been read."""

    log: str
    attempt: int = 0
    offset: int = 0
    complete: bool = False
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def more(self, service: JobService, job_id: str, task_id: int) -> Iterator[LogPart]:
        while not self.complete:
            part = service.read_file(job_id, task_id, self.log, self.offset, _PIECE_BYTES)
            if part.attempt != self.attempt or part.size < self.offset:
                anew = self.offset > 0
                self.attempt, self.offset, self.digest = part.attempt, 0, hashlib.sha256()
                if anew:
                    continue
            self.offset += len(part.data)
            self.digest.update(part.data)
            if part.data:
                yield LogPart(self.log, part.data, part.attempt)
            if self.offset >= part.size:
                self._end(part)
                return

    def _end(self, part: FilePart) -> None:
        self.complete = part.complete
        if part.complete and part.sha256 is not None and self.digest.hexdigest() != part.sha256:
            raise UnavailableError(f"{self.log} was not read whole, or has changed while it was read; read it again")
