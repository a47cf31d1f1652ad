"""The Pulumi program: one environment, from its settings to the outputs that the scheduler starts from.

`infra/__main__.py` runs it under plain `pulumi up`, `infra.deploy` under `millpond up`.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pulumi
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from pulumi.runtime.config import CONFIG, get_config_env
from pulumi_azure_native import authorization, resources

from infra import naming
from infra.components.batch_account import BatchAccount, BatchAccountArgs
from infra.components.deployer_access import DeployerAccess, DeployerAccessArgs
from infra.components.network import Network, NetworkArgs
from infra.components.placement import Placement
from infra.components.pool import Pool, PoolArgs
from infra.components.roles import Principal
from infra.components.storage import Storage, StorageArgs
from infra.config import StackConfig, from_engine, parse
from infra.findings import ConfigError
from infra.publish import Artifact, Patience, PublishError, bundle_artifact, mirrored_artifact, publish, settings_url
from node_bootstrap.bundle import Bundle, build_bundle
from node_bootstrap.render import OperatingSystem
from scheduler.settings import PoolSettings, SchedulerSettings

# The application that `az login` signs people in to (docs: first-party application ids); every other one is a program.
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
PUBLIC_RESOURCE_MANAGER = "https://management.azure.com"


def program() -> None:
    """Deploy the selected stack. Settings that are wrong end it before anything is declared."""
    try:
        config = parse(from_engine({**get_config_env(), **CONFIG.get()}))
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    declare(config, _resource_manager(os.environ))


def declare(config: StackConfig, resource_manager: str) -> None:
    """Declare an environment and export its outputs."""
    tags = {"millpond-environment": config.environment, **config.tags}
    group = resources.ResourceGroup(
        "resource-group",
        resource_group_name=naming.resource_group(config.environment),
        location=config.location,
        tags=tags,
    )
    client = authorization.get_client_config_output()
    place = Placement(group, config.location, tags, client.subscription_id)
    storage = Storage("storage", StorageArgs(place, config.environment, config.storage.account))
    BatchAccount("batch", BatchAccountArgs(place, config.environment))
    network = Network("network", NetworkArgs(place, str(config.network.address_space), str(config.network.nodes)))
    deployer = Principal(client.object_id, client.client_id.apply(_principal_type))
    access = DeployerAccess("deployer", DeployerAccessArgs(place, storage, deployer))
    bundles = {system: build_bundle(system) for system in _systems(config)}
    hashes = {system: bundle.sha256 for system, bundle in bundles.items()}
    pools = [
        Pool(pool.name, PoolArgs(place, config, pool, storage, network.nodes_subnet_id, hashes))
        for pool in config.pools
    ]
    settings = pulumi.Output.all(
        environment=config.environment,
        location=config.location,
        resource_manager=resource_manager,
        subscription_id=client.subscription_id,
        resource_group=group.name,
        blob_endpoint=storage.blob_endpoint,
        queue_endpoint=storage.queue_endpoint,
        storage_account=storage.account_name,
    ).apply(partial(_settings, tuple(pool.settings for pool in pools)))
    there = pulumi.Output.all(
        access.granted,
        storage.events_queue.id,
        *(container.id for container in storage.containers.values()),
        *(pool.ready for pool in pools),
    )
    artifacts = _artifacts(config, bundles)
    published: pulumi.Output[str] = pulumi.Output.all(settings, there).apply(partial(_published, artifacts))
    pulumi.export("scheduler_settings_url", published)
    pulumi.export("storage_account", storage.account_name)
    pulumi.export("blob_endpoint", storage.blob_endpoint)
    pulumi.export("resource_group", group.name)
    pulumi.export("pools", [_plain(pool.settings) for pool in pools])


def _systems(config: StackConfig) -> tuple[OperatingSystem, ...]:
    return tuple(sorted({pool.machine_image.system for pool in config.pools}))


def _artifacts(config: StackConfig, bundles: Mapping[OperatingSystem, Bundle]) -> tuple[Artifact, ...]:
    """Name what nodes fetch: the runner for each system, and Python where the images have none."""
    python = config.windows_python if OperatingSystem.WINDOWS in bundles else None
    mirrored = (mirrored_artifact(python.url, python.sha256),) if python else ()
    return (*(bundle_artifact(bundle) for bundle in bundles.values()), *mirrored)


def _settings(pools: tuple[PoolSettings, ...], known: Mapping[str, Any]) -> SchedulerSettings:
    return SchedulerSettings(**known, pools=pools)


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


def _plain(pool: PoolSettings) -> dict[str, Any]:
    groups = [
        {
            "name": group.key.name,
            "generation": group.key.generation,
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
