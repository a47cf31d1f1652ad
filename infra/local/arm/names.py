"""What names of resources may look like, by type, and what the services say of those that break the rule.

The rules are those of the OpenAPI files and of "Naming rules and restrictions for Azure resources" (docs). Storage and
Batch accounts are checked by their own services: their names are unique beyond the group.
"""

import re
from dataclasses import dataclass

from infra.local.arm.addresses import RESOURCE_GROUP, Address
from infra.local.arm.errors import ArmError, invalid


@dataclass(frozen=True, slots=True)
class NameRule:
    """The pattern of a name and the refusal: its code, and its message with `{name}` in it."""

    pattern: str
    code: str
    message: str

    def check(self, name: str) -> ArmError | None:
        """Return the refusal of a name, None if it follows the rule."""
        if re.fullmatch(self.pattern, name, re.ASCII):
            return None
        return invalid(self.message.format(name=name), code=self.code)


def _network(longest: int) -> NameRule:
    return NameRule(
        rf"\w([\w.-]{{0,{longest - 2}}}\w)?",
        "InvalidResourceName",
        f"Resource name {{name}} is invalid. The name can be up to {longest} characters long. It must begin with a word"
        " character, and it must end with a word character or with '_'. The name may contain word characters or '.',"
        " '-', '_'.",
    )


def _compute(longest: int) -> NameRule:
    return NameRule(
        rf"[A-Za-z0-9][\w.-]{{0,{longest - 1}}}(?<![.-])",
        "InvalidParameter",
        "The entity name '{name}' is invalid according to its validation rule: it has up to "
        f"{longest} letters, digits, '-', '_' and '.', and does neither begin with '_' nor end with '.' or '-'.",
    )


def _plain(characters: str, shortest: int, longest: int, code: str, words: str) -> NameRule:
    message = f"The name '{{name}}' is not valid: {shortest} to {longest} {words}."
    return NameRule(rf"[{characters}]{{{shortest},{longest}}}", code, message)


_GUID = NameRule(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "InvalidRoleAssignmentId",
    "The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID.",
)
_BATCH = _plain("A-Za-z0-9_-", 1, 64, "InvalidResourceName", "letters, digits, '-' and '_'")
_STORE = NameRule(
    r"(?=.{3,63}$)[a-z0-9](-?[a-z0-9])*",
    "InvalidResourceName",
    "The specified resource name '{name}' contains invalid characters: 3 to 63 lower-case letters, digits and single"
    " hyphens, first and last a letter or digit.",
)
_CONTAINER = NameRule(r"\$root|\$web|\$logs|(" + _STORE.pattern + ")", _STORE.code, _STORE.message)

_RULES = {
    "microsoft.network/virtualnetworks": _network(64),
    "microsoft.network/virtualnetworks/subnets": _network(80),
    "microsoft.network/networksecuritygroups": _network(80),
    "microsoft.network/networksecuritygroups/securityrules": _network(80),
    "microsoft.network/publicipaddresses": _network(80),
    "microsoft.network/natgateways": _network(80),
    "microsoft.network/networkinterfaces": _network(80),
    "microsoft.network/loadbalancers": _network(80),
    "microsoft.network/privateendpoints": _network(80),
    "microsoft.compute/virtualmachinescalesets": _compute(64),
    "microsoft.compute/virtualmachines": _compute(64),
    "microsoft.compute/disks": _plain("A-Za-z0-9_.-", 1, 80, "InvalidParameter", "letters, digits, '-', '_' and '.'"),
    "microsoft.managedidentity/userassignedidentities": _plain(
        "A-Za-z0-9_-", 3, 128, "InvalidResourceName", "letters, digits, '-' and '_'"
    ),
    "microsoft.authorization/roleassignments": _GUID,
    "microsoft.batch/batchaccounts/pools": _BATCH,
    "microsoft.batch/batchaccounts/applications": _BATCH,
    "microsoft.storage/storageaccounts/blobservices/containers": _CONTAINER,
    "microsoft.storage/storageaccounts/queueservices/queues": _STORE,
}

_LONGEST_GROUP = 90
_NOT_IN_GROUP = re.compile(r"[^\w.()-]")


def check_name(address: Address) -> None:
    """Refuse to create a resource of a name that its service does not take."""
    refused = _group(address.name) if address.type == RESOURCE_GROUP else None
    rule = _RULES.get(address.type.lower())
    if rule is not None:
        refused = rule.check(address.name)
    if refused is not None:
        raise refused


def _group(name: str) -> ArmError | None:
    strange = "".join(dict.fromkeys(_NOT_IN_GROUP.findall(name)))
    code = "InvalidResourceGroup"
    if strange:
        message = (
            f"The provided resource group name '{name}' has these invalid characters: '{strange}'. The name can only be"
            " a letter, digit, '-', '.', '(', ')' or '_'."
        )
        return invalid(message, code=code)
    if name.endswith("."):
        return invalid(f"The provided resource group name '{name}' must not end with a period.", code=code)
    if len(name) > _LONGEST_GROUP:
        message = f"The provided resource group name '{name}' has more than {_LONGEST_GROUP} characters."
        return invalid(message, code=code)
    return None
