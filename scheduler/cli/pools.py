"""`millpond pool`: what pools and nodes do, and why."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, group
from scheduler.cli.tables import console, decisions_table, groups_table, nodes_table, pools_table, print_json
from scheduler.errors import NotFoundError
from scheduler.model import PoolView

pool = group("pool", "See pools, their nodes, and the reason for each decision about them.")

_SHOWN_DECISIONS = 20


@pool.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="[POOL]", help="One pool in detail; without it, all.")] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Show pools: nodes current and target, tasks, and what was decided and why.

    With --json and a POOL: its view, all its decisions and the points of its timeline.
    """
    with scheduler_of(stack) as service:
        pools = service.list_pools()
        if name is None:
            if as_json:
                print_json(pools)
            else:
                console().print(pools_table(pools))
            return
        view = _chosen(pools, name)
        decisions = service.list_decisions(name)
        if as_json:
            print_json({"pool": view, "decisions": decisions, "samples": service.list_samples(name)})
            return
    page = console()
    page.print(pools_table((view,)))
    page.print(groups_table(view))
    page.print(decisions_table(decisions[-_SHOWN_DECISIONS:]))


@pool.command()
def nodes(
    name: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """List a pool's nodes, gone ones of the last day included."""
    with scheduler_of(stack) as service:
        _chosen(service.list_pools(), name)
        found = service.list_nodes(name)
    if as_json:
        print_json(found)
    else:
        console().print(nodes_table(found, datetime.now(UTC)))


def _chosen(pools: tuple[PoolView, ...], name: str) -> PoolView:
    for view in pools:
        if view.name == name:
            return view
    known = ", ".join(view.name for view in pools) or "none"
    raise NotFoundError(f"there is no pool {name!r}; the deployment's pools are: {known}")
