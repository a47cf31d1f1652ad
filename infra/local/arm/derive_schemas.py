"""Derives request_schemas.json, what the bodies of ARM requests look like, from installed packages (``azure-mgmt-*``).

The packages know two styles of models: fields of type ``rest_field`` (the newer), and ``_attribute_map`` with
``_validation`` (the older). Which model a request has is read from the operations' own source: the function that
builds a request names its address and its method, the one that calls it names the model of its body.

Run ``python -m infra.local.arm.derive_schemas`` after upgrading one of these; a test says when that was forgotten.
"""

import ast
import datetime as dt
import enum
import importlib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

SCHEMAS = Path(__file__).with_name("request_schemas.json")

# The modules of azure.mgmt in which the requests are built.
OPERATIONS = (
    "resource.resources.operations._operations",
    "storage.operations._operations",
    "batch.operations._operations",
    "network.operations._operations",
    "privatedns.operations._operations",
    "compute.operations._operations",
    "msi.v2024_11_30.operations._user_assigned_identities_operations",
    "msi.v2024_11_30.operations._federated_identity_credentials_operations",
    "authorization.v2022_04_01.operations._role_assignments_operations",
    "authorization.v2022_04_01.operations._role_definitions_operations",
    "postgresqlflexibleservers.operations._operations",
)

# The types of the program, of the command line's virtual machines and scale sets, and what lies in them.
TYPES = (
    "Microsoft.Resources/resourceGroups",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Storage/storageAccounts/blobServices/containers",
    "Microsoft.Storage/storageAccounts/queueServices",
    "Microsoft.Storage/storageAccounts/queueServices/queues",
    "Microsoft.Storage/storageAccounts/tableServices",
    "Microsoft.Storage/storageAccounts/fileServices",
    "Microsoft.Storage/storageAccounts/managementPolicies",
    "Microsoft.Batch/batchAccounts",
    "Microsoft.Batch/batchAccounts/applications",
    "Microsoft.Batch/batchAccounts/applications/versions",
    "Microsoft.Batch/batchAccounts/pools",
    "Microsoft.Network/virtualNetworks",
    "Microsoft.Network/virtualNetworks/subnets",
    "Microsoft.Network/networkSecurityGroups",
    "Microsoft.Network/networkSecurityGroups/securityRules",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/natGateways",
    "Microsoft.Network/networkInterfaces",
    "Microsoft.Network/loadBalancers",
    "Microsoft.Network/loadBalancers/backendAddressPools",
    "Microsoft.Network/loadBalancers/inboundNatRules",
    "Microsoft.Network/privateEndpoints",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Authorization/roleAssignments",
    "Microsoft.Authorization/roleDefinitions",
    "Microsoft.Compute/virtualMachineScaleSets",
    "Microsoft.Compute/virtualMachineScaleSets/extensions",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
    "Microsoft.Compute/virtualMachines",
    "Microsoft.Compute/virtualMachines/extensions",
    "Microsoft.Compute/disks",
    "Microsoft.DBforPostgreSQL/flexibleServers",
    "Microsoft.DBforPostgreSQL/flexibleServers/administrators",
    "Microsoft.DBforPostgreSQL/flexibleServers/databases",
)

# Requests whose model leaves out what the service sets; those properties are read-only.
SHOWN = {
    "storage.StorageAccountCreateParameters": "StorageAccount",
    "batch.BatchAccountCreateParameters": "BatchAccount",
    "authorization.RoleAssignmentCreateParameters": "RoleAssignment",
}

# What the packages' version no longer has and older ones still take (Batch: 2024-07-01, dropped by 2025-06-01).
OLDER: dict[str, dict[str, dict[str, Any]]] = {
    "batch.PoolProperties": {
        "applicationLicenses": {"type": "array", "items": {"type": "string"}},
        "certificates": {"type": "array", "items": {"type": "any"}},
        "currentNodeCommunicationMode": {"readOnly": True},
        "resourceTags": {"type": "map", "items": {"type": "string"}},
        "targetNodeCommunicationMode": {"type": "string", "enum": ["Default", "Classic", "Simplified"]},
    },
    "batch.DataDisk": {
        "storageAccountType": {"type": "string", "enum": ["Standard_LRS", "Premium_LRS", "StandardSSD_LRS"]},
    },
}
# Enums that list only a part of the values there are; the services look these up.
OPEN_ENUMS = ("VirtualMachineSizeTypes",)

