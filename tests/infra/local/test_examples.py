"""Azure's own published examples against the local Azure, all of the types that it serves, with a table a type."""

import collections
import itertools
import logging
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from infra.local.arm.addresses import Address, parse
from infra.local.arm.body_check import RequestSchemas
from infra.local.arm.errors import ArmError
from infra.local.processes import kill_all, of_folder
from infra.local.services.compute.settings import ComputeSettings
from tests.infra.local.conftest import RunningAzure, scale_set_body
from tests.infra.local.published_examples import (
    FOLDER,
    LINUX,
    ONE_ACCOUNT,
    Example,
    Json,
    differences,
    load,
    parents,
    references,
)
from tests.infra.local.published_operations import statuses_that_sdks_refuse, unexpected_statuses

VERSION = "2024-07-01"

# How many examples of a type pass at least; a number here only ever rises.
FLOORS: dict[str, int] = {
    "Microsoft.Authorization/roleAssignments": 7,
    "Microsoft.Batch/batchAccounts": 4,
    "Microsoft.Batch/batchAccounts/applications": 3,
    "Microsoft.Batch/batchAccounts/applications/versions": 1,
    "Microsoft.Batch/batchAccounts/pools": 6,
    "Microsoft.Batch/batchAccounts/privateEndpointConnections": 1,
    "Microsoft.Batch/locations": 1,
    "Microsoft.Compute/virtualMachineScaleSets": 32,
    "Microsoft.Compute/virtualMachineScaleSets/extensions": 4,
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines": 5,
    "Microsoft.Compute/virtualMachines": 33,
    "Microsoft.Compute/virtualMachines/extensions": 2,
    "Microsoft.ManagedIdentity/userAssignedIdentities": 2,
    "Microsoft.Network/networkSecurityGroups": 3,
    "Microsoft.Network/networkSecurityGroups/securityRules": 4,
    "Microsoft.Network/publicIPAddresses": 1,
    "Microsoft.Network/publicIPPrefixes": 3,
    "Microsoft.Network/virtualNetworks": 3,
    "Microsoft.Network/virtualNetworks/subnets": 4,
    "Microsoft.Resources/resourceGroups": 1,
    "Microsoft.Storage/storageAccounts": 7,
    "Microsoft.Storage/storageAccounts/blobServices": 2,
    "Microsoft.Storage/storageAccounts/blobServices/containers": 5,
    "Microsoft.Storage/storageAccounts/fileServices": 3,
    "Microsoft.Storage/storageAccounts/managementPolicies": 7,
    "Microsoft.Storage/storageAccounts/privateEndpointConnections": 1,
    "Microsoft.Storage/storageAccounts/queueServices": 3,
    "Microsoft.Storage/storageAccounts/queueServices/queues": 2,
    "Microsoft.Storage/storageAccounts/tableServices": 1,
    "Microsoft.Storage/storageAccounts/tableServices/tables": 5,
}

# What a resource needs at the least, where an example only refers to it or asks for it.
MINIMAL: dict[str, Json] = {
    "microsoft.network/virtualnetworks": {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}}},
    "microsoft.network/publicipaddresses": {
        "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"},
    },
    "microsoft.network/natgateways": {"sku": {"name": "Standard"}},
    "microsoft.storage/storageaccounts": {
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "properties": {"allowBlobPublicAccess": True},
    },
    "microsoft.batch/batchaccounts/pools": {
        "properties": {
            "vmSize": "Standard_D2s_v5",
            "deploymentConfiguration": {
                "virtualMachineConfiguration": {"imageReference": LINUX, "nodeAgentSkuId": "batch.node.ubuntu 24.04"}
            },
            "scaleSettings": {"fixedScale": {"targetDedicatedNodes": 0}},
        }
    },
    "microsoft.compute/virtualmachinescalesets": scale_set_body(1),
    "microsoft.network/privatednszones": {"location": "global"},
    "microsoft.compute/disks": {"properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}},
}


def _interface(subnet: str) -> Json:
    return {"ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": subnet}}}]}


def _machine(subnet: str) -> Json:
    interface = {"name": "nic", "properties": {"primary": True, **_interface(subnet)}}
    return {
        "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
        "storageProfile": {"imageReference": LINUX, "osDisk": {"createOption": "FromImage"}},
        "osProfile": {"computerName": "example", "adminUsername": "someone", "adminPassword": "Long-enough-1"},
        "networkProfile": {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [interface]},
    }


