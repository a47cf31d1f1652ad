"""Turns Pulumi inputs into ARM requests and ARM's answers into Pulumi outputs, by the derived resource_table.json."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pulumi.runtime.rpc import UNKNOWN

Values = dict[str, Any]

TABLE = Path(__file__).with_name("resource_table.json")
_OWN_ID = "$self/"  # in the id of a sub-resource: below the resource's own id, which the program cannot know


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One row of the table, see derive.py."""

    token: str
    api_version: str
    path: str
    path_parameters: tuple[str, ...]
    name: str
    naming: str
    needs_location: bool
    singleton: bool
    kept: tuple[str, ...]
    envelope: tuple[str, ...]
    body: Mapping[str, Any]

    def resource_id(self, subscription_id: str, inputs: Mapping[str, Any]) -> str:
        """Fill the path with the inputs; KeyError names a parameter that is missing or not known yet."""

        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if name == "subscriptionId":
                return subscription_id
            value = inputs.get(name)
            if not isinstance(value, str) or not value or UNKNOWN in value:
                raise KeyError(name)
            # A scope is a whole resource id; anything else is one segment.
            return quote(value.strip("/"), safe="/") if name == "scope" else quote(value, safe="")

        return re.sub(r"{(\w+)}", fill, self.path)

    def parameters_of(self, resource_id: str) -> Values:
        """Read the path parameters out of a resource id; ValueError if it is an id of another type."""
        pattern = re.sub(r"\\{(\w+)\\}", _group, re.escape(self.path))
        found = re.fullmatch(pattern, "/" + resource_id.strip("/"), re.IGNORECASE)
        if found is None:
            raise ValueError(f"{resource_id} is not the id of a {self.token}: its form is {self.path}")
        parameters = found.groupdict()
        parameters.pop("subscriptionId", None)
        return parameters

    def request_body(self, inputs: Mapping[str, Any], resource_id: str) -> Values:
        """Return the whole resource as ARM takes it."""
        own = {
            key: value
            for key, value in inputs.items()
            if key not in self.path_parameters and not key.startswith("__")  # the provider's own marks
        }
        body = to_arm(self.body, own)
        filled: Values = _fill_own_id(body, resource_id)
        return filled

    def with_kept(self, body: Values, existing: Mapping[str, Any]) -> Values:
        """Return a request body with what other resources have filled in, where the program says nothing of it."""
        has = existing.get("properties") or {}
        own = body.get("properties", {})
        kept = {name: has[name] for name in self.kept if name in has and name not in own}
        return {**body, "properties": {**own, **kept}} if kept else body

    def outputs(self, body: Mapping[str, Any]) -> Values:
        """Return the resource as Pulumi's outputs have it."""
        flat: Values = to_outputs(self.body, body)
        return flat

    def inputs_of(self, outputs: Mapping[str, Any]) -> Values:
        """Return the inputs that would make such a resource (for an import); without the path parameters."""
        names = (*self.envelope, *self.body.get("properties", ()))
        known = {name: outputs[name] for name in names if name in outputs}
        inputs: Values = _as_sets(self.body, {name: _nested(self.body, name, value) for name, value in known.items()})
        return inputs


# What stands beside the properties of an object within another.
_ENVELOPE = frozenset({"id", "identity", "kind", "location", "name", "plan", "sku", "tags", "type", "zones"})


def load_types() -> dict[str, ResourceType]:
    """Read the table: resource types by token."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {token: ResourceType(token=token, **_tuples(row)) for token, row in rows.items()}


def _nested(rule: Mapping[str, Any], name: str, value: Any) -> Any:
    """Take out of an input's value what only the service says, such as what else uses a subnet of a network."""
    child = rule.get("children", {}).get(name)
    return value if child is None or child.get("map") else _only_inputs(child, value)


def _only_inputs(rule: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, list):
        return [_only_inputs(rule, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    known = (
        {*rule.get("properties", ()), *_ENVELOPE} if rule.get("flatten") and rule.get("properties") else value.keys()
    )
    return {name: _nested(rule, name, item) for name, item in value.items() if name in known}


def to_arm(rule: Mapping[str, Any], value: Any) -> Any:
    """Turn an input object (or a list of them, or a map of them where the rule says so) into its ARM form."""
    if isinstance(value, list):
        return [to_arm(rule, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if rule.get("map"):
        return {key: to_arm({**rule, "map": False}, item) for key, item in value.items()}
    body: Values = {}
    moved: Values = {}
    for name, item in value.items():
        target = moved if name in rule.get("properties", ()) else body
        child = to_arm(rule.get("children", {}).get(name, {}), item)
        if name in rule.get("set", ()) and isinstance(item, list):
            # Which keys the object has cannot be said before every id is known.
            child = UNKNOWN if UNKNOWN in item else {key: {} for key in item}
        target[rule.get("rename", {}).get(name, name)] = child
    if moved:
        body["properties"] = moved
    return body


def to_outputs(rule: Mapping[str, Any], body: Any) -> Any:
    """Turn an ARM object back: properties move up, renamed ones get their Pulumi names; sets stay objects."""
    if isinstance(body, list):
        return [to_outputs(rule, item) for item in body]
    if not isinstance(body, Mapping):
        return body
    if rule.get("map"):
        return {key: to_outputs({**rule, "map": False}, item) for key, item in body.items()}
    flat = dict(body)
    if rule.get("flatten") and isinstance(flat.get("properties"), Mapping):
        flat.update(flat.pop("properties"))
    names = {wire: name for name, wire in rule.get("rename", {}).items()}
    children = rule.get("children", {})
    found: Values = {}
    for wire, item in flat.items():
        name = names.get(wire, wire)
        found[name] = to_outputs(children.get(name, {}), item)
    return found


def _tuples(row: Values) -> Values:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def _as_sets(rule: Mapping[str, Any], value: Any) -> Any:
    """Turn the objects that stand for sets of ids into lists of them."""
    if isinstance(value, list):
        return [_as_sets(rule, item) for item in value]
    if not isinstance(value, Mapping):
        return value
    children = rule.get("children", {})
    return {
        name: sorted(item)
        if name in rule.get("set", ()) and isinstance(item, Mapping)
        else _as_sets(children.get(name, {}), item)
        for name, item in value.items()
    }


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[1]}>.+)" if match[1] == "scope" else f"(?P<{match[1]}>[^/]+)"


def _fill_own_id(value: Any, resource_id: str) -> Any:
    if isinstance(value, list):
        return [_fill_own_id(item, resource_id) for item in value]
    if not isinstance(value, Mapping):
        return value
    filled = {key: _fill_own_id(item, resource_id) for key, item in value.items()}
    own = filled.get("id")
    if isinstance(own, str) and own.startswith(_OWN_ID):
        filled["id"] = f"{resource_id}/{own.removeprefix(_OWN_ID)}"
    return filled
