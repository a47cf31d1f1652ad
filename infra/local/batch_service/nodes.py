"""Nodes of pools in the Batch service: what is shown of them, what can be done to them, and their files."""

import mimetypes
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from infra.local.arm.store import Resource, Store
from infra.local.batch_service import wire
from infra.local.batch_service.answers import Asked, BatchAnswer
from infra.local.batch_service.errors import BatchError, missing, not_here
from infra.local.batch_service.listing import filtered, page, selected
from infra.local.machines import Machines
from infra.local.services.batch.nodes import POOL, BatchNodes
from infra.local.services.batch.start_task import root_of

Json = dict[str, Any]

# The states that counts have a number for, as counts spell them.
_COUNTED = (
    "creating",
    "idle",
    "leavingPool",
    "offline",
    "preempted",
    "rebooting",
    "reimaging",
    "running",
    "starting",
    "startTaskFailed",
    "unknown",
    "unusable",
    "waitingForStartTask",
    "deallocated",
    "deallocating",
    "upgradingOS",
)
_UP = frozenset({"idle", "offline", "running", "starttaskfailed", "unusable", "waitingforstarttask"})
_AGENT_VERSION = "1.12.2"


class NodeService:
    """Answers what is asked about nodes."""

    def __init__(self, store: Store, nodes: BatchNodes, machines: Machines) -> None:
        self._store = store
        self._nodes = nodes
        self._machines = machines

    def answer(self, asked: Asked) -> BatchAnswer:
        """Answer a request for `/pools/{pool}/nodes…`."""
        pool = self._store.get(f"{asked.account.id}/pools/{asked.path[0]}")
        if pool is None:
            raise missing("Pool", asked.path[0])
        rest = asked.path[2:]
        if not rest:
            return self._list(asked, pool)
        node = self._require(pool, rest[0])
        match asked.method, [part.lower() for part in rest[1:2]], rest[2:]:
            case "GET", [], ():
                return self._get(asked, node)
            case "GET", ["files"], ():
                return self._list_files(asked, node)
            case (("GET" | "HEAD"), ["files"], (_, *_)):
                return self._file(asked, node, "/".join(rest[2:]))
            case "POST", [action], ():
                return self._act(node, action)
            case _, ["files" | "users" | "extensions" | "remoteloginsettings" as what], _:
                raise not_here(f"{what} of nodes beyond reading files")
        message = "The resource doesn't support the specified HTTP verb."
        raise BatchError(HTTPStatus.METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message)

    def counts(self, asked: Asked) -> BatchAnswer:
        """Count the nodes of each pool by state."""
        with self._store.transaction():
            members = [self._counts(pool) for pool in self._store.find(POOL, asked.account.id)]
        found = page(filtered(members, asked.query.get("$filter")), asked.query, asked.next_page("nodecounts"))
        return BatchAnswer(HTTPStatus.OK, {"odata.metadata": f"{asked.endpoint}/$metadata#poolnodecounts", **found})

    def _counts(self, pool: Resource) -> Json:
        nodes = self._nodes.of_pool(pool.id)
        found: Json = {"poolId": pool.name}
        for dedicated, name in ((True, "dedicated"), (False, "lowPriority")):
            states = [node.state for node in nodes if node.properties["isDedicated"] == dedicated]
            counted = {state: states.count(state.lower()) for state in _COUNTED}
            found[name] = counted | {"total": len(states)}
        return found

    def _list(self, asked: Asked, pool: Resource) -> BatchAnswer:
        if asked.method != "GET":
            message = "The resource doesn't support the specified HTTP verb."
            raise BatchError(HTTPStatus.METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message)
        members = [self._shown(node, asked) for node in self._nodes.of_pool(pool.id)]
        url = asked.next_page(f"pools/{pool.name}/nodes")
        found = page(filtered(members, asked.query.get("$filter")), asked.query, url)
        return BatchAnswer(HTTPStatus.OK, {"odata.metadata": f"{asked.endpoint}/$metadata#nodes", **found})

    def _get(self, asked: Asked, node: Resource) -> BatchAnswer:
        shown = selected(self._shown(node, asked), asked.query.get("$select"))
        body = {"odata.metadata": f"{asked.endpoint}/$metadata#nodes/@Element", **shown}
        return BatchAnswer(HTTPStatus.OK, body)

    def _act(self, node: Resource, action: str) -> BatchAnswer:
        acts: dict[str, tuple[Callable[[Resource], None], frozenset[str], HTTPStatus]] = {
            "reboot": (lambda each: self._nodes.reboot(each, reimage=False), _UP, HTTPStatus.ACCEPTED),
            "reimage": (lambda each: self._nodes.reboot(each, reimage=True), _UP, HTTPStatus.ACCEPTED),
            "deallocate": (self._nodes.deallocate, _UP, HTTPStatus.ACCEPTED),
            "start": (self._nodes.start, frozenset({"deallocated"}), HTTPStatus.ACCEPTED),
            "disablescheduling": (lambda each: self._nodes.schedule(each, enabled=False), _UP, HTTPStatus.OK),
            "enablescheduling": (lambda each: self._nodes.schedule(each, enabled=True), _UP, HTTPStatus.OK),
        }
        if action not in acts:
            raise not_here(f"action '{action}' of nodes")
        act, states, status = acts[action]
        with self._store.transaction():
            current = self._store.get(node.id)
            if current is None or current.state not in states:
                state = current.state if current is not None else "gone"
                message = f"The operation is invalid for the node's current state, which is {state}."
                raise BatchError(HTTPStatus.CONFLICT, "OperationInvalidForCurrentState", message)
            wanted = {"disablescheduling": "disabled", "enablescheduling": "enabled"}.get(action)
            if wanted is not None and current.properties["schedulingState"] == wanted:
                message = f"Scheduling of the node is {wanted} already."
                raise BatchError(HTTPStatus.CONFLICT, "NodeAlreadyInTargetSchedulingState", message)
            act(current)
            self._nodes.wake_after_commit()
        pool = node.id.rsplit("/", 3)[1]
        return BatchAnswer(status, about=f"pools/{pool}/nodes/{node.name}/{action}")

    def _require(self, pool: Resource, name: str) -> Resource:
        node = self._store.get(f"{pool.id}/nodes/{name}")
        if node is None:
            raise missing("Node", name)
        return node

    def _shown(self, node: Resource, asked: Asked) -> Json:
        properties = node.properties
        pool = node.id.rsplit("/", 3)[1]
        shown: Json = {
            "id": node.name,
            "url": f"{asked.endpoint}/pools/{pool}/nodes/{node.name}",
            "state": node.state,
            "schedulingState": properties["schedulingState"],
            "stateTransitionTime": properties["stateTransitionTime"],
            "allocationTime": properties["allocationTime"],
            "ipAddress": properties["ipAddress"],
            "affinityId": f"TVM:{node.name}",
            "vmSize": properties["hardwareProfile"]["vmSize"].lower(),
            "totalTasksRun": 0,
            "totalTasksSucceeded": 0,
            "runningTasksCount": 0,
            "runningTaskSlotsCount": 0,
            "isDedicated": properties["isDedicated"],
            "endpointConfiguration": {"inboundEndpoints": []},
            "virtualMachineInfo": {
                "imageReference": wire.to_wire(properties["storageProfile"]["imageReference"], "imageReference")
            },
        }
        if "lastBootTime" in properties:
            booted = properties["lastBootTime"]
            shown |= {"lastBootTime": booted, "nodeAgentInfo": {"version": _AGENT_VERSION, "lastUpdateTime": booted}}
        if "startTask" in node.internal:
            shown["startTask"] = wire.to_wire(node.internal["startTask"], "startTask")
        if (information := self._nodes.start_task_information(node)) is not None:
            shown["startTaskInfo"] = information
        return shown

    def _list_files(self, asked: Asked, node: Resource) -> BatchAnswer:
        root = root_of(self._machines.files(node.name).root)
        deep = asked.query.get("recursive", "").lower() == "true"
        paths = sorted(root.rglob("*") if deep else root.glob("*")) if root.is_dir() else []
        pool = node.id.rsplit("/", 3)[1]
        place = f"pools/{pool}/nodes/{node.name}/files"
        members = [_described(path, root, f"{asked.endpoint}/{place}") for path in paths]
        found = page(filtered(members, asked.query.get("$filter")), asked.query, asked.next_page(place))
        return BatchAnswer(HTTPStatus.OK, {"odata.metadata": f"{asked.endpoint}/$metadata#files", **found})

    def _file(self, asked: Asked, node: Resource, name: str) -> BatchAnswer:
        root = root_of(self._machines.files(node.name).root).resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or not path.exists():
            raise missing("File", name)
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        headers = {
            "ocp-batch-file-isdirectory": str(path.is_dir()).lower(),
            "ocp-batch-file-url": f"{asked.endpoint}/pools/{asked.path[0]}/nodes/{node.name}/files/{name}",
            "ocp-creation-time": format_datetime(changed.replace(microsecond=0), usegmt=True),
        }
        data = b"" if path.is_dir() else path.read_bytes()
        return BatchAnswer(
            HTTPStatus.OK, _range(data, asked), None, changed.isoformat(), None, headers, "application/octet-stream"
        )


def _described(path: Path, root: Path, url: str) -> Json:
    name = path.relative_to(root).as_posix()
    found: Json = {"name": name, "url": f"{url}/{name}", "isDirectory": path.is_dir()}
    if not path.is_dir():
        status = path.stat()
        changed = datetime.fromtimestamp(status.st_mtime, UTC).isoformat().replace("+00:00", "Z")
        found["properties"] = {
            "creationTime": changed,
            "lastModified": changed,
            "contentLength": status.st_size,
            "contentType": mimetypes.guess_type(name)[0] or "application/octet-stream",
            "fileMode": f"0o{status.st_mode:o}",
        }
    return found


def _range(data: bytes, asked: Asked) -> bytes:
    """Cut out what `ocp-range` asks for: bytes=first-last."""
    wanted = asked.headers.get("ocp-range", "")
    first, dash, last = wanted.removeprefix("bytes=").partition("-")
    if not dash or not first.isdigit():
        return data
    return data[int(first) : int(last) + 1 if last.isdigit() else None]
