"""What every command group shares: exit codes, errors told in one place, options that many commands have."""

from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from scheduler.errors import AccessDeniedError, MillpondError, UnavailableError

SUCCESS = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3

EXIT_CODES = "Exit codes: 0 done, 1 the job failed, 2 wrong use, 3 the scheduler or the storage cannot be reached."

Stack = Annotated[str, typer.Option("--stack", envvar="MILLPOND_STACK", help="The deployment to speak to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id that `job submit` printed.")]

DEFAULT_STACK = "local"

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


def exit_code_of(error: MillpondError) -> int:
    """Say with which code a command ends that met this error."""
    return UNREACHABLE if isinstance(error, UnavailableError | AccessDeniedError) else USAGE


def tell_error(error: MillpondError) -> None:
    """Write an error's message where errors go."""
    _ERRORS.print(f"error: {error}", markup=False)


def group(name: str, text: str) -> typer.Typer:
    """Make a command group."""
    return typer.Typer(
        name=name,
        cls=CommandGroup,
        help=f"{text}\n\n{EXIT_CODES}",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def verbatim(text: str | None) -> str:
    """Mark a help text so that its lines are not wrapped anew."""
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in (text or "").strip().split("\n\n"))
