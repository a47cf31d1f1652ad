"""The Pulumi program: one environment, from its settings to the outputs that the scheduler starts from.

`infra/__main__.py` runs it under plain `pulumi up`, `infra.deploy` under `millpond up`.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from pulumi.runtime.config import CONFIG, get_config_env
from pulumi_azure_native import authorization

from infra.components.batch_account import BatchAccount, BatchAccountArgs
from infra.components.deployer_access import DeployerAccess, DeployerAccessArgs
from infra.components.environment import declare_environment
from infra.components.machines import Software, build_software
from infra.components.network import Network, NetworkArgs
from infra.components.placement import Placement
from infra.components.pool import Pool, PoolArgs
from infra.components.private_endpoints import (
    BATCH_ZONE,
    BLOB_ZONE,
    QUEUE_ZONE,
    PrivateEndpoints,
    PrivateEndpointsArgs,
    Target,
)
from infra.components.roles import Principal
from infra.components.scheduler import Scheduler
from infra.components.storage import Storage, StorageArgs
from infra.config import StackConfig, StorageAccess, from_engine, parse
from infra.findings import ConfigError
from infra.publish import Artifact, Patience, PublishError, bundle_artifact, mirrored_artifact, publish, settings_url
from node_bootstrap.boot_plan import BootPlan
from node_bootstrap.render import PYTHON_SUFFIXES, OperatingSystem
from scheduler.settings import PoolSettings, SchedulerSettings

# The application that `az login` signs people in to (docs: first-party application ids); every other one is a program.
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
# What a settings file's paths are relative to: whoever deploys may stand anywhere.
PROJECT_ROOT = Path(__file__).resolve().parents[1]
PUBLIC_RESOURCE_MANAGER = "https://management.azure.com"


def program() -> None:
    """Deploy the selected stack. Settings that are wrong end it before anything is declared."""
    try:
        config = parse(from_engine({**get_config_env(), **CONFIG.get()}))
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    _warn(config, datetime.now(UTC).date())
    declare(config, _resource_manager(os.environ))


def _warn(config: StackConfig, today: date) -> None:
    """Say which images their makers no longer mend, or soon will not."""
    for pool in config.pools:
        warning = pool.machine_image.warning(today)
        if warning is not None:
            pulumi.log.warn(f"pool {pool.name}: {warning}")


def declare(config: StackConfig, resource_manager: str) -> None:
    """Declare an environment and export its outputs."""
    client = authorization.get_client_config_output()
    place = declare_environment(config.environment, config.location, config.tags, client, protect=config.protect)
    scheduler = Scheduler(config, place, client.tenant_id)
    network = Network(
        "network", NetworkArgs(place, config.network, bool(config.batch_pools), scheduler_subnet=scheduler.subnet())
    )
    storage = Storage(
        "storage",
        StorageArgs(
            place, config.environment, config.storage, config.network, _subnets(config, network), config.protect
        ),
    )
    batch = _batch_account(config, place, storage)
    endpoints = _private_endpoints(config, place, network, storage, batch)
    deployer = Principal(client.object_id, client.client_id.apply(_principal_type))
    access = DeployerAccess("deployer", DeployerAccessArgs(place, storage, deployer))
    software = _software(config)
    pools = [
        Pool(
            pool.name,
            PoolArgs(
                place,
                config,
                pool,
                storage,
                network.nodes_subnet_id,
                software[pool.name],
                batch.account_name if batch is not None else None,
            ),
        )
        for pool in config.pools
    ]
    settings = pulumi.Output.all(
        environment=config.environment,
        location=config.location,
        resource_manager=resource_manager,
        subscription_id=client.subscription_id,
        resource_group=place.group_name,
        blob_endpoint=storage.blob_endpoint,
        queue_endpoint=storage.queue_endpoint,
        storage_account=storage.account_name,
        batch_endpoint=batch.endpoint if batch is not None else None,
        limits=config.limits,
        batch_account=batch.account_name if batch is not None else None,
        pools=[pool.settings for pool in pools],
    ).apply(_settings)
    there = pulumi.Output.all(
        access.granted,
        storage.events_queue.id,
        *(container.id for container in storage.containers.values()),
        *(pool.ready for pool in pools),
        *([endpoints.ready] if endpoints is not None else []),
    )
    host_bundle = scheduler.bundle()
    host = scheduler.declare(network, storage, batch, host_bundle)
    artifacts = _artifacts(config, software)
    if host_bundle is not None:
        artifacts = (*artifacts, bundle_artifact(host_bundle))
    published: pulumi.Output[str] = pulumi.Output.all(settings, there).apply(partial(_published, artifacts))
    pulumi.export("scheduler_settings_url", published)
    pulumi.export("storage_account", storage.account_name)
    pulumi.export("blob_endpoint", storage.blob_endpoint)
    pulumi.export("resource_group", place.group_name)
    pulumi.export("pools", [pool.settings.apply(pool_output) for pool in pools])
    if batch is not None:
        pulumi.export("batch_account", batch.account_name)
        pulumi.export("batch_endpoint", batch.endpoint)
    if host is not None:
        pulumi.export("scheduler_host", host.outputs)


def _subnets(config: StackConfig, network: Network) -> tuple[pulumi.Input[str], ...]:
    """Name the subnets from which storage is reached: the stack's own, and those that pools name."""
    named = {config.subnet_of(pool): None for pool in config.pools}
    existing = [subnet for subnet in named if subnet is not None]
    host = [network.scheduler_subnet_id] if config.scheduler is not None else []
    return (network.nodes_subnet_id, *host, *existing)


