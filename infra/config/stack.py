"""A stack's settings: `parse` turns a plain mapping into frozen types, or raises every finding at once.

Nothing is read here: `infra.program` takes the mapping from the engine, `infra.deploy` from the settings file.
"""

import json
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from infra import naming
from infra.config.accounts import BatchConfig, StorageConfig
from infra.config.consistency import inconsistencies
from infra.config.network import NetworkConfig
from infra.config.pools import PoolConfig
from infra.config.scaling import SCALING_SECTION, LimitsSection, SharedLimits
from infra.config.scheduler_host import SchedulerHostConfig
from infra.config.section import Name, PinnedFile, Section, Tags, rule
from infra.explain import Settings
from infra.findings import ConfigError
from node_bootstrap.render import OperatingSystem
from scheduler.model import GroupKind
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy

PROJECT = "millpond"


class StackConfig(Section):
    """Everything that a stack declares.

    `cloud` says where `millpond up` finds Azure; the program does not read it. With `protect`, the engine refuses to
    remove the resource group or the storage account until a deployment without it. A Batch account is declared where
    `batch` is written or a pool is of kind `batch`, because a subscription may have very few of them.
    """

    environment: Name = Field(examples=["dev"])
    location: Annotated[str, rule(naming.is_location, naming.LOCATION_RULE)] = Field(examples=["westeurope"])
    cloud: Literal["azure", "local"] = Field("azure", examples=["azure"])
    protect: bool = Field(default=False, examples=[True])
    storage: StorageConfig = Field(StorageConfig(), examples=[{"account": "millponddev"}])
    batch: BatchConfig | None = Field(None, examples=[{"allocation_mode": "batch-service"}])
    network: NetworkConfig = Field(NetworkConfig(), examples=[{"address_space": "10.64.0.0/16"}])
    scheduler: SchedulerHostConfig | None = Field(None, examples=[{"vm_size": "Standard_D2s_v5"}])
    pools: tuple[PoolConfig, ...] = Field(
        examples=[
            [{"name": "risk", "image": "ubuntu-24.04", "groups": [{"name": "d4sv5", "vm_size": "Standard_D4s_v5"}]}]
        ]
    )
    limits: SharedLimits = Field(NO_LIMITS, examples=[{"quota": {"standardDSv5Family": 100}, "budget_per_hour": 12.5}])
    windows_python: PinnedFile | None = None
    linux_python: PinnedFile | None = None
    tags: Tags = Field({}, examples=[{"team": "risk"}])

    @property
    def batch_pools(self) -> tuple[PoolConfig, ...]:
        """The pools whose machines Azure Batch makes."""
        return tuple(pool for pool in self.pools if pool.kind is GroupKind.BATCH)

    @property
    def batch_account(self) -> BatchConfig | None:
        """The Batch account, where there is to be one."""
        return self.batch or (BatchConfig() if self.batch_pools else None)

    def python_of(self, pool: PoolConfig) -> PinnedFile | None:
        """Give the Python that a pool's nodes fetch, None where they use their image's."""
        if not pool.needs_python:
            return None
        return self.windows_python if pool.machine_image.system is OperatingSystem.WINDOWS else self.linux_python

    def subnet_of(self, pool: PoolConfig) -> str | None:
        """Give the subnet that a pool's nodes are placed in if it is there already, else None."""
        return pool.subnet_id or self.network.subnet_id


_SETTINGS = Settings(
    StackConfig,
    PROJECT,
    {ScalingPolicy: SCALING_SECTION, Limits: LimitsSection},
)


def parse(values: Mapping[str, object]) -> StackConfig:
    """Read settings (without the project's prefix); `ConfigError` lists all that is wrong with them."""
    findings = list(inconsistencies(PROJECT, values))
    try:
        config = StackConfig.model_validate(dict(values))
    except ValidationError as error:
        explained = [_SETTINGS.finding(details) for details in error.errors()]
        raise ConfigError([*explained, *findings]) from None
    if findings:
        raise ConfigError(findings)
    return config


def from_engine(raw: Mapping[str, str]) -> dict[str, object]:
    """Take the project's own settings out of the engine's, where all values are text and structures are JSON."""
    values: dict[str, object] = {}
    for key, text in raw.items():
        namespace, _, name = key.partition(":")
        if namespace == PROJECT:
            field = StackConfig.model_fields.get(name)
            values[name] = text if field is None or _is_text(field.annotation) else _structure(text)
    return values


def _is_text(annotation: Any) -> bool:
    return annotation is str or typing.get_origin(annotation) is Literal


def _structure(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
