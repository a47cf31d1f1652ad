"""What every command group shares: exit codes, errors told in one place, options that many commands have."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from scheduler.errors import AccessDeniedError, MillpondError, UnavailableError

SUCCESS = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done, 1 the job failed, 2 wrong use, 3 the scheduler or the storage cannot be reached, "
    "130 interrupted by Ctrl-C."
)


def stack_names(_ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the stacks that have a settings file beside the source."""
    root = Path(__file__).resolve().parents[2]
    names = sorted(file.name.split(".")[1] for file in root.glob("Pulumi.*.yaml"))
    return [(name, "") for name in names if name.startswith(incomplete)]


Stack = Annotated[
    str,
    typer.Option("--stack", envvar="MILLPOND_STACK", help="The deployment to speak to.", autocompletion=stack_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT_STACK = "local"

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


class CommandGroup(TyperGroup):
    """A group that tells our own errors in their own words, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command and turn an error into its message and exit code."""
        try:
            return super().invoke(ctx)
        except MillpondError as error:
            tell_error(error)
            raise typer.Exit(exit_code_of(error)) from error
        except KeyboardInterrupt:
            typer.echo("interrupted; nothing that was accepted is lost", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output has enough: `millpond job list | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(SUCCESS) from None
        except OSError as error:
            if error.errno not in _DISK_IS_FULL:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            typer.echo(f"error: the output cannot be written: {error.strerror}", err=True)
            raise typer.Exit(USAGE) from error


def exit_code_of(error: MillpondError) -> int:
    """Say with which code a command ends that met this error."""
    return UNREACHABLE if isinstance(error, UnavailableError | AccessDeniedError) else USAGE


def tell_error(error: MillpondError) -> None:
    """Write an error's message where errors go."""
    _ERRORS.print(f"error: {error}", markup=False)


def group(name: str, text: str, exit_codes: str = EXIT_CODES) -> typer.Typer:
    """Make a command group; its help ends with what the exit codes mean."""
    return typer.Typer(
        name=name,
        cls=CommandGroup,
        help=f"{text}\n\n{exit_codes}",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def examples(*lines: str) -> str:
    """Make the end of a help text: examples, a line each, as they stand."""
    return verbatim("\n".join(("Examples:", *(f"  {line}" for line in lines))))


def verbatim(text: str | None) -> str:
    """Mark a help text so that its lines are not wrapped anew."""
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in (text or "").strip().split("\n\n"))
