"""Derives resource_table.json, the provider's map from Pulumi inputs to ARM requests, from installed packages.

``pulumi_azure_native`` says what the inputs are called, the ``azure-mgmt-*`` packages say where ARM wants them and at
which path. Between the two lie a few rules of the real provider (its ``gen/properties.go``):

- a model's ``properties`` vanishes and its children move up, at every level;
- path parameters are inputs and never enter the body;
- a few names differ (``networkRuleSet`` is ``networkAcls`` on the wire), which the SDKs' Python names reveal;
- a set of ids is a list in Pulumi and an object with the ids as keys in ARM.

Run ``python -m infra.local.provider.derive`` after upgrading one of these packages; a test says when it was forgotten.
"""

import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import pulumi_azure_native

# The package offers this by no public name; it is pinned.
from pulumi._types import _py_properties, _raw_return_hints, is_input_type

from infra.local.provider.derive_sources import KEPT, REPLACED_BY_HAND, RETIRED, SINGLETONS, SOURCES, UNPLACED, Source

TABLE = Path(__file__).with_name("resource_table.json")


Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an ARM model."""

    wire: str
    python: str
    is_map: bool
    model: type | None
    read_only: bool
    create_only: bool


def derive() -> dict[str, Any]:
    """Return the whole table, JSON data with sorted keys."""
    return {token: _resource(token, source) for token, source in sorted(SOURCES.items())}


def render(table: Mapping[str, Any]) -> str:
    """Return the table as it is committed."""
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def _resource(token: str, source: Source) -> dict[str, Any]:
    _, module, name = token.split(":")
    resource = getattr(getattr(pulumi_azure_native, module), name)
    described = sys.modules[resource.__module__]  # it has two names: the resource and its arguments
    [args] = [getattr(described, other) for other in described.__all__ if other != name]
    version = re.search(r"Uses Azure REST API version (\S+)\.\s", inspect.getsource(resource))
    if version is None:
        raise ValueError(f"{token}: the package's documentation no longer names the API version")
    path = _path(source)
    parameters = [name for name in re.findall(r"{(\w+)}", path) if name != "subscriptionId"]
    models, _, model = source.models.rpartition(".")
    body_model = getattr(importlib.import_module(f"azure.mgmt.{models}"), model)
    fields = _fields(body_model)
    rule = _rule(args, body_model, token, frozenset(parameters), ())
    replaced = set(rule.pop("create_only", [])) | set(REPLACED_BY_HAND.get(token, ()))
    if "location" in fields:
        replaced.add("location")  # nothing in Azure moves by an update
    return {
        "api_version": version[1],
        "path": path,
        "path_parameters": parameters,
        "name": source.name,
        "naming": source.naming or _naming(path),
        "singleton": token in SINGLETONS,
        "kept": sorted(KEPT.get(token, ())),
        "needs_location": "location" in fields,
        "envelope": sorted({wire for _, wire, _ in _py_properties(args)} - {*parameters, *rule.get("properties", ())}),
        "body": {**rule, "create_only": sorted(replaced)},
    }


def _naming(path: str) -> str:
    """Say how the provider names a resource: with random digits, or as the program does where a parent is above it."""
    _, inside, below = path.rpartition("/providers/Microsoft.")
    return "copy" if inside and below.count("{") > 1 else "random"


def _path(source: Source) -> str:
    operations = importlib.import_module(f"azure.mgmt.{source.operations}")
    found = re.search(r'_url = [^#]*?"(/[^"]+)"', inspect.getsource(getattr(operations, source.operation)))
    if found is None:
        raise ValueError(f"{source.operation}: no address found in its source")
    path, parameter = found[1], f"{{{source.name}}}"
    fixed = source.naming.removeprefix("=")
    # Newer packages write the only name that the service knows into the address; it is an input all the same.
    return path if parameter in path else path.removesuffix(fixed) + parameter


def _rule(args: type, model: type, where: str, skipped: frozenset[str], above: tuple[type, ...]) -> Rule:
    """Say how an object of the Pulumi type becomes one of the ARM model: only what differs is listed."""
    fields = _fields(model)
    inner = _fields(fields["properties"].model) if _is_flattened(fields) else {}
    rule: Rule = {"flatten": bool(inner), "properties": [], "rename": {}, "set": [], "create_only": [], "children": {}}
    for python, wire, _ in sorted(_py_properties(args)):
        if wire in skipped:
            continue
        field = _place(fields, inner, wire, python)
        if field is None:
            rule["properties"] += _without_place(model, wire, where)
            continue
        if field in inner.values():
            rule["properties"].append(wire)
        if field.wire != wire:
            rule["rename"][wire] = field.wire
        if field.create_only:
            rule["create_only"].append(wire)
        kind, child = _shape(_raw_return_hints(args)[wire])
        if kind == "list" and child is None and field.is_map:
            rule["set"].append(wire)
        nested = _nested(child, field.model, f"{where}.{wire}", above)
        if nested:
            rule["children"][wire] = {**nested, "map": True} if kind == "map" else nested
    return {key: value for key, value in rule.items() if value}


def _nested(child: type | None, model: type | None, where: str, above: tuple[type, ...]) -> Rule:
    """Return the rule of a property's own type; none where a type comes back inside itself (no program nests so)."""
    if child is None or model is None or child in above:
        return {}
    return _rule(child, model, where, frozenset(), (*above, child))


