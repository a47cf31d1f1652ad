"""Every change of a pool that its owner may deploy while seven nodes work and the declaration says zero.

One job holds seven nodes for the whole of the test. The judge is outside the accused: the processes of the held tasks,
the local Azure's request log, its record of deleted instances and its list of scale sets.
"""

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.system.project import Azure, Project, copy_of_the_project, eventually, lowered_capacities

NODES = 7
HOLD = "hold.py"
# Said of every task, so that each gets a node of its own at once.
LONG = "10m"

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

# Works until the test says so: a task that never looks at the clock.
HOLD_PROGRAM = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.2)
"""

QUICK_PROGRAM = """
import os, pathlib
pathlib.Path("where.txt").write_text(os.environ["AZ_BATCH_NODE_ID"])
"""


class Held:
    """A project with seven nodes that work until `release`, and what must not happen to them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.azure = Azure(project.local_environment())
        self.released = project.home / "released"
        self.quick = project.folder / "quick.yaml"
        (project.folder / HOLD).write_text(HOLD_PROGRAM)
        (project.folder / "quick.py").write_text(QUICK_PROGRAM)
        hold = project.folder / "hold.yaml"
        command = ["python3", HOLD, str(self.released)]
        steps = [{"name": "hold", "array": NODES, "command": command, "files": [HOLD], "expected_time": LONG}]
        hold.write_text(yaml.safe_dump({"name": "hold", "pool": "risk", "steps": steps}))
        self.job_id = project.submit(hold)
        eventually(lambda: len(self.processes()) == NODES, "seven tasks work, each on a node of its own")
        (self.scale_set,) = self.azure.scale_sets() - {name for name in self.azure.scale_sets() if "spare" in name}
        self.pids = self.processes()
        self.machines = self.machines_now()

    def processes(self) -> set[int]:
        """The processes of the held tasks."""
        found = set()
        for process in psutil.process_iter():
            try:
                if HOLD in process.cmdline() and str(self.released) in process.cmdline():
                    found.add(process.pid)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def machines_now(self) -> set[tuple[str, str]]:
        """The instances of the held nodes' set, with the machine behind each."""
        group = "/resourceGroups/rg-millpond-local/providers/Microsoft.Compute/virtualMachineScaleSets"
        found = self.azure.get(f"{group}/{self.scale_set}/virtualMachines").json()["value"]
        return {(entry["instanceId"], entry["properties"]["vmId"]) for entry in found}

    def writes(self) -> list[str]:
        """Everything that was asked of the held set but to be shown, and to remove nodes that are not held."""
        held = {instance_id for instance_id, _ in self.machines}
        return [
            f"{entry['method']} {entry['path']} {entry.get('instanceIds', '')}"
            for entry in self.project.requests()
            if entry["method"] not in {"GET", "HEAD"}
            and f"/{self.scale_set.lower()}" in entry["path"].lower()
            and not (entry["path"].endswith("/delete") and held.isdisjoint(entry["instanceIds"]))
        ]

    def change(self, alter: Callable[[list[dict[str, Any]]], object]) -> None:
        """Deploy changed pools, and check that the held nodes did not notice."""
        settings = self.project.settings()
        alter(settings["config"]["millpond:pools"])
        self.project.declare(settings)
        before = self.writes()
        self.project.millpond("up")
        assert self.writes() == before, "the deployment wrote to a set with busy nodes"
        self.assert_undisturbed()

    def assert_undisturbed(self) -> None:
        """The same processes run on the same instances, none was deleted, and no capacity was lowered."""
        assert self.processes() == self.pids
        assert self.machines <= self.machines_now()
        assert [entry for entry in self.project.deletes() if entry["task_processes"]] == []
        assert lowered_capacities(self.project) == []

    def run_quick_job(self, pool: str) -> str:
        """Run a job of one short task in a pool and give the node that ran it."""
        step = {"name": "quick", "command": "python3 quick.py", "files": ["quick.py"], "outputs": ["where.txt"]}
        steps = [step | {"expected_time": LONG}]
        self.quick.write_text(yaml.safe_dump({"name": "quick", "pool": pool, "steps": steps}))
        job_id = self.project.submit(self.quick)
        self.project.millpond("job", "watch", job_id)
        to = self.project.folder / "fetched" / job_id
        self.project.millpond("job", "outputs", job_id, "--to", str(to))
        return (to / "quick" / "0" / "where.txt").read_text()


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """A deployed project whose pool `risk` has seven busy nodes, and a pool `spare` without work."""
    with copy_of_the_project(tmp_path_factory) as project:
        settings = project.settings()
        pools = settings["config"]["millpond:pools"]
        pools[0]["groups"][0] |= {"task_slots": 1, "max_nodes": 9}
        pools[0]["scaling"] |= {"max_nodes": 9, "idle_timeout": "2s"}
        pools.append({**copy.deepcopy(pools[0]), "name": "spare"})
        project.declare(settings)
        project.millpond("local", "up", "--boot-delay", "0.5")
        project.millpond("up")
        project.start_scheduler()
        made = Held(project)
        try:
            yield made
        finally:
            made.released.touch()


