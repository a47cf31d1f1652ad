"""Images by the short names that stack settings use, with the day their maker stops mending them.

SKU names: Microsoft's and Canonical's marketplace offers, as of 2026-05; the catalogue has generation-2 images only.
End of life: Microsoft's lifecycle pages (end of extended support) and Ubuntu's release cycle (end of standard security
maintenance; the month's last day where Canonical names a month). Node agents: Azure Batch's list of supported images.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from types import MappingProxyType

from infra.findings import choose, wrong
from node_bootstrap.render import OperatingSystem

WINDOWS_OFFER = ("MicrosoftWindowsServer", "WindowsServer")
WINDOWS_AGENT = "batch.node.windows amd64"
# Time enough to try another image and to move to it.
END_IS_NEAR = timedelta(days=180)
# What the images' disks are at least (smalldisk: docs, 30 GiB; other Windows images 127; Canonical's 30).
_SMALL_DISK_GIB, _WINDOWS_DISK_GIB = 30, 127


@dataclass(frozen=True, slots=True)
class Image:
    """An image; `generation` is the virtual machine's (firmware), not ours.

    A marketplace image has publisher, offer, SKU and version, any other a `resource_id`. `end_of_life` and `disk_gib`
    are None where they are not known. `brings_python` says whether there is Python 3.11 or newer in it.
    """

    alias: str
    system: OperatingSystem
    publisher: str = ""
    offer: str = ""
    sku: str = ""
    end_of_life: date | None = None
    generation: str = "V2"
    version: str = "latest"
    resource_id: str | None = None
    disk_gib: int | None = None
    node_agent: str | None = None
    brings_python: bool = True

    @property
    def managed(self) -> bool:
        """Whether it is a managed image: scale sets of those are smaller, and Azure Batch retires them."""
        return self.resource_id is not None and "/galleries/" not in self.resource_id.lower()

    def warning(self, today: date) -> str | None:
        """Say so when its maker no longer mends it, or soon will not."""
        if self.end_of_life is None or today < self.end_of_life - END_IS_NEAR:
            return None
        when = "got its last security update on" if today > self.end_of_life else "gets no security updates after"
        return f"the image {self.alias} {when} {self.end_of_life.isoformat()}: choose a newer one"


_WINDOWS_2019_ENDS = date(2029, 1, 9)
_WINDOWS_2022_ENDS = date(2031, 10, 14)
_WINDOWS_2025_ENDS = date(2034, 10, 10)  # the earlier of the two days that have been published
_UBUNTU_22_04_ENDS = date(2027, 4, 30)
_UBUNTU_24_04_ENDS = date(2029, 4, 30)


def _windows(alias: str, sku: str, end_of_life: date) -> Image:
    publisher, offer = WINDOWS_OFFER
    return Image(
        alias,
        OperatingSystem.WINDOWS,
        publisher,
        offer,
        sku,
        end_of_life,
        disk_gib=_SMALL_DISK_GIB if "smalldisk" in sku else _WINDOWS_DISK_GIB,
        node_agent=WINDOWS_AGENT,
        brings_python=False,
    )


def _ubuntu(alias: str, offer: str, sku: str, end_of_life: date, *, brings_python: bool) -> Image:
    return Image(
        alias,
        OperatingSystem.LINUX,
        "Canonical",
        offer,
        sku,
        end_of_life,
        disk_gib=_SMALL_DISK_GIB,
        node_agent=f"batch.node.{alias.replace('-', ' ')}",
        brings_python=brings_python,
    )


_IMAGES = (
    _windows("windows-2019", "2019-datacenter-gensecond", _WINDOWS_2019_ENDS),
    _windows("windows-2019-containers", "2019-datacenter-with-containers-gs", _WINDOWS_2019_ENDS),
    _windows("windows-2019-core", "2019-datacenter-core-g2", _WINDOWS_2019_ENDS),
    _windows("windows-2019-smalldisk", "2019-datacenter-smalldisk-g2", _WINDOWS_2019_ENDS),
    _windows("windows-2019-core-smalldisk", "2019-datacenter-core-smalldisk-g2", _WINDOWS_2019_ENDS),
    _windows("windows-2022", "2022-datacenter-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-core", "2022-datacenter-core-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-smalldisk", "2022-datacenter-smalldisk-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-core-smalldisk", "2022-datacenter-core-smalldisk-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-azure-edition", "2022-datacenter-azure-edition", _WINDOWS_2022_ENDS),
    _windows("windows-2022-azure-edition-core", "2022-datacenter-azure-edition-core", _WINDOWS_2022_ENDS),
    _windows("windows-2022-azure-edition-smalldisk", "2022-datacenter-azure-edition-smalldisk", _WINDOWS_2022_ENDS),
    _windows("windows-2025", "2025-datacenter-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-core", "2025-datacenter-core-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-smalldisk", "2025-datacenter-smalldisk-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-core-smalldisk", "2025-datacenter-core-smalldisk-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-azure-edition", "2025-datacenter-azure-edition", _WINDOWS_2025_ENDS),
    _windows("windows-2025-azure-edition-core", "2025-datacenter-azure-edition-core", _WINDOWS_2025_ENDS),
    _windows("windows-2025-azure-edition-smalldisk", "2025-datacenter-azure-edition-smalldisk", _WINDOWS_2025_ENDS),
    # Python 3.10 is in it, and the task runner needs 3.11: the stack pins one (`linux_python`).
    _ubuntu("ubuntu-22.04", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", _UBUNTU_22_04_ENDS, brings_python=False),
    _ubuntu("ubuntu-24.04", "ubuntu-24_04-lts", "server", _UBUNTU_24_04_ENDS, brings_python=True),
)

IMAGES: Mapping[str, Image] = MappingProxyType({image.alias: image for image in _IMAGES})

# Offers that we know whole: another SKU of theirs is a misspelling, or younger than this page.
_GENERATION_1 = (
    *(
        f"{year}-datacenter{kind}"
        for year in (2019, 2022, 2025)
        for kind in ("", "-core", "-smalldisk", "-core-smalldisk")
    ),
    "2019-datacenter-with-containers",
)
_SKUS: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("microsoftwindowsserver", "windowsserver"): (
            *(image.sku for image in _IMAGES if image.system is OperatingSystem.WINDOWS),
            *_GENERATION_1,
        ),
        ("canonical", "0001-com-ubuntu-server-jammy"): ("22_04-lts-gen2", "22_04-lts"),
        ("canonical", "ubuntu-24_04-lts"): ("server", "server-gen1"),
    }
)

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REFERENCE = re.compile(rf"({_PART}):({_PART}):({_PART}):({_PART})")
_VERSION = re.compile(r"latest|\d+\.\d+\.\d+", re.IGNORECASE)
_RESOURCE_ID = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+/providers/Microsoft\.Compute/"
    r"(?:images/[^/]+|galleries/[^/]+/images/[^/]+(?:/versions/[^/]+)?)",
    re.IGNORECASE,
)
REFERENCE_RULE = (
    "an alias of infra/catalog.py, publisher:offer:sku:version, or the resource id of a managed image or of a gallery's"
    " image"
)


def find_image(text: str, system: OperatingSystem | None) -> Image:
    """Give the image that settings name: by alias, marketplace reference or resource id.

    `system` is what the settings say runs on it, needed where the image does not tell. Raises pydantic's error with
    what to write instead.
    """
    image = IMAGES.get(text) or _marketplace(text, system) or _own(text, system)
    if image is None:
        raise wrong(f"{text!r} is not an image: {REFERENCE_RULE}", choose(text, list(IMAGES)))
    if system is not None and image.system is not system:
        raise wrong(f"{text!r} is a {image.system} image and `os` says {system}", f"write os: {image.system}")
    return image


def _marketplace(text: str, system: OperatingSystem | None) -> Image | None:
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return None
    publisher, offer, sku, version = found.groups()
    if _VERSION.fullmatch(version) is None:
        raise wrong(
            f"{version!r} is not an image's version", "write latest, or three numbers such as 20348.2700.240906"
        )
    known = _SKUS.get((publisher.lower(), offer.lower()))
    if known is not None and sku.lower() not in known:
        raise wrong(
            f"{text!r} is not an image: {publisher}:{offer} has no {sku}; a younger one belongs into infra/catalog.py",
            choose(sku, known),
        )
    for image in _IMAGES:
        if (image.publisher.lower(), image.offer.lower()) == (publisher.lower(), offer.lower()) and (
            image.sku.split("-")[0] == sku.lower().split("-")[0]
        ):
            disk = _SMALL_DISK_GIB if "smalldisk" in sku.lower() else image.disk_gib
            return replace(image, alias=text, sku=sku, version=version.lower(), disk_gib=disk)
    if system is None:
        raise wrong(f"what runs on {text!r} is not known here", "write os: linux or os: windows too")
    return Image(
        text, system, publisher, offer, sku, version=version.lower(), brings_python=system is OperatingSystem.LINUX
    )


def _own(text: str, system: OperatingSystem | None) -> Image | None:
    if _RESOURCE_ID.fullmatch(text) is None:
        return None
    if system is None:
        raise wrong(f"what runs on {text!r} is not known here", "write os: linux or os: windows too")
    return Image(text, system, resource_id=text, brings_python=system is OperatingSystem.LINUX)
