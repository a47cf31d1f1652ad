"""The storage account: all that scheduler and nodes say to each other goes through it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import storage

from infra import naming
from infra.components.placement import Placement, retained, within
from infra.config import NetworkConfig, StorageAccess, StorageConfig
from node_bootstrap.protocol import CONTAINERS, EVENTS_QUEUE, NODES


@dataclass(frozen=True)
class StorageArgs:
    """What is declared; `subnets` are the ids of those from which storage may be reached, besides the deployers."""

    placement: Placement
    environment: str
    storage: StorageConfig
    network: NetworkConfig
    subnets: Sequence[pulumi.Input[str]]
    protect: bool = False


class Storage(pulumi.ComponentResource):
    """Account, containers and the events queue; people and nodes come with Entra tokens only."""

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:storage:Storage", name, {}, opts)
        place = args.placement
        # Data outlives its declaration: an account that the stack no longer names is kept until the group goes.
        kept = retained(self, place)
        account = storage.StorageAccount(
            name,
            account_name=args.storage.account
            or place.subscription_id.apply(lambda s: naming.account(args.environment, s, place.location)),
            resource_group_name=place.group_name,
            location=place.location,
            kind=storage.Kind.STORAGE_V2,
            sku={"name": f"Standard_{args.storage.redundancy}"},
            access_tier=storage.AccessTier.HOT,
            allow_blob_public_access=False,
            allow_cross_tenant_replication=False,
            allow_shared_key_access=False,
            default_to_o_auth_authentication=True,
            enable_https_traffic_only=True,
            minimum_tls_version=storage.MinimumTlsVersion.TLS1_2,
            network_rule_set=_firewall(args),
            tags=place.tags,
            opts=pulumi.ResourceOptions.merge(kept, pulumi.ResourceOptions(protect=args.protect)),
        )
        self.account_id = account.id
        self.account_name = account.name
        self.containers = {
            container: storage.BlobContainer(
                f"{name}-{container}",
                container_name=container,
                account_name=account.name,
                resource_group_name=place.group_name,
                public_access=storage.PublicAccess.NONE,
                opts=kept,
            )
            for container in CONTAINERS
        }
        self.events_queue = storage.Queue(
            f"{name}-{EVENTS_QUEUE}",
            queue_name=EVENTS_QUEUE,
            account_name=account.name,
            resource_group_name=place.group_name,
            opts=kept,
        )
        blobs, containers = args.storage.soft_delete_days, args.storage.container_soft_delete_days
        storage.BlobServiceProperties(
            f"{name}-blobs",
            blob_services_name="default",
            account_name=account.name,
            resource_group_name=place.group_name,
            delete_retention_policy=_retention(blobs),
            container_delete_retention_policy=_retention(containers),
            opts=within(self, place),
        )
        storage.ManagementPolicy(
            f"{name}-lifecycle",
            management_policy_name="default",
            account_name=account.name,
            resource_group_name=place.group_name,
            policy=_lifecycle(args.storage),
            opts=within(self, place),
        )
        self.blob_endpoint = account.primary_endpoints.apply(lambda endpoints: _slashed(endpoints.blob))
        self.queue_endpoint = account.primary_endpoints.apply(lambda endpoints: _slashed(endpoints.queue))
        self.register_outputs({"account": self.account_name, "blob_endpoint": self.blob_endpoint})


def _slashed(endpoint: str) -> str:
    return endpoint.rstrip("/") + "/"


def _firewall(args: StorageArgs) -> storage.NetworkRuleSetArgsDict:
    """Let in the nodes' subnets and the deployers; everybody only where the settings say so.

    Azure's own services are let in too, where their identity has a role: a linked Batch account is one.
    """
    deployers, private = args.network.deployers, args.network.storage_access is StorageAccess.PRIVATE_ENDPOINT
    open_to_all = deployers == "any"
    addresses: list[storage.IPRuleArgsDict] = [
        {"i_p_address_or_range": address, "action": storage.Action.ALLOW}
        for address in (() if open_to_all else deployers)
    ]
    subnets: list[storage.VirtualNetworkRuleArgsDict] = [
        {"virtual_network_resource_id": subnet, "action": storage.Action.ALLOW}
        # Through a private endpoint, no rule is needed.
        for subnet in ([] if open_to_all or private else args.subnets)
    ]
    return {
        "bypass": storage.Bypass.AZURE_SERVICES,
        "default_action": storage.DefaultAction.ALLOW if open_to_all else storage.DefaultAction.DENY,
        "ip_rules": addresses,
        "virtual_network_rules": subnets,
    }


def _retention(days: int) -> storage.DeleteRetentionPolicyArgsDict:
    return {"enabled": True, "days": days} if days else {"enabled": False}


def _lifecycle(settings: StorageConfig) -> storage.ManagementPolicySchemaArgsDict:
    """Remove what nodes write about themselves, once nobody will ask any more why a node failed.

    Inputs, outputs and bundles are never removed by age: the scheduler alone knows what is garbage (design section 6,
    point 12).
    """
    rules: list[storage.ManagementPolicyRuleArgsDict] = [
        _expiry("boot-records", f"{NODES}/boot/", settings.lifecycle.boot_days),
        _expiry("statuses", f"{NODES}/status/", settings.lifecycle.status_days),
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