def test_a_changed_tag_touches_no_set(held: Held) -> None:
    """A tag is no part of a generation: the same set goes on, and new work goes to it."""
    held.change(lambda pools: pools[0].setdefault("tags", {}).update({"cost-centre": "rivers"}))
    assert held.run_quick_job("risk").startswith(held.scale_set)


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda pool: pool.update(image="Canonical:ubuntu-24_04-lts:server-gen1:latest"), id="image"),
        pytest.param(lambda pool: pool["groups"][0].update(vm_size="Standard_D4s_v5"), id="vm-size"),
        pytest.param(lambda pool: pool["node"].update(status_interval="900ms"), id="bootstrap"),
    ],
)
def test_a_changed_machine_is_a_new_generation(held: Held, alter: Callable[[dict[str, Any]], object]) -> None:
    """A changed image, VM size or bootstrap makes a new set: new work goes there, busy nodes work on."""
    before = held.azure.scale_sets()
    held.change(lambda pools: alter(pools[0]))
    (made,) = held.azure.scale_sets() - before
    assert held.run_quick_job("risk").startswith(made)
    held.assert_undisturbed()


def test_a_renamed_pool_leaves_the_old_nodes_to_their_work(held: Held) -> None:
    """A pool of another name is a new pool; the nodes of the old one keep their work and their rights."""
    held.change(lambda pools: pools[0].update(name="hazard"))
    assert held.run_quick_job("hazard").startswith("hazard-")
    held.assert_undisturbed()


def test_a_removed_pool_leaves_its_nodes_to_their_work(held: Held) -> None:
    """With the last declaration of the machines gone, the busy ones work on."""
    held.change(lambda pools: pools.pop(0))
    assert held.run_quick_job("spare").startswith("spare-")
    held.assert_undisturbed()


def test_what_is_no_longer_declared_goes_when_it_is_idle(held: Held) -> None:
    """When the held tasks end they have all succeeded, and every set but the declared one is drained and deleted."""
    held.released.touch()
    held.project.millpond("job", "watch", held.job_id)
    assert held.project.job(held.job_id)["result"] == "success"
    eventually(lambda: all(name.startswith("spare-") for name in held.azure.scale_sets()), "the old sets are gone")
    assert [entry for entry in held.project.deletes() if entry["task_processes"]] == []
    assert lowered_capacities(held.project) == []


def test_destroy_leaves_nothing(held: Held) -> None:
    """After destroy there is no resource group, no set and no machine."""
    held.project.millpond("destroy", "--yes")
    assert held.azure.get("/resourceGroups").json()["value"] == []
    assert held.azure.get("/resources").json()["value"] == []
    assert list((held.project.home / "local" / "instances").iterdir()) == []
    assert not any(Path(folder).is_dir() for folder in os.scandir(held.project.home / "local" / "storage"))
