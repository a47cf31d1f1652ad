"""What went wrong, in one message, for the commands of `millpond local`."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from infra.local.layout import Layout, LocalAzureError
from infra.local.start_failures import explain
from infra.local.toolchain import ToolchainError
from scheduler.cli.place import default_home


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what went wrong in one message, and end with exit code 1."""
    try:
        yield
    except (LocalAzureError, ToolchainError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"Error: {explain(error, Layout(default_home()))}", err=True)
        raise typer.Exit(1) from error
