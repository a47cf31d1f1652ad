"""The storage client and the files it brings and takes."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import FileRef, Outcome, TaskMessage, TaskRef, TaskReport, sha256_hex
from node_bootstrap.runner.follow import LogFollower
from node_bootstrap.runner.http import Http
from node_bootstrap.runner.instructions import Lease
from node_bootstrap.runner.log_limit import LimitedLog
from node_bootstrap.runner.metadata import Metadata, MetadataError
from node_bootstrap.runner.packs import OWN_BLOB_BYTES, Uploader
from node_bootstrap.runner.settings import read_settings
from node_bootstrap.runner.staging import Stager, StagingError, within
from node_bootstrap.runner.storage import Storage, StorageError
from node_bootstrap.runner.task_files import TaskFolder, kept_files
from tests.node_bootstrap.runner.fake_azure import Answer, FakeAzure
from tests.node_bootstrap.runner.machine_world import START

MESSAGE = TaskMessage("m", "job", "ab" * 32, (TaskRef(1, 1),))


def failing(times: int, answer: Answer, where: str = "/blob/") -> object:
    """A fault that answers so often in the service's place."""
    left = [times]

    def fault(method: str, path: str) -> Answer | None:
        if left[0] and path.startswith(where):
            left[0] -= 1
            return answer
        return None

    return fault


def report(outcome: Outcome = Outcome.SUCCESS, task: int = 1) -> TaskReport:
    """A report of a task."""
    return TaskReport(task, 1, outcome, 0, "", START, START)


@pytest.mark.parametrize("text", ["plain", "<&>'\" ü 漢 🜂", '{"a": "b+/="}'])
def test_messages_come_back_as_they_were_sent(storage: Storage, text: str) -> None:
    """Any text survives the way through the queue; a lease is renewed and deleted by its newest receipt."""
    storage.send("work", text)
    (delivery,) = storage.receive("work", 32)
    assert (delivery.body, delivery.dequeue_count) == (text, 1)
    assert storage.receive("work", 1) == ()
    renewed = storage.renew("work", delivery.lease)
    assert renewed is not None
    assert storage.renew("work", delivery.lease) is None
    storage.delete("work", delivery.lease)
    assert storage.renew("work", renewed) is not None
    storage.delete("work", Lease("gone", "r"))


def test_a_message_of_another_writer_is_given_as_it_is(azure: FakeAzure, storage: Storage) -> None:
    """What is not base64 does not stop the queue."""
    azure.put_message("work", "x").text = "not base64!"
    assert storage.receive("work", 1)[0].body == "not base64!"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_what_may_pass_is_tried_again(azure: FakeAzure, storage: Storage, status: int) -> None:
    """Refusals and server errors are waited out; a refused token is fetched anew."""
    azure.fault = failing(2, (status, {}, b""))  # type: ignore[assignment]
    storage.put("nodes", "a b/ü.json", b"data")
    assert storage.get("nodes", "a b/ü.json") == b"data"
    assert azure.tokens == (3 if status == 401 else 1)


def test_what_cannot_pass_is_said_at_once(azure: FakeAzure, storage: Storage) -> None:
    """With the status, the service's code and what was asked, but no token."""
    azure.fault = failing(1, (400, {"x-ms-error-code": "InvalidHeaderValue"}, b""))  # type: ignore[assignment]
    with pytest.raises(StorageError, match="400 InvalidHeaderValue") as caught:
        storage.put("nodes", "a", b"")
    assert "token" not in str(caught.value)


def test_a_missing_blob_is_none_and_a_short_one_an_error(azure: FakeAzure, storage: Storage) -> None:
    """Absence is an answer; fewer bytes than named are not."""
    azure.blobs["inputs/a"] = b"abc"
    assert storage.get("inputs", "b") is None
    assert storage.get_range("inputs", "a", 1, 2) == b"bc"
    with pytest.raises(StorageError, match="no 5 bytes at 1"):
        storage.get_range("inputs", "a", 1, 5)


def test_no_server_ends_within_the_patience(tmp_path: Path) -> None:
    """Nobody there is an error of its own, not a hang."""
    client = Http()
    metadata = Metadata(client, "id", "http://127.0.0.1:9")
    with pytest.raises(MetadataError):
        metadata.storage_token()
    with pytest.raises(StorageError, match="no answer"):
        Storage(client, metadata, "http://127.0.0.1:9/", "http://127.0.0.1:9/").put("a", "b", b"", 0.1)