_SIMPLE: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    bytes: "string",
    dt.datetime: "string",
    dt.date: "string",
    dt.time: "string",
    dt.timedelta: "string",
}
_SIMPLE_OF_OLD_KIND = {
    "str": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "bool": "boolean",
    "iso-8601": "string",
    "rfc-1123": "string",
    "duration": "string",
    "bytearray": "string",
}

_NOT_VALUES = {*OPEN_ENUMS, "NoneType"}

Schema = dict[str, Any]


def derive() -> Schema:
    """Return the requests of the types, and the models that they name."""
    wanted = {name.lower(): name for name in TYPES}
    requests: dict[str, dict[str, str]] = {name: {} for name in TYPES}
    models: dict[str, Schema] = {}
    for module in OPERATIONS:
        described = importlib.import_module(f"azure.mgmt.{module}")
        package = module.partition(".")[0]
        namespace = importlib.import_module(f"azure.mgmt.{module.rpartition('.operations')[0]}.models")
        for method, url, named in _operations(inspect.getsource(described)):
            resource_type, action = _subject(url)
            bodies = [kind for kind in (getattr(namespace, name) for name in named) if _is_model(kind)]
            if resource_type.lower() not in wanted or (method == "POST") != bool(action) or not bodies:
                continue
            name = _add(bodies[0], package, models)
            requests[wanted[resource_type.lower()]][f"{method} {action}".strip()] = name
            if name in SHOWN:
                shown: dict[str, Schema] = {}
                _add_shown(models, name, shown, _add(getattr(namespace, SHOWN[name]), package, shown))
    for name, fields in OLDER.items():
        models[name]["properties"] = fields | models[name]["properties"]
    return {"requests": requests, "models": models}


