"""What a node uploads: packs of logs and small outputs, large ones by themselves, and the manifest after them."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from node_bootstrap.protocol import (
    OUTPUTS,
    FileRef,
    Manifest,
    Outcome,
    TaskMessage,
    TaskRef,
    TaskReport,
    encode,
    manifest_blob,
    own_blob,
    pack_blob,
)
from node_bootstrap.runner.storage import Storage
from node_bootstrap.runner.task_files import KeptFile, KeptFiles

# Larger files are blobs of their own; so are all once a pack is full, which bounds the memory an upload takes.
OWN_BLOB_BYTES = 1024 * 1024
_PACK_BYTES = 32 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_WINS = frozenset({Outcome.SUCCESS, Outcome.IGNORABLE})


class _Pack:
    """What one upload consists of, made once, so that every try sends the same."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.named = False  # also a pack that only empty files name must be there
        self.own: list[tuple[str, Path]] = []
        self.reports: list[TaskReport] = []


class Uploader:
    """Uploads the results of runs. Each (run, number) is uploaded by one thread at a time."""

    def __init__(self, storage: Storage, node_id: str) -> None:
        self._storage = storage
        self._node_id = node_id
        self._lock = threading.Lock()
        self._kept: dict[str, dict[TaskRef, KeptFiles]] = defaultdict(dict)
        self._packs: dict[tuple[str, int], _Pack] = {}

    def keep(self, run_id: str, ref: TaskRef, files: KeptFiles) -> int:
        """Remember the files of an ended run until they are uploaded; give what they add to a pack, in bytes."""
        with self._lock:
            self._kept[run_id][ref] = files
        return sum(file.size for file in files.files if file.blob is None and file.size <= OWN_BLOB_BYTES)

    def upload(self, run_id: str, number: int, message: TaskMessage, reports: tuple[TaskReport, ...]) -> str:
        """Write the blobs, then the manifest; give its name. Raises `StorageError`; then call it again."""
        pack = self._packs.get((run_id, number))
        if pack is None:
            pack = self._packs[run_id, number] = self._build(run_id, number, message, reports)
        if pack.named:
            name = pack_blob(message.job_id, message.message_id, run_id, number)
            self._storage.put(OUTPUTS, name, bytes(pack.data), once=True)
        for blob, path in pack.own:
            self._storage.put_file(OUTPUTS, blob, path)
        manifest = Manifest(message.message_id, message.job_id, self._node_id, run_id, tuple(pack.reports))
        name = manifest_blob(message.job_id, message.message_id, run_id, number)
        self._storage.put(OUTPUTS, name, encode(manifest).encode(), once=True)
        self._forget(run_id, number, reports)
        return name

    def discard(self, run_id: str) -> None:
        """Forget a run and remove what is left of its files."""
        with self._lock:
            kept = self._kept.pop(run_id, {})
            for key in [key for key in self._packs if key[0] == run_id]:
                del self._packs[key]
        _remove_folders(kept.values())

    def _build(self, run_id: str, number: int, message: TaskMessage, reports: tuple[TaskReport, ...]) -> _Pack:
        pack = _Pack()
        pack_name = pack_blob(message.job_id, message.message_id, run_id, number)
        for report in reports:
            ref = TaskRef(report.task_id, report.attempt)
            with self._lock:
                kept = self._kept[run_id].get(ref)

            def own(name: str, ref: TaskRef = ref) -> str:
                return own_blob(message.job_id, message.message_id, run_id, ref, name)

            try:
                files = tuple(_add(pack, pack_name, file, own) for file in kept.files) if kept is not None else ()
                pack.reports.append(replace(report, files=files))
            except OSError as error:
                pack.reports.append(_without_files(report, error))
        return pack

    def _forget(self, run_id: str, number: int, reports: tuple[TaskReport, ...]) -> None:
        with self._lock:
            self._packs.pop((run_id, number), None)
            kept = self._kept.get(run_id, {})
            done = [kept.pop(TaskRef(report.task_id, report.attempt), None) for report in reports]
        _remove_folders(files for files in done if files is not None)


def _remove_folders(done: Iterable[KeptFiles]) -> None:
    for files in done:
        if files.folder is not None:
            files.folder.remove()


def _add(pack: _Pack, pack_name: str, file: KeptFile, own: Callable[[str], str]) -> FileRef:
    if file.blob is not None:
        return file.blob
    fits = file.size <= OWN_BLOB_BYTES and len(pack.data) + file.size <= _PACK_BYTES
    if fits or file.data is not None:
        data = file.path.read_bytes() if file.data is None else file.data
        offset = len(pack.data)
        pack.data += data
        pack.named = True
        return FileRef(file.name, OUTPUTS, pack_name, offset, len(data), hashlib.sha256(data).hexdigest())
    digest, length = hashlib.sha256(), 0
    with file.path.open("rb") as stream:
        while data := stream.read(_READ_BYTES):
            digest.update(data)
            length += len(data)
    # A log may have a blob of that name already, from being followed in vain; a block blob cannot replace that one.
    name = own(f"whole/{file.name}")
    pack.own.append((name, file.path))
    return FileRef(file.name, OUTPUTS, name, 0, length, digest.hexdigest())


def _without_files(report: TaskReport, error: OSError) -> TaskReport:
    outcome = Outcome.OUTPUT_LOST if report.outcome in _WINS else report.outcome
    reason = f"the node cannot read what the task left: {error}"
    return replace(report, outcome=outcome, reason=reason if outcome is Outcome.OUTPUT_LOST else report.reason)
