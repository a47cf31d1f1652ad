"""`millpond scheduler`: the process that decides, dispatches and answers."""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from azure.identity import DefaultAzureCredential

from scheduler.adapters.sql.store_look import back_up
from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.app import Bell, StoreSignIn, SystemClock, build, look_at_store
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, examples, group
from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.cli.tables import print_json

scheduler = group("scheduler", "Run the scheduler, and look after its store.")

_LOG = logging.getLogger(__name__)

StoreAddress = Annotated[
    str | None, typer.Option("--store", help="The store's SQLAlchemy address; a SQLite file if not given.")
]
SignIn = Annotated[
    StoreSignIn,
    typer.Option("--store-sign-in", help="entra: a token of this machine's identity is the store's password."),
]


@scheduler.command(epilog=examples("millpond scheduler run --stack dev"))
def run(
    stack: Stack = DEFAULT_STACK,
    settings_url: Annotated[
        str | None,
        typer.Option("--settings-url", help="The stack output scheduler_settings_url, if not deployed here."),
    ] = None,
    store: StoreAddress = None,
    store_sign_in: SignIn = StoreSignIn.ADDRESS,
    interval: Annotated[float, typer.Option("--interval", min=0.05, help="Seconds between two steps.")] = 1.0,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Loopback port of the API; 0: any.")] = 0,
) -> None:
    """Run the scheduler of a stack until SIGTERM or Ctrl-C.

    One line is logged for each decision, with its reason. Several may run at once: one leads, by a lease in storage.
    The store of an older version is brought up to date first.
    """
    folder = StackFolder(stack)
    _log_lines()
    address = settings_url or folder.deployment().scheduler_settings_url
    app = build(address, store or folder.store_url, SystemClock(), DefaultAzureCredential(), interval, store_sign_in)
    token = secrets.token_urlsafe(32)
    with _stop_on_signals(app.bell) as stop, ApiServer(create_app(app.service, token), port) as server:
        answers_at = ApiAddress(url=server.url, token=token, pid=os.getpid())
        folder.publish_api(answers_at)
        _LOG.info("the scheduler of stack %s answers at %s; its store is %s", stack, server.url, app.store)
        try:
            app.run(stop)
        finally:
            folder.withdraw_api(answers_at)
    _LOG.info("the scheduler has stopped; jobs go on when it runs again")


@scheduler.command(
    name="store",
    epilog=examples("millpond scheduler store --stack dev", "millpond scheduler store --backup store.sqlite.copy"),
)
def show_store(
    stack: Stack = DEFAULT_STACK,
    store: StoreAddress = None,
    store_sign_in: SignIn = StoreSignIn.ADDRESS,
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="Copy a SQLite store, which may be in use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say of which version the store is, and print the SQL by which a start would bring it up to date.

    The upgrade is tried on the store and taken back, so that what would fail fails here.
    """
    address = store or StackFolder(stack).store_url
    if backup is not None:
        back_up(address, backup)
        typer.echo(f"the store is copied to {backup}")
        return
    found = look_at_store(address, DefaultAzureCredential(), store_sign_in)
    if as_json:
        print_json(found)
        return
    then = f"a start brings it to {found.program} by" if found.statements else "that is this scheduler's"
    typer.echo(f"{found.store} has version {found.version}; {then}", err=bool(found.statements))
    for statement in found.statements:
        typer.echo(f"{statement.strip()};")


@contextmanager
def _stop_on_signals(bell: Bell) -> Iterator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set; a second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        _LOG.info("%s: stopping after this step", signal.Signals(number).name)
        stop.set()
        bell.ring()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_lines() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    # The SDKs log every request they make, and Alembic what kind of database it found.
    for name in ("alembic", "azure", "httpx", "urllib3", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
