"""A stack's settings: `parse` turns a plain mapping into frozen types, or raises every finding at once.

Nothing is read here: `infra.program` takes the mapping from the engine, `infra.deploy` from the settings file.
A pool's `scaling` is the scheduler's own `ScalingPolicy`; its fields and defaults are written down there only.
"""

import dataclasses
import json
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from infra import naming
from infra.catalog import IMAGES, Image
from infra.durations import DURATION_RULE, parse_duration
from infra.explain import Settings
from infra.findings import ConfigError, Finding, choose, wrong
from node_bootstrap.render import OperatingSystem
from scheduler.catalog import VM_SIZES, VmSize
from scheduler.model import GroupPriority
from scheduler.policy import ScalingPolicy

PROJECT = "millpond"

# A Uniform scale set of a marketplace image, without a single placement group (Azure's limits, 2026-05-19).
MAX_SCALE_SET = 1000
# Azure Batch's bound on task slots: four a core, and no more than 256.
SLOTS_PER_VCPU = 4
MAX_SLOTS = 256
# Azure keeps the first four addresses of a subnet and the last.
RESERVED_ADDRESSES = 5
LONGEST_PREFIX = 26


class Section(BaseModel):
    """A part of the settings: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise wrong(f"{value!r} is not a duration with its unit", f"write {DURATION_RULE}")
    try:
        return parse_duration(value)
    except ValueError:
        raise wrong(f"{value!r} is not a duration", f"write {DURATION_RULE}") from None


def _rule(check: Callable[[str], bool], rule: str) -> AfterValidator:
    def validate(value: str) -> str:
        if not check(value):
            raise wrong(f"{value!r} is not allowed", f"write {rule}")
        return value

    return AfterValidator(validate)


def _some(value: object) -> object:
    if isinstance(value, list | tuple) and not value:
        raise wrong("is empty", "declare at least one")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Name = Annotated[str, _rule(naming.is_name, naming.NAME_RULE)]


def _scaling_section() -> type[Section]:
    hints = typing.get_type_hints(ScalingPolicy)
    fields: dict[str, Any] = {
        field.name: (Duration if hints[field.name] is timedelta else hints[field.name], field.default)
        for field in dataclasses.fields(ScalingPolicy)
    }
    return create_model("ScalingSection", __base__=Section, **fields)


_SCALING = _scaling_section()


def _policy(section: Section) -> ScalingPolicy:
    try:
        return ScalingPolicy(**dict(section))
    except ValueError as error:
        raise wrong(str(error), "change one of them") from None


def _scaling_schema(_source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
    return core_schema.no_info_after_validator_function(_policy, handler(_SCALING))


Scaling = Annotated[ScalingPolicy, GetPydanticSchema(_scaling_schema)]


class GroupConfig(Section):
    """A node group: machines of one size, bought one way. A higher `revision` makes new machines of the same kind."""

    name: Name = Field(examples=["d4sv5"])
    priority: GroupPriority = Field(GroupPriority.REGULAR, examples=["regular"])
    vm_size: str = Field(examples=["Standard_D4s_v5"])
    task_slots: int | None = Field(None, ge=1, validate_default=True, examples=[4])
    max_nodes: int | None = Field(None, ge=1, le=MAX_SCALE_SET, examples=[10])
    revision: int = Field(0, ge=0, examples=[1])

    @field_validator("vm_size")
    @classmethod
    def _known_size(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("Standard_B") and info.data.get("priority") is GroupPriority.SPOT:
            raise wrong(
                f"Azure sells no Spot machines of the B series ({value})", "write another size, or priority regular"
            )
        if value not in VM_SIZES:
            raise wrong(f"{value!r} is not a VM size in scheduler/catalog.py", choose(value, list(VM_SIZES)))
        return value

    @field_validator("task_slots")
    @classmethod
    def _slots_that_fit(cls, value: int | None, info: ValidationInfo) -> int | None:
        size = VM_SIZES.get(info.data.get("vm_size", ""))
        if value is None or size is None:
            return value
        most = min(SLOTS_PER_VCPU * size.vcpus, MAX_SLOTS)
        if value > most:
            raise wrong(
                f"{value} slots are too many for the {size.vcpus} vCPUs of {size.name}", f"write at most {most}"
            )
        return value

    @property
    def size(self) -> VmSize:
        """What is known of the VM size."""
        return VM_SIZES[self.vm_size]

    @property
    def slots(self) -> int:
        """Task slots of a node: as declared, else one a vCPU."""
        return self.task_slots or min(self.size.vcpus, MAX_SLOTS)


class NodeConfig(Section):
    """How nodes behave."""

    status_interval: Duration = Field(timedelta(seconds=10), examples=["10s"])

    @field_validator("status_interval")
    @classmethod
    def _bounds(cls, value: timedelta) -> timedelta:
        if not timedelta(milliseconds=200) <= value <= timedelta(minutes=5):
            raise wrong(f"{value} is out of bounds", "write between 200ms and 5m")
        return value


class PoolConfig(Section):
    """A pool: one image, one or more node groups, one scaling policy."""

    name: Name = Field(examples=["risk"])
    image: str = Field(examples=["ubuntu-24.04"])
    groups: Annotated[tuple[GroupConfig, ...], BeforeValidator(_some)] = Field(
        examples=[[{"name": "d4sv5", "vm_size": "Standard_D4s_v5"}]]
    )
    scaling: Scaling = Field(ScalingPolicy(), examples=[{"acceptable_wait": "5m", "max_nodes": 10}])
    node: NodeConfig = Field(NodeConfig(), validate_default=True, examples=[{"status_interval": "10s"}])
    computer_name_prefix: str | None = Field(None, examples=["risk"])
    tags: Mapping[str, str] = Field({}, examples=[{"team": "risk"}])

    @field_validator("image")
    @classmethod
    def _known_image(cls, value: str) -> str:
        if value not in IMAGES:
            raise wrong(f"{value!r} is not an image in infra/catalog.py", choose(value, list(IMAGES)))
        return value

    @field_validator("node")
    @classmethod
    def _status_before_silence(cls, value: NodeConfig, info: ValidationInfo) -> NodeConfig:
        scaling = info.data.get("scaling")
        if scaling is not None and value.status_interval * 3 > scaling.silence_deadline:
            raise wrong(
                f"a status every {value.status_interval} leaves less than three within the silence deadline of"
                f" {scaling.silence_deadline}",
                "shorten status_interval or lengthen scaling.silence_deadline",
            )
        return value

    @field_validator("computer_name_prefix")
    @classmethod
    def _prefix_fits(cls, value: str | None, info: ValidationInfo) -> str | None:
        image = IMAGES.get(info.data.get("image", ""))
        windows = image is not None and image.system is OperatingSystem.WINDOWS
        if value is not None and not naming.is_computer_name_prefix(value, windows=windows):
            longest = naming.MAX_WINDOWS_PREFIX if windows else naming.MAX_LINUX_PREFIX
            raise wrong(
                f"{value!r} is not allowed", f"write a letter and at most {longest - 1} letters, digits and hyphens"
            )
        return value

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return _checked_tags(value)

    @property
    def machine_image(self) -> Image:
        """What is known of the image."""
        return IMAGES[self.image]

    @property
    def prefix(self) -> str:
        """How the instances' computer names begin."""
        windows = self.machine_image.system is OperatingSystem.WINDOWS
        return self.computer_name_prefix or naming.computer_name_prefix(self.name, windows=windows)

    def group_limit(self, group: GroupConfig) -> int:
        """Most nodes of a group: as declared, else the pool's bound as far as a scale set goes."""
        return group.max_nodes or max(1, min(self.scaling.max_nodes, MAX_SCALE_SET))