def _balancer(subnet: str) -> Json:
    return {"frontendIPConfigurations": [{"name": "ip", "properties": {"subnet": {"id": subnet}}}]}


def _endpoint(subnet: str) -> Json:
    account = f"{subnet.partition('/resourceGroups/')[0]}{ONE_ACCOUNT}"
    connection = {"name": "account", "properties": {"privateLinkServiceId": account, "groupIds": ["blob"]}}
    return {"subnet": {"id": subnet}, "privateLinkServiceConnections": [connection]}


# What needs a subnet: a network of its own is made in the group.
_ON_A_SUBNET: dict[str, Callable[[str], Json]] = {
    "microsoft.network/networkinterfaces": _interface,
    "microsoft.network/loadbalancers": _balancer,
    "microsoft.network/privateendpoints": _endpoint,
    "microsoft.compute/virtualmachines": _machine,
}
_log = logging.getLogger(__name__)
_POLLS = 60
_POLL_SECONDS = 0.05
_SUBNETS = itertools.count()


class Sender:
    """Sends examples to one local Azure, after making what they need."""

    def __init__(self, running: RunningAzure) -> None:
        headers = {"Authorization": f"Bearer {running.azure.token()}"}
        verify = ssl.create_default_context(cafile=running.azure.certificates.bundle)
        self._http = httpx.Client(base_url=running.azure.arm_url, headers=headers, verify=verify, timeout=60)
        self._schemas = RequestSchemas.load()
        self._types = {
            f"{provider['namespace']}/{kind['resourceType']}".lower(): f"{provider['namespace']}/{kind['resourceType']}"
            for provider in self._http.get(f"{running.subscription}/providers", params={"api-version": VERSION}).json()[
                "value"
            ]
            for kind in provider["resourceTypes"]
        }
        self.subscription = running.subscription
        self.requests_log = running.layout.requests_log

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def type_of(self, example: Example) -> str | None:
        """Return the type of an example as the local Azure spells it, None if it serves no such type."""
        try:
            return self._types.get(example.resource_type.lower())
        except ArmError:
            return None

    def check(self, example: Example) -> list[str]:
        """Send one example; return how the answer differs from the published one."""
        self._prepare(example)
        answer = self._http.request(example.method, example.path, params=example.query, json=example.body)
        if answer.status_code not in example.responses:
            return [f"{answer.status_code} {_code(answer)}, not {sorted(example.responses)}"]
        expected = example.responses[answer.status_code]
        return list(differences(expected, answer.json() if answer.content else None)) if expected is not None else []

    def _prepare(self, example: Example) -> None:
        needed = [*references(example.body), *parents(example.path)]
        for identifier in (example.path, *needed):
            self._group_of(identifier)
        for identifier in sorted(needed, key=len):
            for parent in parents(identifier):
                self._make(parent, {})
            self._make(identifier, {})
        if example.method == "PUT":
            if example.resource_type.lower() == "microsoft.storage/storageaccounts":
                self._http.delete(example.path, params={"api-version": VERSION})  # the one account, made anew
            return
        published = next((body for body in example.responses.values() if isinstance(body, dict)), {})
        target = example.target
        listing = example.method == "GET" and target.trailing is not None
        if target.address is not None:
            self._make_member({"id": target.address.id} | (published if target.trailing is None else {}))
        for member in published.get("value") or [] if listing else []:
            if isinstance(member, dict) and isinstance(member.get("id"), str):
                self._make_member(member)

    def _make_member(self, member: Json) -> None:
        published = {name: value for name, value in member.items() if name != "id"}
        self._make_references(published)
        for parent in parents(member["id"]):
            self._make(parent, {})
        self._make(member["id"], published)

    def _make_references(self, body: Json) -> None:
        for reference in sorted(references(body), key=len):
            self._group_of(reference)
            for parent in parents(reference):
                self._make(parent, {})
            self._make(reference, {})

    def _group_of(self, identifier: str) -> None:
        parts = identifier.split("/")
        if len(parts) > 4 and parts[3].lower() == "resourcegroups":
            path = "/".join(parts[:5])
            if self._http.get(path, params={"api-version": VERSION}).status_code == httpx.codes.NOT_FOUND:
                self._http.put(path, params={"api-version": VERSION}, json={"location": "westeurope"})

    def _make(self, identifier: str, published: Json) -> None:
        """PUT a resource, if its type is served and it is not there: as published, else with the least it needs."""
        try:
            address = parse(identifier).address
        except ArmError:
            return
        if address is None or address.type.lower() not in self._types:
            return
        if not published and self._http.get(address.id, params={"api-version": VERSION}).is_success:
            return
        minimal: Json = {"location": "westeurope"} | MINIMAL.get(address.type.lower(), {})
        if address.type.lower() == "microsoft.network/virtualnetworks/subnets":
            number = next(_SUBNETS)
            minimal = {"properties": {"addressPrefix": f"10.{number // 250}.{number % 250}.0/24"}}
        if address.type.lower() in _ON_A_SUBNET:
            minimal["properties"] = _ON_A_SUBNET[address.type.lower()](f"{_network_of(address)}/subnets/example")
            self._make_references(minimal)
        for body in (self._writable(address.type, published), minimal, {}):
            if body is None:
                continue
            answer = self._http.put(address.id, params={"api-version": VERSION}, json=body)
            if answer.is_success:
                self._wait(answer)
                return
            _log.info("%s: %s", address.id, answer.text)

    def _wait(self, answer: httpx.Response) -> None:
        """Follow an operation to its end, or for a while: a machine may be slow to boot."""
        for _ in range(_POLLS):
            if "azure-asyncoperation" not in answer.headers and "location" not in answer.headers:
                return
            url = answer.headers.get("azure-asyncoperation") or answer.headers["location"]
            poll = self._http.get(url)
            if poll.status_code != httpx.codes.ACCEPTED and poll.json().get("status") != "InProgress":
                return
            time.sleep(_POLL_SECONDS)

    def _writable(self, resource_type: str, published: Json) -> Json | None:
        """Return what of a published answer a client could have sent."""
        if not published:
            return None
        sent = {name: value for name, value in published.items() if name not in ("id", "name", "type", "etag")}
        return self._schemas.write(resource_type, sent, None).body


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    """Serve a local Azure for all examples."""
    running = RunningAzure(tmp_path_factory.mktemp("examples"), ComputeSettings(0.0, 10_000, 100))
    made = Sender(running)
    yield made
    made.close()
    running.close()
    kill_all(of_folder(running.layout.local))


