"""What the subscription answers about itself, its providers, resources and tags."""

import contextlib
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.mgmt.batch import BatchManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.storage import StorageManagementClient
from hypothesis import given
from hypothesis import strategies as st

from infra.local.arm.errors import ArmError
from infra.local.arm.filters import compile_filter
from infra.local.arm.subscription import SubscriptionRoute
from tests.infra.local.conftest import GROUP, RunningAzure

ROWS = [
    {"id": f"/subscriptions/s/resourceGroups/{group}/providers/A.B/{kind}/{name}", "name": name, "type": f"A.B/{kind}"}
    | {"location": "westeurope", "tags": tags}
    for group, kind, name, tags in (
        ("one", "xs", "first", {"team": "risk"}),
        ("two", "xs", "second", {"team": "art", "other": "risk"}),
        ("two", "ys", "third", {}),
    )
]


def get(running: RunningAzure, path: str) -> Any:
    """Ask for a path."""
    url = f"{running.azure.arm_url}{path}?api-version=2022-12-01"
    request = HttpRequest("GET", url, headers={"Authorization": f"Bearer {running.azure.token()}"})
    return running.resources.send_request(request).json()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["first", "second", "third"]),
        ("resourceGroup eq 'TWO'", ["second", "third"]),
        ("resourceType eq 'A.B/xs' and resourceGroup eq 'two'", ["second"]),
        ("tagName eq 'team'", ["first", "second"]),
        ("tagName eq 'team' and tagValue eq 'risk'", ["first"]),
        ("name eq 'first' or (name ne 'second' and location eq 'westeurope')", ["first", "third"]),
        ("substringof('ir', name)", ["first", "third"]),
    ],
)
def test_filters_choose(text: str, names: list[str]) -> None:
    """A filter lets through what it says; the name and the value of a tag are those of one tag."""
    assert [row["name"] for row in filter(compile_filter(text), ROWS)] == names


@given(st.text(min_size=1))
def test_any_filter_is_read_or_refused(text: str) -> None:
    """No filter makes the reader fail in another way than by Azure's code."""
    with contextlib.suppress(ArmError):
        compile_filter(text)


@given(st.lists(st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=6))
def test_routes_take_what_they_name(parts: list[str]) -> None:
    """A route gives the segments of its path by name, and one with a scope takes all that come before."""
    route = SubscriptionRoute("GET", "/a/{x}/b", lambda _names, _query, _body: {})
    assert route.match("GET", ["A", parts[0], "B"]) == {"x": parts[0]}
    assert route.match("GET", ["a", parts[0], "c"]) is None
    scoped = SubscriptionRoute("GET", "{*scope}/b/{x}", lambda _names, _query, _body: {})
    assert scoped.match("GET", [*parts, "b", "y"]) == {"scope": "/" + "/".join(parts), "x": "y"}


def test_the_subscription_describes_itself(running: RunningAzure) -> None:
    """Subscription, tenants, regions and providers have the keys that clients read."""
    subscription = get(running, running.subscription)
    assert subscription["state"] == "Enabled"
    assert subscription["subscriptionPolicies"]["spendingLimit"] == "Off"
    assert get(running, "/tenants")["value"][0]["tenantId"] == subscription["tenantId"]
    regions = {region["name"]: region for region in get(running, f"{running.subscription}/locations")["value"]}
    assert regions["westeurope"]["metadata"]["pairedRegion"][0]["name"] == "northeurope"
    provider = running.resources.providers.get("Microsoft.Compute")
    assert provider.registration_state == "Registered"
    assert all(kind.api_versions and kind.locations for kind in provider.resource_types or [])
    assert running.resources.providers.register("microsoft.batch").namespace == "Microsoft.Batch"
    with pytest.raises(HttpResponseError, match="InvalidResourceNamespace"):
        running.resources.providers.get("Microsoft.None")
    with running.client(NetworkManagementClient) as network:
        assert {usage.name.value for usage in network.usages.list("westeurope")} >= {"VirtualNetworks"}


def test_names_are_checked(running: RunningAzure) -> None:
    """Free, taken and impossible names of accounts are told apart."""
    with running.client(BatchManagementClient) as batch:
        request = {"name": "acct", "type": "Microsoft.Batch/batchAccounts"}
        assert batch.location.check_name_availability("westeurope", request).name_available
        batch.batch_account.begin_create(GROUP, "acct", {"location": "westeurope"}).result()
        taken = batch.location.check_name_availability("westeurope", request)
        assert (taken.name_available, taken.reason) == (False, "AlreadyExists")
    with running.client(StorageManagementClient) as storage:
        wrong = storage.storage_accounts.check_name_availability(
            {"name": "No-Such", "type": "Microsoft.Storage/storageAccounts"}
        )
        assert (wrong.name_available, wrong.reason) == (False, "AccountNameInvalid")


def test_tags_are_changed_by_themselves(running: RunningAzure) -> None:
    """Tags of a group are replaced, merged and removed, and nothing else of it changes."""
    tags = running.resources.tags
    tags.begin_create_or_update_at_scope(running.group, {"properties": {"tags": {"a": "1"}}}).result()
    patch = {"operation": "Merge", "properties": {"tags": {"b": "2"}}}
    tags.begin_update_at_scope(running.group, patch).result()
    assert tags.get_at_scope(running.group).properties.tags == {"a": "1", "b": "2"}
    found = running.resources.resource_groups.get(GROUP)
    assert (found.location, found.tags) == ("westeurope", {"a": "1", "b": "2"})
    patch = {"operation": "Delete", "properties": {"tags": {"a": "1"}}}
    tags.begin_update_at_scope(running.group, patch).result()
    assert running.resources.resource_groups.get(GROUP).tags == {"b": "2"}
    assert "b" in {tag.tag_name for tag in tags.list()}
