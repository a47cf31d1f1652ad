"""Working out the values of a template: parameters, variables, and everything that expressions name."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from infra.local.templates import functions
from infra.local.templates.expressions import Call, Literal, Node, TemplateError, is_expression, parse, unescaped

Json = dict[str, Any]

_DEFERRED = ("reference", "listkeys", "list")


class NotYetError(Exception):
    """What an expression asks for is only known while resources are made."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment goes: its subscription, its group if it is in one, and how it is called."""

    subscription: Json
    tenant: Json
    group: Json | None
    deployment: Json

    @property
    def scope(self) -> str:
        """The id below which resources are made."""
        return str((self.group or self.subscription)["id"])


def _not_yet(*_arguments: Any) -> Any:
    raise NotYetError


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates the expressions of one template at one place.

    `reference` and `list_action` look at resources; `api_versions` lists those of a type. Until resources are made,
    both raise `NotYetError`.
    """

    place: Place
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    loops: Mapping[str, int] = field(default_factory=dict)
    reference: Callable[..., Any] = _not_yet
    list_action: Callable[..., Any] = _not_yet
    api_versions: Callable[[str, str], list[str]] = lambda _namespace, _kind: []
    own_functions: Mapping[str, Json] = field(default_factory=dict)

    def value(self, raw: Any) -> Any:
        """Return a part of a template with its expressions worked out; a variable's loop is a tuple of itself."""
        if isinstance(raw, tuple):
            return self._copies(list(raw))[raw[0]["name"]]
        if isinstance(raw, str):
            return self._node(parse(raw)) if is_expression(raw) else unescaped(raw)
        if isinstance(raw, list):
            return [self.value(member) for member in raw]
        if isinstance(raw, dict):
            shown = {self.value(key): self.value(member) for key, member in raw.items() if key != "copy"}
            return shown | self._copies(raw["copy"]) if "copy" in raw else shown
        return raw

    def within(self, loop: str, place: int) -> "Evaluator":
        """Return an evaluator inside a loop."""
        return replace(self, loops={**self.loops, loop.lower(): place, "": place})

    def _copies(self, loops: Any) -> Json:
        """Return the arrays that a `copy` within an object makes."""
        if not isinstance(loops, list):
            return {"copy": self.value(loops)}
        return {
            loop["name"]: [
                self.within(loop["name"], place).value(loop["input"]) for place in range(int(self.value(loop["count"])))
            ]
            for loop in loops
        }

    def _node(self, node: Node) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Call):
            return self._call(node)
        value = self._node(node.value)
        key = self._node(node.key)
        try:
            return _member(value, key)
        except LookupError as error:
            if node.safe:
                return None
            raise TemplateError(f"The value has no member '{key}'; it has {_names(value)}.") from error

    def _call(self, node: Call) -> Any:  # noqa: C901, PLR0911, PLR0912 -- one line a function
        name = node.name.lower()
        if name == "if":
            _count(node, 3, 3)
            return self._node(node.arguments[1 if self._node(node.arguments[0]) else 2])
        arguments = [self._node(argument) for argument in node.arguments]
        match name:
            case "parameters":
                return _named(self.parameters, arguments, "parameter")
            case "variables":
                return self.value(_named(self.variables, arguments, "variable"))
            case "copyindex":
                return self._copy_index(arguments)
            case "resourcegroup":
                if self.place.group is None:
                    raise TemplateError("The function 'resourceGroup' has no meaning outside a resource group.")
                return self.place.group
            case "subscription":
                return self.place.subscription
            case "tenant":
                return self.place.tenant
            case "deployment":
                return self.place.deployment
            case "resourceid" | "subscriptionresourceid" | "extensionresourceid" | "tenantresourceid":
                return resource_id(name, self.place, arguments)
            case "reference":
                return self.reference(*arguments)
            case "providers":
                return self._providers(arguments)
            case "environment":
                return {"name": "AzureCloud", "suffixes": {"storage": "core.windows.net"}}
            case "utcnow":
                return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            case "newguid":
                return str(uuid.uuid4())
            case _ if name.startswith("list") and name not in functions.FUNCTIONS:
                return self.list_action(node.name, *arguments)
            case _ if name not in functions.FUNCTIONS:
                known = ", ".join(sorted(functions.FUNCTIONS))
                raise TemplateError(f"The template function '{node.name}' is not known here; known are {known}.")
        return functions.call(node.name, arguments)

    def _copy_index(self, arguments: list[Any]) -> int:
        name = arguments[0].lower() if arguments and isinstance(arguments[0], str) else ""
        offset = next((value for value in arguments if isinstance(value, int)), 0)
        if name not in self.loops:
            raise TemplateError("The function 'copyIndex' is only for what is inside a 'copy'.")
        return self.loops[name] + offset

    def _providers(self, arguments: list[Any]) -> Json:
        namespace, *kind = arguments
        if not kind:
            return {"namespace": namespace, "resourceTypes": []}
        return {"resourceType": kind[0], "locations": [], "apiVersions": self.api_versions(namespace, kind[0])}


