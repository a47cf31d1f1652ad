"""The resource manager's protocol to the letter: versions, methods, headers, bodies, pages, names, faults."""

import json
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.arm.rate_limits import RateLimits
from infra.local.faults import FaultKind
from infra.local.processes import kill_all, of_folder
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body

VERSION = {"api-version": "2024-07-01"}
IDENTITIES = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
SETS = "providers/Microsoft.Compute/virtualMachineScaleSets"
NETWORKS = "providers/Microsoft.Network/virtualNetworks"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAzure]:
    """Serve one local Azure for all tests here."""
    served = RunningAzure(tmp_path_factory.mktemp("protocol"))
    yield served
    served.close()
    kill_all(of_folder(served.layout.local))


@pytest.fixture
def running(served: RunningAzure) -> Iterator[RunningAzure]:
    """Give each test a group of its own, empty before and gone after."""
    served.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    yield served
    served.resources.resource_groups.begin_delete(GROUP).result(30)


@pytest.fixture
def http(running: RunningAzure) -> Iterator[httpx.Client]:
    """Return a plain client with the user's token."""
    headers = {"Authorization": f"Bearer {running.azure.token()}"}
    verify = ssl.create_default_context(cafile=running.azure.certificates.bundle)
    with httpx.Client(base_url=running.azure.arm_url, headers=headers, verify=verify) as client:
        yield client


def _identity(http: httpx.Client, running: RunningAzure, name: str, **options: Any) -> httpx.Response:
    path = f"{running.group}/{IDENTITIES}/{name}"
    return http.put(path, params=VERSION, json={"location": "westeurope"}, **options)


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_throttled_request_is_refused_with_a_time_and_not_done(running: RunningAzure, http: httpx.Client) -> None:
    """A fault answers 429 with Retry-After, or 500, in ARM's envelope; nothing is done, and the next one is fine."""
    running.azure.faults.add(FaultKind.THROTTLING, target="*/userAssignedIdentities/*", times=1, seconds=7.0)
    refused = _identity(http, running, "id1")
    assert (refused.status_code, refused.headers["retry-after"], _code(refused)) == (429, "7", "TooManyRequests")
    running.azure.faults.add(FaultKind.SERVER_ERROR, times=1)
    failed = _identity(http, running, "id1")
    assert (failed.status_code, _code(failed)) == (500, "InternalServerError")
    assert _identity(http, running, "id1").status_code == 201


@pytest.mark.parametrize("version", ["2024", "latest", "2024-07-01 ", "2024/07/01", ""])
def test_a_malformed_version_is_refused(running: RunningAzure, http: httpx.Client, version: str) -> None:
    """A version that is no date is refused, an empty one counts as missing, and the parameter's name has no case."""
    answer = http.get(running.group, params={"api-version": version})
    expected = "InvalidApiVersionParameter" if version else "MissingApiVersionParameter"
    assert (answer.status_code, _code(answer)) == (400, expected)
    assert http.get(running.group, params={"API-Version": "2019-10-01"}).status_code == 200


def test_every_answer_can_be_traced(running: RunningAzure, http: httpx.Client) -> None:
    """Ids, limits and the security headers are on answers and on errors; a client's own correlation is kept."""
    for path, kind in ((running.group, "reads"), (f"{running.group}/{IDENTITIES}/nope", "reads")):
        answer = http.get(path, params=VERSION, headers={"x-ms-correlation-request-id": "mine"})
        assert answer.headers["x-ms-correlation-request-id"] == "mine"
        assert uuid.UUID(answer.headers["x-ms-request-id"])
        assert answer.headers["x-ms-routing-request-id"].startswith("LOCAL:")
        assert int(answer.headers[f"x-ms-ratelimit-remaining-subscription-{kind}"]) > 0
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert "date" in answer.headers
    assert "x-ms-ratelimit-remaining-subscription-writes" in _identity(http, running, "id1").headers


