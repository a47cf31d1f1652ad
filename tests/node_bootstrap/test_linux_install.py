"""What the install script does to a Linux machine that is its own: the service's unit, the closed addresses."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from node_bootstrap.render import TEMPLATES
from tests.node_bootstrap.test_render import shellcheck

INSTALL = (TEMPLATES / "linux_install.sh").read_text(encoding="utf-8")
ROOT = Path(__file__).parents[2]
CLOSE = TEMPLATES / "linux_close_metadata.sh"
# Without these the runner could not start tasks as their account, end them, or look for what they left.
CAPABILITIES = {"CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"}


def unit(metadata_for_tasks: str = "") -> str:
    """The unit as the install script writes it."""
    start, end = INSTALL.index("# Without these rules"), INSTALL.index("begin 7 service")
    given = (
        "set -euo pipefail; here=/opt/millpond/0123; account=millpond-task; work=/mnt/millpond"
        "; state=/var/lib/millpond"
        f"; runner=/var/lib/millpond/runner.json; python=/usr/bin/python3; metadata_for_tasks={metadata_for_tasks}\n"
    )
    script = f"{given}{INSTALL[start:end]}unit\n"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout


def entries(text: str) -> dict[str, dict[str, list[str]]]:
    """A unit's sections; a line that is none of systemd's kinds is an error."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1], {})
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            assert re.fullmatch(r"[A-Z][A-Za-z]+", name), line
            section.setdefault(name, []).append(value)
    return sections


