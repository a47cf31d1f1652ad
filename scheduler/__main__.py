"""`python -m scheduler`: the scheduler's own commands, for a machine that has nothing else of the project."""

import typer

from scheduler.cli.group import CommandGroup
from scheduler.cli.jobs import job
from scheduler.cli.nodes import node
from scheduler.cli.pools import pool
from scheduler.cli.process import scheduler
from scheduler.cli.schedules import schedule
from scheduler.cli.tasks import task
from scheduler.cli.ui import ui
from scheduler.cli.why import why

app = typer.Typer(
    name="millpond",
    cls=CommandGroup,
    help="Run the scheduler, and speak to it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for part in (job, schedule, task, pool, node, scheduler):
    app.add_typer(part)
app.command()(why)
app.command()(ui)

if __name__ == "__main__":
    app()
