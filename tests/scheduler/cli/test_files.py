"""Files to storage and back."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import INPUTS, OUTPUTS, FileRef, file_blob, sha256_hex
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.cli.download import download, relative_path
from scheduler.cli.upload import upload
from scheduler.errors import InvalidRequestError, UnavailableError
from scheduler.model import OutputFile


def _output(path: str, data: bytes, offset: int = 0, blob: str = "j/m/r/0.pack", index: int = 0) -> OutputFile:
    file = FileRef(path=path, container=OUTPUTS, blob=blob, offset=offset, length=len(data), sha256=sha256_hex(data))
    return OutputFile(task_id=index, step="simulate", index=index, file=file)


def test_content_is_sent_once(tmp_path: Path) -> None:
    """Two files of one content are one blob, and a second upload sends nothing."""
    blobs = MemoryBlobs(ManualClock())
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in "abc"]
    first = upload(blobs, paths)
    second = upload(blobs, paths)
    assert (first.sent, first.unchanged, second.sent, second.unchanged) == (2, 0, 0, 2)
    assert first.files == second.files
    assert first.files[paths[0]] == first.files[paths[1]]
    assert blobs.read(INPUTS, file_blob(sha256_hex(b"other"))) == b"other"


def test_content_that_is_old_is_touched(tmp_path: Path) -> None:
    """What lay there for hours is touched, so that it is not removed before the job names it; it is not sent again."""
    clock = ManualClock()
    blobs = MemoryBlobs(clock)
    (tmp_path / "a").write_text("same")
    upload(blobs, [tmp_path / "a"], clock=clock.now)
    for hours, touched in ((1, False), (6, True)):
        before = blobs.list(INPUTS, "files/")[0]
        clock.advance(timedelta(hours=hours))
        assert upload(blobs, [tmp_path / "a"], clock=clock.now).sent == 0
        assert (blobs.list(INPUTS, "files/")[0].last_modified > before.last_modified) is touched


@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=12), gap=st.integers(0, 70_000))
def test_files_come_out_of_packs_as_they_went_in(
    parts: list[bytes], gap: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files at any place of a pack are cut out right, empty ones included."""
    blobs = MemoryBlobs(ManualClock())
    pack, outputs = b"", []
    for index, part in enumerate(parts):
        outputs.append(_output("out/x.bin", part, offset=len(pack), index=index))
        pack += part + bytes(gap)
    blobs.write(OUTPUTS, "j/m/r/0.pack", pack)
    folder = tmp_path_factory.mktemp("to")
    download(blobs, outputs, folder)
    assert [(folder / f"simulate/{index}/out/x.bin").read_bytes() for index in range(len(parts))] == parts


@pytest.mark.parametrize(
    "name",
    [
        "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "", "a/", "..", "a\\..\\b", "c:x", "C:/x", "a\nb", "a\0b",
        "nul", "aux.txt", "a/COM1.log", "x.", "x ",
    ],
)  # fmt: skip
def test_hostile_names_are_refused(name: str, tmp_path: Path) -> None:
    """A name that would leave the folder, on any system, is refused before anything is written."""
    blobs = MemoryBlobs(ManualClock())
    blobs.write(OUTPUTS, "j/m/r/0.pack", b"good")
    with pytest.raises(InvalidRequestError, match="could leave the folder"):
        download(blobs, [_output("good.txt", b"good"), _output(name, b"good")], tmp_path / "to")
    assert not (tmp_path / "to").exists()


@given(name=st.text(alphabet="ab./\\:~ \0", max_size=12))
def test_accepted_names_stay_below_the_folder(name: str) -> None:
    """Whatever name is accepted, it leads below its step's and task's folder."""
    try:
        place = relative_path(_output(name, b""))
    except InvalidRequestError:
        return
    assert Path("/to", place).resolve().is_relative_to("/to/simulate/0")


def test_a_download_that_stopped_goes_on(tmp_path: Path) -> None:
    """What is there whole is not fetched again, what is there in part or with other content is; all are counted."""
    blobs = MemoryBlobs(ManualClock())
    contents = (b"one", b"two", b"six")
    outputs = [_output("x", data, blob=f"j/{index}", index=index) for index, data in enumerate(contents)]
    for output, data in zip(outputs, contents, strict=True):
        blobs.write(OUTPUTS, output.file.blob, data)
    download(blobs, outputs, tmp_path)
    blobs.delete(OUTPUTS, outputs[0].file.blob)
    (tmp_path / "simulate" / "1" / "x").write_bytes(b"tw")
    (tmp_path / "simulate" / "2" / "x").write_bytes(b"SIX")
    counted: list[Path] = []
    places = download(blobs, outputs, tmp_path, counted.append)
    assert tuple(place.read_bytes() for place in places) == contents
    assert sorted(counted) == sorted(places)


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    """A link that lies in the folder already is not followed out of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "simulate").symlink_to(outside)
    blobs = MemoryBlobs(ManualClock())
    blobs.write(OUTPUTS, "j/m/r/0.pack", b"good")
    with pytest.raises(InvalidRequestError, match="leads out of"):
        download(blobs, [_output("good.txt", b"good")], tmp_path / "to")
    assert list(outside.rglob("good.txt")) == []


def test_damaged_content_is_not_kept(tmp_path: Path) -> None:
    """Bytes that are not those the node vouched for leave no file behind."""
    blobs = MemoryBlobs(ManualClock())
    blobs.write(OUTPUTS, "j/m/r/0.pack", b"evil")
    with pytest.raises(UnavailableError, match="not those that the node vouched for"):
        download(blobs, [_output("good.txt", b"good")], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
