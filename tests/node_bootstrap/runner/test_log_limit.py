"""A log is kept up to its limit, whole below it, and with a note beyond."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_bootstrap.runner.log_limit import LimitedLog


@given(
    parts=st.lists(st.tuples(st.binary(max_size=20), st.booleans()), max_size=8),
    limit=st.integers(1, 40),
    appends=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_the_beginning_is_kept(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bytes, bool]], limit: int, appends: bool
) -> None:
    """However it is printed and whenever it is cut, what was said to stay stays, and only a longer log has a note."""
    log = LimitedLog(tmp_path_factory.mktemp("log") / "stdout.txt", limit)
    printed = b""
    with log.path.open("ab" if appends else "wb", buffering=0) as file:
        for part, cut in parts:
            file.write(part)
            printed += part
            if cut:
                assert log.path.read_bytes()[: log.bound()] == printed[:limit]
                assert log.path.stat().st_size <= limit
    assert log.finish() == log.path.stat().st_size
    kept = log.path.read_bytes()
    assert kept[:limit] == printed[:limit]
    assert (b"the rest was not kept" in kept) == log.is_over == (len(printed) > limit)
    assert kept == printed or len(printed) > limit


def test_what_is_cut_takes_no_disk(tmp_path: Path) -> None:
    """A task that goes on printing leaves a hole in its log, not what it had printed."""
    log = LimitedLog(tmp_path / "stdout.txt", 1000)
    with log.path.open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(b"x" * 1_000_000)
            log.bound()
        file.write(b"x")
        assert log.path.stat().st_size == 20_000_001
        assert log.path.stat().st_blocks * 512 < 1_000_000


def test_a_log_that_was_removed_is_no_harm(tmp_path: Path) -> None:
    """A task may do that to its own."""
    log = LimitedLog(tmp_path / "stdout.txt", 1000)
    assert log.bound() == log.finish() == 0
    assert not log.path.exists()
