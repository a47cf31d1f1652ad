"""Pools as settings: one image, one or more node groups, one scaling policy."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from infra import naming
from infra.catalog import Image, find_image
from infra.config.bootstrap import BootstrapConfig
from infra.config.groups import MAX_MANAGED_IMAGE_SET, MAX_SCALE_SET, GroupConfig
from infra.config.scaling import Scaling
from infra.config.section import Duration, Name, Section, SubnetId, Tags, some
from infra.findings import wrong
from node_bootstrap.render import OperatingSystem
from scheduler.model import GroupKind, GroupPriority
from scheduler.policy import ScalingPolicy

SPOT_SUFFIX = "-spot"


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
    """A pool: one image, one or more node groups, one scaling policy.

    `spot_share` makes two groups of the one that is declared: a regular one, and beside it a Spot one for this part of
    the nodes. With `scaling.spot_fallback` each may have all of them, so that it can stand in for the other. `shadow`
    is a policy that is decided by, too, and changes nothing. `pinned_python` says whether nodes run the stack's pinned
    Python instead of the image's own.
    """

    name: Name = Field(examples=["risk"])
    kind: GroupKind = Field(GroupKind.SCALE_SET, examples=["scale-set"])
    os: OperatingSystem | None = Field(None, examples=["linux"])
    image: str = Field(examples=["ubuntu-24.04"])
    node_agent: str | None = Field(None, validate_default=True, examples=["batch.node.ubuntu 24.04"])
    pinned_python: bool | None = Field(None, validate_default=True, examples=[True])
    groups: Annotated[tuple[GroupConfig, ...], BeforeValidator(some)] = Field(
        examples=[[{"name": "d4sv5", "vm_size": "Standard_D4s_v5"}]]
    )
    spot_share: float | None = Field(None, ge=0, le=1, examples=[0.8])
    scaling: Scaling = Field(ScalingPolicy(), examples=[{"acceptable_wait": "5m", "max_nodes": 10}])
    shadow: Scaling | None = Field(None, examples=[{"acceptable_wait": "1m"}])
    bootstrap: BootstrapConfig = Field(BootstrapConfig(), examples=[{"time_zone": "Europe/Berlin"}])
    node: NodeConfig = Field(NodeConfig(), validate_default=True, examples=[{"status_interval": "10s"}])
    computer_name_prefix: str | None = Field(None, examples=["risk"])
    subnet_id: SubnetId | None = Field(
        None,
        examples=["/subscriptions/.../providers/Microsoft.Network/virtualNetworks/vnet/subnets/nodes"],
    )
    tags: Tags = Field({}, examples=[{"team": "risk"}])

    @field_validator("image")
    @classmethod
    def _known_image(cls, value: str, info: ValidationInfo) -> str:
        find_image(value, info.data.get("os"))
        return value

    @field_validator("node_agent")
    @classmethod
    def _agent_of_batch(cls, value: str | None, info: ValidationInfo) -> str | None:
        image = _image(info)
        if value is not None and info.data.get("kind") is GroupKind.SCALE_SET:
            raise wrong("only nodes of Azure Batch have a node agent", "leave it out")
        if value is None and info.data.get("kind") is GroupKind.BATCH and image is not None and not image.node_agent:
            raise wrong(
                f"is missing: which node agent Azure Batch runs on {image.alias} is not known here",
                "write one of Batch's list of supported images, such as batch.node.ubuntu 24.04",
            )
        return value

    @field_validator("pinned_python")
    @classmethod
    def _python_there(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        image = _image(info)
        if value is False and image is not None and not image.brings_python:
            raise wrong(f"{image.alias} has no Python 3.11 or newer", "leave it out")
        return value

    @field_validator("spot_share")
    @classmethod
    def _of_one_group(cls, value: float | None, info: ValidationInfo) -> float | None:
        groups = info.data.get("groups")
        if value is None or groups is None:
            return value
        (first, *others) = groups
        if others or first.priority is GroupPriority.SPOT:
            raise wrong("is for a pool of one regular group", "leave it out and write max_nodes on each group")
        if not naming.is_name(f"{first.name}{SPOT_SUFFIX}"):
            raise wrong(
                f"the Spot group would be called {first.name}{SPOT_SUFFIX}, which is too long",
                f"give the group a name of at most {naming.MAX_NAME - len(SPOT_SUFFIX)} characters",
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _shadow_beside_scaling(cls, values: Any) -> Any:
        """Have `shadow` say as `scaling` does what it leaves out."""
        if not isinstance(values, Mapping):
            return values
        scaling, shadow = values.get("scaling"), values.get("shadow")
        if not isinstance(scaling, Mapping) or not isinstance(shadow, Mapping):
            return values
        return {**values, "shadow": {**scaling, **shadow}}

    @field_validator("shadow", mode="before")
    @classmethod
    def _after_scaling(cls, value: object, info: ValidationInfo) -> object:
        return value if "scaling" in info.data else None  # what is wrong in scaling is told once

    @field_validator("scaling", "shadow")
    @classmethod
    def _one_spot_share(cls, value: ScalingPolicy | None, info: ValidationInfo) -> ScalingPolicy | None:
        share, groups = info.data.get("spot_share"), info.data.get("groups")
        if value is None:
            return value
        if value.spot_share is not None and share is not None:
            raise wrong("says a spot_share, and so does the pool", "write the pool's spot_share alone")
        if not value.spot_fallback and value.spot_share is None and share is None:
            raise wrong("forbids a fall-back from a spot_share that there is not", "write a spot_share, too")
        kinds = {group.priority for group in groups or ()}
        if value.spot_share is not None and groups is not None and len(kinds) == 1:
            raise wrong(
                f"says a spot_share, and all groups are {next(iter(kinds))}",
                "declare groups of both priorities, or write the pool's spot_share, which makes them of one group",
            )
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

    @field_validator("bootstrap")
    @classmethod
    def _known_to_the_system(cls, value: BootstrapConfig, info: ValidationInfo) -> BootstrapConfig:
        image, scaling = _image(info), info.data.get("scaling")
        if image is not None:
            value.check_for(image.system)
        if scaling is not None and value.start_commands and value.longest >= scaling.boot_deadline:
            raise wrong(
                f"the start commands may take {value.longest} with their retries, and a node that is not there after"
                f" {scaling.boot_deadline} is given up",
                "raise scaling.boot_deadline, shorten their timeout, or lower retries",
            )
        return value

    @field_validator("computer_name_prefix")
    @classmethod
    def _prefix_fits(cls, value: str | None, info: ValidationInfo) -> str | None:
        image = _image(info)
        windows = image is not None and image.system is OperatingSystem.WINDOWS
        if value is not None and info.data.get("kind") is GroupKind.BATCH:
            raise wrong("Azure Batch names its nodes itself", "leave it out")
        if value is not None and not naming.is_computer_name_prefix(value, windows=windows):
            longest = naming.MAX_WINDOWS_PREFIX if windows else naming.MAX_LINUX_PREFIX
            raise wrong(
                f"{value!r} is not allowed", f"write a letter and at most {longest - 1} letters, digits and hyphens"
            )
        return value

    @property
    def proposed(self) -> ScalingPolicy | None:
        """The policy that `shadow` proposes."""
        return None if self.shadow is None else self._told(self.shadow)

    @property
    def machine_image(self) -> Image:
        """What is known of the image."""
        return find_image(self.image, self.os)

    @property
    def agent(self) -> str | None:
        """The node agent of Azure Batch: as declared, else the image's."""
        return self.node_agent or self.machine_image.node_agent

    @property
    def needs_python(self) -> bool:
        """Whether its nodes need the stack's pinned Python."""
        return bool(self.pinned_python) or not self.machine_image.brings_python

    @property
    def prefix(self) -> str:
        """How the instances' computer names begin."""
        windows = self.machine_image.system is OperatingSystem.WINDOWS
        return self.computer_name_prefix or naming.computer_name_prefix(self.name, windows=windows)

    @property
    def node_groups(self) -> tuple[GroupConfig, ...]:
        """The groups as deployed: those declared, or the two that `spot_share` makes of one."""
        if self.spot_share is None:
            return self.groups
        (declared,) = self.groups
        most = self.group_limit(declared)
        spot = round(most * self.spot_share)
        regular = most - spot
        if self.scaling.spot_fallback and self.spot_share:
            spot, regular = most, most
        both = (
            declared.model_copy(update={"max_nodes": regular}),
            declared.model_copy(
                update={"name": f"{declared.name}{SPOT_SUFFIX}", "max_nodes": spot, "priority": GroupPriority.SPOT}
            ),
        )
        return tuple(group for group in both if group.max_nodes)

    @property
    def policy(self) -> ScalingPolicy:
        """The scaling as the scheduler is told of it: two groups made of one have no more nodes than that one."""
        return self._told(self.scaling)

    def _told(self, scaling: ScalingPolicy) -> ScalingPolicy:
        if self.spot_share is None:
            return scaling
        most = min(scaling.max_nodes, self.group_limit(self.groups[0]))
        return replace(
            scaling,
            spot_share=self.spot_share,
            max_nodes=most,
            min_nodes=min(scaling.min_nodes, most),
            floors=tuple(replace(floor, nodes=min(floor.nodes, most)) for floor in scaling.floors),
        )

    @property
    def most_nodes(self) -> int:
        """Most nodes of all groups together, retired ones aside."""
        return min(self.policy.max_nodes, sum(self.group_limit(group) for group in self.node_groups))

    def group_limit(self, group: GroupConfig) -> int:
        """Most nodes of a group: as declared, else the pool's bound as far as a scale set goes."""
        longest = MAX_MANAGED_IMAGE_SET if self.machine_image.managed else MAX_SCALE_SET
        return group.max_nodes or max(1, min(self.scaling.max_nodes, longest))


def _image(info: ValidationInfo) -> Image | None:
    """Give the image, once it has been found right."""
    text = info.data.get("image")
    return find_image(text, info.data.get("os")) if text else None
