"""Resource ids: what a path of the resource manager names."""

from dataclasses import dataclass

from infra.local.arm.errors import not_found

RESOURCE_GROUP = "Microsoft.Resources/resourceGroups"
_GROUP_SEGMENTS = 4
_ROLE_DEFINITION = ("microsoft.authorization", "roledefinitions")


@dataclass(frozen=True, slots=True)
class Address:
    """A resource: its id as written, its type, and what surrounds it. Ids compare without case, by `key`."""

    id: str
    type: str
    names: tuple[str, ...]
    scope: str

    @property
    def key(self) -> str:
        """The id for comparisons."""
        return self.id.lower()

    @property
    def name(self) -> str:
        """The last name in the id."""
        return self.names[-1]

    @property
    def group(self) -> str | None:
        """The id of the resource group that it is in."""
        return group_of(self.id)

    @property
    def parent(self) -> str | None:
        """The id of the resource that it is a part of."""
        return self.id.rsplit("/", 2)[0] if len(self.names) > 1 else None


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a resource, and what follows it: an action or a collection's name.

    A collection right under a scope has no resource, only the scope.
    """

    address: Address | None
    scope: str
    namespace: str | None
    trailing: str | None

    @property
    def collection_type(self) -> str:
        """The type of the members when `trailing` names a collection."""
        if self.address is None:
            return f"{self.namespace}/{self.trailing}"
        if self.address.type == RESOURCE_GROUP:
            return str(self.trailing)
        return f"{self.address.type}/{self.trailing}"


def segments(path: str) -> list[str]:
    """Split a path; doubled slashes count once."""
    return [part for part in path.split("/") if part]


def group_of(resource_id: str) -> str | None:
    """Return the id of the resource group in a resource id."""
    parts = segments(resource_id)
    if len(parts) >= _GROUP_SEGMENTS and parts[2].lower() == "resourcegroups":
        return f"/subscriptions/{parts[1]}/resourceGroups/{parts[3]}"
    return None


def subscription_of(resource_id: str) -> str:
    """Return the subscription in a resource id, or nothing."""
    parts = segments(resource_id)
    return parts[1] if len(parts) > 1 and parts[0].lower() == "subscriptions" else ""


def parse(path: str) -> Target:
    """Say what a path names; the last `providers` in it counts, so that a scope may be a resource."""
    parts = segments(path)
    positions = [place for place, part in enumerate(parts) if part.lower() == "providers"]
    if not positions or positions[-1] + 2 >= len(parts):
        return _parse_group(parts, path)
    start = positions[-1]
    scope = _scope(parts[:start])
    namespace, rest = parts[start + 1], parts[start + 2 :]
    pairs, trailing = (rest, None) if len(rest) % 2 == 0 else (rest[:-1], rest[-1])
    if not pairs:
        return Target(None, scope, namespace, trailing)
    types, names = tuple(pairs[::2]), tuple(pairs[1::2])
    if (namespace.lower(), types[0].lower()) == _ROLE_DEFINITION:
        # A role is the directory's, wherever it is asked for; its ids name the subscription.
        scope = _scope(parts[: min(start, 2)])
    joined = "/".join(pairs)
    address = Address(f"{scope}/providers/{namespace}/{joined}", "/".join((namespace, *types)), names, scope)
    return Target(address, scope, namespace, trailing)


def _scope(parts: list[str]) -> str:
    """Write a scope with `resourceGroups` spelled as the service does."""
    fixed = ["resourceGroups" if place == 2 and part.lower() == "resourcegroups" else part  # noqa: PLR2004 -- by position
             for place, part in enumerate(parts)]  # fmt: skip
    return "".join(f"/{part}" for part in fixed)


def _parse_group(parts: list[str], path: str) -> Target:
    lowered = [part.lower() for part in parts]
    if lowered[:1] == ["subscriptions"] and lowered[2:3] == ["resourcegroups"]:
        if len(parts) == _GROUP_SEGMENTS - 1:
            return Target(None, f"/subscriptions/{parts[1]}", "Microsoft.Resources", "resourceGroups")
        if len(parts) <= _GROUP_SEGMENTS + 1:
            identifier = f"/subscriptions/{parts[1]}/resourceGroups/{parts[3]}"
            address = Address(identifier, RESOURCE_GROUP, (parts[3],), f"/subscriptions/{parts[1]}")
            return Target(
                address, identifier, "Microsoft.Resources", parts[4] if len(parts) > _GROUP_SEGMENTS else None
            )
    raise not_found(f"The path '{path}' names nothing that the local Azure knows.", "InvalidResourceType")