@pytest.mark.skipif(not FOLDER.exists(), reason="the reference data is not beside the checkout")
def test_published_examples_are_answered_as_published(sender: Sender, capsys: pytest.CaptureFixture[str]) -> None:
    """Examples of served types are answered with their status and every key of their body, as many as the floors say.

    And no status of a success, of whatever request here, is one that Azure does not document or its SDKs refuse.
    """
    results: dict[str, list[list[str]]] = collections.defaultdict(list)
    skipped = 0
    for example in load(sender.subscription):
        resource_type = sender.type_of(example)
        if resource_type is None:
            skipped += 1
        else:
            results[resource_type].append(sender.check(example))
    with capsys.disabled():
        sys.stdout.write(f"\n{_table(results, skipped)}\n")
    passed = {name: sum(not reasons for reasons in outcomes) for name, outcomes in results.items()}
    fallen = {name: passed.get(name, 0) for name, floor in FLOORS.items() if passed.get(name, 0) < floor}
    assert fallen == {}
    assert unexpected_statuses(sender.requests_log) == []
    assert statuses_that_sdks_refuse(sender.requests_log) == []


def _table(results: dict[str, list[list[str]]], skipped: int) -> str:
    """Write the table of what passed, with the commonest reasons of failures."""
    outcomes = [reasons for of_type in results.values() for reasons in of_type]
    passed = sum(not reasons for reasons in outcomes)
    lines = [f"published examples: {passed} of {len(outcomes)} pass; {skipped} are of types that are not served"]
    for name, of_type in sorted(results.items()):
        reasons = collections.Counter(reason for found in of_type for reason in found)
        commonest = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(2))
        lines.append(f"{sum(not found for found in of_type):4}/{len(of_type):<4}{name:64}{commonest}")
    return "\n".join(lines)


def _network_of(address: Address) -> str:
    return f"{address.group}/providers/Microsoft.Network/virtualNetworks/examplenet"


def _code(answer: httpx.Response) -> Any:
    try:
        return answer.json()["error"]["code"]
    except (ValueError, KeyError):
        return ""
