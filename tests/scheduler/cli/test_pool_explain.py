"""`millpond pool explain`: from a scheduler that runs, and from a file that another one wrote."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from scheduler.cli.pool_explain import parse_instant
from scheduler.cli.pools import pool
from scheduler.errors import InvalidRequestError
from scheduler.service import Service
from tests.scheduler.cli.conftest import served

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture
def running(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Serve the service where commands look for it."""
    with served(service, tmp_path / "home", monkeypatch):
        yield service


def explain(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(pool, ["explain", *map(str, arguments)])


def test_a_decision_is_told(running: Service) -> None:
    """The last decision is told under headings, and the same comes out of its inputs."""
    told = explain("demo")
    assert told.exit_code == 0
    assert told.stdout.splitlines()[0] == "Pool demo, decided at 2026-01-01 00:00:00 UTC"
    assert "    Tasks: 0 waited and 0 ran, of unknown length.\n" in told.stdout
    assert "    Hold of group main, because no task waits or runs" in told.stdout
    assert "    Decided again from its inputs, the same comes out.\n" in told.stdout


def test_programs_get_records(running: Service) -> None:
    """JSON has the decisions told, and the point of the timeline at the instant asked for."""
    told = json.loads(explain("demo", "--at", "2026-06-01T00:00Z", "--last", 3, "--json").stdout)
    (decision,) = told["decisions"]
    assert (decision["pool"], decision["same"], told["timeline"][0]["target_nodes"]) == ("demo", True, 1)
    assert json.loads(explain("demo", "--json").stdout)["timeline"] == []
    assert "this still held: 0 tasks waited" in explain("demo", "--at", "2026-06-01T00:00Z").stdout


def test_an_exported_decision_is_replayed_elsewhere(running: Service, tmp_path: Path) -> None:
    """What --export wrote is told and decided again without a scheduler; another decision ends with exit code 1."""
    file = tmp_path / "bug.json"
    assert explain("demo", "--export", file).exit_code == 0
    replayed = explain("--replay", file, "--stack", "none")
    assert (replayed.exit_code, replayed.stdout) == (0, explain("demo").stdout)
    document = json.loads(file.read_text())
    document["record"]["decided"][0]["action"] = "drain"
    file.write_text(json.dumps(document))
    changed = explain("--replay", file)
    assert changed.exit_code == 1
    assert "something else comes out, so the way of deciding has changed since" in changed.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name a pool, or a file with --replay"),
        (("demi",), "there is no pool 'demi'"),
        (("demo", "--at", "2025-12-31T00:00Z"), "no decision about pool demo from before"),
        (("demo", "--at", "noon"), "'noon' is no time; write 2026-03-01T12:30 or 12:30"),
        (("demo", "--replay", "x"), "--replay FILE stands alone"),
        (("--replay", "/nowhere/x"), "/nowhere/x cannot be read"),
        (("demo", "--export", "/nowhere/x"), "/nowhere/x cannot be written"),
    ],
)
def test_wrong_use_is_told(running: Service, arguments: tuple[str, ...], says: str) -> None:
    """What cannot be done says why, with exit code 2 and nothing on stdout."""
    wrong = explain(*arguments)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert says in wrong.stderr


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_are_read_as_written(instant: datetime) -> None:
    """ISO 8601 with a zone is that instant, whatever time it is here."""
    assert parse_instant(instant.isoformat(), NOW) == instant


def test_instants_without_a_zone_are_local() -> None:
    """Without a zone or a day, those of now are meant."""
    assert parse_instant("03:12", NOW) == NOW.replace(hour=3, minute=12)
    assert parse_instant("2026-02-28T23:00:05", NOW) == datetime(2026, 2, 28, 22, 0, 5, tzinfo=UTC)
    assert parse_instant("03:12Z", NOW) == datetime(2026, 3, 1, 3, 12, tzinfo=UTC)
    with pytest.raises(InvalidRequestError, match="is no time"):
        parse_instant("", NOW)