def resource_id(function: str, place: Place, arguments: list[Any]) -> str:
    """Write the id of a resource from its type and names, below what comes before the type."""
    position = next((place for place, argument in enumerate(arguments) if "/" in str(argument).strip("/")), None)
    if function == "extensionresourceid":
        position = 1
    if position is None:
        raise TemplateError(f"The function '{function}' needs a type such as 'Microsoft.X/ys'; it has {arguments}.")
    before, (kind, *names) = arguments[:position], arguments[position:]
    namespace, *types = str(kind).split("/")
    if len(types) != len(names):
        raise TemplateError(f"The function '{function}' needs {len(types)} names for '{kind}'; it has {names}.")
    if function == "extensionresourceid":
        scope = str(before[0])
    elif function == "tenantresourceid":
        scope = ""
    else:
        subscription, group = str(place.subscription["subscriptionId"]), (place.group or {}).get("name")
        if function == "subscriptionresourceid":
            subscription, group = (before[0] if before else subscription), None
        elif before:
            group = before[-1]
            subscription = before[0] if len(before) > 1 else subscription
        scope = f"/subscriptions/{subscription}" + (f"/resourceGroups/{group}" if group else "")
    pairs = "/".join(f"{kind}/{name}" for kind, name in zip(types, names, strict=True))
    if f"{namespace}/{types[0]}".lower() == "microsoft.resources/resourcegroups":
        return f"{scope.split('/resourceGroups/')[0]}/resourceGroups/{names[0]}"
    return f"{scope}/providers/{namespace}/{pairs}"


def references(raw: Any) -> set[str]:
    """Return the literal names in calls of `reference` and `list…`: the resources that must be made before."""
    found: set[str] = set()
    if isinstance(raw, str):
        if is_expression(raw):
            _collect(parse(raw), found)
    elif isinstance(raw, list):
        for member in raw:
            found |= references(member)
    elif isinstance(raw, dict):
        for member in raw.values():
            found |= references(member)
    return found


def _collect(node: Node, found: set[str]) -> None:
    if isinstance(node, Call):
        if node.name.lower().startswith(_DEFERRED) and node.arguments and isinstance(node.arguments[0], Literal):
            found.add(str(node.arguments[0].value))
        for argument in node.arguments:
            _collect(argument, found)
    elif not isinstance(node, Literal):
        _collect(node.value, found)
        _collect(node.key, found)


def _member(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        if key in value:
            return value[key]
        for name, content in value.items():
            if name.lower() == str(key).lower():
                return content
        raise LookupError(key)
    if isinstance(value, list | str) and isinstance(key, int):
        return value[key]
    raise LookupError(key)


def _names(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    return f"{len(value)} elements" if isinstance(value, list) else "none"


def _named(values: Mapping[str, Any], arguments: list[Any], what: str) -> Any:
    if len(arguments) != 1:
        raise TemplateError(f"The function '{what}s' takes one name; it has {len(arguments)}.")
    for name, value in values.items():
        if name.lower() == str(arguments[0]).lower():
            return value
    raise TemplateError(f"The template {what} '{arguments[0]}' is not found; there are {', '.join(values) or 'none'}.")


def _count(node: Call, least: int, most: int) -> None:
    if not least <= len(node.arguments) <= most:
        raise TemplateError(f"The function '{node.name}' takes {least} to {most} arguments, not {len(node.arguments)}.")
