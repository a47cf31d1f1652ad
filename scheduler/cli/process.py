"""`millpond scheduler`: the process that decides, dispatches and answers."""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
from azure.identity import DefaultAzureCredential

from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.app import Bell, StoreSignIn, SystemClock, build
from scheduler.cli.group import DEFAULT_STACK, Stack, examples, group
from scheduler.cli.home import ApiAddress, StackFolder

scheduler = group("scheduler", "Run the scheduler.")

_LOG = logging.getLogger(__name__)


@scheduler.callback()
def _group() -> None:
    # A group of one command stays a group, so that the command keeps its name.
    pass


@scheduler.command(epilog=examples("millpond scheduler run --stack dev"))
def run(
    stack: Stack = DEFAULT_STACK,
    settings_url: Annotated[
        str | None,
        typer.Option("--settings-url", help="The stack output scheduler_settings_url, if not deployed here."),
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="The store's SQLAlchemy address; a SQLite file if not given.")
    ] = None,
    store_sign_in: Annotated[
        StoreSignIn,
        typer.Option("--store-sign-in", help="entra: a token of this machine's identity is the store's password."),
    ] = StoreSignIn.ADDRESS,
    interval: Annotated[float, typer.Option("--interval", min=0.05, help="Seconds between two steps.")] = 1.0,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Loopback port of the API; 0: any.")] = 0,
) -> None:
    """Run the scheduler of a stack until SIGTERM or Ctrl-C.

    One line is logged for each decision, with its reason. Several may run at once: one leads, by a lease in storage.
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
