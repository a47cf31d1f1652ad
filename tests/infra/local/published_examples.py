"""Examples that Azure published of its own requests and answers (OpenAPI), made ready to send to a local Azure.

Only ids, names, images and sizes are rewritten: to the subscription and groups that are there, and to what the
catalogues know. What an example needs (parents, what its body refers to) is made by real PUTs first.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.arm.addresses import Target, parse
from infra.local.arm.errors import ArmError

FOLDER = Path(__file__).resolve().parents[3].parent / "shared" / "azure" / "examples"

Json = dict[str, Any]

# Known to the catalogues; the examples name images and sizes that are retired.
LINUX = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
_WINDOWS = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter-g2",
    "version": "latest",
}
_SIZE = "Standard_D2s_v5"
_LOCATION = "westeurope"
_GROUP = "example"
_SUBSCRIPTION = re.compile(r"/subscriptions/(\{[^/}]*\}|[^/]+)", re.IGNORECASE)
_BRACED = re.compile(r"\{([^/{}]*)\}")
_ACCOUNT = re.compile(r"/resourcegroups/[^/]+/providers/Microsoft\.Storage/storageAccounts(/[^/]+)?", re.IGNORECASE)
_INSTANCE = re.compile(r"(/virtualMachineScaleSets/[^/]+/virtualMachines)/[^/]+", re.IGNORECASE)
# Names of these are unique beyond their group, here or in Azure.
_UNIQUE = re.compile(r"(/Microsoft\.Compute/virtualMachineScaleSets|/batchAccounts)/([^/]+)", re.IGNORECASE)
_LONGEST_UNIQUE = 24
_ROLE = re.compile(r"/roleDefinitions/[^/]+$", re.IGNORECASE)
# Every account is a server of its own: one for all examples, in a group that stays.
_ACCOUNTS = "/resourceGroups/exampleaccounts/providers/Microsoft.Storage/storageAccounts"
ONE_ACCOUNT = f"{_ACCOUNTS}/exampleaccount"
_READER = "/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"


@dataclass(frozen=True, slots=True)
class Example:
    """One request and what Azure answered: `responses` by status, each with a body or None."""

    name: str
    method: str
    path: str
    query: dict[str, str]
    body: Json | None
    responses: dict[int, Any]

    @property
    def target(self) -> Target:
        """What the request is about."""
        return parse(self.path)

    @property
    def resource_type(self) -> str:
        """The type that the request is about, the collection's in a list."""
        target = self.target
        if target.address is None or (self.method == "GET" and target.trailing is not None):
            return target.collection_type
        return target.address.type


def load(subscription: str) -> Iterator[Example]:
    """Read the examples of the resource manager, with the ids of this subscription and of a group an example."""
    for number, entry in enumerate(json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))):
        if not entry["path"].startswith("/subscriptions/") and "roleAssignment" not in entry["path"]:
            continue
        example = json.loads((FOLDER / entry["example"]).read_text(encoding="utf-8"))
        group = f"{_GROUP}{number}"
        parameters = {name: value for name, value in example["parameters"].items() if isinstance(value, str | int)}
        path = entry["path"]
        for name, value in parameters.items():
            path = path.replace("{" + name + "}", str(value))
        path = _rewrite_id("/" + path.lstrip("/"), subscription, group)
        bodies = [value for value in example["parameters"].values() if isinstance(value, dict)]
        responses = {
            int(status): rewritten(answer.get("body"), subscription, group)
            for status, answer in example["responses"].items()
            if status.isdigit()
        }
        query = {name: str(value) for name, value in parameters.items() if name.startswith("$")}
        query["api-version"] = str(parameters.get("api-version", "2024-07-01"))
        yield Example(
            entry["example"].removesuffix(".json"),
            entry["method"],
            path,
            query,
            rewritten(bodies[0], subscription, group) if bodies else None,
            responses,
        )


def rewritten(value: Any, subscription: str, group: str, key: str = "") -> Any:
    """Put our ids, images, sizes and location into a body."""
    if isinstance(value, dict):
        if key == "imageReference" and "publisher" in value:
            return dict(_WINDOWS if "windows" in str(value).lower() else LINUX)
        return {
            _rewrite_id(name, subscription, group) if name.startswith("/") else name: rewritten(
                item, subscription, group, name
            )
            for name, item in value.items()
        }
    if isinstance(value, list):
        # The instances of the examples have made-up ids; the first instance is 0.
        return ["0"] if key == "instanceIds" else [rewritten(item, subscription, group, key) for item in value]
    if isinstance(value, str):
        if key == "roleDefinitionId":
            return _ROLE.sub(_READER, _SUBSCRIPTION.sub(subscription, value, count=1))
        if key == "location":
            return _LOCATION
        if key == "vmSize" or (key == "name" and value.startswith(("Standard_D", "Standard_A", "Standard_F"))):
            return _SIZE
        if value.startswith("/subscriptions/"):
            return _rewrite_id(value, subscription, group)
    return value


def _rewrite_id(text: str, subscription: str, group: str) -> str:
    text = _SUBSCRIPTION.sub(subscription, text, count=1)
    text = re.sub(r"/(resourcegroups)/[^/]+", rf"/\1/{group}", _BRACED.sub(r"\1", text), flags=re.IGNORECASE)
    text = _ACCOUNT.sub(lambda found: ONE_ACCOUNT if found[1] else _ACCOUNTS, text)
    text = _INSTANCE.sub(r"\1/0", text)
    return _UNIQUE.sub(lambda found: f"{found[1]}/{_unique(found[2], group)}", text)


def _unique(name: str, group: str) -> str:
    number = group.removeprefix(_GROUP)
    return f"{name[: _LONGEST_UNIQUE - len(number)]}{number}"


def references(value: Any) -> Iterator[str]:
    """Yield the resource ids in a body, of resources and of their parts."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name.startswith("/subscriptions/"):
                yield name
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, str) and value.startswith("/subscriptions/"):
        yield value


def parents(path: str) -> Iterator[str]:
    """Yield the ids of the resources around one, the outermost first; its group is not among them."""
    try:
        address = parse(path).address
    except ArmError:
        return
    if address is None or "/providers/" not in address.id:
        return
    head, _, tail = address.id.partition("/providers/")
    parts = tail.split("/")
    for end in range(3, len(parts), 2):
        yield f"{head}/providers/{'/'.join(parts[:end])}"


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield where an answer lacks a key of the example's or has another type there."""
    if expected is None:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        lowered = {name.lower(): item for name, item in found.items()}
        for name, item in expected.items():
            if name.lower() in lowered:
                yield from differences(item, lowered[name.lower()], f"{path}.{name}")
            elif item is not None and name != "nextLink" and not name.startswith("/subscriptions/"):
                yield f"{path}.{name} is missing"
    elif isinstance(expected, list) and isinstance(found, list):
        if expected and not found:
            yield f"{path} is empty"
        for item, other in zip(expected, found, strict=False):
            yield from differences(item, other, f"{path}[]")
    elif _kind(expected) != _kind(found):
        yield f"{path} is {_kind(found)}, not {_kind(expected)}"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "string", dict: "object", list: "array", type(None): "null"}[type(value)]
