"""What the subscription itself answers: its own record, its providers, regions, tags and free names."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from infra.local.arm import regions
from infra.local.arm.addresses import segments
from infra.local.arm.errors import ArmError, invalid
from infra.local.arm.filters import compile_filter
from infra.local.arm.resource_types import Query, ResourceTypes
from infra.local.arm.store import Resource, Store
from infra.local.services.access.role_definitions import role_definition, role_definitions

Json = dict[str, Any]

# Types whose names are unique beyond the subscription, what a name may look like, and the reasons of a refusal.
_GLOBAL_NAMES = {
    "microsoft.storage": ("Microsoft.Storage/storageAccounts", r"[a-z0-9]{3,24}", "AccountNameInvalid"),
    "microsoft.batch": ("Microsoft.Batch/batchAccounts", r"[a-z0-9]{3,24}", "Invalid"),
}

_NOT_LISTED = ("microsoft.resources/", "microsoft.authorization/")
_LISTED_KEYS = ("location", "tags", "sku", "kind", "identity", "zones", "managedBy", "plan", "extendedLocation")
_TENANT = "contoso.onmicrosoft.com"

Names = Mapping[str, str]


@functools.cache
def _parts_of(pattern: str) -> list[str]:
    return segments(pattern)


@dataclass(frozen=True, slots=True)
class SubscriptionRoute:
    """A question that a service answers about the whole subscription: sizes, images, usages, quotas.

    `pattern` is a path, compared without case; `{name}` in it takes one segment, `{*name}` at its begin all that come
    before the rest. `answer` gets the taken segments by name, the query and the body; what it returns is sent with 200.
    """

    method: str
    pattern: str
    answer: Callable[[Names, Query, Json], Json]

    def match(self, method: str, parts: list[str]) -> dict[str, str] | None:
        """Return the segments taken from the path; None when this is another question."""
        if method != self.method:
            return None
        wanted = _parts_of(self.pattern)
        taken = {}
        if wanted[0].startswith("{*") and len(parts) >= len(wanted) - 1:
            first = len(parts) - len(wanted) + 1
            taken[wanted[0][2:-1]] = "".join(f"/{part}" for part in parts[:first])
            wanted, parts = wanted[1:], parts[first:]
        if len(parts) != len(wanted):
            return None
        for pattern, part in zip(wanted, parts, strict=True):
            if pattern.startswith("{"):
                taken[pattern[1:-1]] = part
            elif pattern.lower() != part.lower():
                return None
        return taken


class Subscription:
    """The one subscription of the local Azure; services add questions of their own as `routes`."""

    def __init__(
        self,
        subscription_id: str,
        tenant_id: str,
        types: ResourceTypes,
        store: Store,
        routes: Iterable[SubscriptionRoute] = (),
    ) -> None:
        self._id = subscription_id
        self._tenant_id = tenant_id
        self._types = types
        self._store = store
        self._routes = (*self._own_routes(), *routes)

    def check(self, subscription_id: str) -> None:
        """Refuse a subscription that is not ours; a path without one is fine."""
        if subscription_id and subscription_id.lower() != self._id:
            message = f"The subscription '{subscription_id}' could not be found; the local Azure has '{self._id}'."
            raise ArmError(HTTPStatus.NOT_FOUND, "SubscriptionNotFound", message)

    def answer(self, method: str, path: str, body: Json, query: Mapping[str, str]) -> Json | None:
        """Answer a request about the subscription; None when it is about a resource."""
        parts = segments(path)
        for route in self._routes:
            if (taken := route.match(method, parts)) is not None:
                return route.answer(taken, query, body)
        return None

    def _own_routes(self) -> tuple[SubscriptionRoute, ...]:
        under = "/subscriptions/{subscription}"
        namespace = f"{under}/providers/{{namespace}}"
        roles = "{*scope}/providers/Microsoft.Authorization/roleDefinitions"

        def get(pattern: str, answer: Callable[[Names, Query], Json]) -> SubscriptionRoute:
            return SubscriptionRoute("GET", pattern, lambda names, query, _body: answer(names, query))

        def post(pattern: str, answer: Callable[[Names, Json], Json]) -> SubscriptionRoute:
            return SubscriptionRoute("POST", pattern, lambda names, _query, body: answer(names, body))

        return (
            get("/subscriptions", lambda _names, _query: {"value": [self._record()]}),
            get(under, lambda _names, _query: self._record()),
            get("/tenants", lambda _names, _query: {"value": [self._tenant()]}),
            get(f"{under}/locations", lambda _names, _query: {"value": self._locations()}),
            get(f"{under}/tagNames", lambda _names, _query: {"value": self._tag_names()}),
            get(
                f"{under}/resources",
                lambda _names, query: self._resources(under=f"/subscriptions/{self._id}", query=query),
            ),
            get(f"{under}/resourceGroups/{{group}}/resources", self._group_resources),
            get(f"{under}/providers", lambda _names, _query: {"value": self._providers()}),
            get("/providers", lambda _names, _query: {"value": self._providers()}),
            get(namespace, lambda names, _query: self._named_provider(names)),
            get("/providers/{namespace}", lambda names, _query: self._named_provider(names)),
            get(f"{namespace}/resourceTypes", lambda names, _query: {"value": self._kinds(self._named(names))}),
            get(f"{namespace}/providerPermissions", lambda names, _query: {"value": self._permissions(names)}),
            get("/providers/{namespace}/operations", lambda names, _query: {"value": self._operations(names)}),
            get(roles, lambda names, query: role_definitions(self._store, names["scope"], query.get("$filter", ""))),
            get(f"{roles}/{{role}}", lambda names, _query: role_definition(self._store, names["scope"], names["role"])),
            get("/providers/Microsoft.Authorization/providerOperations/{namespace}", self._provider_operations),
            post(f"{namespace}/register", lambda names, _body: self._named_provider(names)),
            post(f"{namespace}/unregister", lambda names, _body: self._unregister(names)),
            post(f"{namespace}/checkNameAvailability", self._check_name),
            post(f"{namespace}/locations/{{location}}/checkNameAvailability", self._check_name),
            post("/providers/Microsoft.Resources/checkResourceName", _check_resource_name),
        )

    def _record(self) -> Json:
        return {
            "id": f"/subscriptions/{self._id}",
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
            "subscriptionId": self._id,
            "tenantId": self._tenant_id,
            "displayName": "Local Azure",
            "state": "Enabled",
            "subscriptionPolicies": {
                "locationPlacementId": "Public_2014-09-01",
                "quotaId": "PayAsYouGo_2014-09-01",
                "spendingLimit": "Off",
            },
        }

    def _tenant(self) -> Json:
        return {
            "id": f"/tenants/{self._tenant_id}",
            "tenantId": self._tenant_id,
            "countryCode": "US",
            "displayName": "Local Azure",
            "domains": [_TENANT],
            "defaultDomain": _TENANT,
            "tenantCategory": "Home",
            "tenantType": "AAD",
        }

    def _locations(self) -> list[Json]:
        return [regions.location(self._id, name) for name in regions.REGIONS]

    def _group_resources(self, names: Names, query: Query) -> Json:
        group = f"/subscriptions/{self._id}/resourceGroups/{names['group']}"
        if self._store.get(group) is None:
            message = f"Resource group '{names['group']}' could not be found."
            raise ArmError(HTTPStatus.NOT_FOUND, "ResourceGroupNotFound", message)
        return self._resources(under=group, query=query)

    def _resources(self, *, under: str, query: Query) -> Json:
        """List what lies in a scope, without the parts of resources and without roles."""
        passes = compile_filter(query.get("$filter", ""))
        found = [self._listed(resource, query) for resource in self._tracked(under)]
        chosen = [resource for resource in found if passes(resource)]
        try:
            limit = int(query.get("$top", len(chosen)))
        except ValueError:
            raise invalid(f"Invalid $top '{query['$top']}': not a number.", "$top", "InvalidQueryString") from None
        return {"value": chosen[:limit]}

    def _tracked(self, under: str) -> list[Resource]:
        return [
            resource
            for resource in self._store.find(under=under)
            if not resource.type.startswith(_NOT_LISTED)
            and (resource.type.count("/") == 1 or self._types.find(resource.type).tracked)
            and "location" in resource.body
        ]

    def _listed(self, resource: Resource, query: Query) -> Json:
        """Return the short form of listings; `name` has those of the parents in it."""
        kind = self._types.find(resource.type).name
        names = resource.id.split("/providers/")[-1].split("/")[2::2]
        listed = {"id": resource.id, "name": "/".join(names), "type": kind}
        listed |= {key: resource.body[key] for key in _LISTED_KEYS if key in resource.body}
        if "provisioningstate" in query.get("$expand", "").lower() and resource.state:
            listed["provisioningState"] = resource.state
        return listed

    def _tag_names(self) -> list[Json]:
        counts: dict[str, dict[str, int]] = {}
        for resource in self._store.find():
            for name, value in (resource.body.get("tags") or {}).items():
                values = counts.setdefault(name, {})
                values[value] = values.get(value, 0) + 1
        return [
            {
                "id": f"/subscriptions/{self._id}/tagNames/{name}",
                "tagName": name,
                "count": {"type": "Total", "value": sum(values.values())},
                "values": [
                    {
                        "id": f"/subscriptions/{self._id}/tagNames/{name}/tagValues/{value}",
                        "tagValue": value,
                        "count": {"type": "Total", "value": count},
                    }
                    for value, count in values.items()
                ],
            }
            for name, values in counts.items()
        ]

    def _named(self, names: Names) -> str:
        """Return a namespace as it is spelled."""
        for name in self._types.namespaces():
            if name.lower() == names["namespace"].lower():
                return name
        message = f"The resource namespace '{names['namespace']}' is invalid."
        raise ArmError(HTTPStatus.NOT_FOUND, "InvalidResourceNamespace", message)

    def _named_provider(self, names: Names) -> Json:
        return self._provider(self._named(names))

    def _providers(self) -> list[Json]:
        return [self._provider(name) for name in self._types.namespaces()]

    def _provider(self, namespace: str) -> Json:
        return {
            "id": f"/subscriptions/{self._id}/providers/{namespace}",
            "namespace": namespace,
            "registrationState": "Registered",
            "registrationPolicy": "RegistrationRequired",
            "resourceTypes": self._kinds(namespace),
        }

    def _kinds(self, namespace: str) -> list[Json]:
        kinds = [*self._types.namespaces()[namespace], "operations", "locations"]
        described = []
        for kind in kinds:
            versions = regions.api_versions(namespace, kind)
            capabilities = "SupportsTags, SupportsLocation" if self._is_tracked(f"{namespace}/{kind}") else "None"
            described.append(
                {
                    "resourceType": kind,
                    "locations": ["global"] if kind.lower().startswith("privatednszones") else regions.display_names(),
                    "apiVersions": versions,
                    "defaultApiVersion": versions[0],
                    "capabilities": capabilities,
                }
            )
        return described

    def _is_tracked(self, name: str) -> bool:
        known = {f"{space}/{kind}" for space, kinds in self._types.namespaces().items() for kind in kinds}
        return name in known and self._types.find(name).tracked

    def _unregister(self, names: Names) -> Json:
        namespace = self._named(names)
        message = f"The local Azure always has '{namespace}'; there is nothing to unregister."
        raise ArmError(HTTPStatus.CONFLICT, "CannotUnregister", message)

    def _permissions(self, names: Names) -> list[Json]:
        return [{"applicationId": self._id, "providerAuthorizationConsentState": "NotSpecified"}] * bool(
            self._named(names)
        )

    def _provider_operations(self, names: Names, _query: Query) -> Json:
        namespace = self._named(names)
        operations = [{"name": found["name"], **found["display"]} for found in self._operations(names)]
        return {
            "id": f"/providers/Microsoft.Authorization/providerOperations/{namespace}",
            "type": "Microsoft.Authorization/providerOperations",
            "name": namespace,
            "displayName": namespace,
            "resourceTypes": [],
            "operations": operations,
        }

    def _operations(self, names: Names) -> list[Json]:
        """List the operations of a namespace by their actions' names."""
        namespace = self._named(names)
        found = []
        for kind in self._types.namespaces()[namespace]:
            entry = self._types.find(f"{namespace}/{kind}")
            verbs = [*(("read", "write", "delete")), *(f"{action}/action" for action in entry.actions)]
            for verb in verbs:
                display = {"provider": namespace, "resource": kind, "operation": verb, "description": f"{verb}: {kind}"}
                found.append({"name": f"{namespace}/{kind}/{verb}", "isDataAction": False, "display": display})
        return found

    def _check_name(self, names: Names, body: Json) -> Json:
        namespace, name = names["namespace"].lower(), body.get("name")
        if namespace not in _GLOBAL_NAMES:
            raise ArmError(HTTPStatus.NOT_FOUND, "NotFound", f"'{names['namespace']}' has no names to check.")
        resource_type, pattern, reason = _GLOBAL_NAMES[namespace]
        sent = str(body.get("type") or resource_type)
        if not isinstance(name, str) or sent.lower() != resource_type.lower():
            missing = "name" if not isinstance(name, str) else "type"
            message = f"The check needs 'name' and 'type': '{resource_type}'; '{missing}' is {body.get(missing)!r}."
            raise invalid(message, missing, "InvalidRequestPropertyValue")
        if not re.fullmatch(pattern, name):
            message = (
                f"{name} is not a valid account name. The name must be between 3 and 24 characters in length and use"
                " numbers and lower-case letters only."
            )
            return {"nameAvailable": False, "reason": reason, "message": message}
        if any(found.name.lower() == name for found in self._store.find(resource_type)):
            message = f"The account named {name} is already taken."
            return {"nameAvailable": False, "reason": "AlreadyExists", "message": message}
        return {"nameAvailable": True}


def _check_resource_name(_names: Names, body: Json) -> Json:
    """Allow any name: the list of reserved words is about trademarks."""
    return {"name": body.get("name"), "type": body.get("type"), "status": "Allowed"}
