"""`millpond history`: what a pool did, for `simulate` and `tune`."""

import sys
from typing import Annotated

import typer

from scheduler.cli.completion import pool_names
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, CommandGroup, Stack, examples
from scheduler.errors import NotFoundError
from scheduler.simulator.readers.history import record_history

commands = typer.Typer(cls=CommandGroup, rich_markup_mode=None, pretty_exceptions_enable=False)


@commands.callback()
def _group() -> None:
    # A group of one command stays a group, so that the command keeps its name.
    pass


@commands.command(
    epilog=examples(
        "millpond history render > render.jsonl",
        "millpond history render | millpond tune --history - --objective 'p95 wait 5 min'",
    )
)
def history(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.", autocompletion=pool_names)],
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Write the history of a pool: its tasks' times and its nodes' boots, for `simulate` and `tune`.

    JSON lines on standard output, each a task or a boot; docs/simulator.md has their fields.
    """
    with scheduler_of(stack) as service:
        if pool not in {view.name for view in service.list_pools()}:
            raise NotFoundError(f"there is no pool {pool!r}; `millpond pool list` has them")
        for line in record_history(service, pool):
            sys.stdout.write(line + "\n")