def test_limits_count_down_and_fill_again() -> None:
    """Each request takes one from its own bucket; time fills it, never above its size."""
    clock = [0.0]
    limits = RateLimits(lambda: clock[0])
    left = [limits.headers("PUT")["x-ms-ratelimit-remaining-subscription-writes"] for _ in range(3)]
    assert left == ["199", "198", "197"]
    clock[0] = 3600.0
    assert limits.headers("PATCH") == {"x-ms-ratelimit-remaining-subscription-writes": "199"}
    assert limits.headers("DELETE") == {"x-ms-ratelimit-remaining-subscription-deletes": "199"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "{group}"),
        ("POST", f"{{group}}/{IDENTITIES}/x"),
        ("PUT", f"{{group}}/{IDENTITIES}"),
        ("DELETE", f"{{group}}/{IDENTITIES}"),
        ("PATCH", f"{{group}}/{SETS}"),
        ("PUT", f"{{group}}/{SETS}/x/start"),
        ("TRACE", "{group}"),
    ],
)
def test_other_methods_are_not_allowed(running: RunningAzure, http: httpx.Client, method: str, path: str) -> None:
    """A method that there is not for what the path names gets 405 in ARM's envelope."""
    answer = http.request(method, path.format(group=running.group), params=VERSION)
    assert (answer.status_code, _code(answer)) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'"x"', b"5", b"\xff\xfe", b'{"location": NaN}', b"[" * 100_000, b"{'location': 'westeurope'}"],
)
def test_a_body_that_is_no_object_is_refused(running: RunningAzure, http: httpx.Client, content: bytes) -> None:
    """Malformed JSON, another encoding, endless nesting and JSON of another kind are 400 InvalidRequestContent."""
    answer = http.put(f"{running.group}/{IDENTITIES}/id1", params=VERSION, content=content)
    assert (answer.status_code, _code(answer)) == (400, "InvalidRequestContent")


def test_bodies_come_in_pieces_and_connections_stay(running: RunningAzure, http: httpx.Client) -> None:
    """A chunked body and one with a byte order mark are read, empty answers say their length, the connection stays."""

    def pieces() -> Iterator[bytes]:
        yield b'\xef\xbb\xbf{"location":'
        yield b' "westeurope"}'

    path = f"{running.group}/{IDENTITIES}/id1"
    first = http.put(path, params=VERSION, content=pieces())
    assert first.status_code == 201
    gone = http.delete(path, params=VERSION)
    assert (gone.status_code, gone.headers["content-length"], gone.content) == (200, "0", b"")
    streams = {id(answer.extensions["network_stream"]) for answer in (first, gone)}
    assert len(streams) == 1


def test_head_says_whether_something_is_there(running: RunningAzure, http: httpx.Client) -> None:
    """HEAD answers 204 for what is there and 404 for what is not, without a body."""
    for name, status in ((GROUP, 204), (GROUP.upper(), 204), ("nope", 404)):
        answer = http.head(f"{running.subscription}/resourcegroups/{name}", params=VERSION)
        assert (answer.status_code, answer.content) == (status, b"")


def test_pages_are_followed_by_their_links(running: RunningAzure, http: httpx.Client) -> None:
    """Each page has at most $top members; its link, used as it is, leads through all of them and ends."""
    for number in range(5):
        _identity(http, running, f"id{number}")
    answer = http.get(f"{running.group}/{IDENTITIES}", params=VERSION | {"$top": "2"}).json()
    names = []
    while True:
        names += [member["name"] for member in answer["value"]]
        assert len(answer["value"]) <= 2
        if "nextLink" not in answer:
            break
        answer = http.get(answer["nextLink"]).json()
    assert names == [f"id{number}" for number in range(5)]
    for wrong in ("0", "-1", "x"):
        refused = http.get(f"{running.group}/{IDENTITIES}", params=VERSION | {"$top": wrong})
        assert (refused.status_code, _code(refused)) == (400, "InvalidQueryParameterValue")


