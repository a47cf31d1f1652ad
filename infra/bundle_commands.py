"""`millpond bundle`: what nodes fetch when they boot, built and pinned from any machine."""

from pathlib import Path
from typing import Annotated

import httpx
import typer

from infra.components.machines import build_software
from infra.config import parse
from infra.findings import ConfigError
from infra.pin import PinError, pin, with_entry
from infra.publish import DOWNLOAD_SECONDS
from infra.stacks import DEFAULT_STACK, PROJECT_ROOT, settings_of
from scheduler.errors import MillpondError

FAILED = 1
WRONG_USE = 2

commands = typer.Typer(
    help="Build and pin what nodes fetch when they boot.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@commands.command("pin")
def pin_interpreter(
    source: Annotated[str, typer.Argument(help="Address of the interpreter's archive, or a path.", metavar="SOURCE")],
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="The SHA-256 that its publisher says, where no file beside it does.")
    ] = None,
    stack: Annotated[
        str | None, typer.Option("--stack", help="Write the entry into Pulumi.STACK.yaml; without, it is printed only.")
    ] = None,
) -> None:
    """Pin the Python that nodes run: fetch it, ask its publisher, write the entry.

    The publisher's word is the .spdx.json, .sha256 or SHA256SUMS beside the file. Windows nodes take python.org's
    embeddable package, Linux nodes a python-build-standalone archive (install_only.tar.gz).
    """
    try:
        pinned = pin(source, _read, sha256)
        if stack is not None:
            settings_of(stack)
            path = PROJECT_ROOT / f"Pulumi.{stack}.yaml"
            path.write_text(with_entry(path.read_text(encoding="utf-8"), pinned), encoding="utf-8")
    except PinError as error:
        _fail(str(error), FAILED)
    except MillpondError as error:
        _fail(str(error), WRONG_USE)
    typer.echo(pinned.entry, nl=False)
    typer.echo(f"# {pinned.vouched_by} says the same", err=True)


@commands.command("build")
def build(
    output: Annotated[Path, typer.Option("--output", help="The folder to write into.")] = Path("bundles"),
    stack: Annotated[
        str, typer.Option("--stack", envvar="MILLPOND_STACK", help="The stack, by its settings file.")
    ] = DEFAULT_STACK,
) -> None:
    """Build the bundles of a stack's pools, as `millpond up` uploads them: each named by its SHA-256."""
    try:
        config = parse(settings_of(stack))
    except (ConfigError, MillpondError) as error:
        _fail(str(error), WRONG_USE)
    output.mkdir(parents=True, exist_ok=True)
    for pool in config.pools:
        bundle = build_software(pool).bundle
        path = output / f"{bundle.sha256}.tar.gz"
        path.write_bytes(bundle.data)
        typer.echo(f"pool {pool.name} ({pool.machine_image.system}): {path}, {len(bundle.data)} bytes")


def _read(source: str) -> bytes | None:
    try:
        if "://" not in source:
            path = Path(source)
            return path.read_bytes() if path.exists() else None
        answer = httpx.get(source, follow_redirects=True, timeout=DOWNLOAD_SECONDS)
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().content
    except (httpx.HTTPError, OSError) as error:
        raise PinError(f"{source} cannot be read: {error}") from error


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
