"""Committed output files on their way from storage to a folder: whole, verified, and nowhere else."""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from node_bootstrap.protocol import FileRef, sha256_hex
from scheduler.errors import InvalidRequestError, UnavailableError
from scheduler.model import OutputFile
from scheduler.ports.storage import Blobs

_WORKERS = 8
# Small files of one pack are fetched in one request up to this size; two files this near are one request too.
_MAX_RANGE = 8 * 1024 * 1024
_MAX_GAP = 64 * 1024

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
# Windows opens a device under these names, whatever their extension; it drops dots and blanks at the end of a name.
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[. ]", re.IGNORECASE)


def relative_path(output: OutputFile) -> PurePosixPath:
    """Say where below the chosen folder a file goes: `<step>/<task index>/<path>`.

    Names come from programs on nodes: one that would lie elsewhere, on any system, is an `InvalidRequestError`.
    """
    text = f"{output.step}/{output.index}/{output.file.path}"
    parts = text.split("/")
    wrong = (
        any(part in {"", ".", ".."} for part in parts)
        or "\\" in text
        or ":" in text
        or _CONTROL_CHARACTERS.search(text)
        or any(_WINDOWS_DEVICE.fullmatch(part) for part in parts)
    )
    if wrong:
        raise InvalidRequestError(
            f"the output file {output.file.path!r} of task {output.task_id} has a name that could leave the folder "
            "or be another thing on some system; fetch it from storage by hand if you trust it"
        )
    return PurePosixPath(text)


def download(
    blobs: Blobs, outputs: Iterable[OutputFile], folder: Path, done: Callable[[Path], None] = lambda _: None
) -> tuple[Path, ...]:
    """Fetch files into a folder; each appears whole, under its final name, after its hash is found right.

    Every name is checked before the first byte is fetched. What is there already with the right hash is not fetched
    again, so that an interrupted download goes on by the same command.
    """
    places = [(output.file, folder / relative_path(output)) for output in outputs]
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    missing = []
    for file, place in places:
        if _is_whole(place, file):
            done(place)
        else:
            missing.append((file, place))

    def fetch(span: _Span) -> None:
        data = blobs.read_range(span.container, span.blob, span.offset, span.length) if span.length else b""
        for file, place in span.files:
            start = file.offset - span.offset
            _keep(data[start : start + file.length], file, place, root)
            done(place)

    workers = ThreadPoolExecutor(max_workers=_WORKERS)
    try:
        for _ in workers.map(fetch, _spans(missing)):
            pass
    finally:
        # After an error or Ctrl-C nothing that waits is begun.
        workers.shutdown(cancel_futures=True)
    return tuple(place for _, place in places)


@dataclass(frozen=True, slots=True)
class _Span:
    container: str
    blob: str
    offset: int
    length: int
    files: tuple[tuple[FileRef, Path], ...]


def _spans(places: list[tuple[FileRef, Path]]) -> Iterator[_Span]:
    """Join files that lie near each other in one blob."""
    gathered: list[tuple[FileRef, Path]] = []
    end = 0
    for file, place in sorted(places, key=lambda item: (item[0].container, item[0].blob, item[0].offset)):
        if gathered:
            first = gathered[0][0]
            near = file.offset - end <= _MAX_GAP and file.offset + file.length - first.offset <= _MAX_RANGE
            if (first.container, first.blob) != (file.container, file.blob) or not near:
                yield _span(gathered, end)
                gathered, end = [], 0
        gathered.append((file, place))
        end = max(end, file.offset + file.length)
    if gathered:
        yield _span(gathered, end)


def _span(gathered: list[tuple[FileRef, Path]], end: int) -> _Span:
    first = gathered[0][0]
    return _Span(first.container, first.blob, first.offset, end - first.offset, tuple(gathered))


def _is_whole(place: Path, file: FileRef) -> bool:
    try:
        return place.stat().st_size == file.length and sha256_hex(place.read_bytes()) == file.sha256
    except OSError:
        return False


def _keep(data: bytes, file: FileRef, place: Path, root: Path) -> None:
    if len(data) != file.length or sha256_hex(data) != file.sha256:
        raise UnavailableError(
            f"{file.path}: the {len(data)} bytes read from blob {file.container}/{file.blob} are not those that the "
            f"node vouched for ({file.length} bytes, sha256 {file.sha256}); fetch again"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    # A link that lies in the folder already must not lead out of it.
    if not place.parent.resolve().is_relative_to(root):
        raise InvalidRequestError(f"{place.parent} leads out of {root} by a link; remove the link or choose a folder")
    handle, temporary = tempfile.mkstemp(prefix=".millpond-", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(place)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InvalidRequestError(f"{place} cannot be written: {error.strerror}") from error
