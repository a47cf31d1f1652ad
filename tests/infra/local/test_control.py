"""The local Azure's own endpoints: who may use them, and what they refuse."""

from typing import Any

import httpx
import pytest

from infra.local.faults import FaultKind
from tests.infra.local.conftest import RunningAzure


def ask(running: RunningAzure, method: str, path: str, body: Any = None, header: str | None = None) -> httpx.Response:
    """Ask an endpoint, with the user's header unless another is given."""
    headers = {"X-IDENTITY-HEADER": running.azure.account.identity_header if header is None else header}
    url = f"{running.azure.metadata_url}{path}"
    return httpx.request(method, url, json=body, headers=headers, trust_env=False)


def test_faults_are_added_listed_and_cleared(running: RunningAzure) -> None:
    """What is added is what the services ask, is listed as it is, and is gone once cleared."""
    wanted = {"kind": "quota", "target": "vmss-*", "times": 2, "share": None, "for_seconds": 60, "seconds": 1.5}
    added = ask(running, "POST", "/faults", wanted)
    assert added.status_code == 201
    assert ask(running, "GET", "/faults").json() == {"faults": [added.json()]}
    taken = running.azure.faults.take(FaultKind.QUOTA, "vmss-a")
    assert taken is not None
    assert (taken.id, taken.remaining, taken.seconds) == (added.json()["id"], 1, 1.5)
    assert ask(running, "DELETE", f"/faults?id={taken.id}").json()["faults"][0]["id"] == taken.id
    assert ask(running, "DELETE", f"/faults?id={taken.id}").status_code == 404
    assert running.azure.faults.list() == ()


def test_only_the_user_may_harm(running: RunningAzure) -> None:
    """Without the identity header nothing is told and nothing done."""
    for method, path in (("GET", "/faults"), ("POST", "/faults"), ("DELETE", "/faults"), ("POST", "/preemptions")):
        assert ask(running, method, path, {"kind": "quota"}, header="guessed").status_code == 401
    assert running.azure.faults.list() == ()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"kind": "earthquake"}, "earthquake"),
        ({"kind": "preemption"}, "kind"),
        ({"kind": "quota", "times": 0}, "times"),
        ({"kind": "quota", "times": True}, "times"),
        ({"kind": "quota", "share": "much"}, "share"),
        ({"kind": "quota", "color": 1}, "color"),
        ([], "JSON object"),
    ],
)
def test_what_makes_no_sense_is_named(running: RunningAzure, body: Any, named: str) -> None:
    """A wrong value is refused with a message that names it."""
    refused = ask(running, "POST", "/faults", body)
    assert refused.status_code == 400
    assert named in refused.json()["error"]["message"]


def test_no_machine_can_be_preempted_that_is_not_there(running: RunningAzure) -> None:
    """An unknown machine is refused by name, a notice that is no number of seconds is refused too."""
    refused = ask(running, "POST", "/preemptions", {"node_id": "pool_7", "notice_seconds": 5})
    assert refused.status_code in {400, 404}
    assert "pool_7" in refused.json()["error"]["message"]
    refused = ask(running, "POST", "/preemptions", {"node_id": "pool_7", "notice_seconds": "soon"})
    assert (refused.status_code, "notice_seconds" in refused.text) == (400, True)
