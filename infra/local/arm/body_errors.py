"""Says what is wrong with a body as the service says that the request was for: its code, message and target.

Seen in answers that users published (issues of Azure/azure-cli, azure-powershell, bicep, terraform-provider-azurerm,
AzureRMR): Compute names the member with "BadRequest" and a target that begins with "vm" or "vmss"; Network puts
"InvalidJson" into the details of "InvalidRequestFormat"; Batch says "InvalidRequestBody" with the reason and the path
in the details; Storage lists parameters and values; the resource manager itself reads the envelope.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from infra.local.arm.body_check import Finding, Problem
from infra.local.arm.errors import ArmError, invalid

# The resource manager reads these before it passes a request on.
_ENVELOPE = frozenset({"location", "tags", "sku", "kind", "plan", "identity", "zones", "managedBy"})
_JSON_TYPES = {
    "string": "System.String",
    "integer": "System.Int32",
    "number": "System.Double",
    "boolean": "System.Boolean",
    "array": "System.Collections.Generic.List",
    "map": "System.Collections.Generic.Dictionary",
}
# How Compute calls the body in its targets.
_COMPUTE_ROOTS = {
    "virtualmachinescalesets": "vmss",
    "virtualmachinescalesets/virtualmachines": "vmScaleSetVM",
    "virtualmachines": "vm",
    "disks": "disk",
}


def refusal(resource_type: str, findings: Sequence[Finding]) -> ArmError | None:
    """Return the error for what was found, None for nothing."""
    namespace, _, kind = resource_type.partition("/")
    if not findings:
        return None
    enveloped = [
        found
        for found in findings
        if found.problem is Problem.WRONG_TYPE and found.path.partition(".")[0].partition("[")[0] in _ENVELOPE
    ]
    if enveloped:
        return _content(kind, enveloped)
    return _SERVICES.get(namespace.lower(), _content)(kind, findings)


def _reason(found: Finding) -> str:
    """Say what Json.NET says."""
    where = f"Path '{found.path}'."
    match found.problem:
        case Problem.UNKNOWN_PROPERTY:
            return f"Could not find member '{found.name}' on object of type '{found.expected}'. {where}"
        case Problem.MISSING:
            return f"Required property '{found.name}' not found in JSON. Path '{found.container}'."
        case Problem.READ_ONLY:
            return f"The property '{found.name}' is read-only and cannot be set. {where}"
        case Problem.UNKNOWN_VALUE:
            return f'Error converting value "{found.value}" to one of: {found.expected}. {where}'
    return f"{_mismatch(found)} {where}"


def _mismatch(found: Finding) -> str:
    wanted = _JSON_TYPES.get(found.expected, found.expected)
    array = found.expected == "array"
    match found.value:
        case dict() if array:
            return f"Cannot deserialize the current JSON object into type '{wanted}' because it requires a JSON array."
        case list() if found.expected not in _JSON_TYPES or found.expected == "map":
            return f"Cannot deserialize the current JSON array into type '{wanted}' because it requires a JSON object."
        case dict() | list():
            return f"Unexpected character encountered while parsing value: {json.dumps(found.value)[0]}."
        case str() if found.expected in {"integer", "boolean"}:
            return f"Could not convert string to {found.expected}: {found.value}."
    return f"Error converting value {json.dumps(found.value)} to type '{wanted}'."


def _content(_kind: str, findings: Sequence[Finding]) -> ArmError:
    found = findings[0]
    message = f"The request content was invalid and could not be deserialized: '{_reason(found)}'."
    return invalid(message, found.path, "InvalidRequestContent")


def _compute(kind: str, findings: Sequence[Finding]) -> ArmError:
    found = findings[0]
    if found.problem is Problem.MISSING:
        return invalid(f"Required parameter '{found.name}' is missing (null).", found.name)
    if found.problem is Problem.READ_ONLY:
        return invalid(f"The value of parameter {found.name} cannot be set: it is read-only.", found.name)
    root = _COMPUTE_ROOTS.get(kind.lower(), kind.rpartition("/")[2])
    return invalid(_reason(found), f"{root}.{found.path}", "BadRequest")


def _network(_kind: str, findings: Sequence[Finding]) -> ArmError:
    details = [{"code": "InvalidJson", "message": _reason(found), "target": found.path} for found in findings]
    error = invalid("Cannot parse the request.", findings[0].path, "InvalidRequestFormat")
    error.details = details
    return error


def _batch(_kind: str, findings: Sequence[Finding]) -> ArmError:
    found = findings[0]
    stamp = f"\nRequestId:{uuid.uuid4()}\nTime:{datetime.now(UTC).isoformat()}"
    match found.problem:
        case Problem.MISSING:
            code, message = "MissingRequiredProperty", "A required property was not specified in the request body."
            details = {"PropertyName": found.name, "PropertyPath": found.path}
        case Problem.READ_ONLY:
            code = "InvalidPropertyValue"
            message = "The value provided for one of the properties in the request body is invalid."
            details = {"PropertyName": found.name, "PropertyValue": str(found.value), "Reason": _reason(found)}
        case _:
            code, message = "InvalidRequestBody", "The specified Request Body is not syntactically valid."
            details = {"Reason": _reason(found), "PropertyPath": found.path}
    error = invalid(message + stamp, "BatchAccount", code)
    error.details = [{"code": name, "message": text} for name, text in details.items()]
    return error


def _storage(_kind: str, findings: Sequence[Finding]) -> ArmError:
    missing = sorted(found.path for found in findings if found.problem is Problem.MISSING)
    if missing:
        named = ", ".join(missing)
        return invalid(
            f"Values for request parameters are invalid: {named}.", named, "InvalidValuesForRequestParameters"
        )
    found = findings[0]
    if found.problem is Problem.WRONG_TYPE:
        return invalid(f"The request body is not valid JSON: {_reason(found)}", found.path, "RequestIsNotValidJson")
    shown = found.value if isinstance(found.value, str) else json.dumps(found.value)
    why = "it is read-only" if found.problem is Problem.READ_ONLY else f"allowed are {found.expected}"
    message = f"The value '{shown}' is not allowed for property {found.name}: {why}."
    return invalid(message, found.name, "InvalidRequestPropertyValue")


_SERVICES: dict[str, Callable[[str, Sequence[Finding]], ArmError]] = {
    "microsoft.compute": _compute,
    "microsoft.network": _network,
    "microsoft.batch": _batch,
    "microsoft.storage": _storage,
}