class StorageConfig(Section):
    """The storage account; unless named, its name is made from subscription, environment and location."""

    account: Annotated[str, _rule(naming.is_account, naming.ACCOUNT_RULE)] | None = Field(
        None, examples=["millponddev"]
    )


class NetworkConfig(Section):
    """The virtual network: the lower half of its addresses is for nodes."""

    address_space: IPv4Network = Field(IPv4Network("10.64.0.0/16"), examples=["10.64.0.0/16"])

    @field_validator("address_space")
    @classmethod
    def _private(cls, value: IPv4Network) -> IPv4Network:
        if not value.is_private or value.prefixlen > LONGEST_PREFIX:
            raise wrong(
                f"{value} is not a private network of at least /{LONGEST_PREFIX}", "write one such as 10.64.0.0/16"
            )
        return value

    @property
    def nodes(self) -> IPv4Network:
        """The subnet of the nodes."""
        return next(self.address_space.subnets())


class PinnedFile(Section):
    """A file that the program mirrors into the stack's own storage, where nodes fetch it by its hash."""

    url: Annotated[str, _rule(lambda text: text.startswith("https://"), "an https:// address")] = Field(
        examples=["https://www.python.org/ftp/python/3.14.7/python-3.14.7-embed-amd64.zip"]
    )
    sha256: Annotated[str, _rule(naming.is_sha256, "64 lower-case hexadecimal digits")] = Field(
        examples=["(64 digits)"]
    )


