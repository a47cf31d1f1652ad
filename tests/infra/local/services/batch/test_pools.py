"""Batch pools and their nodes, driven by the unchanged clients of both planes over HTTPS."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.mgmt.msi import ManagedServiceIdentityClient

from infra.local.faults import FaultKind
from infra.local.processes import kill_all, marked, of_folder, of_instance
from tests.infra.local.batch_world import ACCOUNT, WINDOWS, BatchWorld, batch_world, eventually, start_task
from tests.infra.local.conftest import GROUP, RunningAzure

_BUSY = "MILLPOND_TASK_INDEX=7 setsid sleep 300 >/dev/null 2>&1 &"


@pytest.fixture
def world(running: RunningAzure) -> Iterator[BatchWorld]:
    """An account without pools."""
    with batch_world(running) as made:
        yield made


def deletes(world: BatchWorld) -> dict[str, dict[str, Any]]:
    """What the local Azure wrote when it deleted nodes, by node."""
    lines = world.running.layout.deletes_log.read_text().splitlines()
    return {line["node_id"]: line for line in map(json.loads, lines)}


def processes(world: BatchWorld, node_id: str) -> int:
    """How many processes a node has."""
    return len(marked(of_instance(node_id, world.running.layout.instances / node_id / "root")))


def output(world: BatchWorld, pool: str, node_id: str) -> str:
    """What the start task of a node printed."""
    return b"".join(world.batch.download_node_file(pool, node_id, "startup/stdout.txt")).decode()


def test_one_pool_in_two_planes(world: BatchWorld) -> None:
    """A pool declared to the resource manager is the data plane's pool, each in its own spelling, and the reverse."""
    declared = world.declare("risk", startTask=start_task("exit 0"), metadata=[{"name": "a", "value": "B"}])
    assert declared.allocation_state == "Steady"
    assert declared.task_scheduling_policy.node_fill_type == "Spread"
    assert declared.start_task.user_identity.auto_user.elevation_level == "NonAdmin"
    seen = world.batch.get_pool("risk")
    assert (seen.allocation_state, seen.vm_size, seen.target_dedicated_nodes) == ("steady", "standard_d2s_v5", 0)
    assert seen.virtual_machine_configuration.node_agent_sku_id == "batch.node.ubuntu 24.04"
    assert seen.start_task.user_identity.auto_user.elevation_level == "nonadmin"
    assert [(item.name, item.value) for item in seen.metadata] == [("a", "B")]
    machines = {
        "imageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    }
    body = {"id": "p2", "vmSize": "standard_d2s_v5", "virtualMachineConfiguration": machines}
    # The command line sends numbers as strings.
    made = world.ask("POST", "/pools", body | {"targetDedicatedNodes": "0", "taskSlotsPerNode": "2"})
    assert (made.status_code, made.headers["DataServiceId"]) == (201, f"{world.endpoint}/pools/p2")
    shown = world.management.pool.get(GROUP, ACCOUNT, "p2")
    assert shown.inter_node_communication == "Disabled"
    assert shown.deployment_configuration.virtual_machine_configuration.image_reference.version == "latest"
    again = world.ask("POST", "/pools", {"id": "p2", "vmSize": "x", "virtualMachineConfiguration": machines})
    assert (again.status_code, again.json()["code"]) == (409, "PoolExists")
    assert {pool.name for pool in world.management.pool.list_by_batch_account(GROUP, ACCOUNT)} == {"risk", "p2"}
    world.management.pool.begin_delete(GROUP, ACCOUNT, "risk").result(30)
    with pytest.raises(ResourceNotFoundError):
        world.batch.get_pool("risk")


def test_a_repeated_put_changes_nothing(world: BatchWorld) -> None:
    """What is declared again, with or without the defaults that were read back, keeps nodes and allocation."""
    first = world.declare("risk", nodes=1)
    world.all_in("risk", "idle", 1)
    world.steady("risk")
    second = world.declare("risk", nodes=1)
    assert (second.allocation_state, second.current_dedicated_nodes) == ("Steady", 1)
    assert second.scale_settings.as_dict() == first.scale_settings.as_dict()


def test_a_node_runs_the_start_task_with_batch_s_environment(world: BatchWorld) -> None:
    """The start task sees Batch's variables, its words are not expanded, and the pool's identity gives tokens."""
    with world.running.client(ManagedServiceIdentityClient) as client:
        identity = client.user_assigned_identities.create_or_update(GROUP, "nodes", {"location": "westeurope"})
    ask = (
        "import json,os,urllib.request as u; "
        'q = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://storage.azure.com/"; '
        'h = u.Request(os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] + q, headers={"Metadata": "true"}); '
        'print(json.load(u.urlopen(h))["client_id"]); '
        'print(os.environ["AZ_BATCH_NODE_ID"], os.environ["AZ_BATCH_POOL_ID"], os.environ["AZ_BATCH_ACCOUNT_NAME"]); '
        'print(os.getcwd() == os.environ["AZ_BATCH_TASK_WORKING_DIR"], os.environ["MINE"])'
    )
    task = {"commandLine": f"python3 -c '{ask}'", "environmentSettings": [{"name": "MINE", "value": "$HOME x"}]}
    world.declare(
        "risk",
        nodes=1,
        startTask={**task, "waitForSuccess": True},
        identity={"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}},
    )
    (node,) = world.all_in("risk", "idle", 1)
    assert node.id.startswith("tvmps_")
    assert node.id.endswith("_d")
    assert (node.start_task_info.exit_code, node.start_task_info.result) == (0, "success")
    client_id, names, rest = output(world, "risk", node.id).splitlines()
    assert (client_id, names) == (identity.client_id, f"{node.id} risk {ACCOUNT}")
    assert rest == "True $HOME x"
    names = {file.name for file in world.batch.list_node_files("risk", node.id, recursive=True)}
    assert {"startup/stdout.txt", "startup/stderr.txt", "startup/wd"} <= names
    with pytest.raises(ResourceNotFoundError):
        list(world.batch.download_node_file("risk", node.id, "../../../started"))


def test_a_start_task_that_fails_is_retried_and_then_fails_the_node(world: BatchWorld) -> None:
    """With one retry it runs twice; the node ends as starttaskfailed and says how. Not waited for, the node is idle."""
    world.declare("bad", nodes=1, startTask=start_task("echo run; exit 3", maxTaskRetryCount=1))
    world.declare("easy", nodes=1, startTask=start_task("exit 3") | {"waitForSuccess": False})
    (node,) = world.all_in("bad", "starttaskfailed", 1)
    info = node.start_task_info
    assert (info.exit_code, info.retry_count, info.failure_info.code) == (3, 1, "FailureExitCode")
    assert output(world, "bad", node.id).split() == ["run", "run"]
    (node,) = world.all_in("easy", "idle", 1)
    eventually(lambda: world.batch.get_node("easy", node.id).start_task_info.exit_code == 3)
    assert world.batch.get_node("easy", node.id).state == "idle"


def test_a_lower_target_kills_whatever_runs(world: BatchWorld) -> None:
    """The service chooses the victims and does not know of our runner; the judge's log tells what it killed."""
    world.declare("risk", nodes=2, startTask=start_task(_BUSY))
    before = [node.id for node in world.all_in("risk", "idle", 2)]
    world.steady("risk")
    world.batch.begin_resize_pool("risk", {"targetDedicatedNodes": 1}, polling_interval=1).result()
    (left,) = [node.id for node in world.nodes("risk")]
    (killed,) = set(before) - {left}
    assert deletes(world)[killed]["tasks"] == ["7"]
    assert processes(world, killed) == 0
    assert processes(world, left) == 1


def test_removing_takes_the_named_nodes_and_lowers_the_target(world: BatchWorld) -> None:
    """Named nodes go, the target falls with them; unknown ones, none, or more than 100 are refused."""
    world.declare("risk", nodes=3)
    nodes = [node.id for node in world.all_in("risk", "idle", 3)]
    world.steady("risk")
    world.batch.begin_remove_nodes("risk", {"nodeList": nodes[:2]}, polling_interval=1).result()
    assert [node.id for node in world.nodes("risk")] == nodes[2:]
    assert world.steady("risk").target_dedicated_nodes == 1
    shown = world.management.pool.get(GROUP, ACCOUNT, "risk").scale_settings.fixed_scale
    assert shown.target_dedicated_nodes == 1
    for names, code in (([nodes[0]], "NodeNotFound"), ([], "InvalidRequestBody"), (["x"] * 101, "InvalidRequestBody")):
        refused = world.ask("POST", "/pools/risk/removenodes", {"nodeList": names})
        assert refused.json()["code"] == code


def test_a_pool_is_resized_by_one_at_a_time(world: BatchWorld) -> None:
    """While a resize is stuck others get 409 PoolBeingResized; it goes on when the fault ends, or is stopped."""
    world.declare("risk")
    fault = world.running.azure.faults.add(FaultKind.STUCK_RESIZE, target="risk", times=1)
    assert world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": "2"}).status_code == 202
    assert world.batch.get_pool("risk").allocation_state == "resizing"
    assert world.nodes("risk") == []
    for path, body in (("resize", {"targetDedicatedNodes": 3}), ("resize", {"targetLowPriorityNodes": 3})):
        refused = world.ask("POST", f"/pools/risk/{path}", body)
        assert (refused.status_code, refused.json()["code"]) == (409, "PoolBeingResized")
    world.running.azure.faults.clear(fault.id)
    world.all_in("risk", "idle", 2)
    world.steady("risk")
    world.running.azure.faults.add(FaultKind.STUCK_RESIZE, target="risk", times=1)
    world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": 5})
    assert world.ask("POST", "/pools/risk/stopresize").status_code == 202
    pool = world.steady("risk")
    assert ([error.code for error in pool.resize_errors], pool.target_dedicated_nodes) == (["ResizeStopped"], 2)


def test_a_stale_reading_changes_nothing(world: BatchWorld) -> None:
    """A guarded resize is refused with 412 after any change of the pool, and a guarded read answers 304."""
    world.declare("risk")
    seen = world.batch.get_pool("risk")
    guard = {"etag": seen.etag, "match_condition": MatchConditions.IfNotModified}
    world.batch.begin_resize_pool("risk", {"targetDedicatedNodes": 1}, polling_interval=1, **guard).result()
    with pytest.raises(ResourceModifiedError) as refused:
        world.batch.begin_resize_pool("risk", {"targetDedicatedNodes": 2}, **guard)
    assert (refused.value.status_code, refused.value.error.code) == (412, "ConditionNotMet")
    current = world.batch.get_pool("risk").etag
    assert world.ask("GET", "/pools/risk", **{"If-None-Match": current}).status_code == 304
    # What nodes do is no change of the pool.
    world.all_in("risk", "idle", 1)
    assert world.steady("risk").etag == current


@pytest.mark.parametrize(
    ("kind", "nodes", "code"),
    [
        (FaultKind.ALLOCATION_FAILURE, 1, "AllocationFailed"),
        (FaultKind.QUOTA, 1, "AccountCoreQuotaReached"),
        (None, 51, "AccountCoreQuotaReached"),
    ],
)
def test_what_cannot_be_had_is_a_resize_error(world: BatchWorld, kind: FaultKind | None, nodes: int, code: str) -> None:
    """A resize that fails ends steady with its error in both planes and the target as it was asked for."""
    if kind is not None:
        world.running.azure.faults.add(kind, target="risk", times=1)
    else:  # a size of which the quota of 100 cores has none
        world.declare("risk")
        world.management.pool.update(GROUP, ACCOUNT, "risk", {"properties": {"vmSize": "Standard_D128s_v5"}})
        nodes = 1
    if kind is not None:
        world.declare("risk", nodes=nodes)
    else:
        world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": nodes})
    pool = world.steady("risk")
    assert [error.code for error in pool.resize_errors] == [code]
    assert (pool.target_dedicated_nodes, pool.current_dedicated_nodes) == (nodes, 0)
    shown = world.management.pool.get(GROUP, ACCOUNT, "risk").resize_operation_status
    assert [error.code for error in shown.errors] == [code]
    if kind is not None:
        world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": nodes})
        world.all_in("risk", "idle", nodes)
        assert world.steady("risk").resize_errors is None


def test_windows_cannot_be_had_on_this_host(world: BatchWorld) -> None:
    """A Windows image on a Linux host fails to allocate and says why."""
    world.declare("win", machine=WINDOWS, nodes=1)
    (error,) = world.steady("win").resize_errors
    assert error.code == "AllocationFailed"
    assert "Choose a Linux image" in error.error_values[0].value


def test_boot_failures_and_slow_boots_on_demand(world: BatchWorld) -> None:
    """A boot failure fails the start task without running it; a slow boot leaves the node creating."""
    world.running.azure.faults.add(FaultKind.BOOT_FAILURE, times=1)
    world.declare("bad", nodes=1, startTask=start_task("exit 0"))
    (node,) = world.all_in("bad", "starttaskfailed", 1)
    assert "boot-failure" in node.start_task_info.failure_info.message
    world.running.azure.faults.add(FaultKind.SLOW_BOOT, times=1, seconds=300)
    world.declare("slow", nodes=1)
    assert [node.state for node in world.nodes("slow")] == ["creating"]


def test_what_can_be_done_to_a_node(world: BatchWorld) -> None:
    """Scheduling off and on, reboot runs the start task again, reimage empties the disk, deallocate stops it all."""
    world.declare("risk", nodes=1, startTask=start_task(f"echo up >> $AZ_BATCH_NODE_SHARED_DIR/count; {_BUSY}"))
    (node,) = world.all_in("risk", "idle", 1)
    shared = world.running.layout.instances / node.id / "root/mnt/batch/tasks/shared/count"
    world.batch.disable_node_scheduling("risk", node.id, {"nodeDisableSchedulingOption": "requeue"})
    assert world.batch.get_node("risk", node.id).state == "offline"
    with pytest.raises(ResourceExistsError, match="already"):
        world.batch.disable_node_scheduling("risk", node.id, {"nodeDisableSchedulingOption": "requeue"})
    world.batch.enable_node_scheduling("risk", node.id)
    assert world.ask("POST", f"/pools/risk/nodes/{node.id}/reboot").status_code == 202
    eventually(lambda: shared.exists() and shared.read_text().split() == ["up", "up"])
    world.all_in("risk", "idle", 1)
    assert processes(world, node.id) == 1
    assert world.ask("POST", f"/pools/risk/nodes/{node.id}/reimage").status_code == 202
    eventually(lambda: shared.exists() and shared.read_text().split() == ["up"])
    world.all_in("risk", "idle", 1)
    assert world.ask("POST", f"/pools/risk/nodes/{node.id}/deallocate").status_code == 202
    world.all_in("risk", "deallocated", 1)
    assert processes(world, node.id) == 0
    assert world.ask("POST", f"/pools/risk/nodes/{node.id}/start").status_code == 202
    world.all_in("risk", "idle", 1)


def test_nodes_outlive_a_restart_of_the_local_azure(tmp_path: Path) -> None:
    """What runs on a node goes on while the daemon is away, and a boot under way is finished by the next one."""
    first = RunningAzure(tmp_path)
    first.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    with batch_world(first) as world:
        world.declare("risk", nodes=1, startTask=start_task(_BUSY + " sleep 1"))
        eventually(lambda: [node.state for node in world.nodes("risk")] == ["waitingforstarttask"])
        (node,) = world.nodes("risk")
    first.close()
    second = RunningAzure(tmp_path)
    try:
        with batch_world(second) as world:
            assert [after.id for after in world.all_in("risk", "idle", 1)] == [node.id]
            assert processes(world, node.id) == 1
            world.accounts.begin_delete(GROUP, ACCOUNT).result(30)
            assert processes(world, node.id) == 0
    finally:
        second.close()
        kill_all(of_folder(second.layout.local))


def test_a_preempted_node_stays_listed_without_its_processes(world: BatchWorld) -> None:
    """An eviction on demand ends what runs on a Spot node; the pool still lists it, as preempted."""
    world.declare("risk", startTask=start_task(_BUSY))
    world.ask("POST", "/pools/risk/resize", {"targetLowPriorityNodes": 1})
    (node,) = world.all_in("risk", "idle", 1)
    assert processes(world, node.id) == 1
    assert world.running.azure.batch_nodes.preempt(node.id, 0.0)
    world.all_in("risk", "preempted", 1)
    assert processes(world, node.id) == 0
    assert not world.running.azure.batch_nodes.preempt("pool_0", 0.0)


def test_nodes_that_stopped_with_the_host_boot_again(tmp_path: Path) -> None:
    """After the local Azure was taken down its nodes run their start task once more at the next start."""
    first = RunningAzure(tmp_path)
    first.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    with batch_world(first) as world:
        world.declare("risk", nodes=1, startTask=start_task(f"echo up >> $AZ_BATCH_NODE_SHARED_DIR/count; {_BUSY}"))
        (node,) = world.all_in("risk", "idle", 1)
    first.close()
    kill_all(of_folder(first.layout.local))
    first.layout.powered_off.touch()
    second = RunningAzure(tmp_path)
    try:
        with batch_world(second) as world:
            shared = second.layout.instances / node.id / "root/mnt/batch/tasks/shared/count"
            eventually(lambda: shared.read_text().split() == ["up", "up"])
            assert [after.id for after in world.all_in("risk", "idle", 1)] == [node.id]
            assert processes(world, node.id) == 1
    finally:
        second.close()
        kill_all(of_folder(second.layout.local))


def test_spot_nodes_are_low_priority_nodes(world: BatchWorld) -> None:
    """Spot nodes have ids of their own kind and are counted apart."""
    world.declare("risk")
    world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": 1, "targetLowPriorityNodes": 1})
    world.all_in("risk", "idle", 2)
    spot = [node for node in world.nodes("risk") if not node.is_dedicated]
    assert [node.id[-2:] for node in spot] == ["_p"]
    (counts,) = world.batch.list_pool_node_counts()
    assert (counts.dedicated.idle, counts.low_priority.idle, counts.low_priority.total) == (1, 1, 1)


def test_lists_are_filtered_selected_and_paged(world: BatchWorld) -> None:
    """Pages follow odata.nextLink; a filter that is not understood is refused by name."""
    for number in range(3):
        world.declare(f"p{number}")
    assert [pool.id for pool in world.batch.list_pools(max_results=2)] == ["p0", "p1", "p2"]
    active = world.batch.list_pools(max_results=1, filter="state eq 'active' and id ne 'p1'")
    assert [pool.id for pool in active] == ["p0", "p2"]
    assert [pool.id for pool in world.batch.list_pools(filter="startswith(id, 'p1') and state eq 'active'")] == ["p1"]
    (shown,) = world.ask("GET", "/pools?$filter=id eq 'p2'&$select=id,state").json()["value"]
    assert shown == {"id": "p2", "state": "active"}
    refused = world.ask("GET", "/pools?$filter=length(id)")
    assert (refused.status_code, refused.json()["code"]) == (400, "InvalidQueryParameterValue")
    assert world.ask("GET", "/pools?maxresults=0").json()["code"] == "OutOfRangeQueryParameterValue"


def test_what_a_pool_lets_be_changed(world: BatchWorld) -> None:
    """A PATCH replaces a start task whole, replacing properties drops what is left out, a live pool keeps its size."""
    world.declare("risk", nodes=1, startTask=start_task("exit 0", maxTaskRetryCount=2))
    world.all_in("risk", "idle", 1)
    changed = world.ask("PATCH", "/pools/risk", {"startTask": {"commandLine": "true"}})
    assert changed.status_code == 200
    assert world.batch.get_pool("risk").start_task.max_task_retry_count == 0
    body = {"applicationPackageReferences": [], "metadata": [{"name": "a", "value": "b"}]}
    assert world.ask("POST", "/pools/risk/updateproperties", body).status_code == 204
    pool = world.batch.get_pool("risk")
    assert (pool.start_task, [item.value for item in pool.metadata]) == (None, ["b"])
    refused = world.ask("PATCH", "/pools/risk", {"vmSize": "standard_d4s_v5"})
    assert (refused.status_code, refused.json()["code"]) == (409, "PropertyCannotBeUpdated")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"vmSize": "Enormous_9"}, "vmSize"),
        ({"taskSlotsPerNode": 300}, "taskSlotsPerNode"),
        ({"scaleSettings": {"fixedScale": {"resizeTimeout": "PT4M"}}}, "resizeTimeout"),
        ({"startTask": {"commandLine": "true", "maxTaskRetryCount": -2}}, "maxTaskRetryCount"),
        ({"networkConfiguration": {"subnetId": "/subscriptions/x/y/z"}}, "subnet"),
    ],
)
def test_bad_pools_are_refused(world: BatchWorld, body: dict[str, Any], name: str) -> None:
    """What the service would refuse is refused with 400 and the property's name, and nothing is made."""
    with pytest.raises(HttpResponseError, match=name) as refused:
        world.declare("risk", **body)
    assert refused.value.status_code == 400
    assert list(world.batch.list_pools()) == []


