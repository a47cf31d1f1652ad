"""`millpond local`: the local Azure of this folder."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.local import cli_fault, control_client, supervisor, toolchain
from infra.local.environment import environment, shell_exports
from infra.local.health import Part, look
from infra.local.layout import Layout, LocalAzureError, RunningState
from infra.local.lock import require_running
from infra.local.messages import plain_errors
from scheduler.cli.place import default_home

app = typer.Typer(name="local", help="Run an Azure on this machine.", no_args_is_help=True)
app.add_typer(cli_fault.app)

_LOG_LINES = 40
_FOLLOW_SECONDS = 0.3


@app.command()
def up(
    boot_delay: Annotated[
        float, typer.Option(min=0.0, help="Seconds from the order of a machine to the start of its bootstrap.")
    ] = supervisor.DEFAULT_BOOT_DELAY_SECONDS,
) -> None:
    """Start the local Azure, or say that it is up; what a crash left behind is taken over."""
    home = default_home()
    with plain_errors():
        started = time.monotonic()
        typer.echo("Preparing the Pulumi engine and Azurite")
        toolchain.prepare()
        typer.echo(f"Starting the local Azure of {home}")
        state = supervisor.start(home, boot_delay, say=lambda line: typer.echo(f"  {line}"))
        for note in state.notes:
            typer.echo(f"  {note}")
        typer.echo(f"Up at {state.arm_url} after {time.monotonic() - started:.1f} s")
        typer.echo('To use it from this shell: eval "$(millpond local env)"')


@app.command()
def down() -> None:
    """Stop the local Azure with all its machines; what is deployed is kept."""
    with plain_errors():
        started = time.monotonic()
        stopped = supervisor.stop(default_home())
        if not stopped.daemon and not stopped.instances:
            typer.echo("The local Azure was not up; nothing of it is running.")
            return
        typer.echo(f"Stopped, with {stopped.instances} machines, after {time.monotonic() - started:.1f} s")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how every part of the local Azure is. The exit code is 1 when one is not healthy."""
    home = default_home()
    layout = Layout(home)
    try:
        with plain_errors():
            state = require_running(layout)
    except typer.Exit:
        if as_json:
            typer.echo(json.dumps({"home": str(home), "up": False, "healthy": False}, indent=2))
        raise
    with plain_errors():
        parts = look(layout, state)
        machines = supervisor.instances(home)
        faults = control_client.list_faults(home) if _is_healthy(parts, "metadata") else []
    healthy = all(part.healthy for part in parts)
    if as_json:
        found = {
            "home": str(home),
            "up": True,
            "healthy": healthy,
            "pid": state.pid,
            "started": state.started,
            "boot_delay_seconds": state.boot_delay_seconds,
            "subscription_id": state.subscription_id,
            "parts": [asdict(part) for part in parts],
            "machines": [{"node_id": node_id, "processes": count} for node_id, count in machines.items()],
            "faults": faults,
        }
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(layout, state, parts, machines)
        for fault in faults:
            typer.echo(f"Fault {cli_fault.describe(fault)}")
    raise typer.Exit(0 if healthy else 1)


@app.command(name="env")
def show_environment() -> None:
    """Print the variables for a shell: eval "$(millpond local env)"."""
    with plain_errors():
        typer.echo(shell_exports(environment(default_home())), nl=False)


@app.command()
def logs(
    part: Annotated[
        str | None,
        typer.Argument(
            help="daemon, requests, access, deletes, a storage account, a database, a machine; if none, daemon."
        ),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines.")] = _LOG_LINES,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
) -> None:
    """Show the end of the log of a part or machine."""
    layout = Layout(default_home())
    with plain_errors():
        path = _log_of(layout, part or "daemon")
        text = path.read_text(errors="replace")
        typer.echo("\n".join(text.splitlines()[-lines:]))
        if follow:
            try:
                for more in _additions(path, len(text.encode(errors="replace"))):
                    typer.echo(more, nl=False)
            except KeyboardInterrupt:
                return


def _show(layout: Layout, state: RunningState, parts: tuple[Part, ...], machines: dict[str, int]) -> None:
    since = datetime.fromtimestamp(state.started).astimezone().isoformat(timespec="seconds")
    typer.echo(f"Up since {since}, process {state.pid}, boot delay {state.boot_delay_seconds:g} s")
    typer.echo(f"Subscription {state.subscription_id}, files {layout.local}")
    width = max(len(part.name) for part in parts)
    for part in parts:
        typer.echo(f"{part.name:<{width}}  {'ok  ' if part.healthy else 'FAIL'}  {part.detail}")
        if part.recovery is not None:
            typer.echo(f"{'':<{width}}        {part.recovery}")
    for node_id, count in machines.items():
        typer.echo(f"Machine {node_id}: {count} processes")


def _is_healthy(parts: tuple[Part, ...], name: str) -> bool:
    return any(part.healthy for part in parts if part.name == name)


def _log_of(layout: Layout, part: str) -> Path:
    """Find the log that a name stands for."""
    own = {
        "daemon": layout.daemon_log,
        "requests": layout.requests_log,
        "access": layout.local / "access.jsonl",
        "deletes": layout.deletes_log,
    }
    servers = (*layout.storage.glob("*/server.log"), *layout.databases.glob("*/server.log"))
    storage = {path.parent.name: path for path in servers}
    machines = {path.parent.name: path for path in layout.instances.glob("*/console.log")}
    logs_by_name = machines | storage | own
    path = logs_by_name.get(part.removeprefix("storage ").removeprefix("database "))
    if path is None:
        raise LocalAzureError(f"there is no log of '{part}' in {layout.local}; there are: {', '.join(logs_by_name)}")
    if not path.exists():
        raise LocalAzureError(f"nothing has been written to {path} yet")
    return path


def _additions(path: Path, offset: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(offset)
        while True:
            if added := file.read():
                yield added.decode(errors="replace")
            else:
                time.sleep(_FOLLOW_SECONDS)
