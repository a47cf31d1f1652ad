"""Stage 0 of a node's boot: the small script that the machine's extension runs, rendered from a profile.

It names the node, fetches the bundle by its hash and runs the bundle's install script; see `templates/`.
Rendering is pure: text in, text out.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from node_bootstrap.quoting import only_quoted, quote_bash, quote_powershell

# Small enough for every way to deliver it: base64 of it stays under the 8,191 characters of a Windows command line.
MAX_STAGE_0_BYTES = 4096

# The host's comes by the Linux extension alone, which takes 256 KB (docs: custom script extension version 2); it may
# hold a public key.
MAX_HOST_STAGE_0_BYTES = 16 * 1024

TEMPLATES = Path(__file__).parent / "templates"


class OperatingSystem(StrEnum):
    """What runs on the machines of a pool."""

    LINUX = "linux"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """What a node must know to boot and to work; no secret is in it.

    Endpoints end with a slash. `python_sha256` names the interpreter's archive in `bundles` (`PYTHON_SUFFIXES`), which
    Windows needs, as its images have none, and Linux where the image's own is older than 3.11. With `data_disk`, tasks
    work on the machine's first data disk.
    """

    pool: str
    group: str
    generation: str
    blob_endpoint: str
    queue_endpoint: str
    work_queue: str
    events_queue: str
    identity_client_id: str
    task_slots: int
    bundle_sha256: str
    status_interval_seconds: float = 10.0
    python_sha256: str | None = None
    data_disk: bool = False


@dataclass(frozen=True, slots=True)
class HostProfile:
    """What the scheduler's host must know to boot and to serve; no secret is in it.

    Endpoints end with a slash. `administrator` logs in with `ssh_public_key`, by nothing where there is none.
    `store_url` is a database that the identity signs in to; without it the store is a file on the data disk.
    """

    stack: str
    blob_endpoint: str
    queue_endpoint: str
    settings_url: str
    identity_client_id: str
    bundle_sha256: str
    interval_seconds: float
    port: int
    administrator: str
    ssh_public_key: str | None = None
    store_url: str | None = None


# How the archive of an interpreter ends that nodes fetch by its hash.
PYTHON_SUFFIXES = MappingProxyType({OperatingSystem.LINUX: ".tar.gz", OperatingSystem.WINDOWS: ".zip"})

_STAGE_0 = MappingProxyType(
    {OperatingSystem.LINUX: "linux_stage0.sh.j2", OperatingSystem.WINDOWS: "windows_stage0.ps1.j2"}
)
_QUOTES = MappingProxyType({OperatingSystem.LINUX: quote_bash, OperatingSystem.WINDOWS: quote_powershell})


def render_stage_0(system: OperatingSystem, profile: NodeProfile) -> str:
    """Give the script that a new machine runs first.

    Raises `ValueError` when it would be larger than `MAX_STAGE_0_BYTES`, or lacks what the system needs.
    """
    if system is OperatingSystem.WINDOWS and profile.python_sha256 is None:
        raise ValueError("a Windows node needs python_sha256: its images have no Python interpreter")
    return _render(system, profile, MAX_STAGE_0_BYTES)


def render_host_stage_0(profile: HostProfile) -> str:
    """Give the script that a new scheduler's host runs first: the nodes' own, with the host's profile.

    Raises `ValueError` when it would be larger than `MAX_HOST_STAGE_0_BYTES`.
    """
    return _render(OperatingSystem.LINUX, profile, MAX_HOST_STAGE_0_BYTES)


def _render(system: OperatingSystem, profile: NodeProfile | HostProfile, most_bytes: int) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=only_quoted,
        autoescape=False,  # noqa: S701  these are scripts, not HTML; `finalize` refuses what is not quoted
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    environment.filters["quote"] = _QUOTES[system]
    text = environment.get_template(_STAGE_0[system]).render(
        profile=json.dumps(dataclasses.asdict(profile), sort_keys=True, separators=(",", ":"))
    )
    size = len(text.encode())
    if size > most_bytes:
        raise ValueError(f"stage 0 has {size} bytes, {most_bytes} fit; shorten the names in the profile")
    return text


def template_digest(system: OperatingSystem) -> str:
    """SHA-256 over stage 0's source: a changed template makes a new generation of every node group."""
    return hashlib.sha256((TEMPLATES / _STAGE_0[system]).read_bytes()).hexdigest()