def test_paths_have_no_case_and_slashes_count_once(running: RunningAzure, http: httpx.Client) -> None:
    """A resource is found by any spelling of its path, and is shown as it was created."""
    _identity(http, running, "Id1")
    path = f"{running.group}/{IDENTITIES}/Id1"
    for spelled in (path.upper(), path.lower(), path.replace("/providers", "//providers"), f"{path}/"):
        answer = http.get(spelled, params=VERSION)
        assert (answer.status_code, answer.json()["id"]) == (200, path)


def test_conditions_are_kept(running: RunningAzure, http: httpx.Client) -> None:
    """If-Match takes the present tag or *, If-None-Match: * only creates; another gets 412 and nothing is changed."""
    path = f"{running.group}/{NETWORKS}/net"
    body = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    assert http.put(path, params=VERSION, json=body, headers={"If-Match": "*"}).status_code == 412
    created = http.put(path, params=VERSION, json=body, headers={"If-None-Match": "*"})
    assert created.status_code == 201
    assert http.put(path, params=VERSION, json=body, headers={"If-None-Match": "*"}).status_code == 412
    tag = http.get(path, params=VERSION).headers["etag"]
    tagged = {"tags": {"a": "b"}}
    assert http.patch(path, params=VERSION, json=tagged, headers={"If-Match": '"0"'}).status_code == 412
    assert http.patch(path, params=VERSION, json=tagged, headers={"If-Match": tag}).status_code == 200
    assert http.delete(path, params=VERSION, headers={"If-Match": tag}).status_code == 412


def test_what_is_not_there(running: RunningAzure, http: httpx.Client) -> None:
    """DELETE of a missing resource is 204 and of a missing group 404; PATCH of a missing resource is 404."""
    missing = f"{running.group}/{IDENTITIES}/nope"
    assert http.delete(missing, params=VERSION).status_code == 204
    assert http.delete(f"{running.subscription}/resourcegroups/nope", params=VERSION).status_code == 404
    answer = http.patch(missing, params=VERSION, json={"tags": {}})
    assert (answer.status_code, _code(answer)) == (404, "ResourceNotFound")


def test_an_operation_tells_its_course(running: RunningAzure, http: httpx.Client, tmp_path: Path) -> None:
    """The status object has id, name, status, times and percentage, and the error of one that failed."""
    path = f"{running.group}/{SETS}/pool"
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3"
    created = http.put(path, params=VERSION, json=scale_set_body(1, script))
    url = created.headers["azure-asyncoperation"]
    assert "/providers/Microsoft.Compute/locations/westeurope/operations/" in url
    status = http.get(url).json()
    assert (status["status"], status["percentComplete"], status["name"]) == ("InProgress", 50.0, status["id"][-36:])
    assert status["startTime"]
    (tmp_path / "go").touch()
    while status["status"] == "InProgress":
        status = http.get(url).json()
    assert (status["status"], status["percentComplete"]) == ("Failed", 100.0)
    assert status["endTime"] >= status["startTime"]
    assert status["error"]["code"] == "VMExtensionProvisioningError"
    unknown = http.get(url.replace(status["name"], str(uuid.uuid4())))
    assert (unknown.status_code, _code(unknown)) == (404, "NotFound")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("{sub}/resourcegroups/bad%20name", "InvalidResourceGroup"),
        ("{sub}/resourcegroups/ends.", "InvalidResourceGroup"),
        (f"{{group}}/{NETWORKS}/-net", "InvalidResourceName"),
        (f"{{group}}/{NETWORKS}/{'n' * 65}", "InvalidResourceName"),
        (f"{{group}}/{SETS}/pool-", "InvalidParameter"),
        (f"{{group}}/{IDENTITIES}/x", "InvalidResourceName"),
        ("{group}/providers/Microsoft.Authorization/roleAssignments/mine", "InvalidRoleAssignmentId"),
    ],
)
def test_names_follow_the_rules_of_their_types(running: RunningAzure, http: httpx.Client, path: str, code: str) -> None:
    """A name that breaks the rule of its type is refused with the service's code."""
    answer = http.put(
        path.format(sub=running.subscription, group=running.group), params=VERSION, json={"location": "westeurope"}
    )
    assert (answer.status_code, _code(answer)) == (400, code)