def test_a_blob_of_ones_own_is_written_once(azure: FakeAzure, storage: Storage) -> None:
    """A second try after a lost answer is no error and replaces nothing."""
    storage.put("outputs", "x", b"first", once=True)
    storage.put("outputs", "x", b"second", once=True)
    assert azure.blobs["outputs/x"] == b"first"


@pytest.mark.parametrize("size", [0, 5, 4 * 1024 * 1024, 9 * 1024 * 1024 + 1])
def test_files_of_any_size_arrive_whole(azure: FakeAzure, storage: Storage, tmp_path: Path, size: int) -> None:
    """Large ones go in blocks."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    storage.put_file("outputs", "x", tmp_path / "file")
    assert azure.blobs["outputs/x"] == data


def test_shared_inputs_are_fetched_once_and_cannot_be_spoiled(
    azure: FakeAzure, storage: Storage, tmp_path: Path
) -> None:
    """Each task has a copy of its own."""
    azure.blobs["inputs/f"] = b"data"
    ref = FileRef("dir/in.txt", "inputs", "f", 0, 4, sha256_hex(b"data"))
    stager = Stager(storage, tmp_path / "cache")
    for name in ("one", "two"):
        stager.stage([ref], [], tmp_path / name)
        copy = tmp_path / name / "dir" / "in.txt"
        assert copy.read_bytes() == b"data"
        copy.write_bytes(b"spoiled")
    assert len([line for line in azure.requests if line.startswith("GET /blob")]) == 1


def test_neighbours_in_a_pack_are_fetched_together(azure: FakeAzure, storage: Storage, tmp_path: Path) -> None:
    """A hundred small inputs of one pack are one request."""
    parts = [os.urandom(100) for _ in range(100)]
    azure.blobs["outputs/pack"] = b"".join(parts)
    refs = [
        FileRef(f"{index}.bin", "outputs", "pack", 100 * index, 100, sha256_hex(part))
        for index, part in enumerate(parts)
    ]
    refs.append(FileRef("empty", "outputs", "pack", 0, 0, sha256_hex(b"")))
    Stager(storage, tmp_path / "cache").stage([], reversed(refs), tmp_path / "wd")
    assert [(tmp_path / "wd" / f"{index}.bin").read_bytes() for index in range(100)] == parts
    assert (tmp_path / "wd" / "empty").read_bytes() == b""
    assert len([line for line in azure.requests if line.startswith("GET /blob")]) == 1


@given(st.text())
def test_no_path_leaves_its_folder(path: str) -> None:
    """Whatever a path says, it is inside, or refused."""
    target = within(Path("/a/b"), path)
    assert target is None or Path(os.path.normpath(target)).is_relative_to("/a/b")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "C:/x", "C:x", "..\\x", "\\\\server\\x", ""])
def test_paths_that_leave_are_refused(storage: Storage, tmp_path: Path, path: str) -> None:
    """On any system, before anything is fetched."""
    ref = FileRef(path, "inputs", "f", 0, 4, sha256_hex(b"data"))
    with pytest.raises(StagingError, match="outside"):
        Stager(storage, tmp_path / "cache").stage([ref], [], tmp_path)


def folder_with(tmp_path: Path, **outputs: bytes) -> TaskFolder:
    """A run that has ended with these outputs."""
    folder = TaskFolder(tmp_path / "1.1")
    folder.make()
    folder.stdout.write_text("out")
    folder.stderr.write_text("")
    for name, data in outputs.items():
        (folder.working_directory / name).write_bytes(data)
    return folder


def test_a_retried_upload_sends_the_same(azure: FakeAzure, storage: Storage, tmp_path: Path) -> None:
    """What a first try has written is what the manifest names, although the file has changed since."""
    folder = folder_with(tmp_path, small=b"before", large=b"L" * (OWN_BLOB_BYTES + 1))
    uploader = Uploader(storage, "set_0")
    uploader.keep("run", TaskRef(1, 1), kept_files(folder, ["*"], {}))
    refused = (400, {"x-ms-error-code": "No"}, b"")
    azure.fault = lambda method, path: refused if path.endswith("manifest.json") else None
    with pytest.raises(StorageError):
        uploader.upload("run", 0, MESSAGE, (report(),))
    (folder.working_directory / "small").write_bytes(b"after!")
    azure.fault = lambda method, path: None
    manifest = json.loads(azure.blobs["outputs/" + uploader.upload("run", 0, MESSAGE, (report(),))])
    for file in manifest["reports"][0]["files"]:
        data = azure.blobs[f"outputs/{file['blob']}"][file["offset"] :][: file["length"]]
        assert sha256_hex(data) == file["sha256"]
    assert not folder.path.exists()


def test_a_pack_of_empty_files_is_there(azure: FakeAzure, storage: Storage, tmp_path: Path) -> None:
    """A manifest never names a blob that does not exist."""
    folder = folder_with(tmp_path)
    folder.stdout.write_text("")
    uploader = Uploader(storage, "set_0")
    uploader.keep("run", TaskRef(1, 1), kept_files(folder, [], {}))
    manifest = json.loads(azure.blobs["outputs/" + uploader.upload("run", 0, MESSAGE, (report(),))])
    names = {f"outputs/{file['blob']}" for file in manifest["reports"][0]["files"]}
    assert names == {"outputs/job/m/run/0.pack"}
    assert names <= set(azure.blobs)


def test_outputs_that_cannot_be_read_are_output_lost(azure: FakeAzure, storage: Storage, tmp_path: Path) -> None:
    """A success whose output the node lost is not a success; a failure stays what it was."""
    uploader = Uploader(storage, "set_0")
    for task in (1, 2):
        folder = folder_with(tmp_path / str(task), result=b"r")
        uploader.keep("run", TaskRef(task, 1), kept_files(folder, ["*"], {}))
        (folder.working_directory / "result").unlink()
    name = uploader.upload("run", 0, MESSAGE, (report(), report(Outcome.RETRYABLE, 2)))
    reports = json.loads(azure.blobs[f"outputs/{name}"])["reports"]
    assert [(item["outcome"], item["files"]) for item in reports] == [("output_lost", []), ("retryable", [])]


def test_an_append_whose_answer_was_lost_is_not_repeated(azure: FakeAzure, storage: Storage) -> None:
    """The service's position tells that it is there."""
    storage.create_log("outputs", "log")
    storage.append_log("outputs", "log", b"one", 0)
    storage.append_log("outputs", "log", b"one", 0)
    storage.append_log("outputs", "log", b"two", 3)
    assert azure.blobs["outputs/log"] == b"onetwo"
    with pytest.raises(StorageError, match="does not end at 2"):
        storage.append_log("outputs", "log", b"xx", 2)


