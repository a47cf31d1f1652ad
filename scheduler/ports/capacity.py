"""The machines of a node group."""

from typing import Protocol

from scheduler.model import InstanceState, NodeGroup, ScaleSetView


def live(view: ScaleSetView) -> int:
    """Count the machines of a set that are there to stay: its capacity falls when a deletion begins."""
    return sum(instance.state is not InstanceState.DELETING for instance in view.instances)


def check_raise(group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
    """Refuse a capacity by which machines would go: that is a programming error."""
    there = live(view)
    if capacity <= there:
        raise ValueError(
            f"capacity {capacity} of {group.scale_set} is not above its {there} machines: only raised; "
            "machines are removed by their ids"
        )


class Capacity(Protocol):
    """The machines of a node group. Nothing waits for an operation: the next reading is the truth."""

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read a set and list all its instances; None when the set does not exist."""
        ...

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Ask for more machines than there are, provided the set is as it was read.

        A capacity below the one that was read gives up what was asked for and has not come. Raises `PreconditionError`
        when the set is not as it was read, `CapacityError` when the cloud refuses, `ValueError` when `capacity` is not
        above the machines that are there, so that none ever goes by it.
        """
        ...

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Delete exactly these instances; the set's capacity falls with them. One that is gone is not an error."""
        ...

    def delete_group(self, group: NodeGroup) -> None:
        """Delete the set of a retired generation; `ConflictError` while it has instances, no error when gone."""
        ...
