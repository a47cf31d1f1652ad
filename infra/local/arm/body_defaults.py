"""What the compute service fills in where a client leaves it out, by model (Azure's own examples, REST reference).

The other services complete their bodies themselves, type by type.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

DEFAULTS: Mapping[str, Json] = {
    "OSProfile": {"secrets": [], "allowExtensionOperations": True},
    "VirtualMachineScaleSetOSProfile": {"secrets": []},
    "WindowsConfiguration": {"provisionVMAgent": True, "enableAutomaticUpdates": True},
    "LinuxConfiguration": {"provisionVMAgent": True, "disablePasswordAuthentication": False},
    "StorageProfile": {"dataDisks": []},
    "DataDisk": {"caching": "None", "toBeDetached": False},
    "VirtualMachineScaleSetNetworkConfigurationProperties": {
        "enableAcceleratedNetworking": False,
        "dnsSettings": {"dnsServers": []},
    },
    "VirtualMachineScaleSetIPConfigurationProperties": {"privateIPAddressVersion": "IPv4"},
}
# Models that have both the image and the system's settings.
_MACHINES = {"VirtualMachineProperties", "VirtualMachineScaleSetVMProfile"}


def complete(model: str, body: Json) -> None:
    """Fill in the defaults of one object of a model."""
    for name, value in DEFAULTS.get(model, {}).items():
        if body.get(name) is None:
            body[name] = value.copy() if isinstance(value, dict | list) else value
    if model in _MACHINES:
        _complete_system(body)


def _complete_system(profile: Json) -> None:
    """Give a machine the settings of its image's system, where none are named."""
    system = profile.get("osProfile")
    image = (profile.get("storageProfile") or {}).get("imageReference")
    if not isinstance(system, dict) or not isinstance(image, dict) or not image.get("offer"):
        return
    windows = "windows" in f"{image.get('publisher', '')} {image['offer']}".lower()
    if not system.get("windowsConfiguration") and not system.get("linuxConfiguration"):
        kind = "WindowsConfiguration" if windows else "LinuxConfiguration"
        system[kind[0].lower() + kind[1:]] = dict(DEFAULTS[kind])
