"""Pinning an interpreter: only what its publisher vouches for, only what nodes can start, in its place in the file."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from infra import bundle_commands
from infra.config import parse
from infra.findings import ConfigError
from infra.pin import PinError, Pinned, pin, with_entry

URL = "https://python.example/ftp/3.14.7/python-3.14.7-embed-amd64.zip"
LINUX_URL = "https://python.example/releases/cpython-3.12-install_only.tar.gz"
ROOT = Path(__file__).parents[2]


def embeddable() -> bytes:
    """A zip file of the form of python.org's embeddable package."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in ("python.exe", "python314._pth", "python314.zip"):
            archive.writestr(name, name)
    return data.getvalue()


def standalone() -> bytes:
    """A tar.gz of the form of python-build-standalone."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        entry = tarfile.TarInfo("python/bin/python3")
        archive.addfile(entry, io.BytesIO(b""))
    return data.getvalue()


WINDOWS, LINUX = embeddable(), standalone()
DIGEST, LINUX_DIGEST = (hashlib.sha256(data).hexdigest() for data in (WINDOWS, LINUX))


def spdx(digest: str, location: str = URL) -> bytes:
    """A publisher's list in SPDX, with another file before."""
    packages = [
        {
            "downloadLocation": "https://other.example",
            "checksums": [{"algorithm": "SHA256", "checksumValue": "ab" * 32}],
        },
        {
            "downloadLocation": location,
            "checksums": [
                {"algorithm": "SHA1", "checksumValue": "cd" * 20},
                {"algorithm": "SHA256", "checksumValue": digest.upper()},
            ],
        },
    ]
    return json.dumps({"spdxVersion": "SPDX-2.3", "packages": packages}).encode()


def test_pythons_own_list_vouches_for_the_windows_package() -> None:
    """The entry has address, hash and size, and says who else says so."""
    web: Mapping[str, bytes] = {URL: WINDOWS, f"{URL}.spdx.json": spdx(DIGEST)}
    pinned = pin(URL, web.get)
    assert pinned == Pinned("windows_python", URL, DIGEST, len(WINDOWS), f"{URL}.spdx.json")
    entry = yaml.safe_load(pinned.entry)["millpond:windows_python"]
    assert entry == {"url": URL, "sha256": DIGEST, "size": len(WINDOWS)}


@pytest.mark.parametrize(
    "beside",
    [
        {f"{LINUX_URL}.sha256": f"{LINUX_DIGEST}\n".encode()},
        {f"{LINUX_URL}.sha256": f"{LINUX_DIGEST} *cpython-3.12-install_only.tar.gz\n".encode()},
        {
            "https://python.example/releases/SHA256SUMS": (
                f"{'ab' * 32}  another.tar.gz\n{LINUX_DIGEST}  cpython-3.12-install_only.tar.gz\n"
            ).encode()
        },
    ],
)
def test_lists_of_sums_vouch_for_the_linux_archive(beside: Mapping[str, bytes]) -> None:
    """A sum alone, one with the file's name, or the folder's list."""
    assert pin(LINUX_URL, {LINUX_URL: LINUX, **beside}.get).setting == "linux_python"


@pytest.mark.parametrize(
    ("web", "said"),
    [
        ({}, "there is nothing at"),
        ({URL: WINDOWS}, "nobody vouches"),
        ({URL: WINDOWS, f"{URL}.spdx.json": spdx("ef" * 32)}, "spdx.json says efef"),
        ({URL: WINDOWS, f"{URL}.spdx.json": spdx(DIGEST, "https://elsewhere.example/a.zip")}, "nobody vouches"),
        ({URL: WINDOWS, f"{URL}.spdx.json": b"<html>"}, "is not JSON"),
        ({URL: WINDOWS, f"{URL}.spdx.json": spdx(DIGEST), f"{URL}.sha256": b"ab" * 32}, ".sha256 says abab"),
    ],
)
def test_what_nobody_vouches_for_is_not_pinned(web: Mapping[str, bytes], said: str) -> None:
    """Nothing there, nobody who names it, somebody who names another hash: each an error that says so."""
    with pytest.raises(PinError, match=said):
        pin(URL, web.get)


