"""What a template declares, checked and put in order before anything is made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from infra.local.templates.evaluation import Evaluator, Json, references, resource_id
from infra.local.templates.expressions import TemplateError

# What describes a resource to the template and is not part of it.
_NOT_SENT = frozenset(
    ("type", "apiVersion", "name", "dependsOn", "condition", "copy", "comments", "scope", "resources", "metadata",
     "existing", "subscriptionId", "resourceGroup", "import")
)  # fmt: skip
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "securestring": (str,),
    "int": (int,),
    "bool": (bool,),
    "object": (dict,),
    "secureobject": (dict,),
    "array": (list,),
}
_MOST_RESOURCES = 800  # docs: "template limits"


@dataclass(frozen=True, slots=True)
class Planned:
    """One resource of a template; `after` are the ids of those that must be made before it."""

    id: str
    type: str
    api_version: str
    raw: Json
    evaluator: Evaluator
    after: tuple[str, ...] = ()
    symbol: str = ""
    existing: bool = False

    @property
    def name(self) -> str:
        """The last name in the id."""
        return self.id.rsplit("/", 1)[1]

    def body(self, evaluator: Evaluator) -> Json:
        """Return what is sent to make it."""
        worked = replace(evaluator, loops=self.evaluator.loops)
        sent = {key: value for key, value in self.raw.items() if key not in _NOT_SENT}
        if self.type.lower() != "microsoft.resources/deployments":
            return {key: worked.value(value) for key, value in sent.items()}
        # An inner template is worked out where it is deployed; only what is passed to it belongs to this one.
        properties = dict(sent.pop("properties", {}))
        inner = {key: properties.pop(key) for key in ("template", "templateLink") if key in properties}
        return {key: worked.value(value) for key, value in sent.items()} | {
            "properties": worked.value(properties) | inner
        }


def parameters_of(template: Json, given: Json, evaluator: Evaluator) -> Json:
    """Return the value of each parameter; refuse those that are missing, unknown or not allowed."""
    declared = template.get("parameters") or {}
    values: Json = {}
    known = {name.lower(): name for name in declared}
    unknown = [name for name in given if name.lower() not in known]
    if unknown:
        raise TemplateError(
            f"The following parameters were supplied, but do not correspond to any parameters defined in the template:"
            f" '{', '.join(unknown)}'. The parameters defined in the template are: '{', '.join(declared)}'."
        )
    supplied = {known[name.lower()]: content for name, content in given.items()}
    for name, parameter in declared.items():
        if name in supplied:
            if not isinstance(supplied[name], dict) or "value" not in supplied[name]:
                raise TemplateError(
                    f"The parameter '{name}' needs an object with 'value'; references are not read here."
                )
            value = supplied[name]["value"]
        elif "defaultValue" in parameter:
            value = replace(evaluator, parameters=values).value(parameter["defaultValue"])
        elif parameter.get("nullable"):
            value = None
        else:
            raise TemplateError(f"The value for the template parameter '{name}' is not provided.")
        _check_parameter(name, parameter, value)
        values[name] = value
    return values


def plan(template: Json, evaluator: Evaluator) -> list[Planned]:
    """Return the resources of a template in an order in which they can be made."""
    declared = template.get("resources") or []
    entries = declared.items() if isinstance(declared, dict) else (("", entry) for entry in declared)
    found = [planned for symbol, entry in entries for planned in _expand(entry, evaluator, symbol, None)]
    if len(found) > _MOST_RESOURCES:
        raise TemplateError(f"The template declares {len(found)} resources; {_MOST_RESOURCES} is the limit.")
    seen: set[str] = set()
    for planned in found:
        if planned.id.lower() in seen and not planned.existing:
            raise TemplateError(f"The resource '{planned.id}' is defined multiple times in the template.")
        seen.add(planned.id.lower())
    return _ordered([replace(planned, after=_after(planned, found)) for planned in found])


def find(name: str, declared: list[Planned]) -> list[Planned]:
    """Return the resources that a name, a symbol, an id or `type/name` means; a loop's name means all of its."""
    wanted = name.lower()
    exact = [
        planned
        for planned in declared
        if wanted in {planned.id.lower(), planned.symbol.lower(), _joined(planned).lower(), _names(planned).lower()}
    ]
    if exact:
        return exact
    return [planned for planned in declared if str((planned.raw.get("copy") or {}).get("name", "")).lower() == wanted]


def _expand(raw: Any, evaluator: Evaluator, symbol: str, parent: Planned | None) -> Iterator[Planned]:
    """Yield what one entry declares: none when its condition does not hold, several when it is copied."""
    if not isinstance(raw, dict) or "type" not in raw or "name" not in raw:
        raise TemplateError("Each resource of a template needs 'type', 'apiVersion' and 'name'.")
    if isinstance(raw.get("copy"), dict):
        yield from _repeat(raw, evaluator, symbol, parent)
        return
    if not evaluator.value(raw.get("condition", True)):
        return
    kind, name = str(raw["type"]), str(evaluator.value(raw["name"]))
    if parent is not None and "." not in kind.partition("/")[0]:
        kind, name = f"{parent.type}/{kind}", f"{_names(parent)}/{name}"
    if "apiVersion" not in raw:
        raise TemplateError(f"The resource '{name}' of type '{kind}' needs 'apiVersion'.")
    if kind.count("/") != name.count("/") + 1:
        raise TemplateError(
            f"The resource '{name}' of type '{kind}' has an incorrect segment length: a type has one segment more than"
            " its name."
        )
    planned = Planned(
        _identifier(raw, kind, name, evaluator),
        kind,
        str(evaluator.value(raw["apiVersion"])),
        raw,
        evaluator,
        (parent.id,) if parent else (),
        symbol,
        bool(raw.get("existing")),
    )
    yield planned
    children = raw.get("resources") or []
    for child in children.values() if isinstance(children, dict) else children:
        yield from _expand(child, evaluator, "", planned)


