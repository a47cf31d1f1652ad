"""Nothing is lost over upgrades: older stores go on, interrupted upgrades and newer stores are safe."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Engine, event, inspect, select, text, update
from sqlalchemy.exc import OperationalError

from node_bootstrap.protocol import TaskMessage, TaskRef
from scheduler.adapters.sql.columns import Words
from scheduler.adapters.sql.database import METADATA, Database
from scheduler.adapters.sql.engines import engine_of, parse_address
from scheduler.adapters.sql.identity import IDENTITY, PRESENT, VERSION
from scheduler.adapters.sql.job_schema import MESSAGES, TASKS
from scheduler.adapters.sql.revisions import HEAD, NUMBERS, REVISIONS
from scheduler.adapters.sql.upgrade import Found, apply, find, run_revisions, written_down
from scheduler.errors import ConflictError, OutdatedProgramError, UnavailableError
from scheduler.model import JobResult, JobState
from tests.new_revision import draft
from tests.scheduler.adapters.sql.old_stores import DRAFT, RUNNING_JOB, VERSIONS, make_old_store
from tests.scheduler.job_world import World, step

HOW_TO = 'the tables in the code are not those that the revisions make; write the missing one: make revision m="..."'


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty database that outlives its connections."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Give a plain engine on that database."""
    made = plain_engine(url)
    yield made
    made.dispose()


def plain_engine(url: str) -> Engine:
    """Connect, and neither make nor check anything."""
    return engine_of(parse_address(url), None)


def said(value: object) -> Any:
    """Make what an inspector says comparable: expressions are objects of SQLAlchemy's."""
    if isinstance(value, dict):
        return tuple(sorted((str(key), said(each)) for key, each in value.items() if key != "comment"))
    return tuple(said(each) for each in value) if isinstance(value, list | tuple) else repr(str(value))


def described(engine: Engine) -> dict[str, Any]:
    """Say all that the database knows of its tables; the order of columns does not count."""
    found: dict[str, Any] = {}
    inspector = inspect(engine)
    for table in inspector.get_table_names():
        found[f"{table} key"] = sorted(inspector.get_pk_constraint(table)["constrained_columns"])
        found |= {f"{table}.{each['name']}": said(each) for each in inspector.get_columns(table)}
        found |= {f"{table} index {each['name']}": said(each) for each in inspector.get_indexes(table)}
        found[f"{table} foreign keys"] = sorted(said(each) for each in inspector.get_foreign_keys(table))
        found[f"{table} unique"] = sorted(said(each) for each in inspector.get_unique_constraints(table))
    return found


def empty(engine: Engine) -> None:
    """Remove every table."""
    with engine.begin() as connection:
        METADATA.drop_all(connection)


def test_revisions_are_one_line() -> None:
    """Each revision follows the one before, and has the next number."""
    assert [each.revision for each in REVISIONS] == [f"{number:04}" for number in range(1, len(REVISIONS) + 1)]
    assert [each.down_revision for each in REVISIONS] == [None, *NUMBERS[:-1]]


def test_revisions_make_the_tables_of_the_code(engine: Engine) -> None:
    """A store that went through every revision has exactly the tables of a new one; Alembic finds no difference."""
    with engine.begin() as connection:
        METADATA.create_all(connection)
    new = described(engine)
    empty(engine)
    with engine.begin() as connection:
        VERSION.create(connection)
        run_revisions(connection, None)
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == [], HOW_TO
    assert described(engine) == new, HOW_TO


def reports(world: World) -> Iterator[TaskMessage]:
    """Give the messages that nodes had when the store was upgraded."""
    with world.database.read() as connection:
        out = connection.execute(
            select(MESSAGES.c.message_id, TASKS.c.task_id, TASKS.c.attempt)
            .join(TASKS, (TASKS.c.job == MESSAGES.c.job) & (TASKS.c.message == MESSAGES.c.number))
            .where(MESSAGES.c.closed_at.is_(None))
        ).all()
    for row in out:
        yield TaskMessage(row.message_id, RUNNING_JOB, "0" * 64, (TaskRef(row.task_id, row.attempt),))


