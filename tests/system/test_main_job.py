"""The main job in small, on the real engine, Azurite and real processes, by the command line alone.

The judge is outside the accused: what may not happen is read from the local Azure's own records (its request log, and
at each instance it deletes, whether a task's process was alive), and the result is computed beforehand by running the
example's programs here.
"""

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.local.permissions.storage_operations import is_data_action
from node_bootstrap.protocol import BUNDLES, CONTROL, EVENTS_QUEUE, INPUTS, NODES, OUTPUTS
from node_bootstrap.runner.message_run import RENEW_AFTER
from tests.system.least_privilege import audit, table
from tests.system.project import Project, capacities_left, copy_of_the_project, eventually, lowered_capacities, puts

EXAMPLE = Path("examples") / "value_at_risk"
TASKS = 12
DAYS = 100_000
# Its lease is renewed while it runs, however fast the machine is.
LONG = {
    "name": "long",
    "pool": "risk",
    "steps": [{"name": "sleep", "command": ["sleep", str(1.3 * RENEW_AFTER.total_seconds())]}],
}

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A deployed copy of the project with a running scheduler."""
    with copy_of_the_project(tmp_path_factory) as made:
        made.millpond("local", "up", "--boot-delay", "1")
        made.millpond("up")
        made.start_scheduler()
        made.run([sys.executable, "-m", "examples.value_at_risk.prepare", "out/value_at_risk/model.json"])
        yield made


@pytest.fixture(scope="module")
def expected(project: Project) -> bytes:
    """The result as the example's programs give it when they are run here, one after another."""
    work = project.folder / "expected"
    shutil.copytree(project.folder / EXAMPLE, work)
    shutil.copy(project.folder / "out" / "value_at_risk" / "model.json", work / "model.json")
    for index in range(TASKS):
        environment = {**project.environment, "MILLPOND_TASK_INDEX": str(index)}
        project.run(
            [sys.executable, "-c", RUN_IN, str(work), "simulate.py", "--days", str(DAYS), "--seed", "2026"],
            environment=environment,
        )
        target = work / "simulate" / str(index)
        target.mkdir(parents=True)
        shutil.move(work / "losses.f64", target / "losses.f64")
    project.run([sys.executable, "-c", RUN_IN, str(work), "reduce.py", "simulate"])
    return (work / "result.json").read_bytes()