def test_a_log_that_cannot_be_followed_is_uploaded_whole(azure: FakeAzure, storage: Storage, tmp_path: Path) -> None:
    """Following is a convenience: its failure costs no log."""
    folder = folder_with(tmp_path)
    logs = tuple(LimitedLog(path, 1000) for path in (folder.stdout, folder.stderr))
    follower = LogFollower(storage, "run", MESSAGE, TaskRef(1, 1), logs)
    assert follower.meanwhile(0.0) == 2.0
    azure.fault = failing(1, (400, {}, b""))  # type: ignore[assignment]
    assert follower.meanwhile(2.0) == 1.0
    asked = len(azure.requests)
    assert follower.meanwhile(3.0) == 1.0
    assert len(azure.requests) == asked
    kept = kept_files(folder, [], follower.finish())
    assert [file.blob for file in kept.files] == [None, None]


def test_tokens_are_renewed_before_they_end(azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token serves all requests for most of its life."""
    client = Http()
    metadata = Metadata(client, "id", azure.url)
    assert metadata.storage_token() == metadata.storage_token() == "token-1"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3400)
    assert metadata.storage_token() == "token-2"
    client.close()


@pytest.mark.parametrize(("text", "says"), [("{", "settings.json"), ('{"node_id": "x"}', "'pool' is missing")])
def test_bad_settings_are_named(tmp_path: Path, text: str, says: str) -> None:
    """The message says which file and what about it."""
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_settings(path)
