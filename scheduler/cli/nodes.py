"""`millpond node`: what a node left of itself."""

from typing import Annotated

import typer

from scheduler.cli.completion import node_names
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, examples, group
from scheduler.cli.tables import console, print_json, print_node_log

node = group("node", "See what a node recorded of its boot and what its runner last said.")


@node.callback()
def _group() -> None:
    # A group of one command stays a group, so that the command keeps its name.
    pass


@node.command(
    epilog=examples(
        "millpond pool nodes risk            names of nodes, those of the last day included",
        "millpond node logs risk-main_0      also after it is gone",
    )
)
def logs(
    name: Annotated[
        str,
        typer.Argument(metavar="NODE", help="The node's name; it may be gone.", autocompletion=node_names),
    ],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Print the steps of a node's boot, each with its output, and what its runner last said of itself.

    The scheduler reads them: no right on the nodes' storage is needed. They outlive the node.
    """
    with scheduler_of(stack) as service:
        log = service.node_log(name)
    if as_json:
        print_json(log)
    else:
        print_node_log(console(), log)
