"""Azure's name rules, and the names we give: pure functions of declared things.

Rules: the OpenAPI and Bicep types of each resource, as of 2026-11.
"""

import hashlib
import re
import uuid

# Pool, group and generation make the names of a scale set (at most 64 characters) and of a queue (at most 63):
# 24 + 1 + 24 + 1 + 8 = 58.
MAX_NAME = 24
GENERATION_DIGITS = 8

# Windows allows a computer 15 characters, of which a scale set takes six for the instance.
MAX_WINDOWS_PREFIX = 9
MAX_LINUX_PREFIX = 58

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_LOCATION = re.compile(r"[a-z]+[a-z0-9]*")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_TAG_FORBIDDEN = frozenset("<>%&\\?/")

NAME_RULE = f"2 to {MAX_NAME} lower-case letters, digits and single hyphens, beginning with a letter"
ACCOUNT_RULE = "3 to 24 lower-case letters and digits"
LOCATION_RULE = "Azure's short name of a region: lower-case letters and digits"


def is_name(text: str) -> bool:
    """Whether an environment, a pool or a group may be called so (`NAME_RULE`)."""
    return 2 <= len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None  # noqa: PLR2004 - the rule's own words


def is_account(text: str) -> bool:
    """Whether a storage account or a Batch account may be called so (`ACCOUNT_RULE`)."""
    return _ACCOUNT.fullmatch(text) is not None


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
    """Whether Azure takes this tag."""
    return 1 <= len(name) <= 512 and not _TAG_FORBIDDEN & set(name) and len(value) <= 256  # noqa: PLR2004 - Azure's limits


def resource_group(environment: str) -> str:
    """Name of the resource group that holds an environment whole."""
    return f"rg-millpond-{environment}"


def identity(pool: str) -> str:
    """Name of a pool's managed identity."""
    return f"id-{pool}"


def account(environment: str, subscription_id: str, location: str) -> str:
    """Name of a storage or Batch account: unique in the world, the same at each deployment of an environment."""
    unique = hashlib.sha256(f"{subscription_id.lower()}/{environment}/{location}".encode()).hexdigest()
    return f"mp{environment.replace('-', '')[:10]}{unique[:12]}"


def node_group(pool: str, group: str, generation: str) -> str:
    """Name of a generation's scale set, and of its queue."""
    return f"{pool}-{group}-{generation}"


def computer_name_prefix(pool: str, *, windows: bool) -> str:
    """How the computer names of a pool's instances begin, unless the pool says it."""
    return pool[: MAX_WINDOWS_PREFIX if windows else MAX_LINUX_PREFIX].rstrip("-")


def role_assignment(scope: str, principal_id: str, role_definition_id: str) -> str:
    """Name of a role assignment: a GUID, the same for the same assignment."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope}|{principal_id}|{role_definition_id}".lower()))
