"""`millpond local`: the local Azure of this folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.local import supervisor, toolchain
from infra.local.environment import environment, shell_exports
from infra.local.layout import Layout, LocalAzureError
from infra.local.lock import require_running
from infra.local.toolchain import ToolchainError
from scheduler.cli.place import default_home

app = typer.Typer(name="local", help="Run an Azure on this machine.", no_args_is_help=True)
fault = typer.Typer(name="fault", help="Harm the local Azure on purpose.", no_args_is_help=True)
app.add_typer(fault)

_LOG_LINES = 40


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Show what went wrong in one message."""
    try:
        yield
    except (LocalAzureError, ToolchainError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def up(
    boot_delay: Annotated[
        float, typer.Option(min=0.0, help="Seconds from the order of a machine to the start of its bootstrap.")
    ] = supervisor.DEFAULT_BOOT_DELAY_SECONDS,
) -> None:
    """Start the local Azure, or say that it is up."""
    home = default_home()
    with _plain_errors():
        started = time.monotonic()
        typer.echo("Preparing the Pulumi engine and Azurite")
        toolchain.prepare()
        typer.echo(f"Starting the local Azure of {home}")
        state = supervisor.start(home, boot_delay, say=lambda line: typer.echo(f"  {line}"))
        typer.echo(f"Up at {state.arm_url} after {time.monotonic() - started:.1f} s")
        typer.echo('To use it from this shell: eval "$(millpond local env)"')


@app.command()
def down() -> None:
    """Stop the local Azure with all its machines; what is deployed is kept."""
    with _plain_errors():
        started = time.monotonic()
        stopped = supervisor.stop(default_home())
        if not stopped.daemon:
            typer.echo("The local Azure was not up; nothing of it is running.")
            return
        typer.echo(f"Stopped, with {stopped.instances} machines, after {time.monotonic() - started:.1f} s")


@app.command()
def status() -> None:
    """Say where the local Azure is, and which machines live."""
    home = default_home()
    with _plain_errors():
        state = require_running(Layout(home))
        since = datetime.fromtimestamp(state.started).astimezone().isoformat(timespec="seconds")
        typer.echo(f"Up since {since}, process {state.pid}, boot delay {state.boot_delay_seconds:g} s")
        typer.echo(f"Resource manager {state.arm_url}, subscription {state.subscription_id}")
        typer.echo(f"Files {Layout(home).local}")
        for node_id, count in supervisor.instances(home).items():
            typer.echo(f"Machine {node_id}: {count} processes")


@app.command(name="env")
def show_environment() -> None:
    """Print the variables for a shell: eval "$(millpond local env)"."""
    with _plain_errors():
        typer.echo(shell_exports(environment(default_home())), nl=False)


@app.command()
def logs(
    node_id: Annotated[str | None, typer.Argument(help="A machine; without it, the local Azure itself.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = _LOG_LINES,
) -> None:
    """Show the end of a log."""
    layout = Layout(default_home())
    path = layout.instances / node_id / "console.log" if node_id else layout.daemon_log
    with _plain_errors():
        typer.echo("\n".join(_read(path).splitlines()[-lines:]))


@fault.command()
def kill(node_id: Annotated[str, typer.Argument(help="The machine, as `millpond pool nodes` names it.")]) -> None:
    """Kill every process of a machine; Azure goes on listing it as running."""
    with _plain_errors():
        count = supervisor.kill_instance(default_home(), node_id)
        typer.echo(f"Killed {count} processes of {node_id}")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        raise LocalAzureError(f"there is no log at {path}") from None
