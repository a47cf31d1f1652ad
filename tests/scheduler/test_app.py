"""The composition root: addresses, settings, running and closing."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import SCHEDULER
from scheduler import app
from scheduler.adapters.azure_database import EntraPassword
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.app import App, Bell, BlobAddress, BlobSettings, StoreSignIn, SystemClock, build, parse_blob_url
from scheduler.errors import InvalidRequestError, NotFoundError, OutdatedProgramError, UnavailableError
from scheduler.settings import SETTINGS_BLOB, SchedulerSettings, dump_settings

ADDRESS = BlobAddress("https://acct.blob.core.windows.net/", SCHEDULER, SETTINGS_BLOB)
SETTINGS = SchedulerSettings(
    environment="local",
    subscription_id="sub",
    resource_group="rg",
    location="eastus",
    resource_manager="https://arm.example",
    blob_endpoint="https://acct.blob.core.windows.net/",
    queue_endpoint="https://acct.queue.core.windows.net/",
    storage_account="acct",
    pools=(),
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-", min_size=1, max_size=20)


class NoCredential:
    """A credential that must not be asked in these tests."""

    def get_token(self, *scopes: str, **options: object) -> None:
        """Fail."""
        raise AssertionError("no token is needed here")


def test_the_clock_is_in_utc() -> None:
    """The system clock gives aware instants in UTC."""
    assert SystemClock().now().tzinfo is UTC
    assert abs((SystemClock().now() - datetime.now(UTC)).total_seconds()) < 5


@given(NAMES, st.lists(NAMES, max_size=2), NAMES, NAMES)
def test_blob_addresses_come_apart(host: str, account: list[str], container: str, name: str) -> None:
    """An address of a blob, with or without the account in its path, gives endpoint, container and name."""
    endpoint = "/".join(["https:/", f"{host}:443", *account]) + "/"
    assert parse_blob_url(f"{endpoint}{container}/{name}") == BlobAddress(endpoint, container, name)


@pytest.mark.parametrize(
    "url", ["", "settings.json", "https://host/settings.json", "https://host/c/", "ftp://h/c/n", "https://h/c/n?sig=1"]
)
def test_other_addresses_are_refused(url: str) -> None:
    """What is no blob's address is refused with a hint at the stack output."""
    with pytest.raises(InvalidRequestError, match="scheduler_settings_url"):
        parse_blob_url(url)


def test_settings_are_read_when_they_change() -> None:
    """Settings come once, again when they change, and again when asked for."""
    blobs = MemoryBlobs(ManualClock())
    source = BlobSettings(blobs, ADDRESS)
    with pytest.raises(NotFoundError, match="millpond up"):
        source.read()
    with pytest.raises(UnavailableError):
        source.changed()
    blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(SETTINGS).encode())
    assert source.changed() == SETTINGS
    assert source.changed() is None
    blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(SETTINGS).encode())
    assert source.changed() == SETTINGS
    source.again()
    assert source.changed() == SETTINGS


def test_moved_addresses_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Settings that name another subscription say that a restart is needed."""
    blobs = MemoryBlobs(ManualClock())
    source = BlobSettings(blobs, ADDRESS)
    blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(SETTINGS).encode())
    source.changed()
    moved = dump_settings(SETTINGS).replace('"sub"', '"other"')
    blobs.write(SCHEDULER, SETTINGS_BLOB, moved.encode())
    source.changed()
    assert "subscription_id" in caplog.text


def test_a_deployment_is_wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are connected from the settings alone, and running and stopping closes them all."""
    monkeypatch.setattr(app.AzureBlobs, "read", lambda self, container, name: dump_settings(SETTINGS).encode())
    url = f"{ADDRESS.endpoint}{SCHEDULER}/{SETTINGS_BLOB}"
    made = build(url, f"sqlite:///{tmp_path / 'store.sqlite'}", SystemClock(), NoCredential(), 0.01)
    assert made.service.storage().blob_endpoint == SETTINGS.blob_endpoint
    stop = threading.Event()
    stop.set()
    made.run(stop)


def test_a_store_that_takes_tokens_is_wired(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Entra sign-in the database gets an address whose server must prove itself, and a source of tokens."""
    opened: list[tuple[str, object]] = []

    class Stop(Exception):  # noqa: N818  nothing after the database matters here
        pass

    def database(url: str, password: object = None) -> None:
        opened.append((url, password))
        raise Stop

    monkeypatch.setattr(app.AzureBlobs, "read", lambda self, container, name: dump_settings(SETTINGS).encode())
    monkeypatch.setattr(app, "Database", database)
    url = f"{ADDRESS.endpoint}{SCHEDULER}/{SETTINGS_BLOB}"
    store = "postgresql+psycopg://id@server/millpond"
    with pytest.raises(Stop):
        build(url, store, SystemClock(), NoCredential(), 0.01, StoreSignIn.ENTRA)
    with pytest.raises(Stop):
        build(url, store, SystemClock(), NoCredential(), 0.01)
    (with_token, source), (plain, none) = opened
    assert "sslmode=verify-full" in with_token
    assert isinstance(source, EntraPassword)
    assert (plain, none) == (store, None)


def test_running_steps_until_stopped() -> None:
    """A run steps, waits and steps again; at the end it gives the lead up and closes."""
    done: list[str] = []
    stop = threading.Event()

    class Counting:
        def step(self, now: datetime) -> timedelta:
            done.append("step")
            if done.count("step") == 3:
                stop.set()
            return timedelta(milliseconds=1)

        def release(self) -> None:
            done.append("release")

    App(None, Counting(), "", ManualClock(), Bell(), lambda: done.append("close")).run(stop)  # type: ignore[arg-type]
    assert done == ["step", "step", "step", "release", "close"]


def test_a_run_that_must_end_gives_the_lead_up() -> None:
    """When a step ends the scheduler, the next one need not wait for its lease."""
    done: list[str] = []

    class Outdated:
        def step(self, now: datetime) -> timedelta:
            raise OutdatedProgramError("a newer scheduler has the store")

        def release(self) -> None:
            done.append("release")

    app = App(None, Outdated(), "", ManualClock(), Bell(), lambda: done.append("close"))  # type: ignore[arg-type]
    with pytest.raises(OutdatedProgramError):
        app.run(threading.Event())
    assert done == ["release", "close"]
