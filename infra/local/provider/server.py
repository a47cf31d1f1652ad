"""A stand-in for the azure-native provider plugin: Pulumi's calls become ARM requests, as plainly as the real one's.

Create is GET (nothing may be there), PUT of the whole, wait, GET; Update is PUT of the whole, GET; Delete is DELETE.
What the inputs become in a request stands in resource_table.json. Nothing of a stack is kept between calls, so any
number of engines can use one provider at the same time.
"""

# ruff: noqa: N802, ARG002, D102 - pulumirpc.ResourceProvider names the methods, their arguments and what they do

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
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

from infra.local.plugin_server import serve
from infra.local.provider.arm import AcceptedError, Alive, ArmClient, ArmError
from infra.local.provider.diff import Kind, changes
from infra.local.provider.functions import Functions, Token, UnknownFunctionError
from infra.local.provider.inputs import CREATE_BEFORE_DELETE, name_into, refreshed
from infra.local.provider.mapping import ResourceType, Values, load_types
from infra.local.provider.values import has_unknown, read_struct, write_struct

CONCURRENT_CALLS = 64  # an engine runs 16 operations at once unless told otherwise
OPERATION_LIMIT_SECONDS = 3600.0  # where the resource has no custom timeout
ENGINES_REMEMBERED = 256  # connections whose configuration is kept

