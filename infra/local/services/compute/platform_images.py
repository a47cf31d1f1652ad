"""The marketplace images that the local Azure knows: those of the image catalogue, and others in wide use."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from infra.catalog import IMAGES
from infra.local.arm.errors import ArmError
from node_bootstrap.render import OperatingSystem

Json = dict[str, Any]

_WINDOWS = ("MicrosoftWindowsServer", "WindowsServer")
# The first number of a Windows version is its build; of others it is the release.
_BUILDS = {"2012": "9200", "2016": "14393", "2019": "17763", "2022": "20348", "2025": "26100"}
# Two months' releases; a version says the day that it was made.
_DAYS = ("251014", "251111")
_VERSION = re.compile(r"latest|\d+\.\d+\.\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """One SKU of a publisher's offer."""

    publisher: str
    offer: str
    sku: str
    windows: bool = False
    generation: str = "V2"

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is found by, without regard to case."""
        return (self.publisher.lower(), self.offer.lower(), self.sku.lower())

    @property
    def versions(self) -> tuple[str, ...]:
        """Its versions, oldest first."""
        if self.windows:
            build = next((build for year, build in _BUILDS.items() if self.sku.startswith(year)), "19041")
            return tuple(f"{build}.{4000 + int(day[2:4])}.{day}" for day in _DAYS)
        release = [part.lstrip("0") or "0" for part in re.findall(r"\d+", f"{self.sku} {self.offer}")]
        major, minor = (*release, "0", "0")[:2]
        return tuple(f"{major}.{minor}.20{day}0" for day in _DAYS)


def _windows(sku: str) -> PlatformImage:
    new = "azure-edition" in sku or sku.endswith(("-g2", "-gs", "-gensecond"))
    return PlatformImage(*_WINDOWS, sku, windows=True, generation="V2" if new else "V1")


def _windows_skus() -> list[str]:
    """List the SKUs of Windows Server, generation 1 and 2 (docs: images of Windows Server, 2026-05)."""
    found = ["2012-R2-Datacenter", "2016-Datacenter", "2016-datacenter-gensecond", "2016-Datacenter-smalldisk"]
    found += [f"2019-Datacenter{kind}" for kind in ("", "-Core", "-smalldisk", "-Core-smalldisk", "-with-Containers")]
    found += ["2019-datacenter-gensecond", "2019-datacenter-with-containers-gs", "2016-Datacenter-with-Containers"]
    for year in ("2022", "2025"):
        for kind in ("", "-core", "-smalldisk", "-core-smalldisk"):
            found += [
                f"{year}-datacenter{kind}",
                f"{year}-datacenter{kind}-g2",
                f"{year}-datacenter-azure-edition{kind}",
            ]
    return found


# What the Azure CLI offers by alias, and what else documentation uses.
_OTHERS = (
    *(_windows(sku) for sku in _windows_skus()),
    PlatformImage("Canonical", "UbuntuServer", "16.04-LTS", generation="V1"),
    PlatformImage("Canonical", "UbuntuServer", "18.04-LTS", generation="V1"),
    PlatformImage("Canonical", "UbuntuServer", "18_04-lts-gen2"),
    PlatformImage("Canonical", "0001-com-ubuntu-server-focal", "20_04-lts", generation="V1"),
    PlatformImage("Canonical", "0001-com-ubuntu-server-focal", "20_04-lts-gen2"),
    PlatformImage("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts", generation="V1"),
    PlatformImage("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2"),
    PlatformImage("Canonical", "ubuntu-24_04-lts", "server-gen1", generation="V1"),
    PlatformImage("Canonical", "ubuntu-24_04-lts", "server"),
    PlatformImage("Canonical", "ubuntu-24_04-lts", "minimal"),
    PlatformImage("Debian", "debian-11", "11-backports-gen2"),
    PlatformImage("Debian", "debian-12", "12-gen2"),
    PlatformImage("OpenLogic", "CentOS", "8_5-gen2"),
    PlatformImage("RedHat", "RHEL", "8-lvm-gen2"),
    PlatformImage("RedHat", "RHEL", "9-lvm-gen2"),
    PlatformImage("SUSE", "opensuse-leap-15-4", "gen2"),
    PlatformImage("SUSE", "sles-15-sp5", "gen2"),
    PlatformImage("kinvolk", "flatcar-container-linux-free", "stable-gen2"),
    PlatformImage("almalinux", "almalinux-x86_64", "9-gen2"),
    PlatformImage("microsoft-dsvm", "ubuntu-hpc", "2204"),
    PlatformImage("microsoft-dsvm", "ubuntu-hpc", "2404"),
)


def _catalogued() -> list[PlatformImage]:
    return [
        PlatformImage(
            image.publisher,
            image.offer,
            image.sku,
            windows=image.system is OperatingSystem.WINDOWS,
            generation=image.generation,
        )
        for image in IMAGES.values()
    ]


PLATFORM_IMAGES: Mapping[tuple[str, str, str], PlatformImage] = MappingProxyType(
    {image.key: image for image in (*_OTHERS, *_catalogued())}
)


def check_reference(profile: Json) -> None:
    """Refuse a model whose marketplace image does not exist; images of one's own are not looked for."""
    reference = (profile.get("storageProfile") or {}).get("imageReference") or {}
    if not reference.get("publisher"):
        return
    names = tuple(str(reference.get(part, "")) for part in ("publisher", "offer", "sku"))
    version = str(reference.get("version", "latest"))
    image = PLATFORM_IMAGES.get((names[0].lower(), names[1].lower(), names[2].lower()))
    if image is None or not _VERSION.fullmatch(version):
        message = (
            f"The platform image '{':'.join((*names, version))}' is not available. Verify that all fields in the"
            " storage profile are correct. For more details about storage profile information, please refer to"
            " https://aka.ms/storageprofile"
        )
        raise ArmError(HTTPStatus.NOT_FOUND, "PlatformImageNotFound", message, "imageReference")


def exact_version(reference: Json) -> str | None:
    """Return the version that a reference stands for."""
    key = tuple(str(reference.get(part, "")).lower() for part in ("publisher", "offer", "sku"))
    image = PLATFORM_IMAGES.get((key[0], key[1], key[2]))
    version = str(reference.get("version", "latest"))
    return image.versions[-1] if image and version.lower() == "latest" else version
