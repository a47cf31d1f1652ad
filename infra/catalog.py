"""Images by the short names that stack settings use, with the day their maker stops mending them.

SKU names: Microsoft's and Canonical's marketplace offers, as of 2026-05 (generation-2 images only).
End of life: Microsoft's lifecycle pages (end of extended support) and Ubuntu's release cycle (end of standard security
maintenance; the month's last day where Canonical names a month).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from node_bootstrap.render import OperatingSystem


@dataclass(frozen=True, slots=True)
class Image:
    """A marketplace image; `generation` is the virtual machine's (firmware), not ours."""

    alias: str
    system: OperatingSystem
    publisher: str
    offer: str
    sku: str
    end_of_life: date
    generation: str = "V2"
    version: str = "latest"


_WINDOWS_2019_ENDS = date(2029, 1, 9)
_WINDOWS_2022_ENDS = date(2031, 10, 14)
_WINDOWS_2025_ENDS = date(2034, 10, 10)  # the earlier of the two days that have been published
_UBUNTU_24_04_ENDS = date(2029, 4, 30)


def _windows(alias: str, sku: str, end_of_life: date) -> Image:
    return Image(alias, OperatingSystem.WINDOWS, "MicrosoftWindowsServer", "WindowsServer", sku, end_of_life)


def _ubuntu(alias: str, offer: str, sku: str, end_of_life: date) -> Image:
    return Image(alias, OperatingSystem.LINUX, "Canonical", offer, sku, end_of_life)


_IMAGES = (
    _windows("windows-2019", "2019-datacenter-gensecond", _WINDOWS_2019_ENDS),
    _windows("windows-2019-containers", "2019-datacenter-with-containers-gs", _WINDOWS_2019_ENDS),
    _windows("windows-2022", "2022-datacenter-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-core", "2022-datacenter-core-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-smalldisk", "2022-datacenter-smalldisk-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-core-smalldisk", "2022-datacenter-core-smalldisk-g2", _WINDOWS_2022_ENDS),
    _windows("windows-2022-azure-edition", "2022-datacenter-azure-edition", _WINDOWS_2022_ENDS),
    _windows("windows-2025", "2025-datacenter-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-core", "2025-datacenter-core-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-smalldisk", "2025-datacenter-smalldisk-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-core-smalldisk", "2025-datacenter-core-smalldisk-g2", _WINDOWS_2025_ENDS),
    _windows("windows-2025-azure-edition", "2025-datacenter-azure-edition", _WINDOWS_2025_ENDS),
    # Ubuntu 22.04 is not here: its Python is 3.10, and the task runner needs 3.11.
    _ubuntu("ubuntu-24.04", "ubuntu-24_04-lts", "server", _UBUNTU_24_04_ENDS),
)

IMAGES: Mapping[str, Image] = MappingProxyType({image.alias: image for image in _IMAGES})
