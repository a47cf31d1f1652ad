"""`millpond pool`: what pools and nodes do, and why."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from scheduler.cli.completion import node_names, pool_names
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, examples, group
from scheduler.cli.pool_explain import explain
from scheduler.cli.tables import console, decisions_table, groups_table, nodes_table, pools_table, print_json
from scheduler.errors import NotFoundError
from scheduler.model import PoolView

pool = group("pool", "See pools, their nodes, and the reason for each decision about them.")

_SHOWN_DECISIONS = 20


Name = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.", autocompletion=pool_names)]


@pool.command(name="list", epilog=examples("millpond pool list --json | jq '.[].current_nodes'"))
def list_pools(stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """List all pools: nodes current and target, tasks, and the last decision with its reason."""
    with scheduler_of(stack) as service:
        pools = service.list_pools()
    if as_json:
        print_json(pools)
    else:
        console().print(pools_table(pools))


@pool.command(epilog=examples("millpond pool show risk"))
def show(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[POOL]", help="One pool in detail; without it, all.", autocompletion=pool_names),
    ] = None,
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
        view = chosen(pools, name)
        decisions = service.list_decisions(name)
        if as_json:
            print_json({"pool": view, "decisions": decisions, "samples": service.list_samples(name)})
            return
    page = console()
    page.print(pools_table((view,)))
    page.print(groups_table(view))
    page.print(decisions_table(decisions[-_SHOWN_DECISIONS:]))


pool.command(
    epilog=examples(
        "millpond pool explain risk                          the last decision",
        "millpond pool explain risk --at 03:12 --last 3      what held at twelve past three, and the two before",
        "millpond pool explain risk --export bug.json        for a bug report; --replay bug.json tells it elsewhere",
    )
)(explain)


@pool.command(epilog=examples("millpond pool nodes risk"))
def nodes(
    name: Name,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """List a pool's nodes, gone ones of the last day included."""
    with scheduler_of(stack) as service:
        chosen(service.list_pools(), name)
        found = service.list_nodes(name)
    if as_json:
        print_json(found)
    else:
        console().print(nodes_table(found, datetime.now(UTC)))


@pool.command(
    epilog=examples(
        "millpond pool drain risk risk-main_0 risk-main_3",
        "millpond pool nodes risk                            to see it happen",
    )
)
def drain(
    name: Name,
    names: Annotated[
        list[str], typer.Argument(metavar="NODE...", help="Nodes of the pool.", autocompletion=node_names)
    ],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Take nodes out of service: each ends what it runs, takes no more, and is removed; it is never taken back.

    The pool buys others if its work or its minimum asks for them. All the names must be right, or nothing is done.
    """
    with scheduler_of(stack) as service:
        asked = service.drain_nodes(name, tuple(names))
    if as_json:
        print_json(asked)
        return
    page = console()
    for node in asked:
        holds = f"holds {len(node.held)} messages" if node.held else "holds no message"
        page.print(f"node {node.node_id} is to go; it is {node.phase.value} and {holds}", markup=False)


def chosen(pools: tuple[PoolView, ...], name: str) -> PoolView:
    """Give the pool of this name; `NotFoundError` names those that there are."""
    for view in pools:
        if view.name == name:
            return view
    known = ", ".join(view.name for view in pools) or "none"
    raise NotFoundError(f"there is no pool {name!r}; the deployment's pools are: {known}")
