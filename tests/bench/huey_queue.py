"""Huey's sides: its SQLite storage in WAL mode with fsync=True, which is the durability of Millpond's store.

accept         a call and a commit a task: its interface takes one task at a time
accept-rows    the same rows by Huey's own SQL in one commit: what its table could do if its interface took many
hand-out       one worker's loop without threads and pauses: dequeue, run in this process, store the result
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from huey import SqliteHuey  # type: ignore[import-untyped]  # it ships no types

from tests.bench.side import Prepared, main

# synchronous=FULL, by SQLite's number.
_FULL = 2


def nothing(index: int) -> int:
    """Do the work of a task: none; a result is stored as it is not None."""
    return index


class Queue:
    """Huey over a file, with one task that does nothing."""

    def __init__(self, directory: Path) -> None:
        self.huey: Any = SqliteHuey("bench", filename=str(directory / "huey.sqlite"), fsync=True)
        self.nothing: Any = self.huey.task()(nothing)
        assert self.huey.storage.sql("pragma synchronous", results=True) == [(_FULL,)]

    def enqueue(self, count: int) -> None:
        """Enqueue so many tasks, one call each."""
        for index in range(count):
            self.nothing(index)

    def enqueue_rows(self, count: int) -> None:
        """Insert the rows of so many tasks in one commit."""
        storage = self.huey.storage
        with storage.db(commit=True) as cursor:
            for index in range(count):
                data = storage.to_blob(self.huey.serialize_task(self.nothing.s(index)))
                cursor.execute("insert into task (queue, data, priority) values (?, ?, ?)", (storage.name, data, 0))

    def consume(self) -> None:
        """Dequeue and run all there is."""
        while (task := self.huey.dequeue()) is not None:
            self.huey.execute(task)

    def require(self, waiting: int, done: int) -> None:
        """Check that exactly so many tasks wait and so many results are stored."""
        found = (self.huey.storage.queue_size(), self.huey.storage.result_store_size())
        assert found == (waiting, done), found
        if done:
            results = self.huey.storage.result_items().values()
            assert sorted(pickle.loads(each) for each in results) == list(range(done))  # noqa: S301  our own rows


def accept(size: int, directory: Path) -> Prepared:
    """Enqueue through the interface."""
    queue = Queue(directory)
    return Prepared(partial(queue.enqueue, size), size, partial(queue.require, size, 0))


def accept_rows(size: int, directory: Path) -> Prepared:
    """Enqueue below the interface."""
    queue = Queue(directory)
    return Prepared(partial(queue.enqueue_rows, size), size, partial(queue.require, size, 0))


def hand_out(size: int, directory: Path) -> Prepared:
    """Run tasks that were enqueued before."""
    queue = Queue(directory)
    queue.enqueue_rows(size)
    return Prepared(queue.consume, size, partial(queue.require, 0, size))


VARIANTS: dict[str, Callable[[int, Path], Prepared]] = {
    "accept": accept,
    "accept-rows": accept_rows,
    "hand-out": hand_out,
}

if __name__ == "__main__":
    main(VARIANTS)
