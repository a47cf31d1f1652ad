"""Extensions of a scale set as resources of their own: parts of its model that are written and read one by one."""

from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Follow, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.machines import extension_scripts

SCALE_SET_EXTENSION = "Microsoft.Compute/virtualMachineScaleSets/extensions"

Json = dict[str, Any]


class ScaleSetExtensions:
    """The type; the model of the set is what counts, and these resources show it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def types(self) -> tuple[ResourceType, ...]:
        """Return the type."""
        return (
            ResourceType(
                SCALE_SET_EXTENSION,
                apply=self._apply,
                leave=self._leave,
                follow_create=Follow.BOTH,
                follow_update=Follow.BOTH,
                follow_delete=Follow.BOTH,
                tracked=False,
            ),
        )

    def sync(self, scale_set: Resource) -> None:
        """Within a transaction, make the resources what the model of a set says."""
        named = {extension["name"]: extension for extension in _extensions(scale_set) if extension.get("name")}
        for kept in self._store.find(SCALE_SET_EXTENSION, scale_set.id):
            if kept.name not in named:
                self._store.remove(kept.id)
        for name, extension in named.items():
            identifier = f"{scale_set.id}/extensions/{name}"
            properties = dict(extension.get("properties") or {}) | {"provisioningState": "Succeeded"}
            kept = self._store.get(identifier) or Resource(identifier, SCALE_SET_EXTENSION, {})
            if kept.body.get("properties") != properties:
                kept.body = {"properties": properties}
                self._store.save(kept)

    def _apply(self, write: Write) -> Json:
        """Put an extension into the model of its set."""
        scale_set = self._store.get(write.address.parent or "")
        if scale_set is None or "virtualMachineProfile" not in scale_set.properties:
            raise invalid("The scale set has no virtual machine profile to hold an extension.", "virtualMachineProfile")
        properties = {key: value for key, value in write.resource.properties.items() if key != "provisioningState"}
        name = write.address.name
        others = [extension for extension in _extensions(scale_set) if extension.get("name") != name]
        profile = scale_set.properties["virtualMachineProfile"]
        profile["extensionProfile"] = (profile.get("extensionProfile") or {}) | {
            "extensions": [*others, {"name": name, "properties": properties}]
        }
        take_secrets(scale_set)
        write.resource.properties.pop("protectedSettings", None)
        self._store.save(write.resource, changed=False)
        self._store.save(scale_set)
        return {}

    def _leave(self, extension: Resource) -> None:
        scale_set = self._store.get(extension.id.rsplit("/", 2)[0])
        if scale_set is None:
            return
        left = [found for found in _extensions(scale_set) if found.get("name") != extension.name]
        scale_set.properties["virtualMachineProfile"]["extensionProfile"]["extensions"] = left
        take_secrets(scale_set)
        self._store.save(scale_set)


def take_secrets(scale_set: Resource) -> None:
    """Keep what Azure never shows again out of the body, and check that the scripts can be read."""
    profile = scale_set.properties.get("virtualMachineProfile") or {}
    (profile.get("osProfile") or {}).pop("adminPassword", None)
    protected = scale_set.internal.setdefault("protected", {})
    for extension in _extensions(scale_set):
        secret = (extension.get("properties") or {}).pop("protectedSettings", None)
        if secret is not None:
            protected[extension.get("name", "")] = secret
    try:
        scale_set.internal["scripts"] = extension_scripts(profile, protected)
    except (ValueError, OSError) as error:
        raise invalid(f"The script of an extension cannot be read: {error}.", "script") from error


def _extensions(scale_set: Resource) -> list[Json]:
    profile = scale_set.properties.get("virtualMachineProfile") or {}
    return list((profile.get("extensionProfile") or {}).get("extensions") or [])