def test_the_unit_keeps_the_runner_running_and_takes_its_rights_away() -> None:
    """It is started again whatever happens but retirement, one task out of memory does not end the others."""
    sections = entries(unit())
    assert list(sections) == ["Unit", "Service", "Install"]
    service = sections["Service"]
    assert service["Restart"] == ["always"]
    assert service["RestartPreventExitStatus"] == ["3"]
    assert sections["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert service["OOMPolicy"] == ["continue"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert set(service["CapabilityBoundingSet"][0].split()) == CAPABILITIES
    assert service["ExecStartPre"] == ["+/bin/bash /opt/millpond/0123/close-metadata.sh millpond-task"]
    assert service["ExecStart"] == [
        "/usr/bin/env /usr/bin/python3 -P -m node_bootstrap.runner /var/lib/millpond/runner.json"
    ]
    assert sections["Unit"]["RequiresMountsFor"] == ["/mnt/millpond"]


def test_the_unit_is_as_reviewed() -> None:
    """What the install script writes is the golden file; MILLPOND_WRITE_GOLDEN=1 writes it anew for review."""
    golden = Path(__file__).parent / "golden" / "millpond.service"
    if os.environ.get("MILLPOND_WRITE_GOLDEN"):
        golden.write_text(unit(), encoding="utf-8")
    assert unit() == golden.read_text(encoding="utf-8")


def test_the_metadata_address_is_open_to_tasks_only_where_asked() -> None:
    """Without the wish nothing starts before the rules are there; with it there are none."""
    assert "ExecStartPre" in entries(unit())["Service"]
    assert "ExecStartPre" not in entries(unit("yes"))["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("metadata_for_tasks", ["", "yes"])
def test_systemd_understands_the_unit(tmp_path: Path, metadata_for_tasks: str) -> None:
    """Systemd's own check has nothing to say."""
    path = tmp_path / "millpond.service"
    path.write_text(unit(metadata_for_tasks))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "millpond" in line]
    assert said == []


def test_systemd_finds_what_is_wrong(tmp_path: Path) -> None:
    """The check above can fail: a word that systemd does not know is told."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    path = tmp_path / "millpond.service"
    path.write_text(unit().replace("OOMPolicy=", "OomPolicy="))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert "OomPolicy" in done.stdout + done.stderr


@pytest.mark.parametrize("script", [CLOSE, TEMPLATES / "linux_data_disk.sh"], ids=lambda path: path.stem)
def test_the_scripts_beside_pass_shellcheck(script: Path) -> None:
    """No finding, not even of style."""
    done = subprocess.run([shellcheck(), "--shell=bash", str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def _can_filter(tool: str) -> bool:
    """Whether this machine lets us have a network of our own with such a packet filter."""
    if os.getuid() != 0 or shutil.which(tool) is None or shutil.which("unshare") is None:
        return False
    probe = {"iptables": "iptables -w 5 -S OUTPUT", "nft": "nft list ruleset"}[tool]
    return subprocess.run(["unshare", "-n", "bash", "-c", probe], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("tool", ["iptables", "nft"])
def test_the_rules_hold_for_the_account_alone_and_are_there_once(tool: str, tmp_path: Path) -> None:
    """In a network of its own: after two runs there is one rule for each address, and it names the account."""
    if not _can_filter(tool):
        pytest.skip(f"no {tool}, or no right to use it")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in {"bash", "id", tool}:
        (tools / name).symlink_to(str(shutil.which(name)))
    listing = {"iptables": "iptables -S OUTPUT", "nft": "nft list table inet millpond"}[tool]
    script = f"bash {CLOSE} nobody && bash {CLOSE} nobody && {listing}"
    done = subprocess.run(
        [str(shutil.which("unshare")), "-n", str(shutil.which("bash")), "-c", script],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    account = r"(nobody|65534)"
    for address in (r"169\.254\.169\.254", r"168\.63\.129\.16"):
        lines = [line for line in done.stdout.splitlines() if re.search(address, line)]
        assert len(lines) == 1, done.stdout
        assert re.search(account, lines[0]), lines[0]
        assert "reject" in lines[0].lower()


# Listens at the addresses of a network of its own, and asks as root and, in a child, as another account.
ASK = """
import os, socket, sys
def answers(address, port):
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True
ends = [("169.254.169.254", 80), ("168.63.129.16", 80), ("168.63.129.16", 32526), ("168.63.129.16", 53)]
listening = [socket.create_server(end) for end in ends]
print([answers(*end) for end in ends], flush=True)
os.setuid(65534)
print([answers(*end) for end in ends], flush=True)
"""


@pytest.mark.parametrize("tool", ["iptables", "nft"])
def test_the_account_does_not_reach_what_the_node_does(tool: str, tmp_path: Path) -> None:
    """As root all addresses answer; as the account of the tasks only the name service does."""
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not _can_filter(tool) or ip is None:
        pytest.skip(f"no {tool}, no ip, or no right to use them")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "id", tool):
        (tools / name).symlink_to(str(shutil.which(name)))
    script = (
        f"{ip} link set lo up && {ip} addr add 169.254.169.254/32 dev lo && {ip} addr add 168.63.129.16/32 dev lo"
        f' && bash {CLOSE} nobody && exec {sys.executable} -c "$ASK"'
    )
    done = subprocess.run(
        [str(shutil.which("unshare")), "-n", str(shutil.which("bash")), "-c", script],
        env={"PATH": str(tools), "ASK": ASK},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == [str([True] * 4), str([False, False, False, True])], done.stderr


# What the runner does with its rights: it gives a task its folder, starts it as its account, ends it with all it began.
RUN_A_TASK = """
import sys, threading
from pathlib import Path
from node_bootstrap.protocol import ExitCodeRules, Outcome
from node_bootstrap.runner.account import account_named, hand_over
from node_bootstrap.runner.task_process import Command, TaskProcess
top = Path(sys.argv[1])
folder = top / "wd"
folder.mkdir()
hand_over(folder, account_named("nobody"))
process = TaskProcess()
def stop():
    while not (folder / "who").exists() or not (folder / "who").read_text():
        pass
    process.stop(Outcome.CANCELLED, "asked")
threading.Thread(target=stop, daemon=True).start()
words = ["bash", "-c", "setsid sleep 600 & id -un >who; sleep 600"]
environment = {"PATH": "/usr/bin:/bin", "MILLPOND_RUN": str(folder)}
given = Command(words, folder, environment, top / "out", top / "err", str(folder), account_named("nobody"), 30.0)
print((process.run(given, ExitCodeRules()).outcome.value, (folder / "who").read_text()))
"""


def test_the_capabilities_that_the_unit_leaves_are_enough() -> None:
    """With these alone and no new rights, a task runs as its account and is ended, children of other sessions too."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("not root, or no setpriv")
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in sorted(CAPABILITIES))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        done = subprocess.run(
            ["setpriv", "--no-new-privs", f"--bounding-set=-all,{kept}", sys.executable, "-c", RUN_A_TASK, folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        left = [each for each in psutil.process_iter(["cwd"]) if (each.info["cwd"] or "").startswith(folder)]
    assert done.stdout.strip() == str(("cancelled", "nobody\n")), done.stderr
    assert left == []


# In mounts of its own: /dev with one disk at LUN 0, a copy of /etc, an empty /srv. Then the script, twice.
DISK = """
set -e
read -r major minor < <(stat -c '%Hr %Lr' "$LOOP")
mkdir "$TOP/etc" && cp -a /etc/. "$TOP/etc/" && mount --bind "$TOP/etc" /etc
mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod "$LOOP" b "$major" "$minor" && ln -s /proc/self/fd /dev/fd
mount -t tmpfs none /srv
mkdir -p /dev/disk/azure/scsi1 && ln -s "$LOOP" /dev/disk/azure/scsi1/lun0
: >/etc/fstab
bash "$SCRIPT" /srv/millpond
echo kept >/srv/millpond/file
bash "$SCRIPT" /srv/millpond
umount /srv/millpond
bash "$SCRIPT" /srv/millpond
cat /srv/millpond/file
grep -c /srv/millpond /etc/fstab
"""


@contextmanager
def disk(path: Path) -> Iterator[str]:
    """A file as a disk; its device."""
    tools = ("losetup", "unshare", "mkfs.ext4", "blkid", "lsblk")
    if os.getuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip("not root, or no tools for disks")
    attached = subprocess.run(["losetup", "-f", "--show", str(path)], capture_output=True, text=True, check=False)
    if attached.returncode != 0:
        pytest.skip("no loop devices here")
    try:
        yield attached.stdout.strip()
    finally:
        subprocess.run(["losetup", "-d", attached.stdout.strip()], check=True)


def mount_disk(loop: str, top: Path) -> subprocess.CompletedProcess[str]:
    """Run the script on a disk, as on a machine that has it."""
    given = {**os.environ, "LOOP": loop, "TOP": str(top), "SCRIPT": str(TEMPLATES / "linux_data_disk.sh")}
    command = ["unshare", "-m", "bash", "-c", DISK]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_a_blank_data_disk_is_formatted_once(tmp_path: Path) -> None:
    """Run three times, also after it was unmounted: what was written stays, and it is mounted by one line."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    with disk(image) as loop:
        done = mount_disk(loop, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == ["kept", "1"]


def test_a_data_disk_with_something_else_on_it_is_left_as_it_is(tmp_path: Path) -> None:
    """Another file system is no blank disk: the script fails, names it and its own line, and writes nothing."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    subprocess.run(["mkfs.ext2", "-q", str(image)], check=True)
    before = image.read_bytes()
    with disk(image) as loop:
        done = mount_disk(loop, tmp_path)
    assert done.returncode != 0
    assert "something else on it than our file system (ext2)" in done.stdout
    assert "data-disk.sh failed at line" in done.stdout
    assert image.read_bytes() == before
