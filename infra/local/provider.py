"""A stand-in for the azure-native provider plugin: Pulumi's calls become ARM requests, as plainly as the real one's.

Create is GET (nothing may be there), PUT of the whole, wait, GET; Update is PUT of the whole, GET; Delete is DELETE.
What the inputs become in a request stands in resource_table.json. Nothing of a stack is kept between calls, so any
number of engines can use one provider at the same time.
"""

# ruff: noqa: N802, ARG002, D102 - pulumirpc.ResourceProvider names the methods, their arguments and what they do

import base64
import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import (
    ResourceProviderServicer,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)
from pulumi.runtime.rpc import UNKNOWN

from infra.local.provider_arm import AcceptedError, Alive, ArmClient, ArmError
from infra.local.provider_diff import Kind, changes
from infra.local.provider_mapping import ResourceType, Values, load_types
from infra.local.provider_values import has_unknown, read_struct, write_struct

CONCURRENT_CALLS = 64  # an engine runs 16 operations at once unless told otherwise
LARGEST_MESSAGE_BYTES = 400 << 20  # as the engine allows
OPERATION_LIMIT_SECONDS = 3600.0  # where the resource has no custom timeout
CLIENT_CONFIG = "azure-native:authorization:getClientConfig"

_KINDS = {
    (Kind.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Kind.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Kind.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Kind.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Kind.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Kind.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


def start(arm_url: str, token: Callable[[], str], ca_file: Path, *, subscription_id: str) -> tuple[grpc.Server, int]:
    """Serve the provider on a loopback port that the system chooses; stop it by the server's ``stop``."""
    server = grpc.server(  # type: ignore[no-untyped-call] # grpcio ships no types
        ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="provider"),
        options=[("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES)],
    )
    arm = ArmClient(arm_url, token, ca_file)
    servicer = AzureNative(arm, token, subscription_id)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    threading.Thread(target=_close_after, args=(server, arm), name="provider-end", daemon=True).start()
    return server, port


def _close_after(server: grpc.Server, arm: ArmClient) -> None:
    """Close the connections to ARM when the server has been stopped."""
    server.wait_for_termination()  # type: ignore[no-untyped-call] # grpcio ships no types
    arm.close()


class AzureNative(ResourceProviderServicer):
    """The calls of pulumirpc.ResourceProvider that a program of ours needs."""

    def __init__(self, arm: ArmClient, token: Callable[[], str], subscription_id: str) -> None:
        self._arm = arm
        self._token = token
        self._subscription_id = subscription_id
        self._types = load_types()
        self._cancelled: set[str] = set()  # connections of engines that gave up

    def Handshake(self, request: Any, context: Any) -> Any:
        self._cancelled.discard(context.peer())  # a new engine may come from an old one's port
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=version("pulumi-azure-native"))

    def GetSchema(self, request: Any, context: Any) -> Any:
        # A Python program brings the types along; whoever asks for more finds that there is none.
        schema = {"name": "azure-native", "version": version("pulumi-azure-native")}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        # Without acceptSecrets the engine unwraps secrets for us and marks them again in what we return.
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Cancel(self, request: Any, context: Any) -> Any:
        # Of this engine alone: others may be using us.
        self._cancelled.add(context.peer())
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        if request.tok != CLIENT_CONFIG:
            message = f"the local azure-native provider has no {request.tok}, only {CLIENT_CONFIG}"
            context.abort(grpc.StatusCode.UNIMPLEMENTED, message)
        claims = _claims(self._token())
        answer = {
            "clientId": claims.get("appid", ""),
            "objectId": claims.get("oid", ""),
            "subscriptionId": self._subscription_id,
            "tenantId": claims.get("tid", ""),
        }
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(write_struct(answer))  # the field's name is a keyword of Python
        return response

    def Check(self, request: Any, context: Any) -> Any:
        inputs, olds = read_struct(request.news), read_struct(request.olds)
        token = _token_of(request)
        resource_type = self._types.get(token)
        if resource_type is None:
            known = ", ".join(sorted(self._types))
            reason = f"the local azure-native provider does not know {token}; it knows {known}"
            return provider_pb2.CheckResponse(
                inputs=request.news, failures=[provider_pb2.CheckFailure(property="", reason=reason)]
            )
        if not inputs.get(resource_type.name):
            inputs[resource_type.name] = olds.get(resource_type.name) or _new_name(resource_type, request)
        failures = []
        if resource_type.needs_location and not inputs.get("location"):
            alive = self._alive(request, context)
            with _errors(context):
                location = olds.get("location") or self._group_location(inputs, alive)
            if location:
                inputs["location"] = location
            elif resource_type.name == "resourceGroupName":
                reason = "a resource group needs a location: set it on the resource, the local provider has no default"
                failures.append(provider_pb2.CheckFailure(property="location", reason=reason))
        return provider_pb2.CheckResponse(inputs=write_struct(inputs), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        resource_type = self._type(request, context)
        old, new = read_struct(request.old_inputs), read_struct(request.news)
        if "location" not in new or "location" not in old:
            # One of them was filled in from the resource group, and was not known at the other time.
            old.pop("location", None)
            new.pop("location", None)
        found = changes(resource_type, old, new)
        replaces = [change.path for change in found if change.replaces]
        response = provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=replaces,
            diffs=sorted({change.path.split(".")[0].split("[")[0] for change in found}),
            hasDetailedDiff=True,
            # Where the path stays, the new one cannot stand beside the old.
            deleteBeforeReplace=bool(replaces) and not set(replaces) & set(resource_type.path_parameters),
        )
        for change in found:
            response.detailedDiff[change.path].kind = _KINDS[change.kind, change.replaces]
            response.detailedDiff[change.path].inputDiff = True
        return response

    def Create(self, request: Any, context: Any) -> Any:
        resource_type, inputs = self._type(request, context), read_struct(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=write_struct(self._foreseen(resource_type, inputs, {})))
        alive = self._alive(request, context)
        with _errors(context):
            if resource_type.needs_location and not inputs.get("location"):
                inputs["location"] = self._group_location(inputs, alive)
            resource_id = self._resource_id(resource_type, inputs)
            existing = self._arm.get(resource_id, resource_type.api_version, alive)
            if existing is not None:
                message = f"{resource_id} exists already; import it into the stack, or delete it"
                raise ArmError("ResourceExists", message, f"PUT {resource_id}")
            try:
                outputs = self._put(resource_type, resource_id, inputs, alive)
            except AcceptedError as error:
                self._abort_half_done(resource_type, resource_id, inputs, error, context)
        return provider_pb2.CreateResponse(id=outputs["id"], properties=write_struct(outputs))

    def Update(self, request: Any, context: Any) -> Any:
        resource_type, inputs = self._type(request, context), read_struct(request.news)
        if request.preview:
            foreseen = self._foreseen(resource_type, inputs, read_struct(request.olds))
            return provider_pb2.UpdateResponse(properties=write_struct(foreseen))
        alive = self._alive(request, context)
        with _errors(context):
            if resource_type.needs_location and not inputs.get("location"):
                inputs["location"] = read_struct(request.olds).get("location")
            try:
                outputs = self._put(resource_type, request.id, inputs, alive)
            except AcceptedError as error:
                self._abort_half_done(resource_type, request.id, inputs, error, context)
        return provider_pb2.UpdateResponse(properties=write_struct(outputs))

    def Read(self, request: Any, context: Any) -> Any:
        resource_type = self._type(request, context)
        alive = self._alive(request, context)
        with _errors(context):
            try:
                parameters = resource_type.parameters_of(request.id)
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            body = self._arm.get(request.id, resource_type.api_version, alive)
        if body is None:
            return provider_pb2.ReadResponse()
        outputs, inputs = resource_type.outputs(body), read_struct(request.inputs)
        live = _as_inputs(outputs, inputs) if inputs else resource_type.inputs_of(outputs)
        return provider_pb2.ReadResponse(
            id=outputs.get("id", request.id),
            properties=write_struct(outputs),
            inputs=write_struct({**parameters, **live}),
        )

    def Delete(self, request: Any, context: Any) -> Any:
        resource_type = self._type(request, context)
        alive = self._alive(request, context)
        with _errors(context):
            self._arm.delete(request.id, resource_type.api_version, alive)
        return empty_pb2.Empty()

    def _alive(self, request: Any, context: Any) -> Alive:
        """Return a function that says whether the call's engine still waits, and the time for it is not over."""
        end = time.monotonic() + (getattr(request, "timeout", 0) or OPERATION_LIMIT_SECONDS)
        peer = context.peer()
        return lambda: context.is_active() and peer not in self._cancelled and time.monotonic() < end

    def _type(self, request: Any, context: Any) -> ResourceType:
        token = _token_of(request)
        if token not in self._types:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the local azure-native provider does not know {token}")
        return self._types[token]

    def _resource_id(self, resource_type: ResourceType, inputs: Mapping[str, Any]) -> str:
        try:
            return resource_type.resource_id(self._subscription_id, inputs)
        except KeyError as error:
            raise ArmError("MissingInput", f"{error.args[0]} is missing", f"PUT {resource_type.path}") from error

    def _put(self, resource_type: ResourceType, resource_id: str, inputs: Mapping[str, Any], alive: Alive) -> Values:
        body = resource_type.request_body(inputs, resource_id)
        self._arm.put(resource_id, resource_type.api_version, body, alive)
        written = self._arm.get(resource_id, resource_type.api_version, alive)
        if written is None:
            raise ArmError("ResourceNotFound", "it was written, and is gone", f"GET {resource_id}")
        return {"id": resource_id, **resource_type.outputs(written)}

    def _foreseen(self, resource_type: ResourceType, inputs: Mapping[str, Any], olds: Values) -> Values:
        """Return what a preview can say of the outputs; the engine takes what is missing for unknown."""
        outputs = resource_type.outputs(resource_type.request_body(inputs, UNKNOWN))
        return {**olds, **outputs}

    def _group_location(self, inputs: Mapping[str, Any], alive: Alive) -> str | None:
        """Return the resource group's location; None when it is not there yet or not known by name."""
        group = self._types["azure-native:resources:ResourceGroup"]
        name = {"resourceGroupName": inputs.get("resourceGroupName")}
        if not name["resourceGroupName"] or has_unknown(name):
            return None
        group_id = group.resource_id(self._subscription_id, name)
        body = self._arm.get(group_id, group.api_version, alive)
        return None if body is None else body.get("location")

    def _abort_half_done(
        self, resource_type: ResourceType, resource_id: str, inputs: Values, error: ArmError, context: Any
    ) -> NoReturn:
        """Fail, telling the engine that the resource exists, so that it is in the state and can be mended."""
        body = self._arm.get(resource_id, resource_type.api_version, context.is_active) or {}
        detail = provider_pb2.ErrorResourceInitFailed(
            id=resource_id,
            properties=write_struct({"id": resource_id, **resource_type.outputs(body)}),
            reasons=[str(error)],
            inputs=write_struct(inputs),
        )
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
        status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
        raise AssertionError("abort raises")


def _token_of(request: Any) -> str:
    """Return a resource's type, from its URN where the engine does not say it apart."""
    return str(request.type or request.urn.split("::")[2].split("$")[-1])


def _new_name(resource_type: ResourceType, request: Any) -> str:
    """Make up a name, the same one whenever the engine asks with the same seed."""
    if resource_type.naming.startswith("="):
        return resource_type.naming[1:]
    seed = request.randomSeed or uuid.uuid4().bytes
    if resource_type.naming == "uuid":
        return str(uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4))
    return f"{request.urn.split('::')[3]}{hashlib.sha256(seed).hexdigest()[:8]}"


def _as_inputs(live: Any, inputs: Any) -> Any:
    """Return the inputs with the values that the service has now; what it does not tell stays."""
    if isinstance(live, Mapping) and isinstance(inputs, Mapping):
        return {key: _as_inputs(live[key], value) if key in live else value for key, value in inputs.items()}
    if isinstance(inputs, list) and isinstance(live, Mapping):
        return [key for key in inputs if key in live] + sorted(live.keys() - set(inputs))
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        return [_as_inputs(left, right) for left, right in zip(live, inputs, strict=True)]
    return live


def _claims(token: str) -> Mapping[str, Any]:
    """Read who a token speaks for; whether it is genuine is the endpoint's question."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


@contextmanager
def _errors(context: Any) -> Iterator[None]:
    """Turn ARM's errors into the call's."""
    try:
        yield
    except ArmError as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
