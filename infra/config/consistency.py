"""What settings must be to each other: checked apart from the rest, so that one finding hides no other.

Pools and groups that are right by themselves are compared although others are not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from infra.catalog import Image, find_image
from infra.config.accounts import AllocationMode
from infra.config.groups import ALL_ZONES, MAX_MANAGED_IMAGE_SET, GroupConfig
from infra.config.network import NetworkConfig, StorageAccess
from infra.config.pools import PoolConfig
from infra.config.section import Section
from infra.findings import Finding
from node_bootstrap.render import OperatingSystem
from scheduler.model import GroupKind, GroupPriority

# Azure keeps the first four addresses of a subnet and the last.
RESERVED_ADDRESSES = 5
# Azure Batch's bound on pools of an account, however often one asks for more (docs: Batch quotas and limits).
MAX_BATCH_POOLS = 500

_PYTHONS = (
    (OperatingSystem.WINDOWS, "windows_python", "python.org's embeddable package for Windows (.zip, 3.11 or newer)"),
    (
        OperatingSystem.LINUX,
        "linux_python",
        "a python-build-standalone archive (x86_64, install_only.tar.gz, 3.11 or newer)",
    ),
)

_Section = TypeVar("_Section", bound=Section)
_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class _Pool:
    """A pool as far as it can be read."""

    path: str
    raw: Mapping[str, Any]
    whole: PoolConfig | None
    kind: GroupKind
    image: Image | None
    groups: tuple[tuple[str, GroupConfig], ...]


def inconsistencies(prefix: str, values: Mapping[str, object]) -> Iterator[Finding]:
    """Find what contradicts itself in settings that may be wrong in other ways too."""
    pools = list(_pools(f"{prefix}:pools", values.get("pools")))
    yield from _repeated_names(pools)
    yield from _shared_beginnings(pools)
    for pool in pools:
        for path, group in pool.groups:
            yield from _disks(path, group, pool)
            yield from _batch_group(path, group, pool)
            if pool.image is not None and pool.image.managed and (group.max_nodes or 0) > MAX_MANAGED_IMAGE_SET:
                yield Finding(
                    f"{path}.max_nodes",
                    f"a set of a managed image has at most {MAX_MANAGED_IMAGE_SET} nodes",
                    "lower it, or use an image of a gallery",
                )
    yield from _batch_account(prefix, values.get("batch"), pools)
    yield from _computer_names(pools)
    yield from _pythons(prefix, values, pools)
    yield from _addresses(prefix, values.get("network"), pools)


def _pools(path: str, raw: object) -> Iterator[_Pool]:
    for index, entry in enumerate(raw if isinstance(raw, list | tuple) else ()):
        if isinstance(entry, Mapping):
            here = f"{path}[{index}]"
            groups = entry.get("groups")
            yield _Pool(
                here,
                entry,
                _read(PoolConfig, entry),
                _word(GroupKind, entry.get("kind"), GroupKind.SCALE_SET),
                _image(entry),
                tuple(
                    (f"{here}.groups[{number}]", group)
                    for number, one in enumerate(groups if isinstance(groups, list | tuple) else ())
                    if (group := _read(GroupConfig, one)) is not None
                ),
            )


def _read(section: type[_Section], raw: object) -> _Section | None:
    try:
        return section.model_validate(raw)
    except ValidationError:
        return None


def _word(words: type[_Word], raw: object, default: _Word) -> _Word:
    try:
        return words(str(raw))
    except ValueError:
        return default


def _image(raw: Mapping[str, Any]) -> Image | None:
    named = raw.get("os")
    system = OperatingSystem(named) if named in tuple(OperatingSystem) else None
    try:
        return find_image(str(raw.get("image")), system)
    except PydanticCustomError:
        return None


def _repeated_names(pools: list[_Pool]) -> Iterator[Finding]:
    yield from _repeated([(pool.path, pool.raw.get("name")) for pool in pools], "pool")
    for pool in pools:
        groups = pool.raw.get("groups")
        named = [
            (f"{pool.path}.groups[{number}]", one.get("name"))
            for number, one in enumerate(groups if isinstance(groups, list | tuple) else ())
            if isinstance(one, Mapping)
        ]
        yield from _repeated(named, "group")


def _repeated(named: list[tuple[str, object]], noun: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, name in named:
        if isinstance(name, str):
            if name in seen:
                yield Finding(f"{path}.name", f"another {noun} is called {name!r} too", "write a name of its own")
            seen.add(name)


def _shared_beginnings(pools: list[_Pool]) -> Iterator[Finding]:
    """Find pools whose nodes could read another pool's queues: a right to `risk-*` is one to `risk-eu-*` as well."""
    names = {str(pool.raw.get("name")) for pool in pools}
    for pool in pools:
        name = str(pool.raw.get("name"))
        for other in sorted(names):
            if name.startswith(f"{other}-"):
                yield Finding(
                    f"{pool.path}.name",
                    f"{name!r} begins with the name of the pool {other!r} and a hyphen: that pool's nodes could read"
                    " this one's queues, which are named after it",
                    "write a name that begins otherwise",
                )


def _disks(path: str, group: GroupConfig, pool: _Pool) -> Iterator[Finding]:
    disk, least = group.os_disk, pool.image.disk_gib if pool.image is not None else None
    if disk.size_gb is not None and least is not None and disk.size_gb < least:
        yield Finding(
            f"{path}.os_disk.size_gb",
            f"{disk.size_gb} GiB are less than the image's {least} GiB",
            f"write {least} or more, or choose a smalldisk image",
        )
    needed = disk.size_gb or least or 0
    if disk.ephemeral and pool.kind is GroupKind.SCALE_SET and group.size.temporary_disk_gib < needed:
        yield Finding(
            f"{path}.os_disk.ephemeral",
            f"the temporary disk of {group.vm_size} has {group.size.temporary_disk_gib} GiB, and an ephemeral OS disk"
            f" needs {needed}",
            "choose a size with a larger one, or leave it out",
        )