@pytest.mark.parametrize(
    ("path", "what"),
    [("/jobs", "jobs and tasks"), ("/jobschedules", "job schedules"), ("/pools/risk/enableautoscale", "formula")],
)
def test_what_is_not_here_says_so(world: BatchWorld, path: str, what: str) -> None:
    """Jobs of the Batch service and formulas are refused with a Batch error that names them."""
    world.declare("risk")
    refused = world.ask("POST", path, {})
    assert refused.status_code == 501
    assert what in refused.json()["message"]["value"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [(FaultKind.THROTTLING, 429, "TooManyRequests"), (FaultKind.SERVER_ERROR, 500, "InternalError")],
)
def test_the_service_fails_on_demand(world: BatchWorld, kind: FaultKind, status: int, code: str) -> None:
    """Throttling and server errors hit the data plane by path, before anything is done, and then are over."""
    world.declare("risk")
    world.running.azure.faults.add(kind, target="*/pools/risk/resize", times=1, seconds=2)
    refused = world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": 1})
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert refused.headers.get("Retry-After") == ("2" if status == 429 else None)
    assert world.nodes("risk") == []
    assert world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": 1}).status_code == 202


def test_requests_to_the_service_are_in_the_log(world: BatchWorld) -> None:
    """What resizes and removes stands in the request log beside what the resource manager was asked."""
    world.declare("risk")
    world.ask("POST", "/pools/risk/resize", {"targetDedicatedNodes": 1})
    lines = [json.loads(line) for line in world.running.layout.requests_log.read_text().splitlines()]
    (resize,) = [line for line in lines if line["path"].endswith("/resize")]
    assert (resize["targetDedicatedNodes"], resize["status"]) == (1, 202)
    assert resize["principal"] == world.running.azure.account.deployer.object_id
