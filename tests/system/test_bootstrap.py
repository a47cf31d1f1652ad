"""A pool's bootstrap from its settings to its tasks: the real program, local Azure, storage, bash and processes."""

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.system.project import Project, copy_of_the_project, eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

PRINT = 'cat "$MILLPOND_PACKAGES/words/word.txt" made.txt; echo "$GREETING $TZ"'
JOB = {
    "name": "greeting",
    "pool": "risk",
    # What the start command has made lies beside the node's packages.
    "steps": [{"name": "read", "command": ["bash", "-c", f'cd "$MILLPOND_PACKAGES/.."; {PRINT}']}],
}
RECORDS = """
import json, sys
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
container = BlobServiceClient(sys.argv[1], credential=DefaultAzureCredential()).get_container_client(sys.argv[2])
names = sorted(blob.name for blob in container.list_blobs())
if sys.argv[2] == "bundles":
    found = {name: str(container.get_blob_client(name).get_blob_properties().last_modified) for name in names}
else:
    boots = [name for name in names if name.startswith("boot/")]
    found = [json.loads(container.download_blob(name).readall()) for name in boots]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the project whose local Azure is up."""
    with copy_of_the_project(tmp_path_factory) as made:
        made.millpond("local", "up")
        yield made


def declare(project: Project, start_script: str) -> dict[str, Any]:
    """Give the stack's pool a package of this machine, an environment and a start command."""
    package = project.folder / "words.zip"
    if not package.exists():
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("word.txt", "from the package\n")
    settings = project.settings()
    settings["config"]["millpond:pools"][0]["bootstrap"] = {
        "time_zone": "Europe/Berlin",
        "environment": {"GREETING": 'hello, it\'s "$(me)"'},
        "packages": [
            {
                "name": "words",
                "file": "words.zip",
                "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
                "size": package.stat().st_size,
            }
        ],
        "start_commands": [{"name": "make", "script": start_script, "timeout": "20s"}],
    }
    project.declare(settings)
    return settings


def stored(project: Project, container: str) -> Any:
    """What is in a container: boot records in order of time, or when each bundle was written."""
    endpoint = yaml.safe_load((project.home / "local" / "deployment.json").read_text())["blob_endpoint"]
    said = project.run(
        [sys.executable, "-c", RECORDS, endpoint, container],
        environment={**project.environment, **project.local_environment()},
    )
    return yaml.safe_load(said.splitlines()[-1])


def test_a_pools_bootstrap_reaches_its_tasks(project: Project) -> None:
    """The package, what the start command made of it, environment and time zone are what a task finds."""
    declare(project, 'cp "$MILLPOND_PACKAGES/words/word.txt" ../made.txt')
    project.millpond("up")
    bundles = stored(project, "bundles")
    assert len([name for name in bundles if name.endswith(".zip")]) == 1
    project.start_scheduler()
    job_file = project.folder / "greeting.yaml"
    job_file.write_text(yaml.safe_dump(JOB))
    job = project.submit(job_file)
    eventually(lambda: project.job(job)["state"] in {"completed", "failed"}, "the job ends")
    logs = project.millpond("job", "logs", job, "0")
    assert "from the package\nfrom the package\n" in logs
    assert 'hello, it\'s "$(me)" Europe/Berlin' in logs
    records = stored(project, "nodes")
    assert {"packages", "start-01-make"} <= {record["step"] for record in records}
    assert all(record["exit_code"] == 0 for record in records)


def test_what_has_not_changed_is_not_uploaded_again(project: Project) -> None:
    """A second deployment writes no bundle and no package; a changed script writes one bundle, and nothing twice."""
    before = stored(project, "bundles")
    project.millpond("up")
    assert stored(project, "bundles") == before
    declare(project, "exit 9")
    project.millpond("up")
    after = stored(project, "bundles")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def test_a_boot_that_fails_says_where(project: Project) -> None:
    """With a start command that fails no node comes up, and the record of the step has its line and exit code."""
    declare(project, "true\nfalse")
    project.millpond("up")
    project.submit(project.folder / "greeting.yaml")

    def failed() -> list[dict[str, Any]]:
        return [record for record in stored(project, "nodes") if record["exit_code"]]

    eventually(failed, "a failed boot is recorded")
    assert all(record["step"] == "start-01-make" and record["exit_code"] == 1 for record in failed())
    assert "failed at line 2, exit code 1" in failed()[0]["output"]