def _batch_group(path: str, group: GroupConfig, pool: _Pool) -> Iterator[Finding]:
    if pool.kind is not GroupKind.BATCH:
        return
    if group.os_disk.ephemeral and group.priority is GroupPriority.SPOT:
        yield Finding(
            f"{path}.os_disk.ephemeral",
            "Azure Batch has no ephemeral OS disks on Spot nodes",
            "leave it out, or write priority: regular",
        )
    if group.zones not in ((), ALL_ZONES):
        yield Finding(
            f"{path}.zones",
            "Azure Batch spreads over all zones of a region, or over none in particular",
            'write ["1", "2", "3"], or leave it out',
        )
    for disk in (group.os_disk, group.data_disk):
        if disk is not None and (disk.type or "").endswith("_ZRS"):
            kind = "os_disk" if disk is group.os_disk else "data_disk"
            yield Finding(
                f"{path}.{kind}.type", "Azure Batch has no zone-redundant disks", "write one that ends in _LRS"
            )
    if group.spot_max_price is not None:
        yield Finding(f"{path}.spot_max_price", "Azure Batch's Spot nodes have no highest price", "leave it out")


def _batch_account(prefix: str, raw: object, pools: list[_Pool]) -> Iterator[Finding]:
    settings = raw if isinstance(raw, Mapping) else {}
    mode = _word(AllocationMode, settings.get("allocation_mode"), AllocationMode.BATCH_SERVICE)
    batch = [pool for pool in pools if pool.kind is GroupKind.BATCH]
    remedy = (
        "write kind: scale-set, or priority: regular, or a key vault and allocation_mode: user-subscription below"
        f" {prefix}:batch"
    )
    reason = "Spot machines are not to be had in a Batch account in batch-service mode: Azure Batch retired them there"
    for pool in batch if mode is AllocationMode.BATCH_SERVICE else []:
        for path, group in pool.groups:
            if group.priority is GroupPriority.SPOT:
                yield Finding(f"{path}.priority", reason, remedy)
        share = pool.raw.get("spot_share")
        if isinstance(share, int | float) and share > 0:
            yield Finding(f"{pool.path}.spot_share", reason, remedy)
    count = sum(len(pool.whole.node_groups) for pool in batch if pool.whole is not None)
    if count > MAX_BATCH_POOLS:
        yield Finding(
            f"{prefix}:pools",
            f"{count} node groups of kind batch are more than the {MAX_BATCH_POOLS} pools a Batch account may have",
            "take groups out, or make some pools kind: scale-set",
        )


def _computer_names(pools: list[_Pool]) -> Iterator[Finding]:
    """Find pools whose names were cut to the same Windows computer names."""
    seen: dict[str, str] = {}
    for pool in pools:
        windows = pool.image is not None and pool.image.system is OperatingSystem.WINDOWS
        if not windows or pool.whole is None or pool.kind is GroupKind.BATCH:
            continue
        other = seen.setdefault(pool.whole.prefix.lower(), pool.whole.name)
        if other != pool.whole.name:
            yield Finding(
                f"{pool.path}.computer_name_prefix",
                f"computers of {pool.whole.name} and {other} would both be called {pool.whole.prefix}...",
                "write a prefix of its own, of at most nine characters",
            )


def _pythons(prefix: str, values: Mapping[str, object], pools: list[_Pool]) -> Iterator[Finding]:
    for system, key, what in _PYTHONS:
        needing = [
            str(pool.raw.get("name"))
            for pool in pools
            if pool.image is not None
            and pool.image.system is system
            and (pool.raw.get("pinned_python") is True or not pool.image.brings_python)
        ]
        if needing and values.get(key) is None:
            yield Finding(
                f"{prefix}:{key}",
                f"is missing: the images of {', '.join(needing)} have no Python 3.11, or ask for a pinned one",
                f"write url and sha256 of {what}",
            )


def _addresses(prefix: str, raw: object, pools: list[_Pool]) -> Iterator[Finding]:
    network = _read(NetworkConfig, raw or {})
    if network is None:
        return
    yield from _existing_subnets(prefix, network, pools)
    if network.subnet_id is not None:
        return
    most = sum(pool.whole.most_nodes for pool in pools if pool.whole is not None and pool.whole.subnet_id is None)
    free = network.nodes_subnet.num_addresses - RESERVED_ADDRESSES
    if most > free:
        yield Finding(
            f"{prefix}:network",
            f"the nodes' subnet {network.nodes_subnet} has {free} addresses and the pools may have {most} nodes",
            "widen network.address_space or network.nodes, or lower max_nodes",
        )


def _existing_subnets(prefix: str, network: NetworkConfig, pools: list[_Pool]) -> Iterator[Finding]:
    """Find subnets that the endpoints we declare cannot be reached from."""
    if network.storage_access is not StorageAccess.PRIVATE_ENDPOINT:
        return
    paths = [f"{pool.path}.subnet_id" for pool in pools if pool.raw.get("subnet_id") is not None]
    for path in [*([f"{prefix}:network.subnet_id"] if network.subnet_id is not None else []), *paths]:
        yield Finding(
            path,
            "private endpoints are declared in the stack's own network, and this subnet is in another",
            "leave it out, or write storage_access: service-endpoint and declare endpoints with that network",
        )
