"""A stack whose scheduler runs on a host of its own, on the real engine and real processes, as a user drives it."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.components.scheduler_access import SCALE_SET_ACTIONS
from tests.system.hosted import HOST, JOB, Hosted, deployed, finished
from tests.system.project import eventually, processes_of, puts

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

# When a generation is retired, a node is removed, or a view is read by itself.
RARE = {
    "Microsoft.Compute/virtualMachineScaleSets/delete",
    "Microsoft.Compute/virtualMachineScaleSets/delete/action",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/instanceView/read",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A deployed stack with a host whose scheduler answers."""
    with deployed(tmp_path_factory, JOB, HOST) as hosted:
        yield hosted


def test_a_second_up_changes_nothing(project: Hosted) -> None:
    """The same declaration again makes no change, neither does a refresh find one."""
    project.up_again()


def test_a_job_completes_though_the_scheduler_is_killed(project: Hosted) -> None:
    """After SIGKILL in the middle another one runs on the same store, and every task has its output."""
    job_id = project.submit(Path("job.yaml"))
    killed = project.scheduler()
    killed.send_signal(signal.SIGKILL)
    killed.wait(timeout=10)
    eventually(project.reachable, "it was started again")
    assert project.scheduler().pid != killed.pid
    eventually(lambda: finished(project, job_id), "the job ends")
    to = project.folder / "fetched"
    project.millpond("job", "outputs", job_id, "--to", str(to))
    assert sorted(int(path.read_text()) for path in to.rglob("n")) == [0, 1, 4, 9, 16, 25]


def test_its_role_has_what_the_job_needed_and_little_else(project: Hosted) -> None:
    """By the local Azure's own record, each action of the custom role was asked for, but for those of rarer days."""
    lines = (project.home / "local" / "access.jsonl").read_text().splitlines()
    decisions = [entry for entry in map(json.loads, lines) if entry["action"].startswith("Microsoft.Compute/")]
    (scheduler,) = {
        e["principal"] for e in decisions if e["action"].endswith("virtualMachineScaleSets/virtualMachines/read")
    }
    asked = {entry["action"] for entry in decisions if entry["principal"] == scheduler}
    assert asked <= set(SCALE_SET_ACTIONS)
    assert set(SCALE_SET_ACTIONS) - asked <= RARE


def test_changed_settings_restart_the_service_in_place(project: Hosted) -> None:
    """The extension runs again on the machine that is there; machine and disk are not touched, nor is the store."""
    before, old, jobs = len(puts(project)), project.scheduler().pid, project.json("job", "list")
    deleted = project.deleted()
    project.change(interval="400ms")
    eventually(lambda: project.reachable() and project.scheduler().pid != old, "another scheduler answers")
    written = puts(project)[before:]
    assert [path for path in written if path.endswith("/extensions/bootstrap")]
    assert not [path for path in written if path.endswith(("/virtualmachines/vm-scheduler", "/disks/disk-scheduler"))]
    assert project.deleted() == deleted
    assert [job["job_id"] for job in project.json("job", "list")] == [job["job_id"] for job in jobs]


def test_another_image_makes_another_machine_on_the_same_disk(project: Hosted) -> None:
    """The old machine goes first, the new one takes the disk; no job is lost."""
    old, jobs = project.scheduler().pid, project.json("job", "list")
    deleted = len(project.deleted())
    project.change(image="Canonical:ubuntu-24_04-lts:server:24.04.202404230")
    eventually(lambda: project.reachable() and project.scheduler().pid != old, "the new machine's scheduler answers")
    assert any("/virtualmachines/vm-scheduler" in path for path in project.deleted()[deleted:])
    assert not any("/disks/" in path for path in project.deleted())
    assert not psutil.pid_exists(old)
    assert [job["job_id"] for job in project.json("job", "list")] == [job["job_id"] for job in jobs]


def test_its_boot_is_recorded_in_storage(project: Hosted) -> None:
    """Each step of the host's boot is a blob beside those of the nodes."""
    endpoint = json.loads((project.home / "local" / "deployment.json").read_text())["blob_endpoint"]
    listed = project.run([sys.executable, "-c", LIST_BOOT, endpoint], environment=project.local_environment()).split()
    steps = ("0-stage-0", "1-fetch", "2-install", "3-disk", "4-service", "5-access")
    assert {f"boot/vm-scheduler/{step}.json" for step in steps} <= set(listed)


LIST_BOOT = """
import sys
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
nodes = BlobServiceClient(sys.argv[1], credential=DefaultAzureCredential()).get_container_client("nodes")
print(*nodes.list_blob_names(name_starts_with="boot/vm-scheduler/"), sep="\\n")
"""


def test_destroy_leaves_nothing_of_it(project: Hosted) -> None:
    """Machine, disk and processes go with the group; the role's definition, which would stay, is taken away."""
    project.millpond("destroy", "--yes")
    assert any("/roledefinitions/" in path for path in project.deleted())
    deadline = time.monotonic() + 30
    while [p for p in processes_of(project.home) if "supervise.sh" in " ".join(p.cmdline())]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not list((project.home / "local").rglob("scheduler.sqlite"))
