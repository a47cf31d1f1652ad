"""What the service takes in the body of a storage account, and what it adds to it."""

import ipaddress
import re
from typing import Any

from infra.local.arm.errors import ArmError, conflict, invalid
from infra.local.arm.store import Store

# Docs: storage account overview, redundancy and kinds (2025).
SKUS = {
    "Standard_LRS": ("Storage", "StorageV2", "BlobStorage"),
    "Standard_GRS": ("Storage", "StorageV2", "BlobStorage"),
    "Standard_RAGRS": ("Storage", "StorageV2", "BlobStorage"),
    "Standard_ZRS": ("StorageV2",),
    "Standard_GZRS": ("StorageV2",),
    "Standard_RAGZRS": ("StorageV2",),
    "Premium_LRS": ("Storage", "StorageV2", "FileStorage", "BlockBlobStorage"),
    "Premium_ZRS": ("FileStorage", "BlockBlobStorage"),
}
KINDS = ("Storage", "StorageV2", "BlobStorage", "FileStorage", "BlockBlobStorage")

_MOST_RULES = 400  # docs: storage network security, limits of IP and virtual network rules
_SMALLEST_RANGE = 30  # docs: ranges of /31 and /32 are to be single addresses
_ENUMS = {
    "accessTier": ("Hot", "Cool", "Cold", "Premium"),
    "minimumTlsVersion": ("TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"),
    "publicNetworkAccess": ("Enabled", "Disabled", "SecuredByPerimeter"),
    "allowedCopyScope": ("PrivateLink", "AAD"),
    "dnsEndpointType": ("Standard", "AzureDnsZone"),
}
_SUBNET = re.compile(
    r"(/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Network/virtualNetworks/[^/]+)/subnets/([^/]+)",
    re.IGNORECASE,
)


def refused(name: str, hint: str = "") -> ArmError:
    """Refuse a value in the service's own words, which name the property alone."""
    message = f"Values for request parameters are invalid: {name}."
    return invalid(f"{message} {hint}".rstrip(), name, "InvalidValuesForRequestParameters")


def check_account(body: dict[str, Any]) -> None:
    """Refuse what the service does not take."""
    sku, kind = body.get("sku"), body.get("kind")
    if not isinstance(sku, dict) or sku.get("name") not in SKUS:
        raise refused("sku", f"It is one of {', '.join(SKUS)}.")
    if kind not in KINDS:
        raise refused("kind", f"It is one of {', '.join(KINDS)}.")
    if kind not in SKUS[sku["name"]]:
        message = f"The account kind '{kind}' does not support the SKU '{sku['name']}'."
        raise invalid(message, "sku", "InvalidAccountTypeForAccountKind")
    properties = body.get("properties") or {}
    for name, allowed in _ENUMS.items():
        if properties.get(name) is not None and properties[name] not in allowed:
            raise refused(name, f"It is one of {', '.join(allowed)}.")


def complete(body: dict[str, Any], before: dict[str, Any]) -> None:
    """Add what the service adds; `before` holds the properties until now."""
    properties = body.setdefault("properties", {})
    premium = body["sku"]["name"].startswith("Premium")
    body["sku"]["tier"] = "Premium" if premium else "Standard"
    properties.setdefault("minimumTlsVersion", "TLS1_0")
    properties.setdefault("allowBlobPublicAccess", False)
    properties.setdefault("supportsHttpsTrafficOnly", True)
    properties.setdefault("publicNetworkAccess", "Enabled")
    if body["kind"] != "Storage":
        properties.setdefault("accessTier", "Premium" if premium else "Hot")
    rules = properties.setdefault("networkAcls", {})
    rules.setdefault("bypass", "AzureServices")
    rules.setdefault("defaultAction", "Allow")
    rules.setdefault("virtualNetworkRules", [])
    rules.setdefault("ipRules", [])
    encryption = properties.setdefault("encryption", {})
    encryption.setdefault("keySource", "Microsoft.Storage")
    services = encryption.setdefault("services", {})
    for service in ("blob", "file"):
        services.setdefault(service, {})
        services[service].setdefault("keyType", "Account")
        services[service]["enabled"] = True
        services[service]["lastEnabledTime"] = properties["creationTime"]
    for name in ("secondaryEndpoints", "secondaryLocation", "statusOfSecondary"):
        properties.pop(name, None)  # they follow from the redundancy
    for name in ("primaryEndpoints", "primaryLocation", "statusOfPrimary"):
        if name in before:
            properties[name] = before[name]


def check_network_rules(store: Store, properties: dict[str, Any]) -> None:
    """Refuse rules that the service refuses, and complete the others."""
    rules = properties["networkAcls"]
    bypass = {part.strip() for part in str(rules["bypass"]).split(",")}
    if not bypass <= {"None", "Logging", "Metrics", "AzureServices"} or ("None" in bypass and len(bypass) > 1):
        raise refused("networkAcls.bypass", "It is None or a list of Logging, Metrics and AzureServices.")
    if rules["defaultAction"] not in {"Allow", "Deny"}:
        raise refused("networkAcls.defaultAction", "It is Allow or Deny.")
    for name in ("ipRules", "virtualNetworkRules"):
        if len(rules[name]) > _MOST_RULES:
            raise refused(f"networkAcls.{name}", f"There may be {_MOST_RULES} of them.")
    for rule in rules["ipRules"]:
        _check_address(str(rule.get("value", "")))
        rule.setdefault("action", "Allow")
    for rule in rules["virtualNetworkRules"]:
        _check_subnet(store, str(rule.get("id", "")))
        rule.setdefault("action", "Allow")
        rule["state"] = "Succeeded"


_DOCUMENTS = tuple(ipaddress.IPv4Network(block) for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))


def _check_address(value: str) -> None:
    hint = (
        f"'{value}' is no public IPv4 address or range. Private ranges, and ranges smaller than /{_SMALLEST_RANGE}, are"
        " not taken. For more information, see - https://aka.ms/storagenetworkruleset"
    )
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise refused("networkAcls.ipRule[*].value", hint) from error
    too_small = "/" in value and network.prefixlen > _SMALLEST_RANGE
    # Addresses for documents (RFC 5737) are private to Python; the service takes them.
    private = network.is_private and not any(network.subnet_of(block) for block in _DOCUMENTS)
    if private or network.is_multicast or network.is_loopback or too_small:
        raise refused("networkAcls.ipRule[*].value", hint)


def _check_subnet(store: Store, identifier: str) -> None:
    found = _SUBNET.fullmatch(identifier)
    subnet = store.get(identifier)
    if found is None or subnet is None:
        raise refused("networkAcls.virtualNetworkRules[*].id", f"There is no subnet '{identifier}'.")
    endpoints = {str(endpoint.get("service")) for endpoint in subnet.properties.get("serviceEndpoints") or ()}
    if not endpoints & {"Microsoft.Storage", "Microsoft.Storage.Global"}:
        message = (
            "Validation of network acls failure: SubnetsHaveNoServiceEndpointsConfigured:Subnets"
            f" {found[2]} of virtual network {found[1]} do not have ServiceEndpoints for Microsoft.Storage resources"
            " configured. Add Microsoft.Storage to subnet's ServiceEndpoints collection before trying to ACL"
            " Microsoft.Storage resources to these subnets."
        )
        raise conflict("NetworkAclsValidationFailure", message)
