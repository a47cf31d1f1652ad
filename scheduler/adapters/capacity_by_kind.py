"""One `Capacity` for node groups of every kind: each call goes to the adapter of the group's kind."""

from scheduler.errors import InvalidRequestError
from scheduler.model import GroupKind, NodeGroup, ScaleSetView
from scheduler.ports.capacity import Capacity


class CapacityByKind:
    """Scale sets, and Batch pools where the deployment has a Batch account with some."""

    def __init__(self, scale_sets: Capacity, batch_pools: Capacity | None) -> None:
        self._scale_sets = scale_sets
        self._batch_pools = batch_pools

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read the group's set or pool."""
        return self._of(group).observe(group)

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Ask for a higher capacity."""
        self._of(group).raise_to(group, view, capacity)

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Delete exactly these machines."""
        self._of(group).remove(group, instance_ids)

    def delete_group(self, group: NodeGroup) -> None:
        """Delete the empty set or pool."""
        self._of(group).delete_group(group)

    def _of(self, group: NodeGroup) -> Capacity:
        if group.kind is GroupKind.SCALE_SET:
            return self._scale_sets
        if self._batch_pools is None:
            raise InvalidRequestError(
                f"{group.key} is a Batch pool, but the settings this scheduler started with name no Batch account"
                " (batch_endpoint); run `millpond up`, then start the scheduler again"
            )
        return self._batch_pools