def test_bodies_are_refused_with_code_and_target(running: RunningAzure, http: httpx.Client) -> None:
    """A wrong type, an unknown value, a missing and a changed read-only property are told; nothing is written."""
    path = f"{running.group}/{SETS}/pool"
    whole = scale_set_body(0)
    for change, code, target in (
        ({"properties": whole["properties"] | {"overprovision": "x"}}, "BadRequest", "vmss.properties.overprovision"),
        (
            {"properties": whole["properties"] | {"orchestrationMode": "x"}},
            "BadRequest",
            "vmss.properties.orchestrationMode",
        ),
        ({"properties": whole["properties"] | {"uniqueId": "x"}}, "InvalidParameter", "uniqueId"),
        ({"tags": []}, "InvalidRequestContent", "tags"),
    ):
        error = http.put(path, params=VERSION, json=whole | change)
        assert (error.status_code, error.json()["error"]["code"]) == (400, code)
        assert error.json()["error"]["target"] == target
    assert http.get(path, params=VERSION).status_code == 404


def test_what_was_read_may_be_written_back(running: RunningAzure, http: httpx.Client) -> None:
    """GET, change a tag, PUT of the whole passes for every type here, and keeps what the service set."""
    network = {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    rule = {"protocol": "Tcp", "access": "Deny", "direction": "Inbound", "priority": 100}
    prefixes = {"sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}
    ports = {"sourcePortRange": "*", "destinationPortRange": "*"}
    bodies: dict[str, Json] = {
        f"{IDENTITIES}/id1": {},
        f"{NETWORKS}/net": network,
        "providers/Microsoft.Network/networkSecurityGroups/nsg": {
            "properties": {"securityRules": [{"name": "none", "properties": rule | prefixes | ports}]}
        },
        f"{SETS}/pool": scale_set_body(0),
        "providers/Microsoft.Batch/batchAccounts/batch1": {},
        "providers/Microsoft.Storage/storageAccounts/store1": {"kind": "StorageV2", "sku": {"name": "Standard_LRS"}},
    }
    for name, body in bodies.items():
        path = f"{running.group}/{name}"
        created = http.put(path, params=VERSION, json={"location": "westeurope"} | body)
        assert created.is_success, (name, created.text)
        while "location" in created.headers and http.get(created.headers["location"]).status_code == 202:
            pass
        before = http.get(path, params=VERSION).json()
        again = http.put(path, params=VERSION, json=before | {"tags": {"x": "y"}})
        assert again.is_success, (name, again.text)
        after = http.get(path, params=VERSION).json()
        assert after["tags"] == {"x": "y"}
        ours = ("uniqueId", "principalId", "accountEndpoint", "primaryEndpoints", "creationTime", "resourceGuid")
        for key in ours:
            assert after["properties"].get(key) == before["properties"].get(key), (name, key)
        assert json.dumps(after["properties"]).count("null") == 0


def test_the_same_put_twice_changes_nothing(running: RunningAzure, http: httpx.Client) -> None:
    """A scale set is shown the same, but for its tag, after the same PUT again; its instances keep the latest model."""
    path = f"{running.group}/{SETS}/pool"
    shown = []
    for _ in range(2):
        answer = http.put(path, params=VERSION, json=scale_set_body(1))
        assert answer.is_success
        while http.get(answer.headers["location"]).status_code == 202:
            pass
        shown.append({name: part for name, part in http.get(path, params=VERSION).json().items() if name != "etag"})
    assert shown[0] == shown[1]
    (instance,) = http.get(f"{path}/virtualMachines", params=VERSION).json()["value"]
    assert instance["properties"]["latestModelApplied"]
