"""The bundle of the scheduler's host: the scheduler, the packages it needs, and the script that installs them."""

from pathlib import Path
from types import MappingProxyType

import scheduler
from infra.host_wheels import fetch_wheels, pins_for
from node_bootstrap.bundle import Bundle, pack, runner_sources
from node_bootstrap.render import TEMPLATES

_SCRIPTS = MappingProxyType(
    {
        "install.sh": "linux_host_install.sh",
        "supervise.sh": "linux_host_supervise.sh",
        "data-disk.sh": "linux_data_disk.sh",
    }
)
# What the scheduler consists of: its modules, and the templates, style and script of its page.
_KINDS = ("py", "j2", "css", "js", "svg")
# A tool for people, with pictures; no command of the host's uses it, and its libraries are large.
TOOLS = ("simulator", "cli/simulate", "cli/pool_shadow")


def build_host_bundle(python: str, cache: Path | None = None) -> Bundle:
    """Pack the scheduler for a Linux host with that Python; the same sources and lock give the same bytes.

    Wheels go in as they are: the host unpacks them. Raises `HostBundleError` when they cannot be fetched.
    """
    members = {**runner_sources(), "python-version": f"{python}\n".encode()}
    for member, template in _SCRIPTS.items():
        members[member] = (TEMPLATES / template).read_bytes()
    sources = Path(str(scheduler.__file__)).parent
    for path in (path for kind in _KINDS for path in sources.rglob(f"*.{kind}")):
        name = path.relative_to(sources).as_posix()
        if not name.startswith(TOOLS):
            members[f"scheduler/{name}"] = path.read_bytes()
    for wheel in fetch_wheels(python, pins_for(python), cache):
        members[f"wheels/{wheel.name}"] = wheel.read_bytes()
    return pack(members)
