"""`millpond ui`: the page of the scheduler in a browser."""

import webbrowser
from typing import Annotated

import typer

from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, CommandGroup, Stack, examples
from scheduler.cli.tables import print_json

commands = typer.Typer(cls=CommandGroup, rich_markup_mode=None, pretty_exceptions_enable=False)


@commands.callback()
def _group() -> None:
    # A group of one command stays a group, so that the command keeps its name.
    pass


@commands.command(
    epilog=examples(
        "millpond ui                 print the link and open it",
        "millpond ui --no-open       only print it, for a browser elsewhere behind a tunnel",
    )
)
def ui(
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the link.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Open the scheduler's page: jobs, tasks, logs as they grow, outputs, pools, nodes, decisions.

    The link signs a browser in, once, within two minutes; the session can only look, and ends when the scheduler ends.
    """
    with scheduler_of(stack) as service:
        link = service.page_link()
    if as_json:
        print_json({"link": link})
        return
    typer.echo(link)
    if not no_open and not webbrowser.open(link):
        typer.echo("no browser could be started here; open the link in one, within two minutes", err=True)
