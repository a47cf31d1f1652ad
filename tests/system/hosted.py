"""A stack whose scheduler runs on a host of its own: what its tests share."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest

from tests.system.project import Project, copy_of_the_project, eventually, puts

# The host's Python is this one: on this machine there is no image.
HOST = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "port": 0, "interval": "300ms"}
JOB = """\
name: squares
pool: risk
steps:
  - name: square
    array: 6
    command: [python3, -c, "import os; i = int(os.environ['MILLPOND_TASK_INDEX']); open('n', 'w').write(str(i * i))"]
    outputs: [n]
    wall_clock_limit: 5m
"""


@dataclass
class Hosted(Project):
    """A project whose commands speak to the scheduler on the host, as through a tunnel to its loopback port."""

    @property
    def environment(self) -> dict[str, str]:
        """A user's shell, with the address and the token that the host's api.json has now."""
        found = super().environment
        address = self.address()
        if address is not None:
            found |= {"MILLPOND_API_URL": address["url"], "MILLPOND_API_TOKEN": address["token"]}
        return found

    def address(self) -> dict | None:
        """What the scheduler wrote to the host's disk."""
        files = list((self.home / "local").rglob("home/local/api.json"))
        return json.loads(files[0].read_text()) if files else None

    def reachable(self) -> bool:
        """Whether the scheduler that wrote the address answers."""
        address = self.address()
        if address is None:
            return False
        try:
            headers = {"Authorization": f"Bearer {address['token']}"}
            return httpx.get(f"{address['url']}/v1/pools", headers=headers, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def scheduler(self) -> psutil.Process:
        """The scheduler's process, as its address names it."""
        address = self.address()
        assert address is not None
        return psutil.Process(address["pid"])

    def change(self, **settings: object) -> None:
        """Change the host's settings and deploy."""
        declared = self.settings()
        declared["config"]["millpond:scheduler"] |= settings
        self.declare(declared)
        self.millpond("up")

    def up_again(self) -> None:
        """Deploy the same declaration again by plain Pulumi, after a refresh, and see that nothing changes.

        But for one: the network answers with what has come into its subnets since, which the first refresh takes up.
        """
        environment = self.local_environment()
        stack = ["--non-interactive", "--stack", "local"]
        before = puts(self)
        taken_up = self.run(["pulumi", "refresh", *stack, "--yes", "--skip-preview"], environment=environment)
        assert len(re.findall(r"updated \(", taken_up)) <= 1, taken_up
        again = ["pulumi", "up", *stack, "--refresh", "--yes", "--skip-preview", "--expect-no-changes"]
        self.run(again, environment=environment)
        assert puts(self) == before

    def deleted(self) -> list[str]:
        """What the resource manager was asked to delete."""
        return [entry["path"].lower() for entry in self.requests() if entry["method"] == "DELETE"]


@contextmanager
def deployed(factory: pytest.TempPathFactory, job: str, host: Mapping[str, object]) -> Iterator[Hosted]:
    """Deploy a stack with such a host, whose scheduler answers; `job` is in job.yaml."""
    with copy_of_the_project(factory) as made:
        hosted = Hosted(made.folder, made.home, made.background)
        settings = hosted.settings()
        settings["config"]["millpond:scheduler"] = dict(host)
        hosted.declare(settings)
        (hosted.folder / "job.yaml").write_text(job)
        hosted.millpond("local", "up", "--boot-delay", "1")
        hosted.millpond("up")
        eventually(hosted.reachable, "the scheduler on the host answers")
        yield hosted


def finished(project: Hosted, job_id: str) -> bool:
    """Whether a job has ended well."""
    return project.job(job_id)["result"] == "success"
