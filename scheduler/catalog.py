"""VM sizes and what they cost: facts written down with their source and date, for estimates and checks.

Prices are US dollars an hour in eastus. They are estimates for people; a bill comes from Azure alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

# Windows Server's licence, in dollars per vCPU and hour. Source: differences of the public pay-as-you-go prices of
# Windows and Linux in eastus (libcloud 3.9.1's price table, 2025-03): 0.046 on the D, E and N series, 0.039 on F.
_WINDOWS_PER_VCPU = 0.046
_WINDOWS_PER_VCPU_F = 0.039

# Spot in parts of pay-as-you-go. Source: cloudprice's table of eastus, 2026-09-06: 0.21 to 0.22 on D, E and F, 0.28 on
# T4. It changes by the hour; the licence of Windows is not discounted.
_SPOT_PART = 0.22
_SPOT_PART_N = 0.28

# The quotas of a region that count machines of every family: regular ones, and Spot ones, whose family does not matter
# (docs: vCPU quotas; names as `az vm list-usage` gives them).
REGIONAL_QUOTA = "cores"
SPOT_QUOTA = "lowPriorityCores"

# What a size's name is made of.
SIZE_PARTS = re.compile(
    r"(?P<tier>Standard|Basic)_(?P<series>[A-Z]+)(?P<vcpus>\d+)(-\d+)?(?P<features>[a-z]*)(_(?P<gpu>[A-Z]+\d+))?"
    r"(_(?P<version>v\d+))?"
)
# Families whose names do not follow from the size's.
_ODD_FAMILIES = {"NCasT4v3": "Standard NCASv3_T4 Family"}


@dataclass(frozen=True, slots=True)
class VmSize:
    """One size of machine. `spot_part` is the Spot price of the machine alone in parts of pay-as-you-go."""

    name: str
    vcpus: int
    memory_gib: int
    temporary_disk_gib: int
    linux_usd_per_hour: float
    windows_usd_per_hour: float
    spot_part: float

    def usd_per_hour(self, *, windows: bool = False, spot: bool = False) -> float:
        """Give the estimated price of one machine."""
        licence = self.windows_usd_per_hour - self.linux_usd_per_hour if windows else 0.0
        return self.linux_usd_per_hour * (self.spot_part if spot else 1.0) + licence


@lru_cache(maxsize=1024)
def quotas_of(size: str, *, spot: bool = False) -> tuple[str, ...]:
    """Name the quotas of a region that count the vCPUs of a size."""
    return (SPOT_QUOTA,) if spot else (REGIONAL_QUOTA, family_of(size))


def family_of(size: str) -> str:
    """Return the family of a size: its series and features without the number of cores."""
    parts = SIZE_PARTS.fullmatch(size)
    if parts is None:
        return f"standard{size.removeprefix('Standard_')}Family"
    version, gpu = parts["version"] or "", parts["gpu"] or ""
    series = parts["series"]
    # In the old series, m says only that there is more memory.
    features = parts["features"].replace("m", "") if series in {"A", "B"} else parts["features"]
    odd = _ODD_FAMILIES.get(f"{series}{features}{gpu}{version}")
    if odd:
        return odd
    if series == "A" and not version:
        return "standardA0_A7Family"
    return f"standard{series}{features.upper()}{gpu}{version}Family"


def _size(name: str, vcpus: int, memory_gib: int, temporary_disk_gib: int, linux_usd_per_hour: float) -> VmSize:
    series = name.removeprefix("Standard_")[0]
    per_vcpu = _WINDOWS_PER_VCPU_F if series == "F" else _WINDOWS_PER_VCPU
    return VmSize(
        name=name,
        vcpus=vcpus,
        memory_gib=memory_gib,
        temporary_disk_gib=temporary_disk_gib,
        linux_usd_per_hour=linux_usd_per_hour,
        windows_usd_per_hour=round(linux_usd_per_hour + vcpus * per_vcpu, 4),
        spot_part=_SPOT_PART_N if series == "N" else _SPOT_PART,
    )


# vCPU, GiB and temporary disk as the sizes' documentation gives them; Linux pay-as-you-go in eastus of 2026-06-18, from
# the price table of Azure's Karpenter provider.
_SIZES = (
    _size("Standard_D2s_v3", 2, 8, 16, 0.096),
    _size("Standard_D4s_v3", 4, 16, 32, 0.192),
    _size("Standard_D8s_v3", 8, 32, 64, 0.384),
    _size("Standard_D4ds_v4", 4, 16, 150, 0.226),
    _size("Standard_D8ds_v4", 8, 32, 300, 0.452),
    _size("Standard_D2s_v5", 2, 8, 0, 0.096),
    _size("Standard_D4s_v5", 4, 16, 0, 0.192),
    _size("Standard_D8s_v5", 8, 32, 0, 0.384),
    _size("Standard_D16s_v5", 16, 64, 0, 0.768),
    _size("Standard_D32s_v5", 32, 128, 0, 1.536),
    _size("Standard_D64s_v5", 64, 256, 0, 3.072),
    _size("Standard_D96s_v5", 96, 384, 0, 4.608),
    _size("Standard_D4ads_v5", 4, 16, 150, 0.206),
    _size("Standard_D8ads_v5", 8, 32, 300, 0.412),
    _size("Standard_D8ds_v5", 8, 32, 300, 0.452),
    _size("Standard_D16ds_v5", 16, 64, 600, 0.904),
    _size("Standard_E4s_v3", 4, 32, 64, 0.252),
    _size("Standard_E4ds_v5", 4, 32, 150, 0.288),
    _size("Standard_E8ds_v5", 8, 64, 300, 0.576),
    _size("Standard_E16ds_v5", 16, 128, 600, 1.152),
    _size("Standard_F2s_v2", 2, 4, 16, 0.0846),
    _size("Standard_F4s_v2", 4, 8, 32, 0.169),
    _size("Standard_F8s_v2", 8, 16, 64, 0.338),
    _size("Standard_F16s_v2", 16, 32, 128, 0.677),
    _size("Standard_F32s_v2", 32, 64, 256, 1.353),
    _size("Standard_F72s_v2", 72, 144, 576, 3.045),
    _size("Standard_NC4as_T4_v3", 4, 28, 176, 0.526),
    _size("Standard_NC16as_T4_v3", 16, 110, 352, 1.204),
)

VM_SIZES: Mapping[str, VmSize] = MappingProxyType({size.name: size for size in _SIZES})
