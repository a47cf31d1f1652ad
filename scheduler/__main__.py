"""`python -m scheduler`: the scheduler's own commands, for a machine that has nothing else of the project."""

import typer

from scheduler.cli.jobs import job
from scheduler.cli.pools import pool
from scheduler.cli.process import scheduler

app = typer.Typer(
    name="millpond",
    help="Run the scheduler, and speak to it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for part in (job, pool, scheduler):
    app.add_typer(part)

if __name__ == "__main__":
    app()