_KINDS = {
    (Kind.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Kind.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Kind.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Kind.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Kind.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Kind.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


def start(arm_url: str, token: Token, ca_file: Path, *, subscription_id: str, port: int = 0) -> tuple[grpc.Server, int]:
    """Serve the provider on a loopback port, this one if it is free; stop it by the server's ``stop``."""
    arm = ArmClient(arm_url, token, ca_file)
    servicer = AzureNative(arm, token, subscription_id)
    server, bound = serve(
        "provider",
        CONCURRENT_CALLS,
        port,
        lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server),
    )
    threading.Thread(target=_close_after, args=(server, arm), name="provider-end", daemon=True).start()
    return server, bound


def _close_after(server: grpc.Server, arm: ArmClient) -> None:
    """Close the connections to ARM when the server has been stopped."""
    server.wait_for_termination()  # type: ignore[no-untyped-call] # grpcio ships no types
    arm.close()


class AzureNative(ResourceProviderServicer):
    """The calls of pulumirpc.ResourceProvider that a program of ours needs."""

    def __init__(self, arm: ArmClient, token: Token, subscription_id: str) -> None:
        self._arm = arm
        self._default_subscription_id = subscription_id
        self._types = load_types()
        self._functions = Functions(arm, token, self._types)
        self._configs: OrderedDict[str, Values] = OrderedDict()  # by connection: each engine has a provider of its own
        self._lock = threading.Lock()
        self._cancelled: set[str] = set()  # connections of engines that gave up

    def Handshake(self, request: Any, context: Any) -> Any:
        self._cancelled.discard(context.peer())  # a new engine may come from an old one's port
        return provider_pb2.ProviderHandshakeResponse(supports_autonaming_configuration=True)

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
        with self._lock:
            self._configs[context.peer()] = read_struct(request.args)
            while len(self._configs) > ENGINES_REMEMBERED:
                self._configs.popitem(last=False)
        # Without acceptSecrets the engine unwraps secrets for us and marks them again in what we return.
        return provider_pb2.ConfigureResponse(supportsPreview=True, supports_autonaming_configuration=True)

    def Cancel(self, request: Any, context: Any) -> Any:
        # Of this engine alone: others may be using us.
        self._cancelled.add(context.peer())
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        arguments, alive = read_struct(request.args), self._alive(request, context)
        try:
            with _errors(context):
                answer = self._functions.call(request.tok, arguments, self._subscription_id(context), alive)
        except UnknownFunctionError as error:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
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
        name_into(inputs, olds, resource_type, request)
        failures = [
            provider_pb2.CheckFailure(property=name, reason=f"missing required property '{name}'")
            for name in resource_type.path_parameters
            if name not in inputs
        ]
        if resource_type.needs_location and not inputs.get("location"):
            with _errors(context):
                location = olds.get("location") or self._default_location(inputs, request, context)
            if location:
                inputs["location"] = location
            elif resource_type.name == "resourceGroupName":
                reason = (
                    "missing required property 'location'. Either set it explicitly or configure it with"
                    " 'pulumi config set azure-native:location <value>'."
                )
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
            deleteBeforeReplace=bool(replaces)
            and not new.get(CREATE_BEFORE_DELETE)
            and not set(replaces) & set(resource_type.path_parameters),
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
                inputs["location"] = self._default_location(inputs, request, context)
            resource_id = self._resource_id(resource_type, inputs, context)
            existing = self._arm.get(resource_id, resource_type.api_version, alive)
            if existing is not None and not resource_type.singleton:
                message = f"cannot create already existing resource '{resource_id}'; import it or delete it"
                context.abort(grpc.StatusCode.UNKNOWN, message)
            try:
                outputs = self._put(resource_type, resource_id, inputs, alive, existing or {})
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
                existing = self._arm.get(request.id, resource_type.api_version, alive) if resource_type.kept else None
                outputs = self._put(resource_type, request.id, inputs, alive, existing or {})
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
        now = resource_type.inputs_of(outputs)
        if inputs:
            before = resource_type.inputs_of(read_struct(request.properties))
            foreign = set(resource_type.kept) - inputs.keys()
            inputs = refreshed(inputs, _without(before, foreign), _without(now, foreign))
        else:
            inputs = {**parameters, **_without(now, resource_type.kept)}
        return provider_pb2.ReadResponse(
            id=outputs.get("id", request.id), properties=write_struct(outputs), inputs=write_struct(inputs)
        )

    def Delete(self, request: Any, context: Any) -> Any:
        resource_type = self._type(request, context)
        if resource_type.singleton:
            return empty_pb2.Empty()  # it goes with its parent
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

    def _subscription_id(self, context: Any) -> str:
        """Return the subscription of the engine's configuration, else the local Azure's own."""
        return str(self._config(context).get("subscriptionId") or self._default_subscription_id)

    def _config(self, context: Any) -> Values:
        with self._lock:
            return self._configs.get(context.peer(), {})

    def _resource_id(self, resource_type: ResourceType, inputs: Mapping[str, Any], context: Any) -> str:
        try:
            return resource_type.resource_id(self._subscription_id(context), inputs)
        except KeyError as error:
            raise ArmError("MissingInput", f"{error.args[0]} is missing", f"PUT {resource_type.path}") from error

    def _put(
        self,
        resource_type: ResourceType,
        resource_id: str,
        inputs: Mapping[str, Any],
        alive: Alive,
        existing: Mapping[str, Any],
    ) -> Values:
        body = resource_type.with_kept(resource_type.request_body(inputs, resource_id), existing)
        self._arm.put(resource_id, resource_type.api_version, body, alive)
        written = self._arm.get(resource_id, resource_type.api_version, alive)
        if written is None:
            raise ArmError("ResourceNotFound", "it was written, and is gone", f"GET {resource_id}")
        return {"id": resource_id, **resource_type.outputs(written)}

    def _foreseen(self, resource_type: ResourceType, inputs: Mapping[str, Any], olds: Values) -> Values:
        """Return what a preview can say of the outputs; the engine takes what is missing for unknown."""
        outputs = resource_type.outputs(resource_type.request_body(inputs, UNKNOWN))
        return {**olds, **outputs}

    def _default_location(self, inputs: Mapping[str, Any], request: Any, context: Any) -> str | None:
        """Return the configured location, else the resource group's; None when that is not there or not known yet."""
        if location := self._config(context).get("location"):
            return str(location)
        group = self._types["azure-native:resources:ResourceGroup"]
        name = {"resourceGroupName": inputs.get("resourceGroupName")}
        if not name["resourceGroupName"] or has_unknown(name):
            return None
        group_id = group.resource_id(self._subscription_id(context), name)
        body = self._arm.get(group_id, group.api_version, self._alive(request, context))
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


def _without(values: Values, names: Iterable[str]) -> Values:
    left_out = set(names)
    return {name: value for name, value in values.items() if name not in left_out}


@contextmanager
def _errors(context: Any) -> Iterator[None]:
    """Turn ARM's errors into the call's."""
    try:
        yield
    except ArmError as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
