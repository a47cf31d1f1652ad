"""Pydantic's errors in our words: where, what is wrong, and what to write instead, with an example."""

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from infra.findings import Finding, choose

_Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """A tree of settings: its root section, the prefix of its paths, and sections that stand for types of others."""

    root: type[BaseModel]
    prefix: str
    stand_ins: Mapping[type, type[BaseModel]]

    def finding(self, details: ErrorDetails) -> Finding:
        """Say what one error of pydantic means for the person who wrote the settings."""
        location, kind = details["loc"], details["type"]
        path = self._path(location)
        if kind == "finding":
            return Finding(path, details["ctx"]["problem"], details["ctx"]["remedy"])
        if kind == "extra_forbidden":
            known = list(self._fields(location[:-1]))
            return Finding(path, "there is no such setting", choose(str(location[-1]), known))
        remedy = f"write for example {self._example(location)}"
        if kind == "missing":
            return Finding(path, "is missing", remedy)
        if kind == "model_type":
            return Finding(path, "should be a mapping of settings", remedy)
        message = f"{details['msg'][:1].lower()}{details['msg'][1:]}"
        return Finding(path, f"{message}, not {json.dumps(details['input'], default=str)[:80]}", remedy)

    def _path(self, location: _Location) -> str:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
        return f"{self.prefix}:{text.removeprefix('.')}" if text else self.prefix

    def _fields(self, location: _Location) -> Mapping[str, Any]:
        """Give the fields of the section that a path leads to."""
        section = self.root
        for part in location:
            field = section.model_fields.get(str(part))
            inner = next(self._sections(field.annotation), None) if field else None
            section = inner or section
        return section.model_fields

    def _sections(self, annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and annotation in self.stand_ins:
            yield self.stand_ins[annotation]
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        else:
            for argument in typing.get_args(annotation):
                yield from self._sections(argument)

    def _example(self, location: _Location) -> str:
        names = [part for part in location if isinstance(part, str)]
        for end in range(len(names), 0, -1):
            field = self._fields(tuple(names[: end - 1])).get(names[end - 1])
            if field is not None:
                examples = field.examples or [field.default]
                return f"{names[end - 1]}: {json.dumps(examples[0], default=str)}"
        return "what the documentation shows"
