"""The entry point `millpond`: knows the commands' names, and loads the module of a command when it is used.

So that `millpond job list` does not wait for Pulumi to load, nor `millpond --help` for anything.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]  # typer's own, told by it to nobody

from infra.local.layout import LocalAzureError
from infra.stacks import DEFAULT_STACK, environment_if_any
from scheduler.cli.group import EXIT_CODES, FAILED, CommandGroup

HELP = """
Compute pools on Azure, declared as reviewed code and sized by their queue.

A stack's settings are in `Pulumi.<stack>.yaml`; the stack of this machine is `local` and needs no Azure account:

\b
  millpond local up             start the local Azure
  millpond up                   deploy the stack `local` to it
  millpond scheduler run        start the scheduler (it runs until stopped)
  millpond job submit FILE      hand in a job; nodes appear
  millpond job watch JOB        see it run
  millpond why JOB              say why it waits, runs or failed
"""

EPILOG = f"{EXIT_CODES} `millpond --install-completion` has the shell complete commands and names."


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is loaded when used: where its typer app is, which part of it, and what it does in a line."""

    module: str
    app: str
    summary: str
    part: str | None = None
    speaks_to_stack: bool = False


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "up": Command("infra.deploy_commands", "commands", "Deploy a stack.", part="up"),
        "preview": Command("infra.deploy_commands", "commands", "Show what `up` would change.", part="preview"),
        "destroy": Command(
            "infra.deploy_commands", "commands", "Remove a stack with all that is in it.", part="destroy"
        ),
        "bundle": Command("infra.bundle_commands", "commands", "Build and pin what nodes fetch when they boot."),
        "job": Command(
            "scheduler.cli.jobs",
            "job",
            "Submit, follow, requeue and delete jobs; get their outputs.",
            speaks_to_stack=True,
        ),
        "task": Command("scheduler.cli.tasks", "task", "Look at the tasks of a job.", speaks_to_stack=True),
        "application": Command(
            "scheduler.cli.applications", "application", "Upload programs once.", speaks_to_stack=True
        ),
        "pool": Command(
            "scheduler.cli.pool_shadow", "pool", "Look at pools, nodes and scaling decisions.", speaks_to_stack=True
        ),
        "simulate": Command(
            "scheduler.cli.simulate", "commands", "Replay a workload through scaling policies.", part="simulate"
        ),
        "tune": Command(
            "scheduler.cli.simulate", "commands", "Find the setting that serves an objective.", part="tune"
        ),
        "history": Command(
            "scheduler.cli.simulate",
            "commands",
            "Write a pool's history, for `simulate` and `tune`.",
            part="history",
            speaks_to_stack=True,
        ),
        "node": Command("scheduler.cli.nodes", "node", "See what a node left of itself.", speaks_to_stack=True),
        "why": Command(
            "scheduler.cli.why",
            "commands",
            "Say why a job, a task, a node or a pool is as it is.",
            part="why",
            speaks_to_stack=True,
        ),
        "ui": Command(
            "scheduler.cli.ui", "commands", "Open the scheduler's page in a browser.", part="ui", speaks_to_stack=True
        ),
        "scheduler": Command(
            "scheduler.cli.process", "scheduler", "Run the scheduler, and look after its store.", speaks_to_stack=True
        ),
        "formula": Command(
            "scheduler.cli.formula", "formula", "Check, run, lint and compile Azure Batch autoscale formulas."
        ),
        "local": Command("infra.local.cli", "app", "Start, stop and look at the Azure of this machine."),
    }
)


class Root(CommandGroup):
    """The commands by name; a module is loaded when its command is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is typer's
        """Name the commands, without loading them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is typer's
        """Load a command; None when there is none of that name."""
        command = COMMANDS.get(cmd_name)
        if command is None:
            return None
        loaded = typer.main.get_command(getattr(importlib.import_module(command.module), command.app))
        return loaded.commands[command.part] if command.part and isinstance(loaded, TyperGroup) else loaded

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command to run; an unknown one is told with what it may have meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS, n=1)
            meant = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {name!r}. {meant}")
        if name in COMMANDS and COMMANDS[name].speaks_to_stack:
            os.environ.update(environment_if_any(stack_of(args[1:], os.environ)))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete the commands' names from what is known of them here, without loading them."""
        if incomplete.startswith("-"):
            return list(super().shell_complete(ctx, incomplete))
        names = ((name, command.summary) for name, command in COMMANDS.items() if name.startswith(incomplete))
        return [CompletionItem(name, help=summary) for name, summary in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature is typer's
        """List the commands with their summaries, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


def stack_of(args: Sequence[str], environment: Mapping[str, str]) -> str:
    """Find which stack a command speaks to, before the command itself is loaded and reads its options."""
    for index, arg in enumerate(args):
        if arg == "--stack" and index + 1 < len(args):
            return args[index + 1]
        if arg.startswith("--stack="):
            return arg.removeprefix("--stack=")
    return environment.get("MILLPOND_STACK", DEFAULT_STACK)


app = typer.Typer(
    name="millpond",
    cls=Root,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"millpond {version('millpond')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run `millpond`."""
    try:
        app()
    except LocalAzureError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
