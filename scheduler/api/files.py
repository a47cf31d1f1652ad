"""Files of tasks on the wire: the bytes are the body, and what is known of the file stands in headers."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from scheduler.errors import UnavailableError
from scheduler.ports.job_service import JobService
from scheduler.views import FilePart

SIZE = "Millpond-File-Size"
ATTEMPT = "Millpond-Attempt"
COMPLETE = "Millpond-Complete"
FOUND = "Millpond-Found"
SHA256 = "Millpond-Sha256"

_PIECE_BYTES = 1024 * 1024
# Whatever a task wrote is bytes to be kept, never something that a browser may interpret.
_MEDIA_TYPE = "application/octet-stream"


def part_response(part: FilePart) -> Response:
    """Answer with one piece."""
    return Response(part.data, media_type=_MEDIA_TYPE, headers=_headers(part))


def whole_response(service: JobService, job_id: str, task_id: int, path: str) -> Response:
    """Answer with the whole file as it is now, a piece at a time, under its own name."""
    first = service.read_file(job_id, task_id, path, 0, _PIECE_BYTES)
    name = quote(PurePosixPath(path).name, safe="")
    headers = _headers(first) | {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Length": str(first.size),
    }
    return StreamingResponse(_pieces(service, job_id, task_id, first), media_type=_MEDIA_TYPE, headers=headers)


def part_of(path: str, offset: int, data: bytes, headers: Mapping[str, str]) -> FilePart:
    """Read a piece off an answer; `UnavailableError` when it is none."""
    try:
        return FilePart(
            path=path,
            attempt=int(headers[ATTEMPT]),
            offset=offset,
            size=int(headers[SIZE]),
            data=data,
            complete=headers[COMPLETE] == "true",
            found=headers[FOUND] == "true",
            sha256=headers.get(SHA256),
        )
    except (KeyError, ValueError) as error:
        raise UnavailableError(
            f"{path}: the answer is no piece of a file; are scheduler and command line of the same version?"
        ) from error


def _pieces(service: JobService, job_id: str, task_id: int, first: FilePart) -> Iterator[bytes]:
    yield first.data
    sent = len(first.data)
    while sent < first.size:
        part = service.read_file(job_id, task_id, first.path, sent, min(_PIECE_BYTES, first.size - sent))
        # What began must not go on as another attempt's: the connection is broken off, and the length tells.
        if part.attempt != first.attempt or not part.data:
            return
        yield part.data
        sent += len(part.data)


def _headers(part: FilePart) -> dict[str, str]:
    headers = {
        SIZE: str(part.size),
        ATTEMPT: str(part.attempt),
        COMPLETE: str(part.complete).lower(),
        FOUND: str(part.found).lower(),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return headers if part.sha256 is None else headers | {SHA256: part.sha256}
