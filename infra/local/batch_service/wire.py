"""One pool, two spellings: as the resource manager writes it and as the Batch service does.

Names and values differ in their case, the image has two names for its id, and the scale lies at the top or in an
object of its own. Source: the OpenAPI descriptions of both planes, 2024-07-01.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# Values that the resource manager capitalises and the service writes small, by the name of the property.
_VALUES: Mapping[str, tuple[str, ...]] = {
    "access": ("Allow", "Deny"),
    "caching": ("None", "ReadOnly", "ReadWrite"),
    "elevationLevel": ("NonAdmin", "Admin"),
    "loginMode": ("Batch", "Interactive"),
    "nodeDeallocationOption": ("Requeue", "Terminate", "TaskCompletion", "RetainedData"),
    "nodeFillType": ("Spread", "Pack"),
    "placement": ("CacheDisk",),
    "policy": ("Regional", "Zonal"),
    "protocol": ("TCP", "UDP"),
    "provision": ("BatchManaged", "UserManaged", "NoPublicIPAddresses"),
    "scope": ("Task", "Pool"),
    "storageAccountType": ("Standard_LRS", "Premium_LRS", "StandardSSD_LRS"),
    "targetNodeCommunicationMode": ("Default", "Classic", "Simplified"),
    "currentNodeCommunicationMode": ("Default", "Classic", "Simplified"),
    "targets": ("OsDisk", "TemporaryDisk"),
}
_NAMES = {
    "dynamicVnetAssignmentScope": "dynamicVNetAssignmentScope",
    "inboundNatPools": "inboundNATPools",
    "nodeAgentSkuId": "nodeAgentSKUId",
}
_CONTAINERS = {"DockerCompatible": "dockerCompatible", "CriCompatible": "criCompatible"}

_ARM_NAMES = {wire: arm for arm, wire in _NAMES.items()}
_ARM_CONTAINERS = {wire: arm for arm, wire in _CONTAINERS.items()}
# Objects of the user's own keys and values: nothing in them is translated.
_OPAQUE = frozenset({"metadata", "resourceTags", "environmentSettings", "settings", "protectedSettings"})

# Properties that are the same thing under the same name in both planes.
_SAME = (
    "applicationLicenses",
    "displayName",
    "metadata",
    "mountConfiguration",
    "networkConfiguration",
    "resourceTags",
    "startTask",
    "targetNodeCommunicationMode",
    "taskSchedulingPolicy",
    "taskSlotsPerNode",
    "upgradePolicy",
    "userAccounts",
    "vmSize",
)
# The command line of Azure sends these as strings.
_NUMBERS = frozenset({"taskSlotsPerNode", "targetDedicatedNodes", "targetLowPriorityNodes"})
_SCALE = ("targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout", "nodeDeallocationOption")

POOL_PROPERTIES = frozenset(
    {
        *_SAME,
        *_SCALE[:3],
        "applicationPackageReferences",
        "autoScaleEvaluationInterval",
        "autoScaleFormula",
        "certificateReferences",
        "enableAutoScale",
        "enableInterNodeCommunication",
        "id",
        "identity",
        "virtualMachineConfiguration",
    }
)


def to_wire(value: Any, name: str = "") -> Any:
    """Write a value of the resource manager as the service does."""
    if isinstance(value, dict):
        if name in _OPAQUE:
            return value
        found = {_NAMES.get(key, key): to_wire(item, key) for key, item in value.items()}
        if name == "imageReference" and "id" in found:
            found["virtualMachineImageId"] = found.pop("id")
        return found
    if isinstance(value, list):
        return value if name in _OPAQUE else [to_wire(item, name) for item in value]
    if name in _VALUES and isinstance(value, str):
        return value.lower()
    return _CONTAINERS.get(value, value) if name == "type" else value


def to_arm(value: Any, name: str = "") -> Any:
    """Write a value of the service as the resource manager does; one that it does not know stays as it is."""
    if isinstance(value, dict):
        if name in _OPAQUE:
            return value
        renamed = {_ARM_NAMES.get(key, str(key)): item for key, item in value.items()}
        found = {key: to_arm(item, key) for key, item in renamed.items()}
        if name == "imageReference" and "virtualMachineImageId" in found:
            found["id"] = found.pop("virtualMachineImageId")
        return found
    if isinstance(value, list):
        return value if name in _OPAQUE else [to_arm(item, name) for item in value]
    if name in _VALUES and isinstance(value, str):
        return next((known for known in _VALUES[name] if known.lower() == value.lower()), value)
    return _ARM_CONTAINERS.get(value, value) if name == "type" else value


def pool_to_arm(body: Json) -> Json:
    """Write what a client of the service declares about a pool as a body of the resource manager."""
    body = {name: _number(value) if name in _NUMBERS else value for name, value in body.items()}
    properties: Json = {name: to_arm(body[name], name) for name in _SAME if name in body}
    if "virtualMachineConfiguration" in body:
        machines = to_arm(body["virtualMachineConfiguration"], "virtualMachineConfiguration")
        properties["deploymentConfiguration"] = {"virtualMachineConfiguration": machines}
    if "enableInterNodeCommunication" in body:
        enabled = body["enableInterNodeCommunication"]
        properties["interNodeCommunication"] = "Enabled" if enabled else "Disabled"
    if "applicationPackageReferences" in body:
        properties["applicationPackages"] = [
            {("id" if key == "applicationId" else key): value for key, value in each.items()}
            for each in body["applicationPackageReferences"] or ()
        ]
    scale = {name: to_arm(body[name], name) for name in _SCALE if name in body}
    if body.get("enableAutoScale"):
        formula = {"formula": body.get("autoScaleFormula")}
        if "autoScaleEvaluationInterval" in body:
            formula["evaluationInterval"] = body["autoScaleEvaluationInterval"]
        properties["scaleSettings"] = {"autoScale": formula}
    elif scale:
        properties["scaleSettings"] = {"fixedScale": scale}
    arm: Json = {"properties": properties}
    if identity := body.get("identity"):
        listed = identity.get("userAssignedIdentities") or ()
        arm["identity"] = {
            "type": identity.get("type"),
            "userAssignedIdentities": {e["resourceId"]: {} for e in listed},
        }
    return arm


def _number(value: Any) -> Any:
    """Read a number that was sent as a string; what is none is left for the checks to refuse."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


