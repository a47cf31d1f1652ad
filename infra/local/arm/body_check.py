"""Checks the body of a request against the model of its type, and brings it into the spelling of the model.

As the services do it (they read JSON with Json.NET): names and enum values compare without case and are answered as
the model spells them, a number or a truth value may come as a string, null is no value, and a read-only property may
be sent back as it was read.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from infra.local.arm.body_defaults import complete

Json = dict[str, Any]

_SCHEMAS = Path(__file__).with_name("request_schemas.json")
# What every client sends back as it read it, and every service ignores.
_IGNORED = frozenset({"id", "name", "type", "etag", "systemdata", "provisioningstate"})
# The resource manager takes these for any type; az's templates give parts of load balancers a location.
_ENVELOPE = _IGNORED | {"location", "tags"}
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_CONTAINERS: dict[str, type] = {"object": dict, "map": dict, "array": list}
_TRUTH = {"true": True, "false": False}
# Who leaves out what it does not know; the others refuse it.
_LENIENT = ("microsoft.storage/", "microsoft.managedidentity/", "microsoft.authorization/")


class Problem(StrEnum):
    """What is wrong with a part of a body."""

    WRONG_TYPE = "wrong type"
    UNKNOWN_VALUE = "unknown value"
    MISSING = "missing"
    UNKNOWN_PROPERTY = "unknown property"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: where, what was sent, and the type or the model that was expected there."""

    problem: Problem
    path: str
    value: Any = None
    expected: str = ""

    @property
    def name(self) -> str:
        """The property's own name."""
        return self.path.rpartition(".")[2].partition("[")[0]

    @property
    def container(self) -> str:
        """Where the property stands."""
        return self.path.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Checked:
    """A body as the model spells it, with defaults and without read-only properties, and what is wrong with it."""

    body: Json
    findings: tuple[Finding, ...] = ()


class RequestSchemas:
    """The models of request bodies, by resource type and method."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._requests = {name.lower(): models for name, models in schemas["requests"].items()}
        self._models = {name: _Model.of(name, entry) for name, entry in schemas["models"].items()}

    @classmethod
    def load(cls) -> "RequestSchemas":
        """Read the schemas that `infra.local.arm.derive_schemas` wrote."""
        return cls(json.loads(_SCHEMAS.read_text(encoding="utf-8")))

    def write(
        self, resource_type: str, body: Json, present: Json | None, *, patch: bool = False, whole: bool = True
    ) -> Checked:
        """Check a PUT or PATCH; `present` is what a GET shows now, `whole` says that required properties must be there.

        A PATCH may name what a PUT may, though the packages' models of PATCH leave some of it out.
        """
        models = self._requests.get(resource_type.lower(), {})
        lenient = resource_type.lower().startswith(_LENIENT)
        model = models.get("PATCH" if patch else "PUT")
        checked = self._check(model, body, present or {}, whole=whole and not patch, lenient=lenient and not patch)
        if patch and any(found.problem is Problem.UNKNOWN_PROPERTY for found in checked.findings):
            wider = self._check(models.get("PUT"), body, present or {}, whole=False, lenient=lenient)
            if len(wider.findings) < len(checked.findings):
                return wider
        return checked

    def action(self, resource_type: str, action: str, body: Json) -> Checked:
        """Check the body of an action (POST)."""
        models = self._requests.get(resource_type.lower(), {})
        wanted = f"post {action}".lower()
        model = next((model for name, model in models.items() if name.lower() == wanted), None)
        return self._check(model, body, None, whole=True, lenient=resource_type.lower().startswith(_LENIENT))

    def _check(self, model: str | None, body: Json, present: Json | None, *, whole: bool, lenient: bool) -> Checked:
        if model is None:
            return Checked(body)
        walk = _Walk(self._models, whole=whole, lenient=lenient, creating=not present)
        spelled = walk.object(model, body, _Place("", present, root=True))
        return Checked(spelled, tuple(walk.findings))


@dataclass(frozen=True, slots=True)
class _Model:
    """One model; `spelling` finds a property without case."""

    name: str
    fields: Mapping[str, Json]
    spelling: Mapping[str, str]
    required: tuple[str, ...]
    discriminator: str | None
    kinds: Mapping[str, str]

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> "_Model":
        fields: Mapping[str, Json] = entry["properties"]
        return cls(
            name.partition(".")[2],
            fields,
            {wire.lower(): wire for wire in fields},
            tuple(wire for wire, field in fields.items() if field.get("required")),
            entry.get("discriminator"),
            {value.lower(): kind for value, kind in entry.get("kinds", {}).items()},
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk is: the path, what is there now (None: not known, so read-only properties pass), and the root."""

    path: str
    present: Any
    root: bool = False
    fresh: bool = False  # a new member of a list, which must be whole

    def to(self, name: str) -> "_Place":
        below = None if self.present is None else (self.present.get(name) if isinstance(self.present, dict) else {})
        path = f"{self.path}.{name}" if self.path else name
        return _Place(path, {} if below is None and self.present is not None else below, fresh=self.fresh)


