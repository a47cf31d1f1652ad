"""The scale set operations of Azure Compute at the level of HTTP: what the SDK sends is answered from a dictionary.

Statuses, headers and error envelopes are those of the service; no operation ever ends by itself, `settle` ends all.
"""

import io
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import urllib3
from azure.core.pipeline.transport import RequestsTransport

ADDRESS = "https://management.example"
SET = re.compile(r"^/subscriptions/[^/]+/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/([^/]+)")
PAGE = 2

Answer = tuple[int, dict[str, str], object]


def problem(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """Build an error as the resource manager does."""
    return status, headers or {}, {"error": {"code": code, "message": message}}


@dataclass
class ScaleSet:
    """One set: its capacity, its version and the provisioning state of each instance."""

    capacity: int = 0
    version: int = 1
    next_number: int = 0
    states: dict[str, str] = field(default_factory=dict)
    power: dict[str, str] = field(default_factory=dict)


class ComputeStandIn(requests.adapters.BaseAdapter):
    """Answers requests; `refusal` is given to the next writes instead."""

    def __init__(self) -> None:
        super().__init__()
        self.sets: dict[str, ScaleSet] = {}
        self.refusal: Answer | None = None
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []

    def transport(self) -> RequestsTransport:
        """Make a transport of the SDK that ends here."""
        session = requests.Session()
        session.mount("https://", self)
        return RequestsTransport(session=session)

    def settle(self) -> None:
        """End every operation under way."""
        for found in self.sets.values():
            found.states = {
                number: "Succeeded" if state == "Creating" else state
                for number, state in found.states.items()
                if state != "Deleting"
            }

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        """Answer one request."""
        assert request.method is not None
        assert request.url is not None
        body = json.loads(request.body) if request.body else None
        address = urlsplit(request.url)
        query = {key.lower(): values[0] for key, values in parse_qs(address.query).items()}
        assert "api-version" in query
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        assert headers["authorization"] == "Bearer token"
        self.requests.append((request.method, address.path, headers, body))
        status, answer_headers, content = self._answer(request.method, address.path, query, headers, body)
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(b"" if content is None else json.dumps(content).encode()),
            status=status,
            headers={"Content-Type": "application/json", **answer_headers},
            preload_content=False,
        )
        return requests.adapters.HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        """Nothing is open."""

    def _answer(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> Answer:
        match = SET.match(path)
        assert match is not None, path
        name, rest = match[1], path[match.end() :]
        if self.refusal is not None and method != "GET":
            return self.refusal
        if name not in self.sets:
            return problem(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
        found = self.sets[name]
        match method, rest:
            case "GET", "":
                return 200, {}, self._resource(name, found)
            case "GET", "/virtualMachines":
                return 200, {}, self._page(name, found, int(query.get("$skiptoken", "0")), path)
            case "PATCH", "":
                return self._update(name, found, headers, body)
            case "POST", "/delete":
                return self._delete(found, body["instanceIds"])
            case "DELETE", "":
                del self.sets[name]
                return 202, {"Location": f"{ADDRESS}/operations/1"}, None
        raise AssertionError(f"{method} {path} is not expected")

    def _resource(self, name: str, found: ScaleSet) -> dict[str, object]:
        return {
            "name": name,
            "location": "westeurope",
            "etag": f'"{found.version}"',
            "sku": {"name": "Standard_D2s_v5", "capacity": found.capacity},
            "properties": {"provisioningState": "Updating"},
        }

    def _page(self, name: str, found: ScaleSet, start: int, path: str) -> dict[str, object]:
        numbers = list(found.states)
        page: dict[str, object] = {
            "value": [
                {
                    "instanceId": number,
                    "name": f"{name}_{number}",
                    "location": "westeurope",
                    "properties": {
                        "provisioningState": found.states[number],
                        "instanceView": {
                            "statuses": [
                                {"code": f"ProvisioningState/{found.states[number].lower()}", "level": "Info"},
                                {"code": found.power.get(number, "PowerState/running"), "level": "Info"},
                            ]
                        },
                    },
                }
                for number in numbers[start : start + PAGE]
            ]
        }
        if start + PAGE < len(numbers):
            page["nextLink"] = f"{ADDRESS}{path}?api-version=2024-11-01&$skiptoken={start + PAGE}"
        return page

    def _update(self, name: str, found: ScaleSet, headers: dict[str, str], body: Any) -> Answer:
        if headers.get("if-match") != f'"{found.version}"':
            return problem(412, "PreconditionFailed", "The precondition given in the request header is not met.")
        there = sum(state != "Deleting" for state in found.states.values())
        assert body["sku"]["capacity"] > there, "Azure would choose which machines go"
        for _ in range(body["sku"]["capacity"] - there):
            found.states[str(found.next_number)] = "Creating"
            found.next_number += 1
        found.capacity = body["sku"]["capacity"]
        found.version += 1
        return 200, {"Azure-AsyncOperation": f"{ADDRESS}/operations/1"}, self._resource(name, found)

    def _delete(self, found: ScaleSet, numbers: list[str]) -> Answer:
        for number in numbers:
            if number not in found.states:
                return problem(400, "InvalidParameter", f"The provided instanceId {number} is not an active one.")
        doomed = [number for number in numbers if found.states[number] != "Deleting"]
        found.states.update(dict.fromkeys(doomed, "Deleting"))
        found.capacity -= len(doomed)
        found.version += 1
        return 202, {"Location": f"{ADDRESS}/operations/1"}, None
