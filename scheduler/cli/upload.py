"""Input files on their way to storage: each content is one blob, named by its hash, sent once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from node_bootstrap.protocol import INPUTS, FileRef, file_blob, sha256_hex
from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.ports.storage import Blobs

# Enough to hide the round trips of small files, few enough not to be throttled.
_WORKERS = 8
# What nobody names and has not been written or touched for a day is removed (`scheduler/controller/clear.py`), so what
# is there already is touched in good time before that.
_TOUCH_AFTER = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Where each local file's content lies now (its `path` is empty), and how much had to be sent."""

    files: dict[Path, FileRef]
    sent: int
    unchanged: int


def upload(
    blobs: Blobs,
    paths: Iterable[Path],
    sent: Callable[[Path], None] = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Uploaded:
    """Bring the content of local files to storage; what lies there already is not sent again."""
    now = clock()
    contents: dict[str, Path] = {}
    files = {}
    for path in sorted(set(paths)):
        data = _read(path)
        sha256 = sha256_hex(data)
        files[path] = FileRef(
            path="", container=INPUTS, blob=file_blob(sha256), offset=0, length=len(data), sha256=sha256
        )
        contents.setdefault(sha256, path)

    def bring(item: tuple[str, Path]) -> bool:
        sha256, path = item
        data = _read(path)
        if sha256_hex(data) != sha256:
            raise InvalidRequestError(f"the input file {path} changed while it was read; submit again")
        name = file_blob(sha256)
        if _is_there(blobs, name, len(data), now):
            return False
        blobs.write(INPUTS, name, data)
        sent(path)
        return True

    with ThreadPoolExecutor(max_workers=_WORKERS) as workers:
        new = sum(workers.map(bring, contents.items()))
    return Uploaded(files, sent=new, unchanged=len(contents) - new)


def send(blobs: Blobs, contents: Iterable[bytes], clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Bring contents that are no files to storage; what lies there already is not sent again."""
    for data in contents:
        name = file_blob(sha256_hex(data))
        if not _is_there(blobs, name, len(data), clock()):
            blobs.write(INPUTS, name, data)


def _is_there(blobs: Blobs, name: str, length: int, now: datetime) -> bool:
    entry = next((entry for entry in blobs.list(INPUTS, name, 1) if entry.name == name), None)
    if entry is None or entry.length != length:
        return False
    if now - entry.last_modified > _TOUCH_AFTER:
        try:
            blobs.touch(INPUTS, name)
        except NotFoundError:  # removed a moment ago
            return False
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"the input file {path} cannot be read: {error.strerror}") from error
