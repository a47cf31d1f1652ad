"""Azure's name rules, and the names we give: pure functions of declared things.

Rules: the OpenAPI and Bicep types of each resource, as of 2026-11.
"""

import hashlib
import re
import uuid

# Pool, group and generation make the names of a scale set (at most 64 characters) and of a queue (at most 63). A
# generation has as many digits for what is declared, and then those that the provider adds to tell one time that it is
# declared from another (eight hexadecimal digits: azure-native's automatic names). 22 + 1 + 22 + 1 + 8 + 8 = 62.
MAX_NAME = 22
GENERATION_DIGITS = 8

# Windows allows a computer 15 characters, of which a scale set takes six for the instance.
MAX_WINDOWS_PREFIX = 9
MAX_LINUX_PREFIX = 58

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
# How much of an environment is in the name of an account, which has 24 letters and digits.
ACCOUNT_WORDS = 10

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_DATABASE_SERVER = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LOCATION = re.compile(r"[a-z]+[a-z0-9]*")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_TAG_FORBIDDEN = frozenset("<>%&\\?/")
_TAG_RESERVED = ("microsoft", "azure", "windows")
_SUBNET_ID = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
_KEY_VAULT_ID = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[^/]+/providers/Microsoft\.KeyVault/vaults/[A-Za-z0-9-]{3,24}",
    re.IGNORECASE,
)
_KEY_VAULT_URL = re.compile(r"https://[A-Za-z0-9-]{3,24}\.vault\.[a-z0-9.-]+/?")

NAME_RULE = f"2 to {MAX_NAME} lower-case letters, digits and single hyphens, beginning with a letter"
ACCOUNT_RULE = "3 to 24 lower-case letters and digits"
DATABASE_SERVER_RULE = "3 to 63 lower-case letters, digits and hyphens, with no hyphen at either end"
LOCATION_RULE = "Azure's short name of a region: lower-case letters and digits"
TAG_RULE = (
    "a name of up to 512 characters without <>%&\\?/ that does not begin with microsoft, azure or windows, and a value"
    " of up to 256"
)
SUBNET_ID_RULE = (
    "the resource id of a subnet: /subscriptions/.../resourceGroups/.../providers/Microsoft.Network/virtualNetworks/..."
    "/subnets/..."
)
KEY_VAULT_ID_RULE = (
    "the resource id of a key vault: /subscriptions/.../resourceGroups/.../providers/Microsoft.KeyVault/vaults/..."
)
KEY_VAULT_URL_RULE = "a key vault's address, such as https://kv-batch.vault.azure.net/"


def is_name(text: str) -> bool:
    """Whether an environment, a pool or a group may be called so (`NAME_RULE`)."""
    return 2 <= len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None  # noqa: PLR2004 - the rule's own words


def is_account(text: str) -> bool:
    """Whether a storage account or a Batch account may be called so (`ACCOUNT_RULE`)."""
    return _ACCOUNT.fullmatch(text) is not None


def is_database_server(text: str) -> bool:
    """Whether a PostgreSQL flexible server may be called so (`DATABASE_SERVER_RULE`)."""
    return _DATABASE_SERVER.fullmatch(text) is not None


def is_location(text: str) -> bool:
    """Whether this can be the short name of a region (`LOCATION_RULE`)."""
    return _LOCATION.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    """Whether this is a SHA-256 in hex, as blobs are named by."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def is_computer_name_prefix(text: str, *, windows: bool) -> bool:
    """Whether the instances' computer names may begin so."""
    longest = MAX_WINDOWS_PREFIX if windows else MAX_LINUX_PREFIX
    return len(text) <= longest and _PREFIX.fullmatch(text) is not None


def is_tag(name: str, value: str) -> bool:
    """Whether Azure takes this tag (docs: limitations of resource tags)."""
    reserved = name.lower().startswith(_TAG_RESERVED)
    fits = 1 <= len(name) <= 512 and len(value) <= 256  # noqa: PLR2004 - Azure's limits
    return fits and not reserved and not _TAG_FORBIDDEN & set(name)


def is_subnet_id(text: str) -> bool:
    """Whether this can be the resource id of a subnet."""
    return _SUBNET_ID.fullmatch(text) is not None


def is_key_vault_id(text: str) -> bool:
    """Whether this can be the resource id of a key vault."""
    return _KEY_VAULT_ID.fullmatch(text) is not None


def is_key_vault_url(text: str) -> bool:
    """Whether this can be the address of a key vault."""
    return _KEY_VAULT_URL.fullmatch(text) is not None


def resource_group(environment: str) -> str:
    """Name of the resource group that holds an environment whole."""
    return f"rg-millpond-{environment}"


def identity(pool: str) -> str:
    """Name of a pool's managed identity."""
    return f"id-{pool}"


def account(environment: str, subscription_id: str, location: str) -> str:
    """Name of a storage or Batch account or a database server: unique in the world, the same at each deployment."""
    unique = hashlib.sha256(f"{subscription_id.lower()}/{environment}/{location}".encode()).hexdigest()
    return f"mp{environment.replace('-', '')[:ACCOUNT_WORDS]}{unique[:12]}"


def node_group(pool: str, group: str, generation: str) -> str:
    """Name of a generation's scale set or Batch pool, and of its queue."""
    return f"{pool}-{group}-{generation}"


def generation(name: str, pool: str, group: str) -> str:
    """Give the generation in the name of a scale set, Batch pool or queue: the inverse of `node_group`."""
    return name.removeprefix(node_group(pool, group, ""))


def computer_name_prefix(pool: str, *, windows: bool) -> str:
    """How the computer names of a pool's instances begin, unless the pool says it."""
    return pool[: MAX_WINDOWS_PREFIX if windows else MAX_LINUX_PREFIX].rstrip("-")


def role_assignment(scope: str, principal_id: str, role_definition_id: str) -> str:
    """Name of a role assignment: a GUID, the same for the same assignment."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope}|{principal_id}|{role_definition_id}".lower()))


def role_definition(scope: str, name: str) -> str:
    """Name of a role definition of our own: a GUID, the same for the same name in the same scope."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope}|{name}".lower()))
