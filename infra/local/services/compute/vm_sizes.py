"""The sizes of machines that the local Azure has in every region: the catalogue's, and others in wide use."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from infra.local.arm.errors import invalid
from scheduler.catalog import SIZE_PARTS, VM_SIZES, family_of


@dataclass(frozen=True, slots=True)
class SizeFacts:
    """What a size is to quotas and to those who choose one."""

    name: str
    vcpus: int
    memory_gib: float
    temporary_disk_gib: int
    data_disks: int

    @property
    def family(self) -> str:
        """The family whose quota counts its cores."""
        return family_of(self.name)

    @property
    def spot(self) -> bool:
        """Whether Spot machines may have it: all but the burstable and promotional ones (docs: Spot limitations)."""
        return not self.name.startswith(("Standard_B", "Basic_", "Standard_A0", "Standard_A1"))

    @property
    def tier(self) -> str:
        """Standard or Basic."""
        return self.name.partition("_")[0]

    @property
    def premium(self) -> bool:
        """Whether its name says that it takes premium disks."""
        parts = SIZE_PARTS.fullmatch(self.name)
        return parts is not None and ("s" in parts["features"] or parts["series"] in {"DS", "GS"})


def _data_disks(vcpus: int) -> int:
    """How many data disks machines of that many cores take: two a core, from 4 up to 32."""
    return max(4, min(32, 2 * vcpus))


# vCPU, GiB and temporary disk as the sizes' documentation gives them.
_OTHERS = (
    SizeFacts("Basic_A0", 1, 0.75, 20, 1),
    SizeFacts("Standard_A0", 1, 0.75, 20, 1),
    SizeFacts("Standard_A1", 1, 1.75, 70, 2),
    SizeFacts("Standard_A1_v2", 1, 2, 10, 2),
    SizeFacts("Standard_A2_v2", 2, 4, 20, 4),
    SizeFacts("Standard_A4_v2", 4, 8, 40, 8),
    SizeFacts("Standard_A8_v2", 8, 16, 80, 16),
    SizeFacts("Standard_A8m_v2", 8, 64, 80, 16),
    SizeFacts("Standard_B1s", 1, 1, 4, 2),
    SizeFacts("Standard_B1ms", 1, 2, 4, 2),
    SizeFacts("Standard_B2s", 2, 4, 8, 4),
    SizeFacts("Standard_B2ms", 2, 8, 16, 4),
    SizeFacts("Standard_B4ms", 4, 16, 32, 8),
    SizeFacts("Standard_B2s_v2", 2, 8, 0, 4),
    SizeFacts("Standard_B2ats_v2", 2, 1, 0, 4),
    SizeFacts("Standard_D1_v2", 1, 3.5, 50, 4),
    SizeFacts("Standard_D2_v2", 2, 7, 100, 8),
    SizeFacts("Standard_D3_v2", 4, 14, 200, 16),
    SizeFacts("Standard_DS1_v2", 1, 3.5, 7, 4),
    SizeFacts("Standard_DS2_v2", 2, 7, 14, 8),
    SizeFacts("Standard_DS3_v2", 4, 14, 28, 16),
    SizeFacts("Standard_D2_v3", 2, 8, 50, 4),
    SizeFacts("Standard_D4_v3", 4, 16, 100, 8),
    SizeFacts("Standard_D16s_v3", 16, 64, 128, 32),
    SizeFacts("Standard_D2s_v4", 2, 8, 0, 4),
    SizeFacts("Standard_D4s_v4", 4, 16, 0, 8),
    SizeFacts("Standard_D2ds_v4", 2, 8, 75, 4),
    SizeFacts("Standard_D2as_v4", 2, 8, 16, 4),
    SizeFacts("Standard_D2_v5", 2, 8, 0, 4),
    SizeFacts("Standard_D2as_v5", 2, 8, 0, 4),
    SizeFacts("Standard_D4as_v5", 4, 16, 0, 8),
    SizeFacts("Standard_D8as_v5", 8, 32, 0, 16),
    SizeFacts("Standard_D2ads_v5", 2, 8, 75, 4),
    SizeFacts("Standard_D2ds_v5", 2, 8, 75, 4),
    SizeFacts("Standard_D4ds_v5", 4, 16, 150, 8),
    SizeFacts("Standard_DC2as_v5", 2, 8, 0, 4),
    SizeFacts("Standard_DC2es_v5", 2, 8, 0, 4),
    SizeFacts("Standard_E2s_v3", 2, 16, 32, 4),
    SizeFacts("Standard_E2s_v5", 2, 16, 0, 4),
    SizeFacts("Standard_E4s_v5", 4, 32, 0, 8),
    SizeFacts("Standard_E8s_v5", 8, 64, 0, 16),
    SizeFacts("Standard_F1s", 1, 2, 4, 4),
    SizeFacts("Standard_L8s_v3", 8, 64, 80, 16),
)

# By lower-case name: sizes compare without regard to case.
SIZES: Mapping[str, SizeFacts] = MappingProxyType(
    {size.name.lower(): size for size in _OTHERS}
    | {
        name.lower(): SizeFacts(name, size.vcpus, size.memory_gib, size.temporary_disk_gib, _data_disks(size.vcpus))
        for name, size in VM_SIZES.items()
    }
)


def size_of(name: Any, target: str) -> SizeFacts:
    """Return a size, or refuse as Azure does, with the sizes of the region."""
    found = SIZES.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        known = ",".join(sorted(size.name for size in SIZES.values()))
        message = (
            f"The value {name} provided for the VM size is not valid. The valid sizes in the current region are:"
            f" {known}. Find out more on the valid VM sizes in each region at https://aka.ms/azure-regions."
        )
        raise invalid(message, target)
    return found


def describe(size: SizeFacts) -> dict[str, Any]:
    """Return a size as `vmSizes` lists it."""
    return {
        "name": size.name,
        "numberOfCores": size.vcpus,
        "osDiskSizeInMB": 1047552,
        "resourceDiskSizeInMB": size.temporary_disk_gib * 1024,
        "memoryInMB": int(size.memory_gib * 1024),
        "maxDataDiskCount": size.data_disks,
    }


def describe_sku(size: SizeFacts, location: str, zones: list[str]) -> dict[str, Any]:
    """Return a size as `Microsoft.Compute/skus` lists it."""
    parts = SIZE_PARTS.fullmatch(size.name)
    new = parts is not None and parts["version"] is not None
    capabilities = {
        "MaxResourceVolumeMB": str(size.temporary_disk_gib * 1024),
        "OSVhdSizeMB": "1047552",
        "vCPUs": str(size.vcpus),
        "MemoryPreservingMaintenanceSupported": "True",
        "HyperVGenerations": "V1,V2" if new else "V1",
        "MemoryGB": f"{size.memory_gib:g}",
        "MaxDataDiskCount": str(size.data_disks),
        "CpuArchitectureType": "x64",
        "LowPriorityCapable": str(size.spot),
        "PremiumIO": str(size.premium),
        "VMDeploymentTypes": "IaaS",
        "vCPUsAvailable": str(size.vcpus),
        "EphemeralOSDiskSupported": str(size.premium and size.temporary_disk_gib > 0),
        "EncryptionAtHostSupported": str(new),
        "CapacityReservationSupported": "False",
        "AcceleratedNetworkingEnabled": str(new and size.vcpus > 1),
        "RdmaEnabled": "False",
        "MaxNetworkInterfaces": str(max(2, min(8, size.vcpus // 2))),
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": size.tier,
        "size": size.name.partition("_")[2],
        "family": size.family,
        "locations": [location],
        "locationInfo": [{"location": location, "zones": zones, "zoneDetails": []}],
        "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
        "restrictions": [],
    }
