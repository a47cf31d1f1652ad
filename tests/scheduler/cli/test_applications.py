"""Programs that are uploaded once, and jobs that name them."""

import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_bootstrap.protocol import INPUTS, ApplicationPackage, FileRef, file_blob
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.cli.applications import packages, packed_as_zip
from scheduler.cli.job_file import load_job
from scheduler.cli.submission import submit
from scheduler.cli.upload import upload
from scheduler.errors import InvalidRequestError
from scheduler.model import Application, Step
from scheduler.service import Service


def _folder(at: Path) -> Path:
    (at / "bin" / "deep").mkdir(parents=True)
    (at / "bin" / "run.sh").write_text("#!/bin/sh")
    (at / "bin" / "run.sh").chmod(0o755)
    (at / "bin" / "deep" / "näme 1.txt").write_text("data")
    return at


def test_a_folder_is_the_same_bytes_whenever_it_is_packed(tmp_path: Path) -> None:
    """Times and the order of files make no difference; names and the mark of programs are kept."""
    first = packed_as_zip(_folder(tmp_path / "a"), tmp_path / "1.zip")
    other = _folder(tmp_path / "b")
    os.utime(other / "bin" / "run.sh", (0, 2_000_000_000))
    second = packed_as_zip(other, tmp_path / "2.zip")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["bin/deep/näme 1.txt", "bin/run.sh"]
        assert [entry.external_attr >> 16 & 0o111 for entry in packed.infolist()] == [0, 0o111]


def test_a_zip_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """A zip file is not packed again; what is none, is not there or is empty is told."""
    packed = packed_as_zip(_folder(tmp_path / "a"), tmp_path / "1.zip")
    assert packed_as_zip(packed, tmp_path / "2.zip") == packed
    (tmp_path / "text").write_text("no zip")
    (tmp_path / "empty").mkdir()
    for name, words in (("text", "no zip file"), ("none", "does not exist"), ("empty", "has no files")):
        with pytest.raises(InvalidRequestError, match=words):
            packed_as_zip(tmp_path / name, tmp_path / "2.zip")


def _known(name: str, version: str, *, default: bool) -> Application:
    file = FileRef(f"{name}.zip", INPUTS, file_blob(version), 0, 1, version)
    return Application(name, version, file, default, datetime(2026, 1, 1, tzinfo=UTC))


def test_versions_are_found_by_name() -> None:
    """A version is meant where it is named, else the default; all that is missing is told at once."""
    known = [_known("tool", "2", default=False), _known("tool", "1", default=True), _known("x", "1", default=True)]
    assert [(found.name, found.version) for found in packages(["tool", "tool:2", "x:1", "tool"], known)] == [
        ("tool", "1"),
        ("tool", "2"),
        ("x", "1"),
    ]
    with pytest.raises(InvalidRequestError, match=r"'tool:3'.*tool:2, tool:1, x:1; there is no application 'y'"):
        packages(["tool:3", "x", "y"], known)


class _Listening:
    """The service, with the steps that were handed in."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.steps: tuple[Step, ...] = ()

    def __getattr__(self, name: str) -> object:
        return getattr(self._service, name)

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Keep the steps and pass them on."""
        self.steps += steps
        self._service.add_steps(job_id, chunk, steps)


def test_a_job_names_programs(service: Service, tmp_path: Path) -> None:
    """What the job and a step name reaches the definition; a missing one is told before anything is sent."""
    blobs = MemoryBlobs(ManualClock(datetime.now(UTC)))
    packed = packed_as_zip(_folder(tmp_path / "a"), tmp_path / "1.zip")
    sent = upload(blobs, [packed])
    assert upload(blobs, [packed]).sent == 0
    tool = service.put_application("tool", "1.0", sent.files[packed])
    extra = service.put_application("extra", "7", sent.files[packed])
    path = tmp_path / "job.yaml"
    steps = "steps:\n  - {name: a, command: r, applications: ['extra:7']}\n  - {name: b, command: r}\n"
    path.write_text(f"name: j\npool: demo\napplications: [tool]\n{steps}")
    listening = _Listening(service)
    submit(listening, blobs, load_job(path), "key")  # type: ignore[arg-type]
    first = ApplicationPackage("tool", "1.0", tool.file)
    assert [step.definition.application_packages for step in listening.steps] == [
        (first, ApplicationPackage("extra", "7", extra.file)),
        (first,),
    ]
    service.delete_application("tool", "1.0")
    with pytest.raises(InvalidRequestError, match="there is no application 'tool'; there are: extra:7"):
        submit(service, blobs, load_job(path), "another")
    assert len(service.list_jobs()) == 1
