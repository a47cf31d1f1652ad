"""The machines of a node group."""

from typing import Protocol

from scheduler.model import NodeGroup, ScaleSetView


class Capacity(Protocol):
    """The machines of a node group. Nothing waits for an operation: the next reading is the truth."""

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read a set and list all its instances; None when the set does not exist."""
        ...

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Ask for a higher capacity, provided the set is as it was read.

        Raises `PreconditionError` when it is not, `CapacityError` when the cloud refuses, `ValueError` when
        `capacity` is not above `view.capacity`.
        """
        ...

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Delete exactly these instances; the set's capacity falls with them. One that is gone is not an error."""
        ...

    def delete_group(self, group: NodeGroup) -> None:
        """Delete the set of a retired generation; `ConflictError` while it has instances, no error when gone."""
        ...
