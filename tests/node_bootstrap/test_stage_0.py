"""Stage 0 and install script run for real by bash, against a server that plays metadata address and storage."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node_bootstrap.bundle import Bundle, build_bundle
from node_bootstrap.render import NodeProfile, OperatingSystem, render_stage_0
from tests.node_bootstrap.boot_server import NODE, TOKEN, Azure, serve
from tests.node_bootstrap.profiles import SAMPLE


@pytest.fixture
def azure() -> Iterator[Azure]:
    """What the node sees."""
    with serve() as state:
        yield state


def boot(
    azure: Azure, bundle: Bundle, root: Path, batch_node: str | None = None, **changes: object
) -> subprocess.CompletedProcess[str]:
    """Run stage 0 as the machine's extension does, or as the start task of a Batch node does."""
    here = {"blob_endpoint": f"{azure.url}/", "queue_endpoint": f"{azure.url}/", "bundle_sha256": bundle.sha256}
    profile: NodeProfile = replace(SAMPLE, **{"python_sha256": None, **here, **changes})
    return subprocess.run(
        ["bash", "-c", render_stage_0(OperatingSystem.LINUX, profile)],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.url,
            "MILLPOND_ROOT": str(root),
            "http_proxy": "http://127.0.0.1:9",
            **({"AZ_BATCH_NODE_ID": batch_node} if batch_node else {}),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def interpreter(used: Path) -> bytes:
    """An archive as python-build-standalone makes it, of this interpreter; it writes down what it is started with."""
    script = f'#!/bin/sh\necho "$*" >>"{used}"\nexec "{sys.executable}" "$@"\n'.encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("python/bin/python3")
        entry.size, entry.mode = len(script), 0o755
        tar.addfile(entry, io.BytesIO(script))
    return archive.getvalue()


def runner_of(root: Path) -> int:
    """The runner's process id, as the install script wrote it down."""
    return int((root / "var" / "lib" / "millpond" / "runner.pid").read_text())


@pytest.fixture
def bundle(azure: Azure) -> Bundle:
    """The real bundle, published."""
    built = build_bundle(OperatingSystem.LINUX)
    azure.blobs[f"/bundles/{built.sha256}.tar.gz"] = built.data
    return built


def test_a_node_boots_once_its_roles_have_spread(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """Refused twice, it waits; then the runner runs from the bundle, each step is recorded, and no token is seen."""
    azure.refusals = 2
    done = boot(azure, bundle, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pid = runner_of(tmp_path)
    try:
        assert [(record.step, record.exit_code) for record in azure.records()] == [
            ("stage-0", 0),
            ("fetch", 0),
            ("install", 0),
            ("service", 0),
        ]
        assert {record.node_id for record in azure.records()} == {NODE}
        settings_file = tmp_path / "var" / "lib" / "millpond" / "settings.json"
        settings = json.loads(settings_file.read_text())
        assert settings["node_id"] == NODE
        assert settings["work_queue"] == SAMPLE.work_queue
        assert settings_file.stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "opt" / "millpond" / bundle.sha256[:12] / "node_bootstrap" / "protocol.py").exists()
        # Again, as after a restart of the machine's agent: nothing is started twice.
        again = boot(azure, bundle, tmp_path)
        assert again.returncode == 0, again.stderr
        assert runner_of(tmp_path) == pid
        everything = done.stdout + done.stderr + again.stdout + again.stderr + settings_file.read_text()
        assert TOKEN not in everything
        assert not any(TOKEN.encode() in data for data in azure.blobs.values())
        assert "403" in done.stderr
    finally:
        os.kill(pid, 9)


def test_a_pinned_python_runs_all_that_follows(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """It is fetched by its hash and unpacked, and the runner is started by it and not by the image's own."""
    archive = interpreter(tmp_path / "used")
    digest = hashlib.sha256(archive).hexdigest()
    azure.blobs[f"/bundles/{digest}.tar.gz"] = archive
    done = boot(azure, bundle, tmp_path, python_sha256=digest)
    assert done.returncode == 0, done.stdout + done.stderr
    os.kill(runner_of(tmp_path), 9)
    assert [record.step for record in azure.records()] == ["stage-0", "fetch", "python", "install", "service"]
    assert "node_bootstrap.runner.boot_record" in (tmp_path / "used").read_text()
    assert f"-m node_bootstrap.runner {tmp_path}/" in (tmp_path / "used").read_text()


def test_another_python_than_pinned_is_refused(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """Bytes with a wrong hash are never unpacked, and the output says so."""
    azure.blobs[f"/bundles/{'1' * 64}.tar.gz"] = b"not an interpreter"
    done = boot(azure, bundle, tmp_path, python_sha256="1" * 64)
    assert done.returncode != 0
    assert "another hash than 1111" in done.stdout + done.stderr
    assert not list((tmp_path / "opt" / "millpond").glob("python-*"))


def test_another_bundle_than_named_is_refused_and_recorded(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """Bytes with a wrong hash are never unpacked, and the record says why."""
    azure.blobs[f"/bundles/{bundle.sha256}.tar.gz"] = b"not the bundle"
    done = boot(azure, bundle, tmp_path)
    assert done.returncode != 0
    assert bundle.sha256 in done.stderr
    assert "failed at line" in done.stderr
    assert azure.records()[-1].step == "fetch"
    assert azure.records()[-1].exit_code == 1
    assert not (tmp_path / "opt").exists()


def test_a_failing_step_is_recorded_with_its_output(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """When the install script fails, its record has the exit code, the line and what was printed."""
    (tmp_path / "opt" / "millpond" / "current").mkdir(parents=True)
    (tmp_path / "opt" / "millpond" / "current" / bundle.sha256[:12]).mkdir()
    (tmp_path / "opt" / "millpond" / "current" / bundle.sha256[:12] / "file").touch()
    done = boot(azure, bundle, tmp_path)
    assert done.returncode != 0
    last = azure.records()[-1]
    assert last.step == "install"
    assert last.exit_code == done.returncode
    assert "failed at line" in last.output


def test_the_bundle_is_what_its_name_says(bundle: Bundle) -> None:
    """The published bundle's name is the hash that stage 0 checks."""
    assert hashlib.sha256(bundle.data).hexdigest() == bundle.sha256


def test_a_batch_node_keeps_the_name_that_batch_gave_it(azure: Azure, bundle: Bundle, tmp_path: Path) -> None:
    """Where AZ_BATCH_NODE_ID is set it is the node's id, not the machine's name in the metadata."""
    azure.blobs[f"/bundles/{bundle.sha256}.tar.gz"] = b"not the bundle"
    boot(azure, bundle, tmp_path, batch_node="tvmps_12ab_d")
    assert {record.node_id for record in azure.records()} == {"tvmps_12ab_d"}
