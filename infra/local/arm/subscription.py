"""What the subscription itself answers: its own record, its providers, locations and free names."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from infra.local.arm.addresses import segments
from infra.local.arm.errors import ArmError
from infra.local.arm.resource_types import ResourceTypes
from infra.local.arm.store import Store
from infra.local.services.role_definitions import role_definition, role_definitions

Json = dict[str, Any]

# Enough to choose from; nothing here depends on the place.
_LOCATIONS = {
    "eastus": "East US",
    "eastus2": "East US 2",
    "westus2": "West US 2",
    "westus3": "West US 3",
    "northeurope": "North Europe",
    "westeurope": "West Europe",
    "uksouth": "UK South",
    "swedencentral": "Sweden Central",
}

# Types whose names are unique beyond the subscription, and what a name may look like.
_GLOBAL_NAMES = {
    "microsoft.storage": ("Microsoft.Storage/storageAccounts", r"[a-z0-9]{3,24}"),
    "microsoft.batch": ("Microsoft.Batch/batchAccounts", r"[a-z0-9]{3,24}"),
}

_NOT_LISTED = ("microsoft.resources/", "microsoft.authorization/")


class Subscription:
    """The one subscription of the local Azure."""

    def __init__(self, subscription_id: str, tenant_id: str, types: ResourceTypes, store: Store) -> None:
        self._id = subscription_id
        self._tenant_id = tenant_id
        self._types = types
        self._store = store

    def check(self, subscription_id: str) -> None:
        """Refuse a subscription that is not ours; a path without one is fine."""
        if subscription_id and subscription_id.lower() != self._id:
            message = f"The subscription '{subscription_id}' could not be found; the local Azure has '{self._id}'."
            raise ArmError(HTTPStatus.NOT_FOUND, "SubscriptionNotFound", message)

    def answer(  # noqa: C901, PLR0911 -- one line a path
        self, method: str, path: str, body: Json, query: Mapping[str, str]
    ) -> Json | None:
        """Answer a request about the subscription; None when it is about a resource."""
        match method, [part.lower() for part in segments(path)]:
            case "GET", ["subscriptions"]:
                return {"value": [self._record()]}
            case "GET", ["subscriptions", _]:
                return self._record()
            case "GET", ["tenants"]:
                return {"value": [{"id": f"/tenants/{self._tenant_id}", "tenantId": self._tenant_id}]}
            case "GET", ["subscriptions", _, "locations"]:
                return {"value": [self._location(name, display) for name, display in _LOCATIONS.items()]}
            case "GET", [*scope, "resources"]:
                return {"value": self._resources("/" + "/".join(scope), query)}
            case "GET", [*scope, "providers", "microsoft.authorization", "roledefinitions"]:
                return role_definitions("/" + "/".join(scope), query.get("$filter", ""))
            case "GET", [*scope, "providers", "microsoft.authorization", "roledefinitions", role_id]:
                return role_definition("/" + "/".join(scope), role_id)
            case "GET", ["subscriptions", _, "providers"]:
                return {"value": [self._provider(name) for name in self._types.namespaces()]}
            case "GET" | "POST", ["subscriptions", _, "providers", namespace, *rest] if rest in ([], ["register"]):
                return self._named_provider(namespace)
            case "POST", ["subscriptions", _, "providers", namespace, *_, "checknameavailability"]:
                return self._check_name(namespace, str(body.get("name", "")))
        return None

    def _record(self) -> Json:
        return {
            "id": f"/subscriptions/{self._id}",
            "subscriptionId": self._id,
            "tenantId": self._tenant_id,
            "displayName": "Local Azure",
            "state": "Enabled",
        }

    def _location(self, name: str, display: str) -> Json:
        return {"id": f"/subscriptions/{self._id}/locations/{name}", "name": name, "displayName": display}

    def _resources(self, scope: str, query: Mapping[str, str]) -> list[Json]:
        """List what lies in a scope, without the parts of resources and without roles."""
        wanted = re.search(r"resourceGroup eq '([^']*)'", query.get("$filter", ""), re.IGNORECASE)
        under = f"{scope}/resourceGroups/{wanted[1]}" if wanted else scope
        return [
            {"id": found.id, "name": found.name, "type": self._types.find(found.type).name}
            | {key: found.body[key] for key in ("location", "tags", "sku", "kind") if key in found.body}
            for found in self._store.find(under=under)
            if found.type.count("/") == 1 and not found.type.startswith(_NOT_LISTED)
        ]

    def _named_provider(self, namespace: str) -> Json:
        for name in self._types.namespaces():
            if name.lower() == namespace:
                return self._provider(name)
        raise ArmError(HTTPStatus.NOT_FOUND, "InvalidResourceNamespace", f"The namespace '{namespace}' is invalid.")

    def _provider(self, namespace: str) -> Json:
        kinds = [
            {"resourceType": kind, "locations": list(_LOCATIONS.values()), "apiVersions": []}
            for kind in self._types.namespaces()[namespace]
        ]
        identifier = f"/subscriptions/{self._id}/providers/{namespace}"
        return {
            "id": identifier,
            "namespace": namespace,
            "registrationState": "Registered",
            "registrationPolicy": "RegistrationRequired",
            "resourceTypes": kinds,
        }

    def _check_name(self, namespace: str, name: str) -> Json:
        if namespace not in _GLOBAL_NAMES:
            raise ArmError(HTTPStatus.NOT_FOUND, "NotFound", f"'{namespace}' has no names to check.")
        resource_type, pattern = _GLOBAL_NAMES[namespace]
        if not re.fullmatch(pattern, name):
            message = f"'{name}' is not valid: 3 to 24 lower-case letters and digits."
            return {"nameAvailable": False, "reason": "AccountNameInvalid", "message": message}
        if any(found.name.lower() == name for found in self._store.find(resource_type)):
            return {"nameAvailable": False, "reason": "AlreadyExists", "message": f"The name '{name}' is taken."}
        return {"nameAvailable": True}
