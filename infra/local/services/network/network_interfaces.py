"""Network interfaces: each has an address in a subnet."""

import secrets
import uuid
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network.embedded import keep, network_type
from infra.local.services.network.private_addresses import INTERFACE, PrivateAddresses
from infra.local.services.network.references import check_references, users_of

_MACHINE = "Microsoft.Compute/virtualMachines"


class NetworkInterfaces:
    """The type of network interfaces."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._addresses = PrivateAddresses(store)

    def types(self) -> tuple[ResourceType, ...]:
        """Return the type."""
        return (network_type(INTERFACE, prepare=self.prepare, view=self._show, leave=self._check_unused),)

    def prepare(self, write: Write) -> None:
        """Check and complete an interface."""
        properties = write.resource.properties
        configurations = properties.get("ipConfigurations")
        if not isinstance(configurations, list) or not configurations:
            message = f"The network interface {write.resource.id} needs 'ipConfigurations'."
            raise invalid(message, "properties.ipConfigurations", "InvalidRequestFormat")
        for name in ("virtualMachine", "privateEndpoint"):
            properties.pop(name, None)
        named = []
        for place, configuration in enumerate(configurations):
            if not configuration.get("name"):
                message = f"IP configuration {place} of {write.resource.id} needs 'name'."
                raise invalid(message, f"properties.ipConfigurations[{place}].name", "InvalidRequestFormat")
            identifier = f"{write.resource.id}/ipConfigurations/{configuration['name']}"
            inner = configuration["properties"] = configuration.get("properties") or {}
            inner["provisioningState"] = "Succeeded"
            inner.setdefault("primary", len(configurations) == 1 or place == 0)
            configuration.update(id=identifier, type=f"{INTERFACE}/ipConfigurations")
            named.append((identifier, inner))
        check_references(self._store, write)
        self._addresses.assign(named, write.before or write.resource)
        self._complete(write)

    def _complete(self, write: Write) -> None:
        properties = write.resource.properties
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        # 00-0D-3A is one of Microsoft's own ranges of hardware addresses (IEEE register of organizations).
        keep(write, "macAddress", lambda: "00-0D-3A-" + "-".join(f"{byte:02X}" for byte in secrets.token_bytes(3)))
        properties.setdefault("enableAcceleratedNetworking", False)
        properties.setdefault("enableIPForwarding", False)
        properties.setdefault("dnsSettings", {}).setdefault("dnsServers", [])
        properties["dnsSettings"].setdefault("appliedDnsServers", [])
        properties.setdefault("nicType", "Standard")
        properties.setdefault("tapConfigurations", [])
        properties.setdefault("hostedWorkloads", [])

    def _show(self, interface: Resource, _query: Query) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for machine in self._store.find(_MACHINE):
            if any(users_of(machine, [interface.key])):
                shown = {"virtualMachine": {"id": machine.id}, "primary": True}
        if owner := interface.internal.get("endpoint"):
            shown["privateEndpoint"] = {"id": owner}
        return interface.body | {"properties": interface.properties | shown}

    def _check_unused(self, interface: Resource) -> None:
        users = [user for machine in self._store.find(_MACHINE) for user in users_of(machine, [interface.key])]
        if owner := interface.internal.get("endpoint"):
            users.append(owner)
        if users:
            message = (
                f"Network Interface {interface.id} is used by existing resource {users[0]}. In order to delete the"
                " network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic."
            )
            raise invalid(message, code="NicInUse")
