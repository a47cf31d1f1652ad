"""The bundle that stage 0 fetches: the task runner and its install script, named by their hash."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from node_bootstrap.boot_plan import PLAN_FILE, BootPlan
from node_bootstrap.codec import encode
from node_bootstrap.render import TEMPLATES, OperatingSystem

_PACKAGE = Path(__file__).parent
_NO_WISHES = BootPlan()
# What lies in a bundle beside the runner, and the template it is.
SYSTEM_FILES = MappingProxyType(
    {
        OperatingSystem.LINUX: MappingProxyType(
            {
                "install.sh": "linux_install.sh",
                "close-metadata.sh": "linux_close_metadata.sh",
                "data-disk.sh": "linux_data_disk.sh",
            }
        ),
        OperatingSystem.WINDOWS: MappingProxyType(
            {"install.ps1": "windows_install.ps1", "service.cs": "windows_service.cs"}
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A tar.gz archive and the SHA-256 of its bytes; its blob is `<sha256>.tar.gz` in `bundles`."""

    sha256: str
    data: bytes


def build_bundle(system: OperatingSystem, plan: BootPlan = _NO_WISHES) -> Bundle:
    """Pack the runner for an operating system, with what a pool wants of its machines.

    The same sources and the same plan give the same bytes on every machine.
    """
    scripts = {name: (TEMPLATES / source).read_bytes() for name, source in SYSTEM_FILES[system].items()}
    return pack({**scripts, PLAN_FILE: encode(plan).encode(), **runner_sources()})


def runner_sources() -> dict[str, bytes]:
    """Give the files of the task runner and of what it says on the wire, by their paths in a bundle."""
    members = {}
    for name in ("__init__.py", "boot_plan.py", "codec.py", "protocol.py"):
        members[f"node_bootstrap/{name}"] = (_PACKAGE / name).read_bytes()
    for path in (_PACKAGE / "runner").rglob("*.py"):
        members[f"node_bootstrap/{path.relative_to(_PACKAGE).as_posix()}"] = path.read_bytes()
    return members


def pack(members: Mapping[str, bytes]) -> Bundle:
    """Pack files, by their paths; the same files give the same bytes on every machine."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in sorted(members):
            entry = tarfile.TarInfo(member)
            entry.size = len(members[member])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(members[member]))
    packed = io.BytesIO()
    # Stored, not compressed: what zlib makes of a level depends on its build, and the hash is the name.
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=0, mtime=0) as stream:
        stream.write(archive.getvalue())
    return Bundle(hashlib.sha256(packed.getvalue()).hexdigest(), packed.getvalue())
