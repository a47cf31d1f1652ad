"""A stack whose scheduler keeps its store in a database: the host is nothing that one could miss."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.layout import Layout
from infra.local.postgres.programs import account_of_server
from infra.local.postgres.servers import data_folder
from infra.local.processes import DATABASE_MARK, of_folder
from tests.system.hosted import HOST, JOB, Hosted, deployed, finished
from tests.system.project import eventually, processes_of, puts

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

TASKS = 24
SLOW_JOB = JOB.replace("array: 6", f"array: {TASKS}").replace("import os; i", "import os, time; time.sleep(1.5); i")
OTHER_IMAGE = "Canonical:ubuntu-24_04-lts:server:24.04.202404230"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A deployed stack with a host whose scheduler answers, and a database that has its store."""
    with deployed(tmp_path_factory, SLOW_JOB, HOST | {"database": {}}) as hosted:
        yield hosted


def database(project: Hosted) -> psutil.Process:
    """The database server's process."""
    ours = of_folder(Layout(project.home).local)
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if DATABASE_MARK in environment and ours(environment):
            return process
    raise AssertionError("no database server runs")


def test_a_second_up_changes_nothing(project: Hosted) -> None:
    """The same declaration again makes no change, neither does a refresh find one in the database."""
    project.up_again()


def test_no_task_is_lost_with_the_scheduler_the_machine_or_the_database(project: Hosted) -> None:
    """While a job runs the scheduler is killed, the database is killed, and the machine is deleted and made anew."""
    job_id = project.submit(Path("job.yaml"))
    eventually(lambda: project.job(job_id)["counts"]["running"] > 0, "tasks run")
    killed = project.scheduler()
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=10)
    eventually(lambda: project.reachable() and project.scheduler().pid != killed.pid, "another scheduler answers")
    server = database(project)
    server.kill()
    eventually(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "the database is gone")
    old = project.scheduler().pid
    project.change(image=OTHER_IMAGE)
    assert any("/virtualmachines/vm-scheduler" in path for path in project.deleted())
    eventually(lambda: project.reachable() and project.scheduler().pid != old, "the new machine's scheduler answers")
    eventually(lambda: finished(project, job_id), "the job ends")
    to = project.folder / "fetched"
    project.millpond("job", "outputs", job_id, "--to", str(to))
    assert sorted(int(path.read_text()) for path in to.rglob("n")) == [number**2 for number in range(TASKS)]
    assert project.job(job_id)["counts"]["succeeded"] == TASKS


def test_the_store_is_in_the_database_alone(project: Hosted) -> None:
    """There is no disk and no file of a store, and no password or token in what is deployed or logged."""
    assert not puts(project, "/disks/")
    assert not list((project.home / "local").rglob("scheduler.sqlite"))
    outputs = json.loads(project.run(["pulumi", "stack", "output", "--json"], environment=project.local_environment()))
    store = outputs["scheduler_host"]["store"]
    assert re.fullmatch(r"postgresql\+psycopg://id-scheduler@127\.0\.0\.1:\d+/millpond\?sslmode=verify-full", store)
    logs = [path.read_text(errors="replace") for path in (project.home / "local").rglob("scheduler.log")]
    assert any(store.partition("?")[0] in text for text in logs)
    assert not [text for text in logs if "eyJ" in text]


def test_the_local_azure_starts_again_with_it(project: Hosted) -> None:
    """After down and up the database is there with every job, at the same address."""
    jobs = project.json("job", "list")
    project.millpond("local", "down")
    project.millpond("local", "up", "--boot-delay", "1")
    eventually(project.reachable, "the scheduler answers")
    assert project.json("job", "list") == jobs


def test_destroy_leaves_nothing_of_it(project: Hosted) -> None:
    """Server, data and processes go with the group."""
    server = database(project)
    project.millpond("destroy", "--yes")
    eventually(lambda: not server.is_running(), "the server is gone")
    eventually(
        lambda: not [p for p in processes_of(project.home) if "supervise.sh" in " ".join(p.cmdline())], "all end"
    )
    layout = Layout(project.home)
    assert not layout.databases.exists() or not list(layout.databases.iterdir())
    folder = data_folder(layout, account_of_server())
    assert not folder.exists() or not list(folder.iterdir())
    if folder != layout.databases:
        folder.rmdir()
