"""`millpond up`, `preview` and `destroy`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from infra import deploy
from infra.findings import ConfigError
from infra.local.layout import LocalAzureError
from infra.stacks import DEFAULT_STACK, settings_of
from scheduler.errors import MillpondError

FAILED = 1
WRONG_USE = 2

commands = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Stack = Annotated[
    str, typer.Option("--stack", envvar="MILLPOND_STACK", help="The stack, by its settings file Pulumi.<stack>.yaml.")
]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Tell what went wrong in one message: 2 for settings and wrong use, 1 for a deployment that failed."""
    try:
        yield
    except (ConfigError, MillpondError) as error:
        _fail(str(error), WRONG_USE)
    except (deploy.DeployError, LocalAzureError) as error:
        _fail(str(error), FAILED)


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


@commands.command()
def up(stack: Stack = DEFAULT_STACK) -> None:
    """Deploy a stack: make what its settings declare, change what differs.

    Machines are never changed in place. What changes them declares a new node group beside the old one, which the
    scheduler drains and removes.
    """
    with _plain_errors():
        outputs = deploy.up(stack, Console(soft_wrap=True))
        for name in ("resource_group", "storage_account", "scheduler_settings_url"):
            typer.echo(f"{name}: {outputs.get(name, '')}")
        for pool in outputs.get("pools", []):
            groups = ", ".join(group["scale_set"] for group in pool["groups"])
            typer.echo(f"pool {pool['name']}: {groups}")


@commands.command()
def preview(stack: Stack = DEFAULT_STACK) -> None:
    """Show what `up` would change; nothing is changed."""
    with _plain_errors():
        deploy.preview(stack, Console(soft_wrap=True))


@commands.command()
def destroy(
    stack: Stack = DEFAULT_STACK,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a stack whole: its resource group with all nodes, jobs' files and logs.

    Node groups of earlier generations that still work go with it.
    """
    with _plain_errors():
        settings_of(stack)
        if not yes:
            nodes = deploy.nodes_by_set(stack)
            up_now = f"; {sum(nodes.values())} nodes are there now, and what they run ends at once" if nodes else ""
            question = f"Remove the stack {stack!r} with all its nodes, inputs, outputs and logs{up_now}?"
            if not sys.stdin.isatty():
                _fail(f"{question} There is no one to ask; repeat with --yes.", WRONG_USE)
            typer.confirm(question, abort=True)
        deploy.destroy(stack, Console(soft_wrap=True))
