"""One job of thousands of tasks on a bad day: everything that may be killed is, and storage fails for a minute.

Azurite is stopped, not killed: killed it loses its last seconds, committed outputs among them, as Azure never does.

Nothing here is simulated but Azure: the real engine, Azurite, runners and scheduler, driven by the command line. The
judge is outside the accused: results are known beforehand, outputs are fetched and hashed from storage, queues are read
by a client of the test's own, and the local Azure says whether a task was alive in a machine that it deleted.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest
import yaml

from infra.local.processes import INSTANCE_MARK, STORAGE_MARK, TASK_MARK
from node_bootstrap.protocol import EVENTS_QUEUE
from tests.system.project import Azure, Project, copy_of_the_project, eventually, lowered_capacities, processes_of

TASKS = 4000
OUTAGE_SECONDS = 60

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SQUARE = "echo $((MILLPOND_TASK_INDEX * MILLPOND_TASK_INDEX)) > n; sleep 0.2"
SUM = (
    "import pathlib; print(sum(int(p.read_text()) for p in pathlib.Path('square').glob('*/n')), file=open('sum', 'w'))"
)
JOB = {
    "name": "squares",
    "pool": "risk",
    "steps": [
        {
            "name": "square",
            "array": TASKS,
            "command": ["bash", "-c", SQUARE],
            "outputs": ["n"],
            "expected_time": "0.25s",
            "retries": 5,
        },
        {
            "name": "sum",
            "command": ["python3", "-c", SUM],
            "depends_on": ["square"],
            "inputs_from": ["square"],
            "outputs": ["sum"],
        },
    ],
}

# Lists the depth of every queue of the deployment with the rights of whoever runs it.
DEPTHS = """
import json, sys
from azure.identity import DefaultAzureCredential
from azure.storage.queue import QueueServiceClient
service = QueueServiceClient(sys.argv[1], DefaultAzureCredential())
print(json.dumps({
    queue.name: service.get_queue_client(queue.name).get_queue_properties().approximate_message_count
    for queue in service.list_queues()
}))
"""


@dataclass
class BadDay:
    """A deployment with one long job, and what was seen of it on the way."""

    project: Project
    azure: Azure
    job_id: str = ""
    committed: dict[int, dict] = field(default_factory=dict)

    def done(self) -> int:
        """How many tasks have succeeded, as far as the scheduler can be asked."""
        try:
            return int(self.project.job(self.job_id)["counts"]["succeeded"])
        except (subprocess.CalledProcessError, ValueError):
            return -1

    def progress(self, share: float) -> None:
        """Wait until a part of the tasks is done, and compare what was committed with what is."""
        eventually(lambda: self.done() >= share * TASKS, f"{share:.0%} of the tasks are done", 240)
        self.compare()

    def compare(self) -> None:
        """What was committed is still what is committed."""
        now = {file["task_id"]: file for file in self.outputs() if file["file"]["path"] == "n"}
        assert {task: now.get(task) for task in self.committed} == self.committed
        self.committed = now

    def outputs(self) -> list[dict]:
        """The committed files of the job."""
        return self.project.json("job", "outputs", self.job_id)

    def working_node(self) -> str:
        """A node that holds work."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [n["node_id"] for n in self.project.nodes() if n["phase"] == "working" and n["held"]]
            return bool(found)

        eventually(look, "a node works")
        return found[0]

    def tell(self) -> None:
        """Print what explains a failure: pytest shows it with one."""
        log = (self.project.home / "scheduler.log").read_text().splitlines()
        sys.stdout.write("\n".join(log[-80:]) + "\n")
        for words in (("pool", "show", "risk"), ("pool", "nodes", "risk"), ("job", "show", self.job_id)):
            command = [sys.executable, "-m", "infra.cli", *words]
            told = subprocess.run(
                command, cwd=self.project.folder, env=self.project.environment, capture_output=True, check=False
            )
            sys.stdout.write((told.stdout + told.stderr).decode())

    def marked(self, mark: str) -> list[psutil.Process]:
        """The processes of this deployment that have a mark in their environment."""
        found = []
        for process in processes_of(self.project.home):
            try:
                if mark in process.environ():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill_a_task(self) -> bool:
        """Kill a process of a running task; one that has just ended by itself is no longer there to be killed."""
        for process in self.marked(TASK_MARK):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
            return True
        return False

    def depths(self) -> dict[str, int]:
        """How many messages each queue has, hidden ones included."""
        accounts = self.azure.get("/providers/Microsoft.Storage/storageAccounts").json()["value"]
        (endpoint,) = [account["properties"]["primaryEndpoints"]["queue"] for account in accounts]
        environment = self.project.local_environment()
        return json.loads(self.project.run([sys.executable, "-c", DEPTHS, endpoint], environment=environment))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BadDay]:
    """A deployment with the job submitted."""
    with copy_of_the_project(tmp_path_factory) as project:
        settings = project.settings()
        settings["config"]["millpond:pools"][0]["groups"][0]["priority"] = "spot"
        project.declare(settings)
        (project.folder / "squares.yaml").write_text(yaml.safe_dump(JOB))
        project.millpond("local", "up", "--boot-delay", "1")
        project.millpond("up")
        project.start_scheduler()
        made = BadDay(project, Azure(project.local_environment()))
        made.job_id = project.submit(project.folder / "squares.yaml")
        yield made
        made.tell()


