"""What clients do to instances of scale sets, through the unchanged compute client and with real processes."""

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from hypothesis import given
from hypothesis import strategies as st

from infra.local.arm.errors import ArmError
from infra.local.services.compute.instance_filter import parse_filter
from infra.local.services.compute.scale_set_capacity import Candidate, choose_leaving, choose_zone
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body
from tests.infra.local.machine_checks import code_of, eventually, processes

# Counts its starts on the disk, and leaves a process behind as a node does.
_NODE = 'echo start >> "$MILLPOND_ROOT/starts"; nohup sleep 300 >/dev/null 2>&1 &'


def _create(running: RunningAzure, name: str, body: dict[str, Any]) -> Any:
    return running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, name, body).result(30)


def _starts(running: RunningAzure, key: str) -> int:
    return len((running.layout.instances / key / "root" / "starts").read_text().splitlines())


def _power(running: RunningAzure, number: str) -> str:
    view = running.compute.virtual_machine_scale_set_vms.get_instance_view(GROUP, "pool", number)
    return str(view.statuses[-1].code)


def test_deallocating_keeps_the_disk_and_starting_boots_again(running: RunningAzure) -> None:
    """Deallocated and powered-off instances have no process but their disk; started, they run their bootstrap again."""
    _create(running, "pool", scale_set_body(2, _NODE))
    sets, instances = running.compute.virtual_machine_scale_sets, running.compute.virtual_machine_scale_set_vms
    sets.begin_deallocate(GROUP, "pool", {"instanceIds": ["0"]}).result(30)
    instances.begin_power_off(GROUP, "pool", "1").result(30)
    assert [_power(running, number) for number in "01"] == ["PowerState/deallocated", "PowerState/stopped"]
    assert processes(running, "pool_0") == processes(running, "pool_1") == []
    assert sets.get(GROUP, "pool").sku.capacity == 2
    sets.begin_start(GROUP, "pool").result(30)
    assert [_power(running, number) for number in "01"] == ["PowerState/running"] * 2
    assert [_starts(running, f"pool_{number}") for number in "01"] == [2, 2]
    assert len(processes(running, "pool_0")) == 1


def test_restart_starts_new_processes_and_start_leaves_running_ones(running: RunningAzure) -> None:
    """Restart and redeploy kill and boot; starting what runs does nothing."""
    _create(running, "pool", scale_set_body(1, _NODE))
    (first,) = processes(running, "pool_0")
    instances = running.compute.virtual_machine_scale_set_vms
    instances.begin_start(GROUP, "pool", "0").result(30)
    assert processes(running, "pool_0") == [first]
    instances.begin_restart(GROUP, "pool", "0").result(30)
    (second,) = processes(running, "pool_0")
    instances.begin_redeploy(GROUP, "pool", "0").result(30)
    (third,) = processes(running, "pool_0")
    assert len({first.pid, second.pid, third.pid}) == 3
    assert _starts(running, "pool_0") == 3


def test_reimage_and_upgrade_bring_the_latest_model(running: RunningAzure) -> None:
    """An upgrade runs the new script on the same disk; a reimage empties the disk first."""
    _create(running, "pool", scale_set_body(2, _NODE))
    _create(running, "pool", scale_set_body(2, _NODE + ' echo new > "$MILLPOND_ROOT/model"'))
    sets, instances = running.compute.virtual_machine_scale_sets, running.compute.virtual_machine_scale_set_vms
    assert [found.latest_model_applied for found in instances.list(GROUP, "pool")] == [False, False]
    sets.begin_update_instances(GROUP, "pool", {"instanceIds": ["0"]}).result(30)
    sets.begin_reimage(GROUP, "pool", {"instanceIds": ["1"]}).result(30)
    assert [found.latest_model_applied for found in instances.list(GROUP, "pool")] == [True, True]
    assert [_starts(running, f"pool_{number}") for number in "01"] == [2, 1]
    listed = instances.list(GROUP, "pool", filter="properties/latestModelApplied eq false")
    assert list(listed) == []