def render(schemas: Mapping[str, Any]) -> str:
    """Return the schemas as they are committed: one line a type and a model."""
    parts = []
    for section, entries in sorted(schemas.items()):
        lines = [f'  "{name}": {json.dumps(entry, sort_keys=True)}' for name, entry in sorted(entries.items())]
        parts.append(f' "{section}": {{\n' + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _operations(source: str) -> Iterator[tuple[str, str, list[str]]]:
    """Read the requests from the source of a module: method, address, and what its arguments are called there."""
    tree = ast.parse(source)
    builders = {}
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("build_"):
            text = ast.unparse(function)
            url = re.search(r"_url = [^\n]*?'(/[^']+)'", text)
            method = re.search(r"HttpRequest\(method='(\w+)'", text)
            if url and method:
                builders[function.name] = (method[1], url[1])
    for group in tree.body:
        for function in group.body if isinstance(group, ast.ClassDef) else ():
            if not isinstance(function, ast.FunctionDef):
                continue
            called = re.search(r"\b(build_\w+_request)\(", ast.unparse(function))
            arguments = [*function.args.args, *function.args.kwonlyargs]
            named = [re.search(r"_models\.(\w+)", ast.unparse(a.annotation)) for a in arguments if a.annotation]
            bodies = [found[1] for found in named if found]
            if called and bodies and called[1] in builders:
                yield *builders[called[1]], bodies


def _subject(url: str) -> tuple[str, str]:
    """Say which type an address is about, and which action it names."""
    _, found, rest = url.rpartition("/providers/")
    if not found:
        return ("Microsoft.Resources/resourceGroups" if "/resourcegroups/" in url.lower() else "", "")
    namespace, *parts = rest.split("/")
    action = parts.pop() if len(parts) % 2 else ""
    return "/".join((namespace, *parts[::2])), action


def _add(model: type, package: str, models: dict[str, Schema]) -> str:
    """Describe a model and the models in it; return its name."""
    name = f"{package}.{model.__name__}"
    if name in models:
        return name
    entry: Schema = {}
    models[name] = entry  # before its fields: a model may hold itself
    if hasattr(model, "_attribute_map"):
        entry["properties"] = _fields_of_old_kind(model, package, models)
        return name
    entry["properties"] = {}
    hints = typing.get_type_hints(model, globalns=_namespace(model))
    for base in reversed(model.__mro__):
        for python, field in vars(base).items():
            if type(field).__name__ != "_RestField" or python not in hints:
                continue
            wire = field._rest_name_input or python  # noqa: SLF001 -- no public way
            if field._visibility == ["read"]:  # noqa: SLF001
                entry["properties"][wire] = {"readOnly": True}
                continue
            described = _described(hints[python], package, models)
            if type(None) not in get_args(hints[python]):
                described["required"] = True
            entry["properties"][wire] = described
            if field._is_discriminator:  # noqa: SLF001
                entry["discriminator"] = wire
    kinds = {value: kind for value, kind in getattr(model, "__mapping__", {}).items() if model in kind.__mro__[1:]}
    if "discriminator" in entry and kinds:
        entry["kinds"] = {value: _add(kind, package, models) for value, kind in sorted(kinds.items())}
    return name


def _add_shown(models: dict[str, Schema], request: str, shown: dict[str, Schema], resource: str) -> None:
    """Add to a request's model, as read-only, the properties that only the resource's model has."""
    fields, all_fields = models[request]["properties"], shown[resource]["properties"]
    for wire in all_fields:
        fields.setdefault(wire, {"readOnly": True})
    inner, all_inner = (place.get("properties", {}).get("model") for place in (fields, all_fields))
    if inner and all_inner and inner != all_inner:
        _add_shown(models, inner, shown, all_inner)


def _namespace(model: type) -> dict[str, Any]:
    # The SDKs' modules name each other only while types are checked.
    models = importlib.import_module(model.__module__.rpartition(".")[0])
    return {**vars(importlib.import_module(model.__module__)), "_models": models, "_types": types, "JSON": Any}


def _described(hint: Any, package: str, models: dict[str, Schema]) -> Schema:
    """Describe what a type hint takes."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        members = [member for member in get_args(hint) if getattr(member, "__name__", "") not in _NOT_VALUES]
        values = [value.value for member in members if _is_enum(member) for value in member]
        if values:
            return {"type": "string", "enum": values}
        return _described(members[0], package, models) if len(members) == 1 else {"type": "any"}
    if origin is Literal:
        # A discriminator's or a constant's only value.
        value = get_args(hint)[0]
        return {"type": "string", "enum": [getattr(value, "value", value)]}
    if origin in (list, Sequence):
        return {"type": "array", "items": _described(get_args(hint)[0], package, models)}
    if origin in (dict, Mapping, MutableMapping):
        return {"type": "map", "items": _described(get_args(hint)[1], package, models)}
    if isinstance(hint, type) and _is_model(hint):
        return {"type": "object", "model": _add(hint, package, models)}
    return {"type": _SIMPLE.get(hint, "any")}


def _fields_of_old_kind(model: type, package: str, models: dict[str, Schema]) -> Schema:
    """Describe a model whose nested ``properties`` are written as dotted keys, as in ``properties.principalId``."""
    namespace = importlib.import_module(model.__module__.rpartition(".")[0])
    hints = {name: parameter.annotation for name, parameter in inspect.signature(model).parameters.items()}
    fields: Schema = {}
    nested: Schema = {}
    for python, entry in model._attribute_map.items():  # type: ignore[attr-defined]  # noqa: SLF001
        container, _, wire = entry["key"].rpartition(".")
        place = nested if container == "properties" else fields
        validation = model._validation.get(python, {})  # type: ignore[attr-defined]  # noqa: SLF001
        if validation.get("readonly"):
            place[wire] = {"readOnly": True}
            continue
        described = place[wire] = _described_by_name(entry["type"], namespace, package, models)
        values = _enum_named(hints.get(python), namespace) if described == {"type": "string"} else []
        if values:
            described["enum"] = values
        if validation.get("required"):
            described["required"] = True
    if nested:
        name = f"{package}.{model.__name__}Properties"
        models[name] = {"properties": nested}
        fields["properties"] = {"type": "object", "model": name}
        if any(field.get("required") for field in nested.values()):
            fields["properties"]["required"] = True
    return fields


def _described_by_name(name: str, namespace: Any, package: str, models: dict[str, Schema]) -> Schema:
    if name.startswith("["):
        return {"type": "array", "items": _described_by_name(name[1:-1], namespace, package, models)}
    if name.startswith("{"):
        return {"type": "map", "items": _described_by_name(name[1:-1], namespace, package, models)}
    model = getattr(namespace, name, None)
    if model is not None and hasattr(model, "_attribute_map"):
        return {"type": "object", "model": _add(model, package, models)}
    return {"type": _SIMPLE_OF_OLD_KIND.get(name, "any")}


def _enum_named(annotation: Any, namespace: Any) -> list[str]:
    found = re.search(r"_models\.(\w+)", str(annotation))
    kind = getattr(namespace, found[1], None) if found else None
    return [value.value for value in kind] if kind is not None and _is_enum(kind) else []


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def _is_model(hint: type) -> bool:
    return hasattr(hint, "_attribute_map") or any(
        base.__name__ == "Model" and base.__module__.startswith("azure.mgmt") for base in hint.__mro__
    )


if __name__ == "__main__":
    SCHEMAS.write_text(render(derive()), encoding="utf-8")