class _Walk:
    """Goes through one body, collecting findings, and builds it anew."""

    def __init__(self, models: Mapping[str, _Model], *, whole: bool, lenient: bool, creating: bool) -> None:
        self._models = models
        self._whole = whole
        self._lenient = lenient
        self._creating = creating
        self.findings: list[Finding] = []

    def object(self, model_name: str, body: Json, place: _Place) -> Json:
        model = self._kind(self._models[model_name], body)
        if not place.root and isinstance(body.get("id"), str):
            # Clients put a whole other resource where its id is enough; only the id is looked at.
            place = _Place(place.path, None, fresh=place.fresh)
        spelled: Json = {}
        for sent, value in body.items():
            name = model.spelling.get(sent.lower())
            if name is None:
                self._unknown(sent, value, place, model)
            elif value is None:
                spelled[name] = None
            elif model.fields[name].get("readOnly"):
                self._read_only(name, value, place)
            else:
                spelled[name] = self._value(model.fields[name], value, place.to(name))
        if self._whole or place.fresh:
            for name in model.required:
                # The location is the resource manager's own matter, whatever the type.
                if spelled.get(name) is None and not (place.root and name == "location"):
                    self._find(Problem.MISSING, place.to(name), None, model.name)
            complete(model.name, spelled)
        return spelled

    def _kind(self, model: _Model, body: Json) -> _Model:
        if model.discriminator and model.kinds:
            kind = model.kinds.get(str(body.get(model.discriminator, "")).lower())
            return self._models[kind] if kind else model
        return model

    def _unknown(self, name: str, value: Any, place: _Place, model: _Model) -> None:
        """Leave a property out that the model has not; what is sent back as a GET shows it is nobody's mistake."""
        if self._lenient or (place.root and name.lower() in _ENVELOPE):
            return
        now = place.present.get(name) if isinstance(place.present, dict) else None
        if now is None or _comparable(value) != _comparable(now):
            self._find(Problem.UNKNOWN_PROPERTY, place.to(name), value, model.name)

    def _read_only(self, name: str, value: Any, place: _Place) -> None:
        if place.present is None or name.lower() in _IGNORED:
            return
        now = place.present.get(name) if isinstance(place.present, dict) else None
        # Some are shown only when they are asked for ($expand), so what a GET does not show cannot be compared.
        if (now is not None or self._creating) and _comparable(value) != _comparable(now):
            self._find(Problem.READ_ONLY, place.to(name), value)

    def _value(self, field: Json, value: Any, place: _Place) -> Any:
        kind = field["type"]
        if kind == "any":
            return value
        if kind in _CONTAINERS and not isinstance(value, _CONTAINERS[kind]):
            return self._wrong(place, value, field)
        if kind == "object":
            return self.object(field["model"], value, place)
        if kind == "map":
            return {key: self._member(field, item, place, key) for key, item in value.items()}
        if kind == "array":
            return [self._element(field, item, place, position) for position, item in enumerate(value)]
        simple = _simple(kind, value)
        if simple is None:
            return self._wrong(place, value, field)
        return self._enum(field, simple, place) if "enum" in field else simple

    def _enum(self, field: Json, value: str, place: _Place) -> str:
        plain = _plain(value)
        for known in field["enum"]:
            if _plain(str(known)) == plain:
                return str(known)
        self._find(Problem.UNKNOWN_VALUE, place, value, ", ".join(map(str, field["enum"])))
        return value

    def _member(self, field: Json, item: Any, place: _Place, key: str) -> Any:
        now = place.present.get(key) if isinstance(place.present, dict) else None
        below = _Place(f"{place.path}.{key}", now)
        return None if item is None else self._value(field["items"], item, below)

    def _element(self, field: Json, item: Any, place: _Place, position: int) -> Any:
        now = _counterpart(place.present, item, position)
        below = _Place(f"{place.path}[{position}]", now, fresh=True)
        return None if item is None else self._value(field["items"], item, below)

    def _wrong(self, place: _Place, value: Any, field: Json) -> Any:
        expected = field["type"]
        if expected == "object":
            expected = self._models[field["model"]].name
        self._find(Problem.WRONG_TYPE, place, value, expected)
        return value

    def _find(self, problem: Problem, place: _Place, value: Any, expected: str = "") -> None:
        self.findings.append(Finding(problem, place.path, value, expected))


def _plain(value: str) -> str:
    """Return an enum value for comparison: without case, and "A, B" is "A,B"."""
    return value.lower().replace(" ", "")


def _simple(kind: str, value: Any) -> Any:
    """Return a value as its type has it; None when it is of another type."""
    if isinstance(value, str):
        return _read(kind, value)
    if isinstance(value, bool):
        return value if kind == "boolean" else None
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    fits = (kind == "integer" and isinstance(value, int)) or (kind == "number" and isinstance(value, int | float))
    return value if fits else None


def _read(kind: str, text: str) -> Any:
    match kind:
        case "string":
            return text
        case "boolean":
            return _TRUTH.get(text.lower())
        case "integer":
            return int(text) if _INTEGER.fullmatch(text) else None
    return float(text) if _NUMBER.fullmatch(text) else None


def _counterpart(present: Any, item: Any, position: int) -> Any:
    """Find what is there now of a list's member: by its name, by its id, else by its place; None if it is new."""
    if not isinstance(present, list) or not isinstance(item, dict):
        return None
    for key in ("name", "id"):
        if isinstance(item.get(key), str):
            same = [one for one in present if str(one.get(key, "")).lower() == item[key].lower()]
            return same[0] if same else None
    return present[position] if position < len(present) else None


def _comparable(value: Any) -> Any:
    """Return a value for comparison: without case, without nulls."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, dict):
        return {key.lower(): _comparable(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return value
