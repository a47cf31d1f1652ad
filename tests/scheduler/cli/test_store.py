"""`millpond scheduler store`: what an operator sees of a store before and after an upgrade."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.revisions import HEAD
from scheduler.adapters.sql.store_look import look
from scheduler.cli.process import scheduler
from tests.scheduler.adapters.sql.old_stores import make_old_store


def store(url: str, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(scheduler, ["store", "--store", url, *arguments])


def test_an_upgrade_is_shown_and_not_done(tmp_path: Path) -> None:
    """The SQL of an upgrade is printed alone, the store stays as it is, and after the upgrade there is none."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    make_old_store(url, "0001")
    for _ in range(2):
        shown = store(url)
        assert f"has version 0001; a start brings it to {HEAD} by" in shown.stderr
        assert "ALTER TABLE fleet_nodes ADD COLUMN given_up BOOLEAN DEFAULT false NOT NULL;" in shown.stdout
        assert "SELECT name" not in shown.stdout
    with closing(Database(url)):
        current = store(url)
    assert f"has version {HEAD}; that is this scheduler's" in current.stdout
    told = json.loads(store(url, "--json").stdout)
    assert (told["version"], told["program"], told["statements"]) == (HEAD, HEAD, [])


def test_what_postgresql_would_do_is_taken_back(postgres_url: str) -> None:
    """On a server, too, an upgrade is tried and leaves nothing behind."""
    make_old_store(postgres_url, "0001")
    first = look(postgres_url)
    assert first.version == "0001"
    assert first.statements
    assert look(postgres_url) == first


def test_a_backup_is_a_store(tmp_path: Path) -> None:
    """A store that is open is copied whole; a file that exists is never written over."""
    url, copy = f"sqlite:///{tmp_path / 'store.sqlite'}", tmp_path / "copy.sqlite"
    with closing(Database(url)) as database:
        epoch = database.begin_epoch()
        made = store(url, "--backup", str(copy))
        assert made.exit_code == 0, made.output
    with closing(Database(f"sqlite:///{copy}")) as copied:
        assert copied.begin_epoch() == epoch + 1
    again = store(url, "--backup", str(copy))
    assert again.exit_code == 2
    assert "exists; name another file" in again.stderr


@pytest.mark.parametrize("arguments", [(), ("--backup", "copy.sqlite")])
def test_a_store_that_is_not_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Looking makes no store."""
    missing = store(f"sqlite:///{tmp_path / 'none.sqlite'}", *arguments)
    assert missing.exit_code == 2
    assert "none.sqlite" in missing.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_server_is_copied_by_its_own_means() -> None:
    """A store on PostgreSQL has the server's backups, and the message says so, without a password."""
    refused = store("postgresql+psycopg://user:hidden@host/store", "--backup", "copy.sqlite")
    assert refused.exit_code == 2
    assert "pg_dump" in refused.stderr
    assert "hidden" not in refused.stderr
