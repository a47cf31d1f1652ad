"""The scheduler's host as settings: a small Linux machine, its data disk, and who may log in to it."""

import base64
import binascii
import re
from datetime import timedelta
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from infra.catalog import IMAGES, Image, find_image
from infra.config.scheduler_database import DatabaseConfig
from infra.config.section import Duration, Section, Tags, rule
from infra.findings import choose, wrong
from node_bootstrap.render import OperatingSystem
from scheduler.catalog import VM_SIZES

# Python of the images that the scheduler runs on, by their offer: what /usr/bin/python3 is in the release (Ubuntu's
# package lists).
PYTHONS = MappingProxyType({"ubuntu-24_04-lts": "3.12"})
DEFAULT_IMAGE = "ubuntu-24.04"
OLDEST_PYTHON = (3, 11)

# RFC 1918: what `ssh_from` may name. Nothing is ever opened to addresses outside.
PRIVATE = tuple(IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))

# Kinds that Azure takes for Linux machines (docs: SSH keys for Linux VMs).
_KEY_KINDS = ("ssh-ed25519", "ssh-rsa")
# The first word of a key's data is the length of its kind, which stands behind it (RFC 4253, section 6.6).
_LENGTH_BYTES = 4
_PYTHON = re.compile(r"3\.\d{1,2}")
# Azure's bounds of a managed disk (docs: managed disk types); the upper one is that of the smallest kind offered here.
_SMALLEST_DISK_GIB, _LARGEST_DISK_GIB = 4, 32767


def _is_python(text: str) -> bool:
    return _PYTHON.fullmatch(text) is not None and tuple(map(int, text.split("."))) >= OLDEST_PYTHON


def _is_public_key(text: str) -> bool:
    kind, _, rest = text.partition(" ")
    try:
        data = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error:
        return False
    named = data[_LENGTH_BYTES : _LENGTH_BYTES + len(kind)].decode(errors="replace")
    return kind in _KEY_KINDS and named == kind and text.isprintable()


def _offer(image: str) -> str:
    return find_image(image, OperatingSystem.LINUX).offer.lower()


class DataDiskConfig(Section):
    """The disk that holds the scheduler's store. It outlives the machine, and the settings that declare it."""

    size_gib: int = Field(32, ge=_SMALLEST_DISK_GIB, le=_LARGEST_DISK_GIB, examples=[32])
    type: Literal["StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS"] = Field(
        "Premium_LRS", examples=["Premium_LRS"]
    )


class SchedulerHostConfig(Section):
    """The machine that the scheduler runs on.

    `python` is the version of its image's Python, which the scheduler's packages are fetched for; only an image that
    is not known here needs it. The store is on `data_disk`, or in `database` where that is written. `port` is the
    loopback port that the scheduler answers on, 0 for any.
    """

    image: str = Field(DEFAULT_IMAGE, examples=[DEFAULT_IMAGE])
    vm_size: str = Field("Standard_D2s_v5", examples=["Standard_D2s_v5"])
    python: Annotated[str, rule(_is_python, "a version such as 3.12, at least 3.11")] | None = Field(
        None, validate_default=True, examples=["3.12"]
    )
    data_disk: DataDiskConfig = Field(DataDiskConfig(), examples=[{"size_gib": 32, "type": "Premium_LRS"}])
    database: DatabaseConfig | None = Field(None, examples=[{"sku": "Standard_D2ds_v5", "storage_gib": 64}])
    interval: Duration = Field(timedelta(seconds=1), examples=["1s"])
    port: int = Field(8471, ge=0, le=65535, examples=[8471])
    ssh_public_key: (
        Annotated[str, rule(_is_public_key, "one line of a public key: ssh-ed25519 or ssh-rsa, and its data")] | None
    ) = Field(None, examples=["ssh-ed25519 AAAA... name"])
    ssh_from: tuple[IPv4Network, ...] = Field((), examples=[["10.1.0.0/24"]])
    tags: Tags = Field({}, examples=[{"team": "platform"}])

    @field_validator("image")
    @classmethod
    def _linux(cls, value: str) -> str:
        known = IMAGES.get(value)
        if known is not None and known.system is not OperatingSystem.LINUX:
            raise wrong(f"{value!r} is a Windows image, and the scheduler runs on Linux", f"write {DEFAULT_IMAGE}")
        if not find_image(value, OperatingSystem.LINUX).brings_python:
            raise wrong(
                f"the Python of {value!r} is older than 3.11, which the scheduler needs", f"write {DEFAULT_IMAGE}"
            )
        return value

    @field_validator("vm_size")
    @classmethod
    def _known_size(cls, value: str) -> str:
        if value not in VM_SIZES:
            raise wrong(f"{value!r} is not a VM size in scheduler/catalog.py", choose(value, list(VM_SIZES)))
        return value

    @field_validator("python")
    @classmethod
    def _python_of_image(cls, value: str | None, info: ValidationInfo) -> str | None:
        image = info.data.get("image")
        if value is None and image is not None and _offer(image) not in PYTHONS:
            raise wrong(
                f"is missing: the Python of {image} is not known",
                f"write the version that the image has, or choose the image {DEFAULT_IMAGE}",
            )
        return value

    @field_validator("interval")
    @classmethod
    def _bounds(cls, value: timedelta) -> timedelta:
        if not timedelta(milliseconds=50) <= value <= timedelta(minutes=1):
            raise wrong(f"{value} is out of bounds", "write between 50ms and 1m")
        return value

    @field_validator("ssh_from")
    @classmethod
    def _private_only(cls, value: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        for network in value:
            if not any(network.subnet_of(block) for block in PRIVATE):
                raise wrong(
                    f"{network} is not a private network, and nothing is opened to the outside",
                    "write networks within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
                )
        return value

    @field_validator("ssh_from", mode="after")
    @classmethod
    def _with_a_key(cls, value: tuple[IPv4Network, ...], info: ValidationInfo) -> tuple[IPv4Network, ...]:
        if value and "ssh_public_key" in info.data and info.data["ssh_public_key"] is None:
            raise wrong("nobody has a key to log in with", "write ssh_public_key too, or leave ssh_from out")
        return value

    @field_validator("database")
    @classmethod
    def _one_store(cls, value: DatabaseConfig | None, info: ValidationInfo) -> DatabaseConfig | None:
        if value is not None and info.data.get("data_disk", DataDiskConfig()) != DataDiskConfig():
            raise wrong("the store would be in two places: data_disk is written too", "leave one of them out")
        return value

    @property
    def machine_image(self) -> Image:
        """What is known of the image."""
        return find_image(self.image, OperatingSystem.LINUX)

    @property
    def python_version(self) -> str:
        """The version of the machine's Python."""
        return self.python or PYTHONS[_offer(self.image)]
