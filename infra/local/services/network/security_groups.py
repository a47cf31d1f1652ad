"""Security groups, their rules and the default rules that every one has."""

import uuid
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.network.embedded import Embedded, keep, network_type
from infra.local.services.network.references import check_references, users_of

GROUP = "Microsoft.Network/networkSecurityGroups"

_PRIORITIES = range(100, 4097)  # docs: "network security groups", security rules
_REQUIRED = ("protocol", "access", "priority", "direction")
_USERS = {
    "subnets": "Microsoft.Network/virtualNetworks/subnets",
    "networkInterfaces": "Microsoft.Network/networkInterfaces",
}

# Name, direction, priority, source, destination, access, description (docs: "network security groups", default rules).
_DEFAULT_RULES = (
    ("AllowVnetInBound", "Inbound", 65000, "VirtualNetwork", "VirtualNetwork", "Allow",
     "Allow inbound traffic from all VMs in VNET"),
    ("AllowAzureLoadBalancerInBound", "Inbound", 65001, "AzureLoadBalancer", "*", "Allow",
     "Allow inbound traffic from azure load balancer"),
    ("DenyAllInBound", "Inbound", 65500, "*", "*", "Deny", "Deny all inbound traffic"),
    ("AllowVnetOutBound", "Outbound", 65000, "VirtualNetwork", "VirtualNetwork", "Allow",
     "Allow outbound traffic from all VMs to all VMs in VNET"),
    ("AllowInternetOutBound", "Outbound", 65001, "*", "Internet", "Allow",
     "Allow outbound traffic from all VMs to Internet"),
    ("DenyAllOutBound", "Outbound", 65500, "*", "*", "Deny", "Deny all outbound traffic"),
)  # fmt: skip


class SecurityGroups:
    """The types of security groups and rules."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules = Embedded(store, GROUP, "securityRules")
        self._default_rules = Embedded(store, GROUP, "defaultSecurityRules")

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            network_type(
                GROUP,
                prepare=self._prepare_group,
                apply=self._apply_group,
                view=self._show_group,
                leave=self._check_unused,
            ),
            network_type(self._rules.type, prepare=self._prepare_rule, tracked=False),
            network_type(self._default_rules.type, tracked=False),
        )

    def _prepare_group(self, write: Write) -> None:
        properties = write.resource.properties
        keep(write, "resourceGuid", lambda: str(uuid.uuid4()))
        for name in (*_USERS, "flushConnection"):
            properties.pop(name, None)
        if write.before is None:
            properties.setdefault("securityRules", [])
        properties["defaultSecurityRules"] = [_default_rule(*rule) for rule in _DEFAULT_RULES]
        checked: list[tuple[str, dict[str, Any]]] = []
        for rule in self._rules.declared(write) or []:
            rule["properties"] = rule.get("properties") or {}
            _check_rule(rule["name"], rule["properties"], checked)
            checked.append((rule["name"], rule["properties"]))
        check_references(self._store, write)

    def _apply_group(self, write: Write) -> dict[str, Any]:
        self._rules.take(write)
        self._default_rules.take(write)
        self._store.save(write.resource, changed=False)
        return {}

    def _show_group(self, group: Resource, _query: Query) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "securityRules": self._rules.shown(group),
            "defaultSecurityRules": self._default_rules.shown(group),
        }
        for name, kind in _USERS.items():
            users = [{"id": user.id} for user in self._store.find(kind) if any(users_of(user, [group.key]))]
            if users:
                shown[name] = users
        return group.body | {"properties": group.properties | shown}

    def _prepare_rule(self, write: Write) -> None:
        group = self._store.get(write.address.parent or "")
        others = self._rules.members(group) if group else []
        known = [(other.name, other.properties) for other in others if other.key != write.resource.key]
        _check_rule(write.address.name, write.resource.properties, known)

    def _check_unused(self, group: Resource) -> None:
        kinds = (*_USERS.values(), "Microsoft.Compute/virtualMachineScaleSets", "Microsoft.Compute/virtualMachines")
        users = [user for kind in kinds for other in self._store.find(kind) for user in users_of(other, [group.key])]
        if users:
            message = (
                f"Network security group {group.id} cannot be deleted because it is in use by the following resources:"
                f" {', '.join(users)}. In order to delete the Network security group, remove the association with the"
                " resource(s). To learn how to do this, see aka.ms/deletensg."
            )
            raise invalid(message, code="InUseNetworkSecurityGroupCannotBeDeleted")


def _default_rule(
    name: str, direction: str, priority: int, source: str, destination: str, access: str, description: str
) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {
            "description": description,
            "protocol": "*",
            "sourcePortRange": "*",
            "destinationPortRange": "*",
            "sourceAddressPrefix": source,
            "destinationAddressPrefix": destination,
            "access": access,
            "priority": priority,
            "direction": direction,
        },
    }


def _check_rule(name: str, properties: dict[str, Any], others: list[tuple[str, dict[str, Any]]]) -> None:
    _check_priority(name, properties)
    for end in ("source", "destination"):
        single, several = f"{end}PortRange", f"{end}PortRanges"
        for ports in properties.get(several) or [properties.get(single)]:
            _check_ports(name, single, ports)
        properties.setdefault(several, [])
        single, several = f"{end}AddressPrefix", f"{end}AddressPrefixes"
        if not any(properties.get(key) for key in (single, several, f"{end}ApplicationSecurityGroups")):
            message = f"Security rule must specify {several}, {single} or application security groups: {name}."
            raise invalid(message, code="SecurityRuleMissingAddressPrefix")
        properties.setdefault(several, [])
    for other, theirs in others:
        same = all(theirs.get(key) == properties[key] for key in ("direction", "priority"))
        if same and other.lower() != name.lower():
            message = (
                f"Security rule {name} conflicts with rule {other}. Rules cannot have the same Priority and Direction."
            )
            raise invalid(message, code="SecurityRuleConflict")


def _check_priority(name: str, properties: dict[str, Any]) -> None:
    for required in _REQUIRED:
        if properties.get(required) is None:
            message = f"Security rule {name} needs '{required}'."
            raise invalid(message, f"properties.{required}", "InvalidRequestFormat")
    try:
        priority = properties["priority"] = int(properties["priority"])
    except (TypeError, ValueError):
        message = f"The priority {properties['priority']!r} of security rule {name} is not a number."
        raise invalid(message, "properties.priority", "InvalidRequestFormat") from None
    if priority not in _PRIORITIES:
        message = f"Security rule has invalid Priority. Value provided: {priority} Allowed range 100-4096."
        raise invalid(message, code="SecurityRuleInvalidPriority")


def _check_ports(rule: str, name: str, ports: Any) -> None:
    """Read a port, a range of ports or everything."""
    first, dash, last = str(ports or "").partition("-")
    try:
        right = ports == "*" or 0 <= int(first) <= int(last if dash else first) <= 65535  # noqa: PLR2004 -- ports
    except ValueError:
        right = False
    if not right:
        message = (
            f"Security rule {rule} has invalid {name}. Value provided: {ports}. Value should be an integer OR integer"
            " range with '-' delimiter. Valid range 0-65535."
        )
        raise invalid(message, code="SecurityRuleInvalidPortRange")
