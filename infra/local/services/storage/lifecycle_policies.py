"""Lifecycle rules of a storage account: kept and checked, not carried out."""

from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import ArmError, invalid, not_found
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource
from infra.local.permissions.storage_permissions import ACCOUNT
from infra.local.services.access.role_definitions import moment

# Docs: lifecycle management policies, structure and limits.
_MOST_RULES = 100
_MOST_PREFIXES = 10
_LONGEST_NAME = 256
_ACTIONS = {
    "baseBlob": ("delete", "tierToCool", "tierToCold", "tierToArchive", "tierToHot", "enableAutoTierToHotFromCool"),
    "snapshot": ("delete", "tierToCool", "tierToCold", "tierToArchive", "tierToHot"),
    "version": ("delete", "tierToCool", "tierToCold", "tierToArchive", "tierToHot"),
}
_DAYS = (
    "daysAfterModificationGreaterThan",
    "daysAfterCreationGreaterThan",
    "daysAfterLastAccessTimeGreaterThan",
    "daysAfterLastTierChangeGreaterThan",
)


def policy_type() -> ResourceType:
    """Return the type."""
    return ResourceType(
        f"{ACCOUNT}/managementPolicies",
        prepare=_prepare,
        view=_show,
        created=HTTPStatus.OK,
        tracked=False,
        has_state=False,
    )


def _show(resource: Resource, _query: Query) -> dict[str, Any]:
    # The service shows another name than the one in the id (openapi examples: management policies).
    return resource.body | {"name": "DefaultManagementPolicy"}


def _prepare(write: Write) -> None:
    if write.address.name.lower() != "default":
        raise not_found(f"The management policy '{write.address.name}' does not exist: the one there is, is 'default'.")
    rules = (write.resource.properties.get("policy") or {}).get("rules")
    if not isinstance(rules, list):
        raise _refused("policy.rules", "a policy has a list of rules")
    if len(rules) > _MOST_RULES:
        raise _refused("policy.rules", f"a policy has at most {_MOST_RULES} rules")
    names = [str(rule.get("name", "")).lower() for rule in rules]
    for place, rule in enumerate(rules):
        where = f"policy.rules[{place}]"
        if not names[place] or len(names[place]) > _LONGEST_NAME:
            raise _refused(f"{where}.name", f"a rule has a name of up to {_LONGEST_NAME} characters")
        if names.count(names[place]) > 1:
            raise _refused(f"{where}.name", f"two rules are called '{rule['name']}'")
        if rule.get("type") != "Lifecycle":
            raise _refused(f"{where}.type", "it is 'Lifecycle'")
        rule.setdefault("enabled", True)
        _check_definition(f"{where}.definition", rule.get("definition") or {})
    write.resource.properties["lastModifiedTime"] = moment()


def _check_definition(where: str, definition: dict[str, Any]) -> None:
    filters = definition.get("filters")
    if filters is not None:
        kinds = filters.get("blobTypes")
        if not kinds or not set(kinds) <= {"blockBlob", "appendBlob"}:
            raise _refused(f"{where}.filters.blobTypes", "it lists blockBlob, appendBlob or both")
        if len(filters.get("prefixMatch") or ()) > _MOST_PREFIXES:
            raise _refused(f"{where}.filters.prefixMatch", f"there are at most {_MOST_PREFIXES} prefixes")
    actions = definition.get("actions") or {}
    if not any(actions.values()) or not actions.keys() <= _ACTIONS.keys():
        raise _refused(f"{where}.actions", f"there is at least one of {', '.join(_ACTIONS)}")
    for subject, wanted in actions.items():
        if not (wanted or {}).keys() <= set(_ACTIONS[subject]):
            raise _refused(f"{where}.actions.{subject}", f"its actions are {', '.join(_ACTIONS[subject])}")
        for name, when in (wanted or {}).items():
            if isinstance(when, dict):
                _check_days(f"{where}.actions.{subject}.{name}", when)


def _check_days(where: str, when: dict[str, Any]) -> None:
    days = {name: value for name, value in when.items() if name in _DAYS and value is not None}
    if not days.keys() - {"daysAfterLastTierChangeGreaterThan"}:
        raise _refused(where, f"it says after how many days: one of {', '.join(_DAYS[:3])}")
    for name, value in days.items():
        if not isinstance(value, (int, float)) or value < 0 or value != int(value):
            raise _refused(f"{where}.{name}", "it is a whole number of days, 0 or more")


def _refused(where: str, hint: str) -> ArmError:
    message = f"The value of the property '{where}' is invalid: {hint}."
    return invalid(message, where, "InvalidRequestPropertyValue")
