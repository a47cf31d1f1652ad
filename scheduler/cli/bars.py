"""A bar for work on many files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def counted(place: Console, what: str, total: int) -> Iterator[Callable[[object], None]]:
    """Show a bar of `total` files while the block runs, and give what moves it by one; no bar without a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=place, transient=True, disable=not place.is_terminal) as bar:
        row = bar.add_task(what, total=total)
        yield lambda _: bar.advance(row)
