"""The scheduler's store on a PostgreSQL flexible server, as settings."""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from infra import naming
from infra.config.section import Section, rule
from infra.findings import wrong

# Sizes of flexible servers by their tier (docs: compute options in Azure Database for PostgreSQL flexible server).
_TIERS = {
    "Burstable": re.compile(r"Standard_B(1ms|2s|(2|4|8|12|16|20)ms)"),
    "GeneralPurpose": re.compile(r"Standard_D((2|4|8|16|32|48|64)a?ds_v[45]|96a?ds_v5)"),
    "MemoryOptimized": re.compile(r"Standard_E((2|4|8|16|20|32|48|64)a?ds_v[45]|96a?ds_v5)"),
}
_SKU_RULE = "a size such as Standard_B2s, Standard_D2ds_v5 or Standard_E4ads_v5"
# Sizes of premium disks (docs: storage options of a flexible server).
STORAGE_GIB = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_FEWEST_BACKUP_DAYS, _MOST_BACKUP_DAYS = 7, 35


class HighAvailability(StrEnum):
    """Whether a second server stands by."""

    NONE = "none"
    SAME_ZONE = "same-zone"
    ZONE_REDUNDANT = "zone-redundant"


def tier(sku: str) -> str | None:
    """Give the tier of a size, None for what is no size of a flexible server."""
    return next((name for name, sizes in _TIERS.items() if sizes.fullmatch(sku)), None)


def _version(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class DatabaseConfig(Section):
    """A PostgreSQL flexible server that holds the scheduler's store, so that the store outlives the host.

    Nobody signs in with a password, and nothing outside the stack's network reaches it. Unless named, its name is made
    like the storage account's. `geo_redundant_backup`, `zone` and `standby_zone` count only when the server is made.
    """

    name: Annotated[str, rule(naming.is_database_server, naming.DATABASE_SERVER_RULE)] | None = Field(
        None, examples=["psql-millpond-prod"]
    )
    sku: Annotated[str, rule(lambda text: tier(text) is not None, _SKU_RULE)] = Field(
        "Standard_B2s", examples=["Standard_D2ds_v5"]
    )
    version: Annotated[Literal["15", "16", "17", "18"], BeforeValidator(_version)] = Field("16", examples=["16"])
    storage_gib: int = Field(STORAGE_GIB[0], examples=[64])
    storage_grows: bool = Field(default=True, examples=[False])
    backup_days: int = Field(14, ge=_FEWEST_BACKUP_DAYS, le=_MOST_BACKUP_DAYS, examples=[14])
    geo_redundant_backup: bool = Field(default=False, examples=[True])
    high_availability: HighAvailability = Field(HighAvailability.NONE, examples=["zone-redundant"])
    zone: Literal["1", "2", "3"] | None = Field(None, examples=["1"])
    standby_zone: Literal["1", "2", "3"] | None = Field(None, examples=["2"])

    @field_validator("storage_gib")
    @classmethod
    def _a_disk(cls, value: int) -> int:
        if value not in STORAGE_GIB:
            raise wrong(f"there is no disk of {value} GiB", f"write one of {', '.join(map(str, STORAGE_GIB))}")
        return value

    @model_validator(mode="after")
    def _standby(self) -> Self:
        high = self.high_availability
        if high is not HighAvailability.NONE and self.tier == "Burstable":
            raise wrong(
                f"a server of size {self.sku} has no high availability",
                "choose a size such as Standard_D2ds_v5, or write high_availability: none",
            )
        if self.standby_zone is not None and high is not HighAvailability.ZONE_REDUNDANT:
            raise wrong(
                f"standby_zone is for high_availability: zone-redundant, and it is {high}", "leave standby_zone out"
            )
        if self.standby_zone is not None and self.standby_zone == self.zone:
            raise wrong(
                f"both servers would be in zone {self.zone}", "write two zones, or high_availability: same-zone"
            )
        return self

    @property
    def tier(self) -> str:
        """Azure's name for the kind of the size."""
        return tier(self.sku) or ""
