"""Extensions of virtual machines: a custom script runs when its extension is put, and again when that changes."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Follow, Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.machines import Machines, extension_script
from infra.local.services.compute.instance_view import extension_view
from infra.local.services.compute.machine_power import MachinePower, Power, machine_key

VM_EXTENSION = "Microsoft.Compute/virtualMachines/extensions"

Json = dict[str, Any]

_EXTENSION_SECONDS = 90 * 60  # docs: custom script extension
_SLOWEST_LOOK_SECONDS = 1.0
_BUSY_LOOK_SECONDS = 0.1
# What makes a script run again (docs: custom script extension).
_CONFIGURATION = ("publisher", "type", "settings", "forceUpdateTag")


class VmExtensions:
    """The type of extensions of virtual machines."""

    def __init__(
        self,
        store: Store,
        machines: Machines,
        power: MachinePower,
        environment: Callable[[Resource], Mapping[str, str]],
    ) -> None:
        self._store = store
        self._machines = machines
        self._power = power
        self._environment = environment

    def types(self) -> tuple[ResourceType, ...]:
        """Return the type."""
        return (
            ResourceType(
                VM_EXTENSION,
                prepare=self._prepare,
                apply=self._apply,
                provision=self._provision,
                view=self._view,
                follow_create=Follow.BOTH,
                follow_update=Follow.BOTH,
                follow_delete=Follow.BOTH,
            ),
        )

    def scripts(self, machine: Resource) -> list[str]:
        """Return the scripts of a machine's extensions that have run, in the order in which they came."""
        found = [extension for extension in self._of(machine) if extension.internal.get("ran")]
        return [extension.internal["script"] for extension in found if extension.internal.get("script") is not None]

    def describe(self, machine: Resource) -> list[Json]:
        """Return a machine's extensions as the machine's own body shows them."""
        return [{"id": found.id, "name": found.name, "type": VM_EXTENSION} | found.body for found in self._of(machine)]

    def views(self, machine: Resource) -> list[Json]:
        """Return the instance views of a machine's extensions."""
        return [self._instance_view(found) for found in self._of(machine) if found.state in {"Succeeded", "Failed"}]

    def _of(self, machine: Resource) -> list[Resource]:
        return self._store.find(VM_EXTENSION, machine.id)

    def _prepare(self, write: Write) -> None:
        machine = self._store.get(write.address.parent or "")
        properties, internal = write.resource.properties, write.resource.internal
        for name in ("publisher", "type", "typeHandlerVersion"):
            if not properties.get(name):
                raise invalid(
                    f"Required parameter 'virtualMachineExtension.properties.{name}' is missing (null).", name
                )
        off = {Power.STOPPED, Power.DEALLOCATED}
        if machine is None or (machine.internal.get("power") in off and not machine.internal.get("error")):
            raise conflict("OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
        for other in self._of(machine):
            same = all(other.properties.get(name) == properties.get(name) for name in ("publisher", "type"))
            if same and other.key != write.resource.key:
                message = (
                    f"Multiple VMExtensions per handler not supported for OS type '{_system(machine)}'. VMExtension"
                    f" '{write.address.name}' with handler '{properties['publisher']}.{properties['type']}' already"
                    f" added or specified in input, as '{other.name}'."
                )
                raise invalid(message, code="BadRequest")
        secret = properties.pop("protectedSettings", None)
        if secret is not None:
            internal["protected"] = secret
        try:
            internal["script"] = extension_script(properties, internal.get("protected") or {})
        except (ValueError, OSError) as error:
            raise invalid(f"The script of the extension cannot be read: {error}.", "script") from error
        wanted = [*(properties.get(name) for name in _CONFIGURATION), internal.get("protected")]
        internal["digest"] = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()

    def _apply(self, write: Write) -> Json:
        before = write.before
        if before is not None and (
            before.internal.get("digest") != write.resource.internal["digest"] or not _well(before)
        ):
            machine = self._store.get(write.address.parent or "")
            if machine is not None:
                self._machines.forget(machine_key(machine), _run(write.resource))
                write.resource.internal["ran"] = False
        write.resource.internal["error"] = None
        self._store.save(write.resource, changed=False)
        return {"since": time.time()}

    def _provision(self, extension: Resource, payload: Json) -> float | None:
        machine = self._store.get(extension.id.rsplit("/", 2)[0])
        if machine is None or machine.state == "Deleting":
            return None
        if machine.state == "Failed":
            message = f"The VM '{machine.name}' has failed, so its extension '{extension.name}' cannot be installed."
            raise conflict("OperationNotAllowed", message)
        if machine.internal.get("power") == Power.STARTING:
            return _BUSY_LOOK_SECONDS
        script = extension.internal.get("script")
        if script is None:
            return None
        key, run = machine_key(machine), _run(extension)
        self._machines.start(key, machine.internal["nonce"], [script], self._environment(machine), run)
        age = time.time() - float(payload["since"])
        code = self._machines.ending(key, run)
        if code is None and age < _EXTENSION_SECONDS:
            return min(_SLOWEST_LOOK_SECONDS, 0.05 + age / 100)
        if code is None:
            self._fail(extension, "VMExtensionProvisioningTimeout", "The extension did not end in 90 minutes.")
        if code != 0:
            message = (
                f"VM has reported a failure when processing extension '{extension.name}' (publisher"
                f" '{extension.properties['publisher']}' and type '{extension.properties['type']}'). Error message:"
                f" 'Enable failed: failed to execute command: command terminated with exit status={code}\n[stdout]\n"
                f"{self._machines.output(key, run)}\n[stderr]\n'."
            )
            self._fail(extension, "VMExtensionProvisioningError", message)
        self._machines.note_life(key)
        self._note(extension, ran=True, output=self._machines.output(key, run))
        return None

    def _fail(self, extension: Resource, code: str, message: str) -> None:
        self._note(extension, error={"code": code, "message": message})
        raise conflict(code, message)

    def _note(self, extension: Resource, **known: Any) -> None:
        with self._store.transaction():
            current = self._store.get(extension.id)
            if current is not None:
                current.internal |= known
                self._store.save(current, changed=False)

    def _view(self, extension: Resource, query: Query) -> Json:
        if "instanceview" in query.get("$expand", "").lower():
            shown = {"instanceView": self._instance_view(extension)}
            return extension.body | {"properties": extension.properties | shown}
        return extension.body

    def _instance_view(self, extension: Resource) -> Json:
        shown = {"name": extension.name, "properties": extension.properties}
        return extension_view(shown, extension.internal.get("output", ""), extension.internal.get("error"))


def _run(extension: Resource) -> str:
    return f"extension-{extension.name}"


def _well(extension: Resource) -> bool:
    return extension.state == "Succeeded"


def _system(machine: Resource) -> str:
    return "Windows" if machine.internal["windows"] else "Linux"