def test_a_killed_task_is_tried_again(day: BadDay) -> None:
    """A task whose processes are killed is charged a retry and runs again."""
    day.progress(0.02)
    eventually(day.kill_a_task, "a running task is killed")


def test_a_killed_node_is_replaced(day: BadDay) -> None:
    """What a node held when all its processes were killed is run elsewhere."""
    day.project.millpond("local", "fault", "kill", day.working_node())
    day.progress(0.04)


def test_a_killed_resource_manager_is_waited_for(day: BadDay) -> None:
    """While nothing answers at the resource manager, nodes work on; `local up` brings it back."""
    daemon = json.loads((day.project.home / "local" / "state.json").read_text())["pid"]
    psutil.Process(daemon).kill()
    before = day.done()
    eventually(lambda: day.done() > before, "work goes on without the resource manager")
    day.project.millpond("local", "up", "--boot-delay", "1")
    day.progress(0.08)


def test_a_stopped_storage_server_is_waited_for(day: BadDay) -> None:
    """Azurite stopped in the middle is started again on what it had, and nobody but its clients notices."""
    servers = [process for process in day.marked(STORAGE_MARK) if INSTANCE_MARK not in process.environ()]
    assert servers
    for process in servers:
        process.terminate()
    psutil.wait_procs(servers, timeout=30)
    day.progress(0.14)


def test_an_outage_of_storage_is_waited_for(day: BadDay) -> None:
    """For a minute storage closes every connection: what runs ends, is kept, and is uploaded afterwards."""
    day.project.millpond("local", "fault", "storage-outage", "--for", f"{OUTAGE_SECONDS}s")
    time.sleep(OUTAGE_SECONDS)
    day.progress(0.2)


def test_throttling_is_obeyed(day: BadDay) -> None:
    """With each fifth request refused for a while, by storage and by the resource manager, work goes on."""
    day.project.millpond("local", "fault", "throttling", "--share", "0.2", "--seconds", "1", "--for", "20s")
    day.progress(0.3)


def test_a_preempted_node_gives_back_what_it_holds(day: BadDay) -> None:
    """A node that is told that its machine goes gives its work back in time."""
    day.project.millpond("local", "fault", "preempt", day.working_node(), "--notice", "8s")
    day.progress(0.4)


def test_a_killed_scheduler_is_followed_by_another(day: BadDay) -> None:
    """A scheduler killed at any line is started again on its store."""
    for _ in range(3):
        day.project.background[-1].kill()
        day.project.background[-1].wait(timeout=10)
        day.project.start_scheduler()
    day.progress(0.6)


def test_every_task_has_ended_once_with_its_own_result(day: BadDay) -> None:
    """Store, blobs and queues agree: every task succeeded, every output is whole and right, no message is left."""
    project = day.project
    project.millpond("job", "watch", day.job_id)
    ended = project.job(day.job_id)
    assert (ended["result"], ended["counts"]["succeeded"]) == ("success", TASKS + 1)
    day.compare()
    to = project.folder / "fetched"
    project.millpond("job", "outputs", day.job_id, "--to", str(to))
    wrong = [i for i in range(TASKS) if (to / "square" / str(i) / "n").read_text() != f"{i * i}\n"]
    assert wrong == []
    assert (to / "sum" / "0" / "sum").read_text() == f"{sum(i * i for i in range(TASKS))}\n"
    eventually(lambda: set(day.depths().values()) == {0} and EVENTS_QUEUE in day.depths(), "the queues are empty")


def test_no_node_was_removed_at_work(day: BadDay) -> None:
    """Every machine but the preempted one was drained before it was deleted, and no request lowered a capacity."""
    eventually(lambda: all(node["phase"] == "gone" for node in day.project.nodes()), "every node is gone", 180)
    assert [entry for entry in day.project.deletes() if entry["task_processes"]] == []
    assert lowered_capacities(day.project) == []
