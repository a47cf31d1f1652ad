"""Pins an interpreter that nodes fetch: reads it once, compares it with its publisher's own word, gives the entry.

Publishers say the SHA-256 of a file beside it: python.org in `<file>.spdx.json` (SPDX 2.3), others in `<file>.sha256`
or in the folder's `SHA256SUMS`.
"""

import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infra import naming
from node_bootstrap.render import OperatingSystem

# Gives the bytes at an address or a path, None where there is nothing.
Read = Callable[[str], bytes | None]

_SUM = re.compile(r"([0-9A-Fa-f]{64})(?:[ \t]+\*?(\S+))?")
_ONE_LINE = 1_000_000
_EMBEDDABLE = re.compile(r"python\d+\._pth")


class PinError(Exception):
    """A file cannot be pinned; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """An interpreter as a stack's settings name it; `vouched_by` is where its publisher says so too."""

    setting: str
    source: str
    sha256: str
    size: int
    vouched_by: str

    @property
    def entry(self) -> str:
        """The lines for the stack's settings file."""
        key = "url" if "://" in self.source else "file"
        quoted = yaml.safe_dump(self.source, default_style='"', width=_ONE_LINE).strip()
        return f"  millpond:{self.setting}:\n    {key}: {quoted}\n    sha256: {self.sha256}\n    size: {self.size}\n"


def pin(source: str, read: Read, expected: str | None = None) -> Pinned:
    """Pin the interpreter at an address or a path. `expected` is a SHA-256 that the caller vouches for.

    Raises `PinError` when nobody vouches for it, when it is another file than they say, or no interpreter for nodes.
    """
    if expected is not None and not naming.is_sha256(expected):
        raise PinError(f"{expected!r} is no SHA-256: write 64 lower-case hexadecimal digits")
    data = read(source)
    if data is None:
        raise PinError(f"there is nothing at {source}")
    found = hashlib.sha256(data).hexdigest()
    said = {"you": expected} if expected is not None else dict(_published(source, read))
    if not said:
        raise PinError(
            f"nobody vouches for {source}: there is no .spdx.json, .sha256 or SHA256SUMS beside it that names it. Its"
            f" SHA-256 is {found}; if its publisher says the same elsewhere, repeat with --sha256"
        )
    for place, digest in said.items():
        if digest != found:
            raise PinError(f"{source} has the SHA-256 {found}, and {place} says {digest}; nothing was written")
    return Pinned(f"{_system(source, data)}_python", source, found, len(data), ", ".join(said))


def with_entry(settings: str, pinned: Pinned) -> str:
    """Put the entry into a settings file's text, in the place of the one that is there; the rest stays as it is."""
    there = re.compile(rf"^  ['\"]?millpond:{pinned.setting}['\"]?:.*\n(?:(?:    .*)?\n)*?(?=  \S|\S|\Z)", re.MULTILINE)
    if there.search(settings):
        return there.sub(lambda _: pinned.entry, settings, count=1)
    head = re.search(r"^config:[ \t]*\n", settings, re.MULTILINE)
    if head is None:
        raise PinError("the settings file has no line `config:` to put the entry below")
    return settings[: head.end()] + pinned.entry + settings[head.end() :]


def _published(source: str, read: Read) -> Iterator[tuple[str, str]]:
    folder, _, name = source.rpartition("/")
    for place, digests in ((f"{source}.spdx.json", _of_spdx), (f"{source}.sha256", _of_sums)):
        data = read(place)
        if data is not None:
            yield from ((place, digest) for digest in digests(data, source))
    place = f"{folder}/SHA256SUMS" if folder else "SHA256SUMS"
    data = read(place)
    if data is not None:
        yield from ((place, digest) for digest in _of_sums(data, name, named=True))


def _of_spdx(data: bytes, source: str) -> Iterator[str]:
    name = source.rpartition("/")[2]
    try:
        document = json.loads(data)
    except ValueError as error:
        raise PinError(f"{source}.spdx.json is not JSON: {error}") from error
    packages: list[Any] = document.get("packages", []) if isinstance(document, dict) else []
    for package in packages:
        if package.get("packageFileName") == name or package.get("downloadLocation") == source:
            for checksum in package.get("checksums", []):
                if checksum.get("algorithm") == "SHA256":
                    yield str(checksum.get("checksumValue", "")).lower()


def _of_sums(data: bytes, source: str, *, named: bool = False) -> Iterator[str]:
    name = source.rpartition("/")[2]
    for line in data.decode("utf-8", errors="replace").splitlines():
        found = _SUM.fullmatch(line.strip())
        if found and (found[2] or ("" if named else name)).rpartition("/")[2] == name:
            yield found[1].lower()


def _system(source: str, data: bytes) -> OperatingSystem:
    """Say which nodes can unpack and start this interpreter, by what is in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        names = []
    if "python.exe" in names and any(_EMBEDDABLE.fullmatch(name) for name in names):
        return OperatingSystem.WINDOWS
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            names = tar.getnames()
    except tarfile.TarError:
        names = []
    if any(name.removeprefix("./") in {"python/bin/python3", "bin/python3"} for name in names):
        return OperatingSystem.LINUX
    raise PinError(
        f"{source} is no interpreter for nodes: expected python.org's embeddable package for Windows (a zip file with"
        " python.exe) or a python-build-standalone archive for Linux (install_only.tar.gz with python/bin/python3)"
    )
