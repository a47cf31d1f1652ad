"""Scheduled events in the metadata service: preemption and termination with a notice, seen from inside the set."""

from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from infra.local.arm.errors import ArmError
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body
from tests.infra.local.machine_checks import eventually, processes

_NODE = 'echo "$AZURE_POD_IDENTITY_AUTHORITY_HOST" > "$MILLPOND_ROOT/metadata"; nohup sleep 300 >/dev/null 2>&1 &'
_LONG = 600.0


def _create(running: RunningAzure, name: str, capacity: int, **profile: Any) -> None:
    body = scale_set_body(capacity, _NODE)
    body["properties"]["virtualMachineProfile"] |= profile
    running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, name, body).result(30)


def _spot(running: RunningAzure, capacity: int, policy: str) -> None:
    _create(running, "pool", capacity, priority="Spot", evictionPolicy=policy)


def _ask(running: RunningAzure, key: str, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
    address = (running.layout.instances / key / "root" / "metadata").read_text().strip()
    return httpx.request(
        "GET" if body is None else "POST",
        f"{address}/metadata/scheduledevents?api-version=2020-07-01",
        json=body,
        headers={"Metadata": "true"} if headers is None else headers,
    )


def _document(running: RunningAzure, key: str) -> dict[str, Any]:
    return dict(_ask(running, key).json())


def _ids(running: RunningAzure, name: str = "pool") -> list[str]:
    return [found.instance_id for found in running.compute.virtual_machine_scale_set_vms.list(GROUP, name)]


def test_a_preemption_is_told_to_the_whole_set_and_acknowledged(running: RunningAzure) -> None:
    """Every instance sees whose eviction is scheduled and when; acknowledged, it happens at once and the event goes."""
    _spot(running, 2, "Delete")
    assert _document(running, "pool_0") == {"DocumentIncarnation": 1, "Events": []}
    running.azure.instances.preempt("pool_1", _LONG)
    documents = [_document(running, f"pool_{number}") for number in range(2)]
    assert documents[0] == documents[1]
    assert documents[0]["DocumentIncarnation"] == 2
    (event,) = documents[0]["Events"]
    assert parsedate_to_datetime(event.pop("NotBefore")).tzinfo is not None
    identifier = event.pop("EventId")
    assert event.pop("Description")
    assert event == {
        "EventStatus": "Scheduled",
        "EventType": "Preempt",
        "ResourceType": "VirtualMachine",
        "Resources": ["pool_1"],
        "EventSource": "Platform",
        "DurationInSeconds": -1,
    }
    assert len(processes(running, "pool_1")) == 1
    assert _ask(running, "pool_1", {"StartRequests": [{"EventId": identifier}]}).status_code == 200
    eventually(lambda: _ids(running) == ["0"])
    assert processes(running, "pool_1") == []
    after = _document(running, "pool_0")
    assert (after["Events"], after["DocumentIncarnation"] > 2) == ([], True)
    assert running.compute.virtual_machine_scale_sets.get(GROUP, "pool").sku.capacity == 1


def test_a_preemption_comes_when_its_notice_is_over(running: RunningAzure) -> None:
    """Nobody acknowledges: the instance is deallocated by its policy all the same, and can be started again."""
    _spot(running, 1, "Deallocate")
    running.azure.instances.preempt("pool_0", 0.2)
    instances = running.compute.virtual_machine_scale_set_vms

    def power() -> str:
        return str(instances.get_instance_view(GROUP, "pool", "0").statuses[-1].code)

    eventually(lambda: power() == "PowerState/deallocated")
    assert processes(running, "pool_0") == []
    instances.begin_start(GROUP, "pool", "0").result(30)
    assert (power(), len(processes(running, "pool_0"))) == ("PowerState/running", 1)


def test_the_metadata_service_refuses_what_it_does_not_understand(running: RunningAzure) -> None:
    """Without its header, with an unknown event or another body, the answer is 400; an unknown machine is named."""
    _spot(running, 1, "Delete")
    for body, headers in (
        (None, {}),
        ({"StartRequests": [{"EventId": "none"}]}, None),
        ({"Requests": []}, None),
    ):
        assert _ask(running, "pool_0", body, headers).status_code == 400
    with pytest.raises(ArmError, match="there are: pool_0"):
        running.azure.instances.preempt("pool_9", 1.0)


def test_a_deletion_waits_for_the_acknowledgement_where_the_set_asks_for_a_notice(running: RunningAzure) -> None:
    """With termination notices on, a deleted instance works on until it has acknowledged; a Spot one does not wait."""
    notice = {"terminateNotificationProfile": {"enable": True, "notBeforeTimeout": "PT15M"}}
    _create(running, "pool", 1, scheduledEventsProfile=notice)
    deletion = running.compute.virtual_machine_scale_set_vms.begin_delete(GROUP, "pool", "0")
    eventually(lambda: _document(running, "pool_0")["Events"])
    (event,) = _document(running, "pool_0")["Events"]
    assert (event["EventType"], event["EventSource"], event["EventStatus"]) == ("Terminate", "User", "Scheduled")
    assert len(processes(running, "pool_0")) == 1
    _ask(running, "pool_0", {"StartRequests": [{"EventId": event["EventId"]}]})
    deletion.result(30)
    assert processes(running, "pool_0") == []
    _create(running, "spot", 1, scheduledEventsProfile=notice, priority="Spot", evictionPolicy="Delete")
    running.compute.virtual_machine_scale_sets.begin_delete(GROUP, "spot").result(30)
    assert processes(running, "spot_0") == []