@pytest.mark.parametrize("version", VERSIONS)
def test_jobs_of_older_stores_go_on(url: str, version: str, caplog: pytest.LogCaptureFixture) -> None:
    """A store of each older version is brought up to date with all that is in it: what ran when it was written ends."""
    caplog.set_level("INFO")
    make_old_store(url, version)
    world = World(url)
    with closing(world.database):
        world.check_counters()
        assert world.database.store_id == "4a32ae5b-b3c7-40f2-8cad-eed54e700003"
        assert world.epoch > 2
        assert [job.name for job in world.jobs.jobs()] == ["a draft", "job running", "job ended"]
        assert [task.node_id for task in world.tasks(RUNNING_JOB)] == ["node", None, None, None]
        messages = list(reports(world))
        assert len(messages) == 3
        for _ in range(4):
            world.new_id()  # the old process has used these names
        for message in messages:
            world.tell(world.upload(message))
        world.gather()
        world.finish()
        assert world.jobs.job(RUNNING_JOB).result is JobResult.SUCCESS
        world.jobs.add_steps(DRAFT, 0, (step("later", 0, 2),))  # sent again, since the answer was lost in the restart
        world.jobs.arm_job(DRAFT, 2, world.clock.now())
        world.finish()
        assert world.jobs.job(DRAFT).result is JobResult.SUCCESS
        assert world.store.demand("risk").active_tasks == 0
        world.check_counters()
    if version != HEAD:
        assert f"from version {version} to {HEAD}" in caplog.text


def is_old(engine: Engine, version: str) -> None:
    """Assert that a store is as it was, unmarked."""
    with engine.connect() as connection:
        assert find(connection, "the store") == Found(version, marked=False)
        assert connection.execute(select(IDENTITY.c.epoch)).scalar_one() == 1


