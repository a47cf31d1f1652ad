"""A stack's settings, parsed once into frozen types; every finding is reported at once."""

from infra.config.accounts import AllocationMode, AuthenticationMode, BatchConfig, KeyVaultConfig, StorageConfig
from infra.config.groups import DataDiskConfig, GroupConfig, OsDiskConfig
from infra.config.network import NetworkConfig, StorageAccess
from infra.config.pools import NodeConfig, PoolConfig
from infra.config.scheduler_host import SchedulerHostConfig
from infra.config.section import PinnedFile, Section
from infra.config.stack import PROJECT, StackConfig, from_engine, parse

__all__ = [
    "PROJECT",
    "AllocationMode",
    "AuthenticationMode",
    "BatchConfig",
    "DataDiskConfig",
    "GroupConfig",
    "KeyVaultConfig",
    "NetworkConfig",
    "NodeConfig",
    "OsDiskConfig",
    "PinnedFile",
    "PoolConfig",
    "SchedulerHostConfig",
    "Section",
    "StackConfig",
    "StorageAccess",
    "StorageConfig",
    "from_engine",
    "parse",
]
