"""Application packages: what is unpacked, what is refused, and what is kept."""

import contextlib
import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_bootstrap.protocol import ApplicationPackage, FileRef, sha256_hex
from node_bootstrap.runner.packages import PackageCache, PackageError, PackageLimits, unpack, variable_name
from node_bootstrap.runner.staging import Stager, StagingError
from node_bootstrap.runner.storage import Storage
from tests.node_bootstrap.runner.fake_azure import FakeAzure

LIMITS = PackageLimits(unpacked_bytes=10_000, entries=20, cache_bytes=100)


def zipped(*entries: tuple[str, bytes], mode: int = 0) -> bytes:
    """A zip file of these entries; `mode` is what Unix would say of them."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.filename = name  # as it is: ZipInfo tidies names on Windows
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return data.getvalue()


def put(azure: FakeAzure, data: bytes, name: str = "tool", version: str = "1.0") -> ApplicationPackage:
    """Upload a package."""
    sha256 = sha256_hex(data)
    azure.blobs[f"inputs/files/{sha256}"] = data
    return ApplicationPackage(name, version, FileRef(f"{name}.zip", "inputs", f"files/{sha256}", 0, len(data), sha256))


@pytest.fixture
def cache(storage: Storage, tmp_path: Path) -> PackageCache:
    """A cache of small limits."""
    return PackageCache(Stager(storage, tmp_path / "cache"), tmp_path / "packages", LIMITS)


def test_a_package_is_fetched_once_and_may_only_be_read(azure: FakeAzure, cache: PackageCache) -> None:
    """Two tasks share it; programs stay programs; nothing in it may be written."""
    package = put(azure, zipped(("bin/run", b"#!/bin/sh\n"), ("empty/", b""), mode=0o755))
    with cache.use((package,)) as first, cache.use((package,)) as second:
        assert first == second
        place = Path(first[variable_name("tool", "1.0")])
        assert (place / "bin/run").read_bytes() == b"#!/bin/sh\n"
        assert (place / "empty").is_dir()
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (place, *place.rglob("*"))}
        assert modes == {0o555}
    assert sum("/files/" in request for request in azure.requests) == 1


def test_what_nobody_uses_makes_room(azure: FakeAzure, cache: PackageCache) -> None:
    """Of what is over the size, those used longest ago go, and never one in use."""
    old, held, new = (put(azure, zipped(("f", letter * 60)), letter.decode()) for letter in (b"a", b"b", b"c"))
    with cache.use((held,)) as places:
        for package in (old, new):
            with cache.use((package,)):
                pass
        assert Path(places[variable_name("b", "1.0")], "f").read_bytes() == b"b" * 60
    before = len(azure.requests)
    with cache.use((held,)):
        pass
    assert len(azure.requests) == before
    with cache.use((old,)):
        pass
    assert len(azure.requests) > before


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zipped(("../out", b"")), "outside"),
        (zipped(("a/../../out", b"")), "outside"),
        (zipped(("/etc/passwd", b"")), "outside"),
        (zipped(("..\\out", b"")), "outside"),
        (zipped(("C:\\out", b"")), "outside"),
        (zipped(("C:out", b"")), "outside"),
        (zipped(("link", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777), "is a link"),
        (zipped(("pipe", b""), mode=stat.S_IFIFO | 0o666), "neither a file nor a folder"),
        (zipped(("sub/NUL", b"")), "device"),
        (zipped(("com1.txt", b"")), "device"),
        (zipped(("bomb", b"0" * 10_001)), "10,001 bytes"),
        (zipped(*((f"{index}", b"") for index in range(21))), "21 entries"),
        (zipped(("a", b"file"), ("a/b", b"below it")), "another's place"),
        (b"no zip", "no whole zip file"),
        (zipped(("a", b"content"))[:-30], "no whole zip file"),
    ],
)
def test_what_is_refused_is_permanent_and_leaves_nothing(
    azure: FakeAzure, cache: PackageCache, tmp_path: Path, data: bytes, said: str
) -> None:
    """No node could unpack it, so the task is not tried again; the error names the package and the reason."""
    with pytest.raises(StagingError, match=said) as raised, cache.use((put(azure, data),)):
        pass
    assert raised.value.permanent
    assert "'tool' 1.0" in str(raised.value)
    assert list((tmp_path / "packages").iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_another_content_is_the_nodes_fault(azure: FakeAzure, cache: PackageCache) -> None:
    """What does not have the hash that was committed is never unpacked."""
    package = put(azure, zipped(("a", b"right")))
    azure.blobs[f"inputs/{package.file.blob}"] = b"#" * package.file.length
    with pytest.raises(StagingError, match="SHA-256") as raised, cache.use((package,)):
        pass
    assert not raised.value.permanent


NAMES = st.text(st.sampled_from("a./\\:~ \n'\"é$C"), min_size=1, max_size=12)


@given(names=st.lists(NAMES, max_size=4, unique=True))
@settings(max_examples=150, deadline=None)
def test_whatever_the_names_nothing_lies_outside(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Names of dots, slashes, drives and quotes are unpacked inside or refused."""
    top = tmp_path_factory.mktemp("zip")
    (top / "a.zip").write_bytes(zipped(*((name, b"x") for name in names)))
    with contextlib.suppress(PackageError):
        unpack(top / "a.zip", top / "in", LIMITS)
    assert {entry.name for entry in top.iterdir()} <= {"a.zip", "in"}


def test_variables_are_named_as_azure_batch_does() -> None:
    """Windows has number sign and capitals; Linux underscores in the place of what a shell cannot name."""
    assert variable_name("blender", "2.7", windows=True) == "AZ_BATCH_APP_PACKAGE_BLENDER#2.7"
    assert variable_name("blender-x", "2.7-b#1", windows=False) == "AZ_BATCH_APP_PACKAGE_blender_x_2_7_b_1"