def test_a_size_change_restarts_and_an_image_change_reimages(running: RunningAzure) -> None:
    """Upgraded to another size an instance keeps its disk; upgraded to another image it gets an empty one."""
    body = scale_set_body(1, _NODE)
    _create(running, "pool", body)
    sets, instances = running.compute.virtual_machine_scale_sets, running.compute.virtual_machine_scale_set_vms
    sets.begin_update(GROUP, "pool", {"sku": {"name": "Standard_D4s_v5"}}).result(30)
    sets.begin_update_instances(GROUP, "pool", {"instanceIds": ["*"]}).result(30)
    assert (_starts(running, "pool_0"), instances.get(GROUP, "pool", "0").sku.name) == (2, "Standard_D4s_v5")
    image = body["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    image |= {"offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2"}
    _create(running, "pool", body)
    sets.begin_update_instances(GROUP, "pool", {"instanceIds": ["0"]}).result(30)
    assert _starts(running, "pool_0") == 1


def test_protected_instances_are_left_alone_by_actions_on_the_set(running: RunningAzure) -> None:
    """ProtectFromScaleSetActions spares an instance from set-wide actions and scale-in, not from its own actions."""
    _create(running, "pool", scale_set_body(2, _NODE))
    sets, instances = running.compute.virtual_machine_scale_sets, running.compute.virtual_machine_scale_set_vms
    policy = {"protectionPolicy": {"protectFromScaleSetActions": True}}
    kept = instances.begin_update(GROUP, "pool", "1", {"location": "westeurope", "properties": policy}).result(30)
    assert kept.protection_policy.protect_from_scale_set_actions is True
    sets.begin_restart(GROUP, "pool").result(30)
    assert [_starts(running, f"pool_{number}") for number in "01"] == [2, 1]
    sets.begin_update(GROUP, "pool", {"sku": {"capacity": 1}}).result(30)
    assert [found.instance_id for found in instances.list(GROUP, "pool")] == ["1"]
    instances.begin_restart(GROUP, "pool", "1").result(30)
    assert _starts(running, "pool_1") == 2


def test_the_view_of_a_set_counts_its_instances(running: RunningAzure) -> None:
    """The instance view has the number of instances and extensions in each state; sizes are listed for the set."""
    _create(running, "pool", scale_set_body(2))
    sets = running.compute.virtual_machine_scale_sets
    view = sets.get_instance_view(GROUP, "pool")
    assert [(row.code, row.count) for row in view.virtual_machine.statuses_summary] == [
        ("ProvisioningState/succeeded", 2)
    ]
    assert [(found.name, found.statuses_summary[0].count) for found in view.extensions] == [("bootstrap", 2)]
    assert view.statuses[0].code == "ProvisioningState/succeeded"
    assert "Standard_D2s_v5" in {found.sku.name for found in sets.list_skus(GROUP, "pool")}
    details = running.compute.virtual_machine_scale_set_vms.get_instance_view(GROUP, "pool", "0")
    assert details.extensions[0].statuses[0].code == "ProvisioningState/succeeded/0"
    assert details.vm_agent.statuses[0].display_status == "Ready"


def test_extensions_of_a_set_are_part_of_its_model(running: RunningAzure) -> None:
    """An extension that is put joins the model, runs on new instances only, and leaves the model when deleted."""
    _create(running, "pool", scale_set_body(1))
    children = running.compute.virtual_machine_scale_set_extensions
    assert [found.name for found in children.list(GROUP, "pool")] == ["bootstrap"]
    extension = {
        "properties": {
            "publisher": "Microsoft.Azure.Extensions",
            "type": "CustomScript",
            "typeHandlerVersion": "2.1",
            "protectedSettings": {"commandToExecute": 'touch "$MILLPOND_ROOT/second"'},
        }
    }
    made = children.begin_create_or_update(GROUP, "pool", "second", extension).result(30)
    assert (made.name, made.provisioning_state, made.protected_settings) == ("second", "Succeeded", None)
    running.compute.virtual_machine_scale_sets.begin_update(GROUP, "pool", {"sku": {"capacity": 2}}).result(30)
    assert not (running.layout.instances / "pool_0" / "root" / "second").exists()
    assert (running.layout.instances / "pool_1" / "root" / "second").exists()
    children.begin_delete(GROUP, "pool", "second").result(30)
    model = running.compute.virtual_machine_scale_sets.get(GROUP, "pool").virtual_machine_profile
    assert [found.name for found in model.extension_profile.extensions] == ["bootstrap"]
    with pytest.raises(ResourceNotFoundError):
        children.get(GROUP, "pool", "second")


def test_zones_are_balanced(running: RunningAzure) -> None:
    """Instances of a zonal set are spread over its zones, and a lower capacity takes from the fullest."""
    _create(running, "pool", scale_set_body(3) | {"zones": ["1", "2"]})
    instances = running.compute.virtual_machine_scale_set_vms
    assert [found.zones for found in instances.list(GROUP, "pool")] == [["1"], ["2"], ["1"]]
    running.compute.virtual_machine_scale_sets.begin_update(GROUP, "pool", {"sku": {"capacity": 2}}).result(30)
    assert [found.zones for found in instances.list(GROUP, "pool")] == [["1"], ["2"]]


def _spot(capacity: int, policy: str) -> dict[str, Any]:
    body = scale_set_body(capacity, _NODE)
    profile = body["properties"]["virtualMachineProfile"]
    profile |= {"priority": "Spot", "evictionPolicy": policy, "billingProfile": {"maxPrice": -1}}
    return body


def test_simulated_eviction_follows_the_policy(running: RunningAzure) -> None:
    """Evicted, a Spot instance is deallocated or deleted as its set says; instances that are not Spot refuse."""
    instances = running.compute.virtual_machine_scale_set_vms
    _create(running, "pool", scale_set_body(1))
    with pytest.raises(ResourceExistsError) as refused:
        instances.simulate_eviction(GROUP, "pool", "0")
    assert code_of(refused) == "OperationNotAllowed"
    _create(running, "kept", _spot(1, "Deallocate"))
    instances.simulate_eviction(GROUP, "kept", "0")
    eventually(lambda: _state(running, "kept") == "PowerState/deallocated")
    assert processes(running, "kept_0") == []
    assert running.compute.virtual_machine_scale_sets.get(GROUP, "kept").sku.capacity == 1
    _create(running, "gone", _spot(1, "Delete"))
    instances.simulate_eviction(GROUP, "gone", "0")
    eventually(lambda: list(instances.list(GROUP, "gone")) == [])
    with pytest.raises(ResourceNotFoundError):
        instances.get_instance_view(GROUP, "gone", "0")
    assert running.compute.virtual_machine_scale_sets.get(GROUP, "gone").sku.capacity == 0
    assert processes(running, "gone_0") == []


def _state(running: RunningAzure, name: str) -> str:
    view = running.compute.virtual_machine_scale_set_vms.get_instance_view(GROUP, name, "0")
    return str(view.statuses[-1].code)


def test_what_only_spot_machines_have_is_refused_on_others(running: RunningAzure) -> None:
    """An eviction policy without priority Spot, and Spot on a burstable size, are refused before anything."""
    body = _spot(0, "Delete")
    body["properties"]["virtualMachineProfile"]["priority"] = "Regular"
    with pytest.raises(HttpResponseError, match="Eviction policy can be set only on Azure Spot"):
        _create(running, "pool", body)
    with pytest.raises(HttpResponseError, match="not supported for Azure Spot"):
        _create(running, "pool", _spot(0, "Delete") | {"sku": {"name": "Standard_B2s", "capacity": 0}})


def test_flexible_sets_have_virtual_machines(running: RunningAzure) -> None:
    """Members of a Flexible set are virtual machines with its name, listed with it, deleted through it or alone."""
    sets, machines = running.compute.virtual_machine_scale_sets, running.compute.virtual_machines
    _create(running, "flex", scale_set_body(2, _NODE, orchestrationMode="Flexible", platformFaultDomainCount=1))
    names = [found.name for found in machines.list(GROUP)]
    assert len(names) == 2
    assert all(name.startswith("flex_") and len(name) == 13 for name in names)
    listed = running.compute.virtual_machine_scale_set_vms.list(GROUP, "flex")
    assert sorted(found.instance_id for found in listed) == sorted(names)
    assert len(processes(running, names[0])) == 1
    with pytest.raises(ResourceExistsError):
        sets.get_instance_view(GROUP, "flex")
    machines.begin_delete(GROUP, names[0]).result(30)
    assert sets.get(GROUP, "flex").sku.capacity == 1
    sets.begin_delete_instances(GROUP, "flex", {"instanceIds": [names[1]]}).result(30)
    assert list(machines.list(GROUP)) == []
    assert processes(running, names[1]) == []
    sets.begin_update(GROUP, "flex", {"sku": {"capacity": 1}}).result(30)
    assert machines.get(GROUP, next(iter(machines.list(GROUP))).name).virtual_machine_scale_set.id.endswith("/flex")
    sets.begin_delete(GROUP, "flex").result(30)
    assert list(machines.list(GROUP)) == []


_CANDIDATES = st.lists(st.sampled_from("123"), max_size=30).map(
    lambda zones: [Candidate(str(rank), rank, zone) for rank, zone in enumerate(zones)]
)


@given(_CANDIDATES, st.integers(0, 40), st.sampled_from(["Default", "NewestVM", "OldestVM"]))
def test_leaving_instances_are_distinct_and_keep_zones_balanced(
    candidates: list[Candidate], count: int, rule: str
) -> None:
    """As many go as were asked for, none twice, and no zone is left with two more than one that lost an instance."""
    going = choose_leaving(candidates, count, rule)
    assert len(set(going)) == len(going) == min(count, len(candidates))
    left = [candidate.zone for candidate in candidates if candidate not in going]
    for zone in {candidate.zone for candidate in going}:
        assert all(left.count(other) <= left.count(zone) + 1 for other in set(left))


@given(st.lists(st.integers(0, 100), unique=True, min_size=1), st.integers(1, 5))
def test_without_zones_the_newest_or_oldest_go(ranks: list[int], count: int) -> None:
    """The default rule takes the highest numbers, OldestVM the lowest."""
    candidates = [Candidate(str(rank), rank) for rank in ranks]
    newest = {candidate.rank for candidate in choose_leaving(candidates, count)}
    oldest = {candidate.rank for candidate in choose_leaving(candidates, count, "OldestVM")}
    assert (newest, oldest) == (set(sorted(ranks)[-count:]), set(sorted(ranks)[:count]))


@given(st.lists(st.sampled_from("123")))
def test_a_new_instance_goes_to_the_emptiest_zone(taken: list[str]) -> None:
    """No zone has fewer instances than the chosen one; without zones there is none to choose."""
    chosen = choose_zone("123", taken)
    assert chosen is not None
    assert taken.count(chosen) == min(taken.count(zone) for zone in "123")
    assert choose_zone([], taken) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("startswith(instanceView/statuses/code, 'PowerState') eq true", True),
        ("startswith(instanceView/statuses/code,'PowerState/dealloc')", False),
        ("properties/latestModelApplied eq true and instanceView/statuses/code eq 'PowerState/running'", True),
        ("latestModelApplied ne true", False),
    ],
)
def test_filters_compare_paths_through_lists(text: str, expected: bool) -> None:
    """A path goes through lists and the properties; `and` joins."""
    statuses = [{"code": "ProvisioningState/succeeded"}, {"code": "PowerState/running"}]
    member = {"properties": {"latestModelApplied": True, "instanceView": {"statuses": statuses}}}
    assert parse_filter(text)(member) is expected


def test_an_unreadable_filter_is_refused() -> None:
    """What is no filter is told, with an example of one."""
    with pytest.raises(ArmError, match="latestModelApplied eq true"):
        parse_filter("everything")
