"""Node groups as settings: machines of one size, bought one way, with their disks and zones."""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from infra.config.section import Name, Section
from infra.findings import choose, wrong
from scheduler.catalog import VM_SIZES, VmSize
from scheduler.model import GroupPriority

# A Uniform scale set of a marketplace or gallery image, without a single placement group; one of a managed image
# (Azure's limits, 2026-05-19).
MAX_SCALE_SET = 1000
MAX_MANAGED_IMAGE_SET = 600
# Azure Batch's bound on task slots: four a core, and no more than 256.
SLOTS_PER_VCPU = 4
MAX_SLOTS = 256
# Azure takes a Spot price in dollars with no more digits than this (docs: Spot pricing).
PRICE_DIGITS = 5
# Bounds of an OS disk and of a data disk that is not an Ultra disk (docs: managed disk types).
MAX_OS_DISK_GIB = 4095
MAX_DATA_DISK_GIB = 32767

ALL_ZONES = ("1", "2", "3")
# Arm processors have a "p" among the letters behind the number of vCPUs (docs: VM size naming conventions).
_ARM = re.compile(r"Standard_[A-Z]+\d+(?:-\d+)?[a-oq-z]*p[a-z]*(?:_.*)?")

DiskType = Literal["Standard_LRS", "StandardSSD_LRS", "Premium_LRS", "StandardSSD_ZRS", "Premium_ZRS"]


def _zone(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Zone = Annotated[Literal["1", "2", "3"], BeforeValidator(_zone)]


class OsDiskConfig(Section):
    """The disk that the system starts from; an ephemeral one is on the machine itself, for nothing, and never moved."""

    size_gb: int | None = Field(None, ge=1, le=MAX_OS_DISK_GIB, examples=[64])
    type: DiskType | None = Field(None, examples=["StandardSSD_LRS"])
    ephemeral: bool = Field(default=False, validate_default=True, examples=[False])

    @field_validator("ephemeral")
    @classmethod
    def _without_type(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("type") is not None:
            raise wrong("an ephemeral disk is no managed disk and has no type", "leave type or ephemeral out")
        return value


class DataDiskConfig(Section):
    """An empty disk a node, on which its tasks work; it goes with the node."""

    size_gb: int = Field(ge=4, le=MAX_DATA_DISK_GIB, examples=[128])
    type: DiskType = Field("StandardSSD_LRS", examples=["Premium_LRS"])


class GroupConfig(Section):
    """A node group: machines of one size, bought one way. A higher `revision` makes new machines of the same kind."""

    name: Name = Field(examples=["d4sv5"])
    priority: GroupPriority = Field(GroupPriority.REGULAR, examples=["regular"])
    vm_size: str = Field(examples=["Standard_D4s_v5"])
    task_slots: int | None = Field(None, ge=1, validate_default=True, examples=[4])
    max_nodes: int | None = Field(None, ge=1, le=MAX_SCALE_SET, examples=[10])
    zones: tuple[Zone, ...] = Field((), examples=[["1", "2", "3"]])
    os_disk: OsDiskConfig = Field(OsDiskConfig(), examples=[{"size_gb": 64}])
    data_disk: DataDiskConfig | None = Field(None, validate_default=True, examples=[{"size_gb": 128}])
    spot_max_price: float | None = Field(None, gt=0, examples=[0.05])
    revision: int = Field(0, ge=0, examples=[1])

    @field_validator("vm_size")
    @classmethod
    def _known_size(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("Standard_B") and info.data.get("priority") is GroupPriority.SPOT:
            raise wrong(
                f"Azure sells no Spot machines of the B series ({value})", "write another size, or priority regular"
            )
        if value not in VM_SIZES and _ARM.fullmatch(value) is not None:
            raise wrong(
                f"{value!r} has Arm processors, and the images are for x64", "write a size without p in its letters"
            )
        if value not in VM_SIZES:
            raise wrong(f"{value!r} is not a VM size in scheduler/catalog.py", choose(value, list(VM_SIZES)))
        return value

    @field_validator("task_slots")
    @classmethod
    def _slots_that_fit(cls, value: int | None, info: ValidationInfo) -> int | None:
        size = VM_SIZES.get(info.data.get("vm_size", ""))
        if value is None or size is None:
            return value
        most = min(SLOTS_PER_VCPU * size.vcpus, MAX_SLOTS)
        if value > most:
            raise wrong(
                f"{value} slots are too many for the {size.vcpus} vCPUs of {size.name}", f"write at most {most}"
            )
        return value

    @field_validator("zones")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise wrong("names a zone twice", "write each zone once")
        return tuple(sorted(value))

    @field_validator("data_disk")
    @classmethod
    def _redundancy_needs_no_zone(cls, value: DataDiskConfig | None, info: ValidationInfo) -> DataDiskConfig | None:
        os_disk = info.data.get("os_disk")
        for disk in (os_disk, value):
            if disk is not None and (disk.type or "").endswith("_ZRS") and len(info.data.get("zones", ())) == 1:
                raise wrong(
                    f"a disk of type {disk.type} is kept in several zones and the machines are in one",
                    f"write {disk.type.replace('_ZRS', '_LRS')}, or more zones",
                )
        return value

    @field_validator("spot_max_price")
    @classmethod
    def _for_spot_only(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None or "priority" not in info.data:
            return value
        if info.data["priority"] is not GroupPriority.SPOT:
            raise wrong("only Spot machines have a highest price", "leave it out, or write priority: spot")
        if round(value, PRICE_DIGITS) != value:
            raise wrong(f"{value!r} has more than {PRICE_DIGITS} digits behind the point", "round it")
        return value

    @property
    def size(self) -> VmSize:
        """What is known of the VM size."""
        return VM_SIZES[self.vm_size]

    @property
    def slots(self) -> int:
        """Task slots of a node: as declared, else one a vCPU."""
        return self.task_slots or min(self.size.vcpus, MAX_SLOTS)
