"""A long task's logs, put into storage while they grow."""

import hashlib
import logging

from node_bootstrap.protocol import OUTPUTS, FileRef, TaskMessage, TaskRef, own_blob
from node_bootstrap.runner.log_limit import LimitedLog
from node_bootstrap.runner.storage import Storage, StorageError

_LOG = logging.getLogger(__name__)

# A task that ends sooner has its logs in the pack.
BEGIN_SECONDS = 2.0
# An append blob takes 50,000 blocks (docs: scalability targets for Blob storage): at the slowest pace, nearly 6 days.
_FIRST_PAUSE_SECONDS = 1.0
_SLOWEST_PAUSE_SECONDS = 10.0
_SLOWING_SECONDS = 60.0
# The most that one block of an append blob holds in every version of the service.
_BLOCK_BYTES = 4 * 1024 * 1024


class _Followed:
    """One log on its way to its blob."""

    def __init__(self, log: LimitedLog, blob: str) -> None:
        self.log = log
        self.blob = blob
        self.length = 0
        self.digest = hashlib.sha256()
        self.made = False


class LogFollower:
    """Appends what a run's logs have grown by, up to their limit, and holds them to it on the disk.

    A failure ends the appending: the logs are then uploaded whole at the end.
    """

    def __init__(
        self, storage: Storage, run_id: str, message: TaskMessage, ref: TaskRef, logs: tuple[LimitedLog, ...]
    ) -> None:
        self._storage = storage
        self._logs = tuple(
            _Followed(log, own_blob(message.job_id, message.message_id, run_id, ref, log.path.name)) for log in logs
        )
        self._begun = False
        self._failed = False

    def meanwhile(self, seconds: float) -> float | None:
        """Append what is new; give the pause to the next time. For `TaskProcess.run`."""
        if seconds < BEGIN_SECONDS:
            return BEGIN_SECONDS - seconds
        self._begun = True
        self._append([followed.log.bound() for followed in self._logs])
        if any(followed.log.is_over for followed in self._logs):
            return _FIRST_PAUSE_SECONDS  # what fills the disk is cut often
        return min(max(_FIRST_PAUSE_SECONDS, seconds / _SLOWING_SECONDS), _SLOWEST_PAUSE_SECONDS)

    def finish(self) -> dict[str, FileRef]:
        """Append the rest, and name the logs that are whole in storage, by their names."""
        lengths = [followed.log.finish() for followed in self._logs]
        if self._begun:
            self._append(lengths)
        if not self._begun or self._failed:
            return {}
        return {
            followed.log.path.name: FileRef(
                followed.log.path.name, OUTPUTS, followed.blob, 0, followed.length, followed.digest.hexdigest()
            )
            for followed in self._logs
        }

    def _append(self, lengths: list[int]) -> None:
        """Bring each log's blob to a length, unless that has failed before."""
        for followed, length in zip(self._logs, lengths, strict=True):
            if self._failed:
                return
            try:
                self._append_to(followed, length)
            except (StorageError, OSError) as error:
                _LOG.warning("the log %s can be followed no longer: %s", followed.blob, error)
                self._failed = True

    def _append_to(self, followed: _Followed, length: int) -> None:
        if not followed.made:
            self._storage.create_log(OUTPUTS, followed.blob)
            followed.made = True
        with followed.log.path.open("rb") as file:
            file.seek(followed.length)
            # No further than the length found before: a task that prints faster than this sends would never be left.
            while data := file.read(min(_BLOCK_BYTES, max(0, length - followed.length))):
                self._storage.append_log(OUTPUTS, followed.blob, data, followed.length)
                followed.length += len(data)
                followed.digest.update(data)
