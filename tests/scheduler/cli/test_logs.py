"""What a task printed, committed or still growing."""

from collections.abc import Callable

import pytest

from node_bootstrap.protocol import sha256_hex
from scheduler.cli.logs import read_logs
from scheduler.errors import UnavailableError
from scheduler.views import FilePart

OUT, ERR = "stdout.txt", "stderr.txt"


class Files:
    """A scheduler that knows the files of one task."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.attempt = 1
        self.complete = False
        self.sha256: str | None = None

    def read_file(self, job_id: str, task_id: int, path: str, offset: int = 0, limit: int = 1 << 20) -> FilePart:
        """Give a piece."""
        data = self.data.get(path, b"")
        part = data[offset : offset + limit]
        sha256 = self.sha256 or (sha256_hex(data) if self.complete else None)
        return FilePart(path, self.attempt, offset, len(data), part, self.complete, path in self.data, sha256)


@pytest.fixture
def files() -> Files:
    """Give a task that has written nothing."""
    return Files()


def _read(files: Files, *logs: str, happens: list[Callable[[], None]] | None = None) -> list[tuple[str, bytes, int]]:
    """Follow logs while things happen, one a pause; without any, read them once."""
    left = list(happens or [])
    follow = happens is not None
    parts = read_logs(files, "j", 3, logs or (OUT, ERR), follow=follow, sleep=lambda _: left.pop(0)())  # type: ignore[arg-type]
    return [(part.log, part.data, part.attempt) for part in parts]


def test_logs_are_read_in_pieces(files: Files) -> None:
    """A log larger than a request is read whole; what is not there gives nothing."""
    files.data[OUT] = bytes(range(256)) * 10_000
    read = _read(files)
    assert len(read) == 3
    assert b"".join(data for _, data, _ in read) == files.data[OUT]


def test_following_prints_each_byte_once(files: Files) -> None:
    """A log is followed while it grows and to its committed end, and nothing of it comes twice."""
    files.data[OUT] = b"one"

    def grow() -> None:
        files.data |= {OUT: b"one two", ERR: b"careful"}

    def end() -> None:
        files.data[OUT] += b" three"
        files.complete = True

    assert _read(files, happens=[grow, end]) == [
        (OUT, b"one", 1),
        (OUT, b" two", 1),
        (ERR, b"careful", 1),
        (OUT, b" three", 1),
    ]


def test_a_new_attempt_begins_anew(files: Files) -> None:
    """What the next attempt writes is shown from its beginning, also where it is longer by then."""
    files.data[OUT] = b"first try"

    def again() -> None:
        files.attempt = 2
        files.data[OUT] = b"second try, and more of it"

    def end() -> None:
        files.complete = True

    assert _read(files, OUT, happens=[again, end]) == [
        (OUT, b"first try", 1),
        (OUT, b"second try, and more of it", 2),
    ]


def test_a_log_that_is_not_what_was_vouched_for_is_told(files: Files) -> None:
    """The hash of the whole is checked where the whole was read."""
    files.data[OUT], files.complete, files.sha256 = b"done", True, "0" * 64
    with pytest.raises(UnavailableError, match=r"stdout\.txt was not read whole"):
        _read(files)
