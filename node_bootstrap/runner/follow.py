"""A long task's logs, put into storage while they grow."""

import hashlib
import logging
from pathlib import Path

from node_bootstrap.protocol import OUTPUTS, FileRef, TaskMessage, TaskRef, own_blob
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

    def __init__(self, path: Path, blob: str) -> None:
        self.path = path
        self.blob = blob
        self.length = 0
        self.digest = hashlib.sha256()
        self.made = False


class LogFollower:
    """Appends what a run's logs have grown by. A failure ends that: the logs are then uploaded whole at the end."""

    def __init__(
        self, storage: Storage, run_id: str, message: TaskMessage, ref: TaskRef, logs: tuple[Path, ...]
    ) -> None:
        self._storage = storage
        self._names = [(log, own_blob(message.job_id, message.message_id, run_id, ref, log.name)) for log in logs]
        self._logs: list[_Followed] = []
        self._begun = False
        self._failed = False

    def meanwhile(self, seconds: float) -> float | None:
        """Append what is new; give the pause to the next time. For `TaskProcess.run`."""
        if seconds < BEGIN_SECONDS:
            return BEGIN_SECONDS - seconds
        self._append()
        if self._failed:
            return None
        return min(max(_FIRST_PAUSE_SECONDS, seconds / _SLOWING_SECONDS), _SLOWEST_PAUSE_SECONDS)

    def finish(self) -> dict[str, FileRef]:
        """Append the rest, and name the logs that are whole in storage, by their names."""
        if self._begun:
            self._append()
        if not self._begun or self._failed:
            return {}
        return {
            log.path.name: FileRef(log.path.name, OUTPUTS, log.blob, 0, log.length, log.digest.hexdigest())
            for log in self._logs
        }

    def _append(self) -> None:
        if not self._begun:
            self._begun = True
            self._logs = [_Followed(log, blob) for log, blob in self._names]
        for log in self._logs:
            try:
                self._append_to(log)
            except (StorageError, OSError) as error:
                _LOG.warning("the log %s can be followed no longer: %s", log.blob, error)
                self._failed = True
                return

    def _append_to(self, log: _Followed) -> None:
        if not log.made:
            self._storage.create_log(OUTPUTS, log.blob)
            log.made = True
        with log.path.open("rb") as file:
            file.seek(log.length)
            while data := file.read(_BLOCK_BYTES):
                self._storage.append_log(OUTPUTS, log.blob, data, log.length)
                log.length += len(data)
                log.digest.update(data)