def _repeat(raw: Json, evaluator: Evaluator, symbol: str, parent: Planned | None) -> Iterator[Planned]:
    """Yield what a copied entry declares."""
    loop = raw["copy"]
    count = evaluator.value(loop.get("count"))
    if not isinstance(count, int) or count < 0:
        raise TemplateError(f"The count of the copy '{loop.get('name')}' is {count!r}, not a number from 0 on.")
    rest = {key: value for key, value in raw.items() if key != "copy"}
    for place in range(count):
        for planned in _expand(rest, evaluator.within(str(loop["name"]), place), symbol, parent):
            yield replace(planned, raw=planned.raw | {"copy": loop})


def _identifier(raw: Json, kind: str, name: str, evaluator: Evaluator) -> str:
    if "scope" in raw:
        scope = str(evaluator.value(raw["scope"]))
        if not scope.startswith("/subscriptions/"):
            namespace, first, *rest = scope.split("/")
            scope = resource_id("resourceId".lower(), evaluator.place, [f"{namespace}/{first}", *rest])
        return resource_id("extensionresourceid", evaluator.place, [scope, kind, *name.split("/")])
    before = [str(evaluator.value(raw[key])) for key in ("subscriptionId", "resourceGroup") if key in raw]
    return resource_id("resourceid", evaluator.place, [*before, kind, *name.split("/")])


def _after(planned: Planned, declared: list[Planned]) -> tuple[str, ...]:
    """Return the ids of what a resource depends on, said or implied."""
    found = list(planned.after)
    for entry in planned.raw.get("dependsOn") or []:
        name = str(planned.evaluator.value(entry))
        targets = find(name, declared)
        if not targets and not name.startswith("/subscriptions/") and not _is_left_out(name):
            raise TemplateError(
                f"The resource '{name}' on which '{planned.id}' depends is not defined in the template."
            )
        found += [target.id for target in targets]
    for name in references(planned.raw):
        found += [target.id for target in find(name, declared) if target.id != planned.id]
    return tuple(dict.fromkeys(identifier for identifier in found if identifier != planned.id))


def _is_left_out(name: str) -> bool:
    """Say whether a name may be one of a resource whose condition does not hold: those are dropped with no word."""
    return "/" in name


def _ordered(declared: list[Planned]) -> list[Planned]:
    done: dict[str, Planned] = {}
    left = list(declared)
    known = {planned.id for planned in declared}
    while left:
        ready = [planned for planned in left if all(other in done or other not in known for other in planned.after)]
        if not ready:
            circle = ", ".join(planned.id for planned in left)
            raise TemplateError(f"Circular dependency detected among the resources {circle}.")
        done |= {planned.id: planned for planned in ready}
        left = [planned for planned in left if planned.id not in done]
    return list(done.values())


def _names(planned: Planned) -> str:
    tail = planned.id.rsplit("/providers/", 1)[-1].split("/")
    return "/".join(tail[2::2]) if "/providers/" in planned.id else planned.name


def _joined(planned: Planned) -> str:
    """Return `namespace/type/name/type/name`, as dependencies are often written."""
    return planned.id.rsplit("/providers/", 1)[-1]


def _size(value: Any) -> int:
    """Return what the limits of a parameter are about: a number itself, the length of anything else."""
    return value if isinstance(value, int) else len(value)


def _check_parameter(name: str, parameter: Json, value: Any) -> None:
    kind = str(parameter.get("type", "")).lower()
    if kind not in _TYPES:
        raise TemplateError(f"The parameter '{name}' has the type '{kind}', which is none of {', '.join(_TYPES)}.")
    if value is None and parameter.get("nullable"):
        return
    if not isinstance(value, _TYPES[kind]) or (kind == "int" and isinstance(value, bool)):
        raise TemplateError(f"The value of the parameter '{name}' is not of the type '{kind}'.")
    allowed = parameter.get("allowedValues")
    if allowed is not None and value not in allowed:
        choices = ", ".join(map(str, allowed))
        raise TemplateError(f"The value '{value}' of the parameter '{name}' is not one of the allowed: {choices}.")
    size = _size(value)
    for limit, sign in (("min", 1), ("max", -1)):
        bound = parameter.get(f"{limit}{'Value' if kind == 'int' else 'Length'}")
        if bound is not None and sign * size < sign * bound:
            raise TemplateError(f"The parameter '{name}' breaks its {limit}imum of {bound}: it is or has {size}.")