def test_an_upgrade_that_fails_changes_nothing(
    url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that ends at any of its statements leaves the store as it was, and the next start does all of it."""
    make_old_store(url, "0001")
    with engine.connect() as connection, written_down(connection) as statements:
        apply(connection, Found("0001", marked=False))
        connection.rollback()
    changing = [text for text in statements if not text.startswith(("SELECT", "PRAGMA"))]
    for ends_at in (changing[0], changing[len(changing) // 2], changing[-1]):

        def end(connection: Connection, _cursor: Any, text: str, *_rest: Any, ends_at: str = ends_at) -> None:
            if text == ends_at:
                raise UnavailableError("power is lost")

        event.listen(Engine, "before_cursor_execute", end)
        try:
            with pytest.raises(UnavailableError, match="power is lost"):
                Database(url)
        finally:
            event.remove(Engine, "before_cursor_execute", end)
        is_old(engine, "0001")
    with closing(Database(url)) as database:
        assert database.begin_epoch() == 3
    if url.startswith("sqlite"):
        copied = plain_engine(f"sqlite:///{tmp_path / 'store.sqlite.0001'}")
        is_old(copied, "0001")
        copied.dispose()
        assert not list(tmp_path.glob("*.part"))


def test_a_store_that_cannot_be_copied_is_left_alone(tmp_path: Path) -> None:
    """Where there is no room for the copy, the upgrade does not begin."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    make_old_store(url, "0001")
    (tmp_path / "store.sqlite.0001.part").mkdir()
    with pytest.raises(UnavailableError, match=r"cannot be copied to .*store\.sqlite\.0001.*nothing was changed"):
        Database(url)
    engine = plain_engine(url)
    is_old(engine, "0001")
    engine.dispose()


def test_schedulers_that_start_at_once_upgrade_once(url: str) -> None:
    """Of several schedulers that open an old store, one brings it up to date and the others find it so."""
    make_old_store(url, "0001")
    with ThreadPoolExecutor(3) as threads:
        opened = list(threads.map(Database, [url] * 3))
    assert opened[0].begin_epoch() == 3  # the store's own, the upgrade's, and this one
    assert {database.store_id for database in opened} == {opened[0].store_id}
    for database in opened:
        database.close()


def test_a_newer_store_is_refused(url: str, engine: Engine) -> None:
    """A store that a newer scheduler has upgraded is not opened, and not touched; the message says what to do."""
    with closing(Database(url)) as database:
        database.begin_epoch()
    with engine.begin() as connection:
        connection.execute(update(VERSION).values(version_num="9999"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN task_edges"))
    with pytest.raises(OutdatedProgramError, match=r"has version 9999.*up to 0.*Run that newer scheduler"):
        Database(url)
    with engine.connect() as connection:
        assert connection.execute(PRESENT).one()[::2] == (1, "9999")


def test_a_scheduler_stops_writing_when_a_newer_one_upgrades(world: World) -> None:
    """From the upgrade on nothing of the older scheduler is written: not as leader, not for users, not as the next."""
    job = world.submit(step("a", 0, 1))
    with world.database.write() as connection:
        connection.execute(update(VERSION).values(version_num="9999"))
    uses: list[Callable[[], Any]] = [
        world.hand_out,
        world.database.begin_epoch,
        lambda: world.database.store_id,
        lambda: world.jobs.cancel_job(job, world.clock.now()),
    ]
    for use in uses:
        with pytest.raises(OutdatedProgramError, match="Nothing was written"):
            use()
    assert world.jobs.job(job).state is JobState.ACTIVE


def test_an_upgrade_waits_for_writers_and_they_for_it(postgres_url: str) -> None:
    """A transaction that is under way ends before an upgrade begins; one that begins during it is then refused."""
    with closing(Database(postgres_url)) as old, ThreadPoolExecutor(2) as threads:
        newer = plain_engine(postgres_url)

        def write() -> None:
            with old.write() as connection:
                connection.execute(update(IDENTITY).values(store_id="lost"))

        with newer.begin() as upgrading:
            with old.write():
                upgrading.execute(text("SET LOCAL lock_timeout = '50ms'"))
                with pytest.raises(OperationalError, match="lock timeout"), upgrading.begin_nested():
                    upgrading.execute(update(VERSION).values(version_num="9999"))
            upgrading.execute(update(VERSION).values(version_num="9999"))
            written = threads.submit(write)
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            with newer.execution_options(isolation_level="AUTOCOMMIT").connect() as watching:
                while watching.execute(waiting).scalar_one() == 0:
                    assert not written.done()
        with pytest.raises(OutdatedProgramError):
            written.result()
        newer.dispose()


def test_a_store_of_no_version_is_refused(url: str, engine: Engine) -> None:
    """Tables that no version had are not guessed at: the message says what is odd and what to do; nothing changes."""
    make_old_store(url, "0001")
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE fleet_nodes ADD COLUMN given_up BOOLEAN"))
    said = "next to version 0001 it has fleet_nodes.given_up. Nothing was changed. Let its jobs end"
    with pytest.raises(ConflictError, match=re.escape(said)):
        Database(url)
    assert not inspect(engine).has_table(VERSION.name)


def test_other_tables_of_a_database_do_not_matter(url: str, engine: Engine) -> None:
    """A database may hold what is not ours: a new store is made beside it, and it is left alone."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE somebody_elses (id INTEGER)"))
    with closing(Database(url)) as database:
        assert database.begin_epoch() == 1
    assert inspect(engine).has_table("somebody_elses")


def test_a_missing_revision_is_drafted() -> None:
    """What the developer is told to run writes the revision: of tables that are the same, an empty one."""
    name, written = draft("Jobs have owners")
    assert name == f"r{int(HEAD) + 1:04}_jobs_have_owners"
    assert f'down_revision: str | None = "{HEAD}"' in written
    assert written.endswith('"""Jobs have owners."""\n    pass\n')
    METADATA.tables["jobs"].append_column(Column("owner", Words(64)))
    try:
        assert 'op.add_column("jobs", sa.Column("owner", sa.String(64), nullable=True))' in draft("x")[1].replace(
            "'", '"'
        )
    finally:
        METADATA.tables["jobs"]._columns.remove(METADATA.tables["jobs"].c.owner)