def _batch_account(config: StackConfig, place: Placement, storage: Storage) -> BatchAccount | None:
    settings = config.batch_account
    if settings is None:
        return None
    return BatchAccount("batch", BatchAccountArgs(place, config.environment, settings, storage))


def _private_endpoints(
    config: StackConfig, place: Placement, network: Network, storage: Storage, batch: BatchAccount | None
) -> PrivateEndpoints | None:
    """Declare the ways to accounts that have no public one, or that nodes without a way out could not take."""
    targets: list[Target] = []
    if config.network.storage_access is StorageAccess.PRIVATE_ENDPOINT:
        targets += [
            Target("storage-blob", storage.account_id, "blob", BLOB_ZONE),
            Target("storage-queue", storage.account_id, "queue", QUEUE_ZONE),
        ]
    if batch is not None and config.batch_pools:
        # Nodes have no way out to the internet, and there is no service endpoint for Azure Batch.
        targets.append(Target("batch-nodes", batch.account_id, "nodeManagement", BATCH_ZONE))
        if config.batch_account is not None and not config.batch_account.public_network_access:
            targets.append(Target("batch-account", batch.account_id, "batchAccount", BATCH_ZONE))
    if not targets:
        return None
    return PrivateEndpoints(
        "endpoints", PrivateEndpointsArgs(place, network.network_id, network.endpoints_subnet_id, targets)
    )


def _software(config: StackConfig) -> dict[str, Software]:
    """Pack what each pool's nodes run; once for all that wish the same, as a stack may have a hundred pools."""
    made: dict[tuple[OperatingSystem, BootPlan], Software] = {}
    software = {}
    for pool in config.pools:
        wish = (pool.machine_image.system, pool.bootstrap.plan)
        if wish not in made:
            made[wish] = build_software(pool)
        software[pool.name] = made[wish]
    return software


def _artifacts(config: StackConfig, software: Mapping[str, Software]) -> tuple[Artifact, ...]:
    """Name what nodes fetch, each once: the pools' bundles and packages, and Python where the images have none."""
    named = {artifact.name: artifact for artifact in (bundle_artifact(made.bundle) for made in software.values())}
    for pool in config.pools:
        system, python = pool.machine_image.system, config.python_of(pool)
        pinned = [(python, PYTHON_SUFFIXES[system], f"{system}_python")] if python is not None else []
        for number, package in enumerate(pool.bootstrap.packages):
            pinned.append((package, package.suffix, f"pools[name={pool.name}].bootstrap.packages[{number}]"))
        for file, suffix, setting in pinned:
            source = file.url or str(PROJECT_ROOT / file.source)
            artifact = mirrored_artifact(source, file.sha256, size=file.size, suffix=suffix, setting=setting)
            named.setdefault(artifact.name, artifact)
    return tuple(named.values())


def _settings(known: Mapping[str, Any]) -> SchedulerSettings:
    return SchedulerSettings(**{**known, "pools": tuple(known["pools"])})


async def _published(artifacts: tuple[Artifact, ...], known: Sequence[Any]) -> str:
    """Publish, except in a preview, and give the settings' address."""
    settings: SchedulerSettings = known[0]
    if not pulumi.runtime.is_dry_run():
        try:
            await asyncio.to_thread(_publish, settings, artifacts)
        except PublishError as error:
            raise pulumi.RunError(str(error)) from error
    return settings_url(settings.blob_endpoint)


def _publish(settings: SchedulerSettings, artifacts: tuple[Artifact, ...]) -> None:
    with (
        DefaultAzureCredential() as credential,
        BlobServiceClient(settings.blob_endpoint, credential=credential) as service,
    ):
        publish(service, settings, artifacts, Patience())


def _principal_type(client_id: str) -> str:
    return "User" if client_id == AZURE_CLI else "ServicePrincipal"


def _resource_manager(environment: Mapping[str, str]) -> str:
    """Name the resource manager that the provider works with: by the variable that the provider reads too."""
    host = environment.get("ARM_METADATA_HOSTNAME")
    return f"https://{host.removeprefix('https://').rstrip('/')}" if host else PUBLIC_RESOURCE_MANAGER


def pool_output(pool: PoolSettings) -> dict[str, Any]:
    """Write what the output `pools` says of a pool."""
    groups = [
        {
            "name": group.key.name,
            "generation": group.key.generation,
            "kind": str(group.kind),
            "scale_set": group.scale_set,
            "queue": group.queue,
            "vm_size": group.vm_size,
            "priority": str(group.priority),
            "task_slots": group.task_slots,
            "max_nodes": group.max_nodes,
        }
        for group in pool.groups
    ]
    return {"name": pool.name, "groups": groups}
