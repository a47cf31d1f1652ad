"""The settings of the scheduler's host: what is right without a word, and what is refused with its path."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.catalog import IMAGES
from infra.config.scheduler_host import PRIVATE, SchedulerHostConfig
from node_bootstrap.render import OperatingSystem
from scheduler.catalog import VM_SIZES

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody@example"
NETWORKS = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


def problems(**values: object) -> dict[str, str]:
    """What is wrong with settings, by the setting."""
    with pytest.raises(ValidationError) as caught:
        SchedulerHostConfig.model_validate(values)
    return {
        ".".join(map(str, e["loc"])): f"{e['msg']} {e.get('ctx', {}).get('remedy', '')}" for e in caught.value.errors()
    }


def test_a_host_needs_no_settings() -> None:
    """An empty section is a small machine whose image's Python is known."""
    host = SchedulerHostConfig()
    assert host.machine_image.system is OperatingSystem.LINUX
    assert host.python_version == "3.12"
    assert host.vm_size in VM_SIZES
    assert host.ssh_from == ()


def test_every_mistake_is_found_at_once() -> None:
    """Six wrong settings are six findings, each with what to write."""
    found = problems(
        image="windows-2022", vm_size="Standard_B1", python="3.10", interval="5", port=70000, data_disk={"size_gib": 0}
    )
    assert set(found) == {"image", "vm_size", "python", "interval", "port", "data_disk.size_gib"}
    assert "runs on Linux" in found["image"]
    assert "at least 3.11" in found["python"]


@pytest.mark.parametrize("image", sorted(IMAGES))
def test_only_linux_images_with_a_python_are_taken(image: str) -> None:
    """An image of the catalogue is right exactly when it is Linux and brings Python 3.11 or newer."""
    known = IMAGES[image]
    if known.system is OperatingSystem.LINUX and known.brings_python:
        assert SchedulerHostConfig(image=image).machine_image == known
    else:
        assert "write ubuntu-24.04" in problems(image=image)["image"]


def test_any_other_image_needs_its_python_named() -> None:
    """A marketplace reference of a release that is known has its Python; of another, the settings say it."""
    known = SchedulerHostConfig(image="Canonical:ubuntu-24_04-lts:server:24.04.202404230")
    assert known.python_version == "3.12"
    other = "Debian:debian-12:12-gen2:latest"
    assert "not known" in problems(image=other)["python"]
    assert SchedulerHostConfig(image=other, python="3.11").python_version == "3.11"
    assert "not an image" in problems(image="debian")["image"]


@given(NETWORKS)
def test_nothing_outside_may_log_in(network: IPv4Network) -> None:
    """A network is let in exactly when all of its addresses are private ones."""
    inside = any(network.subnet_of(block) for block in PRIVATE)
    if inside:
        host = SchedulerHostConfig.model_validate({"ssh_public_key": KEY, "ssh_from": [str(network)]})
        assert host.ssh_from == (network,)
        assert network.is_private
    else:
        assert "not a private network" in problems(ssh_public_key=KEY, ssh_from=[str(network)])["ssh_from"]


def test_a_network_without_a_key_is_told() -> None:
    """Opening a port that nobody has a key for is a mistake."""
    assert "ssh_public_key" in problems(ssh_from=["10.1.0.0/24"])["ssh_from"]


@pytest.mark.parametrize(
    "key",
    ["", "ssh-dss AAAA", "ssh-ed25519", "ssh-ed25519 ????", f"{KEY}\nssh-ed25519 AAAA", KEY.replace("ssh-ed", "ssh-")],
)
def test_what_is_no_public_key_is_refused(key: str) -> None:
    """One line of a kind that Azure takes, whose data is of that kind; nothing else gets onto the machine."""
    assert "ssh-ed25519" in problems(ssh_public_key=key)["ssh_public_key"]