# Runs a script in a folder of its own choice, as a node does.
RUN_IN = """
import os, runpy, sys
os.chdir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def result_of(project: Project, job_id: str) -> bytes:
    """What the reduce step of a job wrote."""
    to = project.folder / "fetched" / job_id
    project.millpond("job", "outputs", job_id, "--to", str(to))
    return (to / "reduce" / "0" / "result.json").read_bytes()


def test_a_second_up_changes_nothing(project: Project) -> None:
    """The same declaration again makes no change, by a plain `pulumi` and by `millpond up` alike."""
    environment = project.local_environment()
    stack = ["--non-interactive", "--stack", "local", "--expect-no-changes"]
    before = puts(project)
    project.run(["pulumi", "preview", *stack], environment=environment)
    project.run(["pulumi", "up", *stack, "--yes", "--skip-preview"], environment=environment)
    project.millpond("up")
    assert puts(project) == before


def test_the_job_survives_a_killed_node_and_a_stopped_scheduler(project: Project, expected: bytes) -> None:
    """With a node killed and the scheduler killed in the middle, the result is the same to the bit."""
    job_id = project.submit(EXAMPLE / "job.yaml", tasks=TASKS, days=DAYS)
    busy: list[str] = []

    def seen_at_work() -> bool:
        busy.extend(node["node_id"] for node in project.nodes() if node["phase"] == "working" and node["held"])
        return bool(busy)

    eventually(seen_at_work, "a node works")
    project.millpond("local", "fault", "kill", busy[0])
    project.background[-1].send_signal(signal.SIGKILL)
    project.background[-1].wait(timeout=10)
    project.start_scheduler()
    project.millpond("job", "watch", job_id)
    assert project.job(job_id)["result"] == "success"
    assert result_of(project, job_id) == expected


def test_a_deploy_while_nodes_work_kills_nothing(project: Project, expected: bytes) -> None:
    """A changed tag touches no set; a changed size makes a new one, the old drains; no busy node is deleted."""
    (project.folder / "long.yaml").write_text(yaml.safe_dump(LONG))
    long_id = project.submit(project.folder / "long.yaml")
    job_id = project.submit(EXAMPLE / "job.yaml", tasks=TASKS, days=DAYS)
    eventually(lambda: any(node["held"] for node in project.nodes()), "a node works")
    deleted_before = len(project.deletes())
    declared = project.settings()
    pool = declared["config"]["millpond:pools"][0]
    pool.setdefault("tags", {})["cost-centre"] = "rivers"
    project.declare(declared)
    sets_before = puts(project, "virtualmachinescalesets")
    project.millpond("up")
    assert puts(project, "virtualmachinescalesets") == sets_before, "a tag wrote a scale set"
    pool["groups"][0]["vm_size"] = "Standard_D4s_v5"
    project.declare(declared)
    project.millpond("up")
    project.millpond("job", "watch", job_id)
    assert result_of(project, job_id) == expected
    project.millpond("job", "watch", long_id)
    assert [entry for entry in project.deletes()[deleted_before:] if entry["task_processes"]] == []
    written = puts(project, "virtualmachinescalesets")
    assert len(written) == len(set(written)) == 2, "one set a generation, each written once"


def test_the_pool_goes_back_to_zero(project: Project) -> None:
    """When nothing is left to do every node is drained and removed by name, and no request lowered a capacity."""
    eventually(lambda: all(node["phase"] == "gone" for node in project.nodes()), "every node is gone")
    assert lowered_capacities(project) == []
    assert capacities_left(project) == {}


def test_no_more_is_permitted_than_was_needed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Each role of a pool was used, no smaller one would have done, and nothing was given beyond what was needed.

    Of the data, a node may do what it did and no more. Adding and moving blobs are parts of writing them.
    """
    given = audit(project)
    with capsys.disabled():
        sys.stdout.write(f"\n{table(given)}\n")
    pool = [one for one in given if one.who != "the deployer"]
    assert len(pool) == len((BUNDLES, INPUTS, CONTROL, OUTPUTS, NODES, EVENTS_QUEUE, "the work queues"))
    assert [(one.who, one.role, one.grant.scope) for one in given if not one.used] == []
    assert [(one.who, one.role, one.smaller) for one in given if one.smaller] == []
    surplus = {action for one in pool for action in one.surplus if is_data_action(action)}
    assert {action.split("/blobs/")[-1] for action in surplus} <= {"add/action", "move/action"}


def test_wrong_words_are_answered_in_one_message(project: Project) -> None:
    """A wrong setting, a missing file and an unknown command each give one clear message and change nothing."""
    before = puts(project)
    assert "No such command" in project.millpond("jbo", "submit", expect=2)
    missing = project.millpond("job", "submit", "no-such-file.yaml", expect=2)
    assert "no-such-file.yaml" in missing
    settings = project.folder / "Pulumi.local.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("vm_size: Standard_D4s_v5", "vm_size: Standard_D4s_v55"))
    refused = project.millpond("up", expect=2)
    settings.write_text(text)
    assert "Standard_D4s_v55" in refused
    assert "Traceback" not in missing + refused
    assert puts(project) == before


def test_destroy_leaves_nothing(project: Project) -> None:
    """After destroy the resource group is gone, retained sets with it."""
    project.millpond("destroy", "--yes")
    deleted = [entry["path"].lower() for entry in project.requests() if entry["method"] == "DELETE"]
    assert any(path.rstrip("/").endswith("/resourcegroups/rg-millpond-local") for path in deleted)
    assert list((project.home / "local" / "instances").iterdir()) == []
