"""The storage account: all that scheduler and nodes say to each other goes through it."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import storage

from infra import naming
from infra.components.placement import Placement, retained, within
from node_bootstrap.protocol import CONTAINERS, EVENTS_QUEUE, NODES

# What nodes write about themselves is of use while someone may ask why a node failed. Inputs, outputs and bundles are
# never removed by age: the scheduler alone knows what is garbage (design section 6, point 12).
BOOT_DAYS = 30
STATUS_DAYS = 14


@dataclass(frozen=True)
class StorageArgs:
    """`account` is the account's name, None to have it made."""

    placement: Placement
    environment: str
    account: str | None


class Storage(pulumi.ComponentResource):
    """Account, containers and the events queue; people and nodes come with Entra tokens only."""

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:storage:Storage", name, {}, opts)
        place = args.placement
        # Data outlives its declaration: an account that the stack no longer names is kept until the group goes.
        kept = retained(self, place)
        account = storage.StorageAccount(
            name,
            account_name=args.account
            or place.subscription_id.apply(lambda s: naming.account(args.environment, s, place.location)),
            resource_group_name=place.resource_group.name,
            location=place.location,
            kind=storage.Kind.STORAGE_V2,
            sku={"name": storage.SkuName.STANDARD_LRS},
            access_tier=storage.AccessTier.HOT,
            allow_blob_public_access=False,
            allow_cross_tenant_replication=False,
            allow_shared_key_access=False,
            default_to_o_auth_authentication=True,
            enable_https_traffic_only=True,
            minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
            tags=place.tags,
            opts=kept,
        )
        self.account_id = account.id
        self.account_name = account.name
        self.containers = {
            container: storage.BlobContainer(
                f"{name}-{container}",
                container_name=container,
                account_name=account.name,
                resource_group_name=place.resource_group.name,
                public_access=storage.PublicAccess.NONE,
                opts=kept,
            )
            for container in CONTAINERS
        }
        self.events_queue = storage.Queue(
            f"{name}-{EVENTS_QUEUE}",
            queue_name=EVENTS_QUEUE,
            account_name=account.name,
            resource_group_name=place.resource_group.name,
            opts=kept,
        )
        storage.ManagementPolicy(
            f"{name}-lifecycle",
            management_policy_name="default",
            account_name=account.name,
            resource_group_name=place.resource_group.name,
            policy=_lifecycle(),
            opts=within(self, place),
        )
        self.blob_endpoint = account.primary_endpoints.apply(lambda endpoints: _slashed(endpoints.blob))
        self.queue_endpoint = account.primary_endpoints.apply(lambda endpoints: _slashed(endpoints.queue))
        self.register_outputs({"account": self.account_name, "blob_endpoint": self.blob_endpoint})


def _slashed(endpoint: str) -> str:
    return endpoint.rstrip("/") + "/"


def _lifecycle() -> storage.ManagementPolicySchemaArgsDict:
    rules: list[storage.ManagementPolicyRuleArgsDict] = [
        _expiry("boot-records", f"{NODES}/boot/", BOOT_DAYS),
        _expiry("statuses", f"{NODES}/status/", STATUS_DAYS),
    ]
    return {"rules": rules}


def _expiry(name: str, prefix: str, days: int) -> storage.ManagementPolicyRuleArgsDict:
    return {
        "name": name,
        "type": storage.RuleType.LIFECYCLE,
        "enabled": True,
        "definition": {
            "filters": {"blob_types": ["blockBlob"], "prefix_match": [prefix]},
            "actions": {"base_blob": {"delete": {"days_after_modification_greater_than": days}}},
        },
    }