def test_a_hash_that_the_caller_vouches_for_is_compared_too() -> None:
    """With `--sha256` no list is needed, and another file is refused."""
    assert pin(URL, {URL: WINDOWS}.get, DIGEST).vouched_by == "you"
    with pytest.raises(PinError, match="and you says"):
        pin(URL, {URL: WINDOWS}.get, "ab" * 32)
    with pytest.raises(PinError, match="no SHA-256"):
        pin(URL, {URL: WINDOWS}.get, "AB")


def test_what_no_node_can_start_is_refused() -> None:
    """An installer, or any other file, is no interpreter, whoever vouches for it."""
    with pytest.raises(PinError, match="no interpreter for nodes"):
        pin(URL, {URL: b"MZ an installer"}.get, hashlib.sha256(b"MZ an installer").hexdigest())


@pytest.mark.parametrize("stack", ["dev", "staging", "prod", "local"])
def test_the_entry_takes_the_place_of_the_one_that_is_there(stack: str) -> None:
    """In our own settings files nothing else changes, neither values nor comments; doing it twice changes nothing."""
    before = (ROOT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8")
    pinned = Pinned("windows_python", 'C:/it\'s "here"/python.zip', DIGEST, 7, "you")
    after = with_entry(before, pinned)
    wanted = {
        **yaml.safe_load(before)["config"],
        "millpond:windows_python": yaml.safe_load(pinned.entry)["millpond:windows_python"],
    }
    assert yaml.safe_load(after)["config"] == wanted
    assert with_entry(after, pinned) == after
    assert [line for line in before.splitlines() if line.lstrip().startswith("#")] == [
        line for line in after.splitlines() if line.lstrip().startswith("#")
    ]


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_any_path_is_written_as_it_is(path: str) -> None:
    """A file's name with quotes, colons or anything printable comes back from the settings file."""
    pinned = Pinned("linux_python", path, DIGEST, 1, "you")
    entry = yaml.safe_load(with_entry("config:\n", pinned))["config"]["millpond:linux_python"]
    assert (entry.get("file") or entry.get("url")) == path


def test_a_placeholder_stops_a_deployment_before_anything_is_touched() -> None:
    """A hash of zeros is a finding with its path and the command that mends it."""
    with pytest.raises(ConfigError) as caught:
        parse({"windows_python": {"url": URL, "sha256": "0" * 64}})
    found = [finding for finding in caught.value.findings if finding.path == "millpond:windows_python.sha256"]
    assert len(found) == 1
    assert "placeholder" in found[0].problem
    assert "millpond bundle pin" in found[0].remedy


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_our_stacks_have_no_placeholder(stack: str) -> None:
    """What the examples pin is a whole entry."""
    entry = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]["millpond:windows_python"]
    assert set(entry) == {"url", "sha256", "size"}
    assert len(set(entry["sha256"])) > 1


def test_the_command_pins_a_file_of_this_machine(tmp_path: Path) -> None:
    """It prints the entry for a path, and fails with code 1 and a message where nobody vouches for it."""
    path = tmp_path / "python.zip"
    path.write_bytes(WINDOWS)
    failed = CliRunner().invoke(bundle_commands.commands, ["pin", str(path)])
    assert failed.exit_code == 1
    assert f"Its SHA-256 is {DIGEST}" in failed.stderr
    (tmp_path / "SHA256SUMS").write_text(f"{DIGEST}  python.zip\n")
    done = CliRunner().invoke(bundle_commands.commands, ["pin", str(path)])
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(done.stdout)["millpond:windows_python"]["file"] == str(path)


def test_bundles_are_built_from_any_machine(tmp_path: Path) -> None:
    """For a stack with both systems each pool's bundle is written, named by its hash."""
    done = CliRunner().invoke(bundle_commands.commands, ["build", "--stack", "dev", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "(windows)" in done.stdout
    assert "(linux)" in done.stdout
    for path in tmp_path.iterdir():
        assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.tar.gz"
