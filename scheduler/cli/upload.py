"""Input files on their way to storage: each content is one blob, named by its hash, sent once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from node_bootstrap.protocol import INPUTS, FileRef, file_blob, sha256_hex
from scheduler.errors import InvalidRequestError
from scheduler.ports.storage import Blobs

# Enough to hide the round trips of small files, few enough not to be throttled.
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Where each local file's content lies now (its `path` is empty), and how much had to be sent."""

    files: dict[Path, FileRef]
    sent: int
    unchanged: int


def upload(blobs: Blobs, paths: Iterable[Path], sent: Callable[[Path], None] = lambda _: None) -> Uploaded:
    """Bring the content of local files to storage; what lies there already is not sent again."""
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
        if any(entry.name == name and entry.length == len(data) for entry in blobs.list(INPUTS, name)):
            return False
        blobs.write(INPUTS, name, data)
        sent(path)
        return True

    with ThreadPoolExecutor(max_workers=_WORKERS) as workers:
        new = sum(workers.map(bring, contents.items()))
    return Uploaded(files, sent=new, unchanged=len(contents) - new)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"the input file {path} cannot be read: {error.strerror}") from error
