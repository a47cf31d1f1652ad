"""`millpond why`: one honest paragraph about a job, a task, a node, a pool or a schedule, and the facts behind it."""

from typing import Annotated

import typer

from scheduler.cli.completion import subjects
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, CommandGroup, Stack, examples
from scheduler.cli.tables import console, facts_table, print_json, printable

commands = typer.Typer(cls=CommandGroup, rich_markup_mode=None, pretty_exceptions_enable=False)


@commands.callback()
def _group() -> None:
    # A group of one command stays a group, so that the command keeps its name.
    pass


@commands.command(
    epilog=examples(
        "millpond why JOB            why it waits, runs or failed",
        "millpond why JOB/3          the same of its task 3",
        "millpond why risk-main_0    why a node was bought, what it does, why it went",
        "millpond why risk           why a pool has the nodes that it has",
        "millpond why nightly        what a schedule waits for, and what became of its last runs",
    )
)
def why(
    subject: Annotated[
        str,
        typer.Argument(metavar="JOB|JOB/TASK|NODE|POOL|SCHEDULE", help="What to explain.", autocompletion=subjects),
    ],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Say why a job, a task, a node, a pool or a schedule is as it is: waits, runs, failed, was bought, was removed."""
    with scheduler_of(stack) as service:
        told = service.explain(subject)
    if as_json:
        print_json(told)
        return
    page = console()
    page.print(printable(f"{told.subject[:1].upper()}{told.subject[1:]}"), markup=False, style="bold")
    page.print(printable(told.paragraph), markup=False)
    page.print(facts_table(told.facts))
