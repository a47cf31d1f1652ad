"""A generation changes with all that is declared of a group's machines, and with nothing else."""

import base64
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.components.machines import Machines, Software, build_software
from infra.components.stage_0 import extension_settings, start_command
from infra.config import parse
from infra.generations import generation
from node_bootstrap.bundle import Bundle
from node_bootstrap.render import OperatingSystem

GROUP: Mapping[str, Any] = {"name": "d2sv5", "vm_size": "Standard_D2s_v5"}
POOL: Mapping[str, Any] = {"name": "risk", "image": "ubuntu-24.04"}
STACK: Mapping[str, Any] = {"environment": "test", "location": "westeurope"}
PYTHON: Mapping[str, Any] = {"windows_python": {"url": "https://python.example/embed.zip", "sha256": "2" * 64}}


SUBNET = (
    "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.Network"
    "/virtualNetworks/vnet/subnets/nodes"
)


def machines(
    stack: Mapping[str, Any] | None = None,
    pool: Mapping[str, Any] | None = None,
    group: Mapping[str, Any] | None = None,
    bundle: str = "0" * 64,
    template: str = "0" * 64,
) -> Machines:
    """The machines of a stack with one group, with changes."""
    pools = [{**POOL, "groups": [{**GROUP, **(group or {})}], **(pool or {})}]
    config = parse({**STACK, "pools": pools, **(stack or {})})
    # Packed for real where the bundle's content matters: that takes a while.
    packed = build_software(config.pools[0]).bundle if "bootstrap" in pools[0] else Bundle(bundle, b"")
    software = Software(packed, template)
    return Machines(config, config.pools[0], config.pools[0].groups[0], software)


@pytest.mark.parametrize(
    "changed",
    [
        machines(group={"vm_size": "Standard_D4s_v5"}),
        machines(group={"priority": "spot"}),
        machines(group={"task_slots": 3}),
        machines(group={"revision": 1}),
        machines(group={"name": "other"}),
        machines(pool={"name": "other"}),
        machines(pool={"image": "windows-2022"}, stack=PYTHON),
        machines(pool={"node": {"status_interval": "5s"}}),
        machines(pool={"computer_name_prefix": "other"}),
        machines(stack={"environment": "other"}),
        machines(stack={"location": "northeurope"}),
        machines(stack={"storage": {"account": "another"}}),
        machines(bundle="1" * 64),
        machines(template="1" * 64),
        machines(pool={"kind": "batch"}),
        machines(pool={"image": "Canonical:ubuntu-24_04-lts:server:24.04.202511010"}),
        machines(pool={"subnet_id": SUBNET}),
        machines(pool={"pinned_python": True}, stack={"linux_python": PYTHON["windows_python"]}),
        machines(group={"zones": ["1", "2"]}),
        machines(group={"os_disk": {"size_gb": 64}}),
        machines(group={"os_disk": {"type": "Premium_LRS"}}),
        machines(group={"data_disk": {"size_gb": 64}}),
        machines(group={"vm_size": "Standard_D4ds_v4", "os_disk": {"ephemeral": True}}),
        machines(group={"priority": "spot", "spot_max_price": 0.1}),
    ],
)
def test_each_declared_thing_makes_new_machines(changed: Machines) -> None:
    """A change of anything that makes a machine what it is changes the generation and so the names."""
    assert changed.generation != machines().generation
    assert changed.name != machines().name


@given(
    tags=st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.text(max_size=20), max_size=3),
    max_nodes=st.integers(1, 50),
    wait=st.integers(1, 900),
)
def test_tags_and_capacity_never_make_new_machines(tags: dict[str, str], max_nodes: int, wait: int) -> None:
    """Tags, bounds and the scaling policy leave the generation as it is."""
    scaling = {"max_nodes": max_nodes, "acceptable_wait": f"{wait}s"}
    changed = machines(stack={"tags": tags}, pool={"tags": tags, "scaling": scaling}, group={"max_nodes": max_nodes})
    assert changed.generation == machines().generation


def test_each_wish_of_the_bootstrap_makes_machines_of_its_own() -> None:
    """No two bootstraps share a generation, on scale sets as on Batch pools; a written default is no change."""
    command: Mapping[str, Any] = {"name": "setup", "script": "true"}
    wishes: list[Mapping[str, Any]] = [
        {},
        {"time_zone": "Europe/Berlin"},
        {"environment": {"OMP_NUM_THREADS": "1"}},
        {"environment": {"OMP_NUM_THREADS": "2"}},
        {"packages": [{"name": "a", "file": "a.zip", "sha256": "2" * 64, "size": 1}]},
        {"packages": [{"name": "a", "file": "a.zip", "sha256": "3" * 64, "size": 1}]},
        {"start_commands": [command]},
        {"start_commands": [{**command, "script": "false"}]},
        {"start_commands": [{**command, "retries": 1}]},
        {"start_commands": [{**command, "timeout": "1m"}]},
        {"metadata_for_tasks": True},
    ]
    for kind in ("scale-set", "batch"):
        made = [machines(pool={"kind": kind, "bootstrap": wish}).generation for wish in wishes]
        assert len(set(made)) == len(wishes)
        assert machines(pool={"kind": kind, "bootstrap": {"time_zone": "UTC"}}).generation == made[0]


def test_what_is_left_out_is_the_same_as_its_default() -> None:
    """Writing a default down makes no new machines."""
    written = machines(group={"task_slots": 2, "priority": "regular"}, pool={"computer_name_prefix": "risk"})
    assert written.generation == machines().generation


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text())))
def test_the_order_of_keys_changes_nothing(declared: dict[str, object]) -> None:
    """The hash is over a canonical form."""
    assert generation(declared) == generation(dict(reversed(declared.items())))
    assert len(generation(declared)) == 8


def test_a_generation_is_the_same_in_every_run() -> None:
    """A known declaration has a known generation: a change here would make new machines everywhere."""
    assert generation({"vm_size": "Standard_D2s_v5", "slots": 2}) == "8b8f992f"


@given(st.text(max_size=300))
def test_windows_gets_stage_0_in_a_command_line_that_fits(script: str) -> None:
    """The command has no character that a shell reads, and stays below the longest command line of Windows."""
    command = extension_settings(OperatingSystem.WINDOWS, script)["commandToExecute"]
    assert command.count('"') == 2
    assert not set("%^|<>\n") & set(command)
    longest = extension_settings(OperatingSystem.WINDOWS, "x" * 4096)["commandToExecute"]
    assert len(longest) < 8191


@given(st.text(max_size=300))
def test_a_start_task_runs_stage_0_as_it_is(script: str) -> None:
    """Azure Batch starts no shell: the command line names one, and the script in it is the one that was rendered."""
    words = shlex.split(start_command(OperatingSystem.LINUX, script))
    assert words[:2] == ["/bin/bash", "-c"]
    assert base64.b64decode(words[2].split()[2]).decode() == script
    windows = start_command(OperatingSystem.WINDOWS, script)
    assert windows == extension_settings(OperatingSystem.WINDOWS, script)["commandToExecute"]


def test_another_python_makes_new_windows_machines_only() -> None:
    """The interpreter is part of what a Windows machine is, and no part of a Linux one."""
    windows: Mapping[str, Any] = {"image": "windows-2022"}
    other = {"windows_python": {**PYTHON["windows_python"], "sha256": "1" * 64}}
    assert machines(stack=PYTHON, pool=windows).generation != machines(stack=other, pool=windows).generation
    assert machines(stack=PYTHON).generation == machines(stack=other).generation == machines().generation