class StackConfig(Section):
    """Everything that a stack declares. `cloud` says where `millpond up` finds Azure; the program does not read it."""

    environment: Name = Field(examples=["dev"])
    location: Annotated[str, _rule(naming.is_location, naming.LOCATION_RULE)] = Field(examples=["westeurope"])
    cloud: Literal["azure", "local"] = Field("azure", examples=["azure"])
    storage: StorageConfig = Field(StorageConfig(), examples=[{"account": "millponddev"}])
    network: NetworkConfig = Field(NetworkConfig(), examples=[{"address_space": "10.64.0.0/16"}])
    pools: Annotated[tuple[PoolConfig, ...], BeforeValidator(_some)] = Field(
        examples=[
            [{"name": "risk", "image": "ubuntu-24.04", "groups": [{"name": "d4sv5", "vm_size": "Standard_D4s_v5"}]}]
        ]
    )
    windows_python: PinnedFile | None = Field(None, validate_default=True)
    tags: Mapping[str, str] = Field({}, examples=[{"team": "risk"}])

    @field_validator("windows_python")
    @classmethod
    def _python_for_windows(cls, value: PinnedFile | None, info: ValidationInfo) -> PinnedFile | None:
        windows = [p.name for p in info.data.get("pools", ()) if p.machine_image.system is OperatingSystem.WINDOWS]
        if windows and value is None:
            raise wrong(
                f"is missing: the images of {', '.join(windows)} have no Python",
                "write url and sha256 of python.org's embeddable package for Windows (3.11 or newer)",
            )
        return value

    @field_validator("tags")
    @classmethod
    def _tags(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return _checked_tags(value)

    @model_validator(mode="after")
    def _addresses_suffice(self) -> Self:
        most = sum(pool.group_limit(group) for pool in self.pools for group in pool.groups)
        free = self.network.nodes.num_addresses - RESERVED_ADDRESSES
        if most > free:
            raise wrong(
                f"the nodes' subnet {self.network.nodes} has {free} addresses and the pools may have {most} nodes",
                "widen network.address_space or lower max_nodes",
            )
        return self


_SETTINGS = Settings(StackConfig, PROJECT, {ScalingPolicy: _SCALING})


def parse(values: Mapping[str, object]) -> StackConfig:
    """Read settings (without the project's prefix); `ConfigError` lists all that is wrong with them."""
    findings = list(_repeated_names(values.get("pools")))
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


def _repeated_names(pools: object) -> Iterator[Finding]:
    """Find names that occur twice; looked for apart from the rest, so that one finding hides no other."""
    yield from _repeated(pools, "pool", f"{PROJECT}:pools")
    for index, pool in enumerate(pools if isinstance(pools, list | tuple) else ()):
        if isinstance(pool, Mapping):
            yield from _repeated(pool.get("groups"), "group", f"{PROJECT}:pools[{index}].groups")


def _repeated(entries: object, noun: str, path: str) -> Iterator[Finding]:
    names = (
        [entry.get("name") for entry in entries if isinstance(entry, Mapping)]
        if isinstance(entries, list | tuple)
        else []
    )
    for index, name in enumerate(names):
        if isinstance(name, str) and name in names[:index]:
            yield Finding(f"{path}[{index}].name", f"another {noun} is called {name!r} too", "write a name of its own")


def _checked_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in tags.items():
        if not naming.is_tag(name, value):
            raise wrong(
                f"the tag {name!r} is not allowed", "write up to 512 characters without <>%&\\?/, value up to 256"
            )
    return tags
