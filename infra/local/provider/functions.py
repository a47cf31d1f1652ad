"""The functions of the provider: who deploys, tokens, keys, and a `get` of every resource type there is."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.provider.arm import Alive, ArmClient, ArmError
from infra.local.provider.mapping import ResourceType, Values

CLIENT_CONFIG = "azure-native:authorization:getClientConfig"
CLIENT_TOKEN = "azure-native:authorization:getClientToken"  # noqa: S105 - the name of a function
# Functions that are a POST on a resource: the resource's type and the action.
_ACTIONS = {
    "azure-native:storage:listStorageAccountKeys": ("azure-native:storage:StorageAccount", "listKeys"),
    "azure-native:batch:listBatchAccountKeys": ("azure-native:batch:BatchAccount", "listKeys"),
}

Token = Callable[..., str]


class UnknownFunctionError(Exception):
    """The provider has no such function; the message names those it has."""


class Functions:
    """`token` gives a token of the deployer, for the resource manager unless an audience is given."""

    def __init__(self, arm: ArmClient, token: Token, types: Mapping[str, ResourceType]) -> None:
        self._arm = arm
        self._token = token
        self._types = types
        self._reads = {_read_token(kind): kind for kind in types}

    def call(self, name: str, arguments: Values, subscription_id: str, alive: Alive) -> Values:
        """Call a function; ArmError: the service refuses, UnknownFunctionError: there is none of that name."""
        if name == CLIENT_CONFIG:
            return self._client_config(subscription_id)
        if name == CLIENT_TOKEN:
            endpoint = arguments.get("endpoint")
            return {"token": self._token(endpoint) if endpoint else self._token()}
        if name in _ACTIONS:
            kind, action = _ACTIONS[name]
            resource_type, resource_id = self._find(kind, name, arguments, subscription_id)
            return self._arm.post(f"{resource_id}/{action}", resource_type.api_version, alive)
        if name in self._reads:
            resource_type, resource_id = self._find(self._reads[name], name, arguments, subscription_id)
            query = {"$expand": str(arguments["expand"])} if arguments.get("expand") else {}
            body = self._arm.require(resource_id, resource_type.api_version, alive, query)
            return {"id": resource_id, **resource_type.outputs(body)}
        known = ", ".join(sorted({CLIENT_CONFIG, CLIENT_TOKEN, *_ACTIONS, *self._reads}))
        raise UnknownFunctionError(f"the local azure-native provider has no function {name}; it has {known}")

    def _client_config(self, subscription_id: str) -> Values:
        claims = _claims(self._token())
        return {
            "clientId": claims.get("appid", ""),
            "objectId": claims.get("oid", ""),
            "subscriptionId": subscription_id,
            "tenantId": claims.get("tid", ""),
        }

    def _find(self, kind: str, name: str, arguments: Values, subscription_id: str) -> tuple[ResourceType, str]:
        resource_type = self._types[kind]
        try:
            return resource_type, resource_type.resource_id(subscription_id, arguments)
        except KeyError as error:
            raise ArmError("MissingArgument", f"{name} needs {error.args[0]}", f"invoke {name}") from error


def _read_token(kind: str) -> str:
    module, _, name = kind.rpartition(":")
    return f"{module}:get{name}"


def _claims(token: str) -> Mapping[str, Any]:
    """Read who a token speaks for; whether it is genuine is the endpoint's question."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
