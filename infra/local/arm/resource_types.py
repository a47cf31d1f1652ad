"""What a type of resource is to the resource manager: one record a type, and all behaviour hangs on it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from http import HTTPStatus
from typing import Any

from infra.local.arm.addresses import Address
from infra.local.arm.errors import not_found
from infra.local.arm.store import Operation, Resource
from infra.local.tokens import Principal


class Follow(Flag):
    """Which headers let a client follow an operation; NOTHING means that the answer is final."""

    NOTHING = 0
    LOCATION = auto()
    STATUS = auto()  # Azure-AsyncOperation
    BOTH = LOCATION | STATUS


@dataclass(slots=True)
class Write:
    """A PUT or PATCH under way: `resource` is what will be saved, `before` what was there, `body` what was sent."""

    address: Address
    resource: Resource
    before: Resource | None
    body: dict[str, Any]


Query = Mapping[str, str]


@dataclass(slots=True)
class Call:
    """An action (POST) on a resource, and who asks for it."""

    resource: Resource
    body: dict[str, Any]
    query: Query
    principal: Principal


@dataclass(frozen=True, slots=True)
class Reply:
    """What an action answers: a body, or an operation to follow; `status` where it is neither 200 nor 202."""

    body: dict[str, Any] | None = None
    operation: Operation | None = None
    follow: Follow = Follow.NOTHING
    status: HTTPStatus | None = None


def _nothing(_write: Write) -> None:
    return


def _no_payload(_write: Write) -> dict[str, Any]:
    return {}


def _done(_resource: Resource, _payload: dict[str, Any]) -> float | None:
    return None


def _gone(_resource: Resource) -> float | None:
    return None


def _body(resource: Resource, _query: Query) -> dict[str, Any]:
    return resource.body


@dataclass(frozen=True, slots=True)
class ResourceType:
    """How one type behaves.

    `prepare` validates a write and completes the body; `apply` runs once it is saved, in the same transaction, and
    returns what `provision` needs; `provision` and `release` are steps of operations (or run at once when nothing is
    followed): they return seconds to be called again, or None. `view` is what a GET shows.
    `members` lists what lies under an id, where that is not simply what the store has below it.
    `shows` says whether a list with this query has a resource in it.
    `leave` runs in the transaction that begins a deletion asked for by a client, and may refuse it.
    """

    name: str
    prepare: Callable[[Write], None] = _nothing
    apply: Callable[[Write], dict[str, Any]] = _no_payload
    provision: Callable[[Resource, dict[str, Any]], float | None] = _done
    release: Callable[[Resource], float | None] = _gone
    view: Callable[[Resource, Query], dict[str, Any]] = _body
    leave: Callable[[Resource], None] = field(default=lambda _resource: None)
    shows: Callable[[Resource, Query], bool] = field(default=lambda _resource, _query: True)
    actions: Mapping[str, Callable[[Call], Reply]] = field(default_factory=dict)
    views: Mapping[str, Callable[[Resource], dict[str, Any]]] = field(default_factory=dict)
    members: Callable[[str, Query], list[Resource]] | None = None
    created: HTTPStatus = HTTPStatus.CREATED
    updated: HTTPStatus = HTTPStatus.OK
    deleted: HTTPStatus = HTTPStatus.OK
    follow_create: Follow = Follow.NOTHING
    follow_update: Follow = Follow.NOTHING
    follow_delete: Follow = Follow.NOTHING
    creating_state: str = "Creating"
    merges: bool = False
    tracked: bool = True  # has a location and tags of its own
    implicit: bool = False  # is there as soon as its parent is
    shows_etag: bool = False
    shows_deleted: bool = False  # the answer to a DELETE is what was there
    has_state: bool = True
    page_size: int = 100
    immutable: tuple[str, ...] = ()


class ResourceTypes:
    """The table of types, found without regard to case."""

    def __init__(self, types: Iterable[ResourceType]) -> None:
        self._by_name = {entry.name.lower(): entry for entry in types}

    def find(self, name: str) -> ResourceType:
        """Return a type, or refuse with the list of those there are."""
        try:
            return self._by_name[name.lower()]
        except KeyError:
            known = ", ".join(sorted(entry.name for entry in self._by_name.values()))
            message = f"The resource type '{name}' could not be found; the local Azure has {known}."
            raise not_found(message, "InvalidResourceType") from None

    def namespaces(self) -> dict[str, list[str]]:
        """List the types of each provider namespace."""
        found: dict[str, list[str]] = {}
        for entry in self._by_name.values():
            namespace, _, kind = entry.name.partition("/")
            found.setdefault(namespace, []).append(kind)
        return found
