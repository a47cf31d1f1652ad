"""Accounts as settings: storage, and Azure Batch."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from infra import naming
from infra.config.section import Section, rule
from infra.findings import wrong


class Redundancy(StrEnum):
    """How many copies of the data are kept, and where (Azure's words)."""

    LRS = "LRS"
    ZRS = "ZRS"
    GRS = "GRS"
    RAGRS = "RAGRS"
    GZRS = "GZRS"
    RAGZRS = "RAGZRS"


class LifecycleConfig(Section):
    """After how many days what nodes say of themselves is removed. Nothing else is ever removed by age.

    Inputs, outputs and bundles are the scheduler's to remove: it alone knows what is garbage.
    """

    boot_days: int = Field(30, ge=1, le=99999, examples=[30])
    status_days: int = Field(14, ge=1, le=99999, examples=[14])


class StorageConfig(Section):
    """The storage account; unless named, its name is made from subscription, environment and location.

    `soft_delete_days` is for how long a blob that was deleted or overwritten can be brought back, 0 for not at all:
    nodes overwrite their statuses all the time, and each old one is kept. The other is for containers.
    """

    account: Annotated[str, rule(naming.is_account, naming.ACCOUNT_RULE)] | None = Field(None, examples=["millponddev"])
    redundancy: Redundancy = Field(Redundancy.LRS, examples=["ZRS"])
    soft_delete_days: int = Field(0, ge=0, le=365, examples=[7])
    container_soft_delete_days: int = Field(7, ge=0, le=365, examples=[7])
    lifecycle: LifecycleConfig = Field(LifecycleConfig(), examples=[{"boot_days": 30, "status_days": 14}])


class AllocationMode(StrEnum):
    """In whose subscription Azure Batch makes its machines."""

    BATCH_SERVICE = "batch-service"
    USER_SUBSCRIPTION = "user-subscription"


class AuthenticationMode(StrEnum):
    """Ways to sign in to a Batch account."""

    ENTRA = "entra"
    SHARED_KEY = "shared-key"
    TASK_TOKEN = "task-token"  # noqa: S105 - Azure's name of a way to sign in


class KeyVaultConfig(Section):
    """The key vault in which a user-subscription account keeps what it must."""

    id: Annotated[str, rule(naming.is_key_vault_id, naming.KEY_VAULT_ID_RULE)] = Field(
        examples=["/subscriptions/.../resourceGroups/rg-keys/providers/Microsoft.KeyVault/vaults/kv-batch"]
    )
    url: Annotated[str, rule(naming.is_key_vault_url, naming.KEY_VAULT_URL_RULE)] = Field(
        examples=["https://kv-batch.vault.azure.net/"]
    )


class BatchConfig(Section):
    """The Batch account; unless named, its name is made like the storage account's."""

    name: Annotated[str, rule(naming.is_account, naming.ACCOUNT_RULE)] | None = Field(
        None, examples=["millpondbatchdev"]
    )
    allocation_mode: AllocationMode = Field(AllocationMode.BATCH_SERVICE, examples=["batch-service"])
    key_vault: KeyVaultConfig | None = Field(None, validate_default=True)
    authentication_modes: tuple[AuthenticationMode, ...] = Field((AuthenticationMode.ENTRA,), examples=[["entra"]])
    public_network_access: bool = Field(default=True, examples=[False])

    @field_validator("key_vault")
    @classmethod
    def _vault_of_user_subscription(cls, value: KeyVaultConfig | None, info: ValidationInfo) -> KeyVaultConfig | None:
        mode = info.data.get("allocation_mode")
        if mode is AllocationMode.USER_SUBSCRIPTION and value is None:
            raise wrong(
                "is missing: an account in user-subscription mode needs a key vault",
                "write id and url of one that grants the Microsoft Azure Batch application its secrets",
            )
        if mode is AllocationMode.BATCH_SERVICE and value is not None:
            raise wrong(
                "an account in batch-service mode takes no key vault",
                "leave it out, or write allocation_mode: user-subscription",
            )
        return value

    @field_validator("authentication_modes")
    @classmethod
    def _modes(cls, value: tuple[AuthenticationMode, ...], info: ValidationInfo) -> tuple[AuthenticationMode, ...]:
        if AuthenticationMode.ENTRA not in value:
            raise wrong("lacks entra, with which the scheduler signs in", "write [entra], or entra beside the others")
        user = info.data.get("allocation_mode") is AllocationMode.USER_SUBSCRIPTION
        if user and AuthenticationMode.SHARED_KEY in value:
            raise wrong("an account in user-subscription mode takes no shared keys", "write [entra]")
        if len(set(value)) != len(value):
            raise wrong("names a mode twice", "write each once")
        return tuple(sorted(value))
