"""How a deployment shows what it was given, what it did, and what came of it."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.store import Resource

Json = dict[str, Any]

_SPELLED = {
    "string": "String",
    "securestring": "SecureString",
    "int": "Int",
    "bool": "Bool",
    "object": "Object",
    "secureobject": "SecureObject",
    "array": "Array",
}


def output_name(name: str) -> str:
    """Return the name of an output as the service writes it: its capitals at the begin are lowered (VMSS is vmss)."""
    letters = list(name)
    for place, letter in enumerate(letters):
        following = letters[place + 1] if place + 1 < len(letters) else ""
        if not letter.isupper() or (place > 0 and following and not following.isupper()):
            break
        letters[place] = letter.lower()
    return "".join(letters)


def shown_parameters(template: Json, values: Mapping[str, Any]) -> Json:
    """Return the parameters with their types; secure ones without their values."""
    shown: Json = {}
    for name, value in values.items():
        kind = str(template["parameters"][name].get("type", "")).lower()
        shown[name] = {"type": _SPELLED[kind]} | ({} if kind.startswith("secure") else {"value": value})
    return shown


def operation_records(deployment: Resource) -> list[Json]:
    """List what a deployment did: one record a resource, the last one its own end."""
    records = []
    for identifier, step in deployment.internal.get("steps", {}).items():
        operation = uuid.uuid5(uuid.NAMESPACE_URL, f"{deployment.key}{identifier}").hex[:16].upper()
        failed = step["state"] == "Failed"
        properties = {
            "provisioningOperation": "Create",
            "provisioningState": step["state"],
            "timestamp": _instant(step["ended"] or step["started"]),
            "duration": f"PT{max(0.0, (step['ended'] or step['started']) - step['started']):.7f}S",
            "trackingId": str(uuid.uuid5(uuid.NAMESPACE_URL, operation)),
            "statusCode": "Conflict" if failed else "OK",
            "targetResource": {
                "id": identifier,
                "resourceType": step["type"],
                "resourceName": identifier.rsplit("/", 1)[1],
            },
        }
        if failed:
            properties["statusMessage"] = {"status": "Failed", "error": step["error"]}
        record = {
            "id": f"{deployment.id}/operations/{operation}",
            "operationId": operation,
            "properties": properties,
        }
        records.append(record)
    return records


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
