"""Resource groups: deleting one deletes everything in it."""

from collections.abc import Callable
from http import HTTPStatus

from infra.local.arm.addresses import RESOURCE_GROUP
from infra.local.arm.resource_types import Follow, ResourceType
from infra.local.arm.store import Resource, Store

_LOOK_AGAIN_SECONDS = 0.1


def resource_groups(store: Store, start_delete: Callable[[Resource], None]) -> ResourceType:
    """Return the type; `start_delete` begins to delete one resource, also if its type is deleted at once elsewhere."""

    def release(group: Resource) -> float | None:
        with store.transaction():
            left = [resource for resource in store.find(under=group.id) if resource.type.count("/") == 1]
            left = [resource for resource in left if not resource.type.startswith("microsoft.authorization/")]
            for resource in left:
                start_delete(resource)
        return _LOOK_AGAIN_SECONDS if left else None

    return ResourceType(
        RESOURCE_GROUP,
        release=release,
        deleted=HTTPStatus.ACCEPTED,
        follow_delete=Follow.LOCATION,
    )