def _place(fields: Mapping[str, Field], inner: Mapping[str, Field], wire: str, python: str) -> Field | None:
    """Find an input's place in the model or among its properties.

    Read-only ones come last: an extension's own "type" is read-only, the one among its properties is the input.
    """
    return _find(fields, wire, python) or _find(inner, wire, python) or fields.get(wire) or inner.get(wire)


def _without_place(model: type, wire: str, where: str) -> list[str]:
    """Return an input that the model does not have, when it goes among the properties all the same."""
    known = (model.__name__, wire)
    if known not in UNPLACED | RETIRED:
        raise ValueError(f"{where}.{wire}: no place for it in {model.__name__}; see UNPLACED and RETIRED")
    return [wire] if known in RETIRED else []


def _is_flattened(fields: Mapping[str, Field]) -> bool:
    return "properties" in fields and fields["properties"].model is not None and not fields["properties"].is_map


def _find(fields: Mapping[str, Field], wire: str, python: str) -> Field | None:
    """Find an input among a model's writable fields: by its wire name, else without case, else by its Python name."""
    plain = python.replace("_", "")
    tests: tuple[Callable[[Field], bool], ...] = (
        lambda field: field.wire == wire,
        lambda field: field.wire.lower() == wire.lower(),
        lambda field: field.python.replace("_", "") == plain,
    )
    for test in tests:
        for field in fields.values():
            if test(field) and not field.read_only:
                return field
    return None


def _fields(model: type | None) -> dict[str, Field]:
    """Return an ARM model's fields by wire name, for both kinds of SDK."""
    if model is None:
        return {}
    if hasattr(model, "_attribute_map"):
        return _fields_of_old_kind(model)
    # The SDKs' modules name each other only while types are checked.
    models = importlib.import_module(model.__module__.rpartition(".")[0])
    namespace = {**vars(importlib.import_module(model.__module__)), "_models": models}
    hints = typing.get_type_hints(model, globalns=namespace)
    found = {}
    for base in reversed(model.__mro__):
        for python, field in vars(base).items():
            if type(field).__name__ == "_RestField" and python in hints:
                kind, child = _shape(hints[python])
                seen = field._visibility or ["read", "create", "update"]  # noqa: SLF001 - no public way
                wire = field._rest_name_input or python  # noqa: SLF001
                found[wire] = Field(
                    wire=wire,
                    python=python,
                    is_map=kind == "map",
                    model=child,
                    read_only=seen == ["read"],
                    create_only="create" in seen and "update" not in seen,
                )
    return found


def _fields_of_old_kind(model: type) -> dict[str, Field]:
    """Read a model whose nested ``properties`` are written as dotted keys, as in ``properties.principalId``."""
    module = importlib.import_module(model.__module__)
    found: dict[str, Field] = {}
    nested: dict[str, Any] = {}
    for python, entry in model._attribute_map.items():  # type: ignore[attr-defined] # noqa: SLF001
        read_only = bool(model._validation.get(python, {}).get("readonly"))  # type: ignore[attr-defined] # noqa: SLF001
        container, _, wire = entry["key"].rpartition(".")
        child = getattr(module, entry["type"].strip("[]{}"), None)
        if container == "properties":
            nested[python] = {"key": wire, "type": entry["type"]}
        else:
            found[wire] = Field(wire, python, entry["type"].startswith("{"), child, read_only, create_only=False)
    if nested:
        inner = type("Properties", (), {"_attribute_map": nested, "_validation": {}, "__module__": model.__module__})
        found["properties"] = Field("properties", "properties", False, inner, False, create_only=False)  # noqa: FBT003
    return found


def _shape(hint: Any) -> tuple[str, type | None]:
    """Say of a type hint whether it is a list, a map or one value, and which described class it holds."""
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        shapes = [_shape(argument) for argument in get_args(hint)]
        return next((s for s in shapes if s[1] is not None), next((s for s in shapes if s[0] != "one"), shapes[0]))
    if origin in (list, Sequence):
        return "list", _shape(get_args(hint)[0])[1]
    if origin in (dict, Mapping):
        return "map", _shape(get_args(hint)[1])[1]
    described = isinstance(hint, type) and (is_input_type(hint) or hasattr(hint, "_attribute_map") or _is_model(hint))
    return "one", hint if described else None


def _is_model(hint: type) -> bool:
    return any(base.__name__ == "Model" and base.__module__.startswith("azure.mgmt") for base in hint.__mro__)


if __name__ == "__main__":
    TABLE.write_text(render(derive()), encoding="utf-8")
