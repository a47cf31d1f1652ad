"""The Batch account, with the stack's storage account linked to it."""

from dataclasses import dataclass
from types import MappingProxyType

import pulumi
from pulumi_azure_native import batch, managedidentity

from infra import naming
from infra.components.placement import Placement, retained
from infra.components.roles import Principal, Role, assign
from infra.components.storage import Storage
from infra.config import AllocationMode, AuthenticationMode, BatchConfig

_ALLOCATION = MappingProxyType(
    {
        AllocationMode.BATCH_SERVICE: batch.PoolAllocationMode.BATCH_SERVICE,
        AllocationMode.USER_SUBSCRIPTION: batch.PoolAllocationMode.USER_SUBSCRIPTION,
    }
)
_AUTHENTICATION = MappingProxyType(
    {
        AuthenticationMode.ENTRA: batch.AuthenticationMode.AAD,
        AuthenticationMode.SHARED_KEY: batch.AuthenticationMode.SHARED_KEY,
        AuthenticationMode.TASK_TOKEN: batch.AuthenticationMode.TASK_AUTHENTICATION_TOKEN,
    }
)


@dataclass(frozen=True)
class BatchAccountArgs:
    """Where the account is placed, what is declared of it, and the storage that is linked to it."""

    placement: Placement
    environment: str
    batch: BatchConfig
    storage: Storage


class BatchAccount(pulumi.ComponentResource):
    """An account that reaches its linked storage by an identity, as that takes no keys.

    The account is retained: nodes of a pool that was taken out of the settings live in it until they are drained.
    """

    def __init__(self, name: str, args: BatchAccountArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:batch:BatchAccount", name, {}, opts)
        place, kept, settings = args.placement, retained(self, args.placement), args.batch
        identity = managedidentity.UserAssignedIdentity(
            naming.identity(name),
            resource_group_name=place.group_name,
            location=place.location,
            tags=place.tags,
            opts=kept,
        )
        linked = assign(
            f"{name}-storage",
            Principal(identity.principal_id, "ServicePrincipal"),
            Role.STORAGE_BLOB_DATA_CONTRIBUTOR,
            args.storage.account_id,
            place.subscription_id,
            kept,
        )
        vault = settings.key_vault
        access = batch.PublicNetworkAccessType
        account = batch.BatchAccount(
            # Unless it is named, the provider makes the name of this: letters and digits only.
            f"mp{args.environment.replace('-', '')[: naming.ACCOUNT_WORDS]}",
            account_name=settings.name,
            resource_group_name=place.group_name,
            location=place.location,
            pool_allocation_mode=_ALLOCATION[settings.allocation_mode],
            key_vault_reference={"id": vault.id, "url": vault.url} if vault is not None else None,
            allowed_authentication_modes=[_AUTHENTICATION[mode] for mode in settings.authentication_modes],
            identity={
                "type": batch.ResourceIdentityType.USER_ASSIGNED,
                "user_assigned_identities": [identity.id],
            },
            auto_storage={
                "storage_account_id": args.storage.account_id,
                "authentication_mode": batch.AutoStorageAuthenticationMode.BATCH_ACCOUNT_MANAGED_IDENTITY,
            },
            public_network_access=access.ENABLED if settings.public_network_access else access.DISABLED,
            tags=place.tags,
            opts=pulumi.ResourceOptions.merge(kept, pulumi.ResourceOptions(depends_on=[linked])),
        )
        self.account_id = account.id
        self.account_name = account.name
        self.endpoint = account.account_endpoint.apply(_https)
        self.register_outputs({"account": self.account_name, "endpoint": self.endpoint})


def _https(endpoint: str) -> str:
    """Write the endpoint, which Azure gives as a host, as an address."""
    return f"https://{endpoint.removeprefix('https://').rstrip('/')}"