def pool_to_wire(arm: Json) -> Json:
    """Write a pool, as the resource manager shows it, as the service shows it; without its names and times."""
    shown = arm["properties"]
    wire: Json = {name: to_wire(shown[name], name) for name in _SAME if name in shown}
    wire["vmSize"] = str(shown.get("vmSize", "")).lower()
    wire["enableInterNodeCommunication"] = shown["interNodeCommunication"] == "Enabled"
    machines = (shown.get("deploymentConfiguration") or {}).get("virtualMachineConfiguration")
    if machines is not None:
        wire["virtualMachineConfiguration"] = to_wire(machines, "virtualMachineConfiguration")
    if "applicationPackages" in shown:
        wire["applicationPackageReferences"] = [
            {"applicationId": each["id"].rsplit("/", 1)[-1]}
            | ({"version": each["version"]} if "version" in each else {})
            for each in shown["applicationPackages"]
        ]
    scale = shown["scaleSettings"]
    wire["enableAutoScale"] = "autoScale" in scale
    if "autoScale" in scale:
        wire["autoScaleFormula"] = scale["autoScale"]["formula"]
        wire["autoScaleEvaluationInterval"] = scale["autoScale"]["evaluationInterval"]
    else:
        wire |= {name: to_wire(value, name) for name, value in scale["fixedScale"].items() if name in _SCALE[:3]}
    for name in ("currentDedicatedNodes", "currentLowPriorityNodes", "currentNodeCommunicationMode"):
        if name in shown:
            wire[name] = to_wire(shown[name], name)
    errors = (shown.get("resizeOperationStatus") or {}).get("errors")
    if errors:
        wire["resizeErrors"] = [resize_error(error) for error in errors]
    if identity := arm.get("identity"):
        listed = identity.get("userAssignedIdentities") or {}
        wire["identity"] = {
            "type": identity["type"],
            "userAssignedIdentities": [{"resourceId": key} | value for key, value in listed.items()],
        }
    return wire


def resize_error(error: Json) -> Json:
    """Write an error of a resize as the service does."""
    values = [{"name": each["code"], "value": each["message"]} for each in error.get("details", ())]
    return {"code": error["code"], "message": error["message"]} | ({"values": values} if values else {})
