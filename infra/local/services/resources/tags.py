"""Tags as a thing of their own: read, replaced, merged or removed on any resource, group or the subscription."""

from collections.abc import Callable

from infra.local.arm.addresses import parse, segments
from infra.local.arm.errors import invalid, not_found
from infra.local.arm.resource_types import Query
from infra.local.arm.store import Resource, Store
from infra.local.arm.subscription import Json, Names, SubscriptionRoute

_PATTERN = "{*scope}/providers/Microsoft.Resources/tags/default"
_SUBSCRIPTION_TAGS = "subscription_tags"
_SUBSCRIPTION_SEGMENTS = 2
_MOST_TAGS = 50  # docs: "Use tags to organize your Azure resources", limitations


class Tags:
    """Answers requests for `Microsoft.Resources/tags`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> tuple[SubscriptionRoute, ...]:
        """Return the questions."""

        def route(method: str, answer: Callable[[Resource, Json], None]) -> SubscriptionRoute:
            def serve(names: Names, _query: Query, body: Json) -> Json:
                with self._store.transaction():
                    resource = self._find(names["scope"])
                    answer(resource, body)
                    return _shown(names["scope"], resource)

            return SubscriptionRoute(method, _PATTERN, serve)

        return (
            route("GET", lambda _resource, _body: None),
            route("PUT", self._replace),
            route("PATCH", self._patch),
            route("DELETE", lambda resource, _body: self._set(resource, {})),
        )

    def _find(self, scope: str) -> Resource:
        if len(segments(scope)) == _SUBSCRIPTION_SEGMENTS:
            return self._store.get(scope + "/providers/Microsoft.Resources/tags/default") or Resource(
                scope + "/providers/Microsoft.Resources/tags/default", "Microsoft.Resources/tags", {}
            )
        address = parse(scope).address
        resource = self._store.get(address.id) if address else None
        if resource is None:
            raise not_found(f"The resource '{scope}' was not found.")
        return resource

    def _replace(self, resource: Resource, body: Json) -> None:
        self._set(resource, _sent(body))

    def _patch(self, resource: Resource, body: Json) -> None:
        known: dict[str, str] = dict(resource.body.get("tags") or {})
        sent = _sent(body)
        match str(body.get("operation", "")).lower():
            case "merge":
                self._set(resource, known | sent)
            case "replace":
                self._set(resource, sent)
            case "delete":
                left = {name: value for name, value in known.items() if sent.get(name) != value}
                self._set(resource, left)
            case other:
                message = f"The operation '{other}' is none of Merge, Replace and Delete."
                raise invalid(message, "operation", "InvalidRequestContent")

    def _set(self, resource: Resource, tags: dict[str, str]) -> None:
        if len(tags) > _MOST_TAGS:
            message = f"'{resource.id}' would have {len(tags)} tags; it can have {_MOST_TAGS}."
            raise invalid(message, "properties.tags", "InvalidTags")
        resource.body["tags"] = tags
        self._store.save(resource)


def _sent(body: Json) -> dict[str, str]:
    tags = (body.get("properties") or {}).get("tags")
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        message = "The request needs 'properties.tags', an object of texts."
        raise invalid(message, "properties.tags", "InvalidRequestContent")
    return dict(tags)


def _shown(scope: str, resource: Resource) -> Json:
    return {
        "id": f"{scope}/providers/Microsoft.Resources/tags/default",
        "name": "default",
        "type": "Microsoft.Resources/tags",
        "properties": {"tags": resource.body.get("tags") or {}},
    }
