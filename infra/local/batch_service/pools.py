"""Pools in the Batch service: the same pools as the resource manager's, in the service's own words."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from infra.catalog import IMAGES, Image
from infra.local.arm.addresses import parse
from infra.local.arm.manager import Conditions, ResourceManager
from infra.local.arm.store import Resource, Store
from infra.local.batch_service import wire
from infra.local.batch_service.answers import Asked, BatchAnswer, check_conditions, etag_of
from infra.local.batch_service.errors import BatchError, invalid_body, missing, not_here
from infra.local.batch_service.listing import filtered, page, selected
from infra.local.services.batch.allocation import BatchAllocation, Target, fixed_scale
from infra.local.services.batch.nodes import POOL, BatchNodes
from infra.local.services.batch.pools import BatchPools, resize_timeout, whole_number
from node_bootstrap.render import OperatingSystem

Json = dict[str, Any]

_LARGEST_REMOVAL = 100  # docs: Pool - Remove Nodes
_UPDATABLE = (
    wire.POOL_PROPERTIES
    - {"id", "targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout"}
    - {
        "enableAutoScale",
        "autoScaleFormula",
        "autoScaleEvaluationInterval",
    }
)
_REPLACED = ("startTask", "metadata", "applicationPackageReferences", "certificateReferences")


class PoolService:
    """Answers what is asked about pools."""

    def __init__(
        self,
        store: Store,
        manager: ResourceManager,
        pools: BatchPools,
        nodes: BatchNodes,
        allocation: BatchAllocation,
    ) -> None:
        self._store = store
        self._manager = manager
        self._pools = pools
        self._nodes = nodes
        self._allocation = allocation

    def answer(self, asked: Asked) -> BatchAnswer:
        """Answer a request for `/pools…`."""
        match asked.method, [part.lower() for part in asked.path[1:]], len(asked.path):
            case "GET", _, 0:
                return self._list(asked)
            case "POST", _, 0:
                return self._add(asked)
            case "GET" | "HEAD", [], 1:
                return self._get(asked)
            case "PATCH", [], 1:
                return self._update(asked, _UPDATABLE)
            case "DELETE", [], 1:
                return self._delete(asked)
            case "POST", [action], 2:
                return self._act(asked, action)
        message = "The resource doesn't support the specified HTTP verb."
        raise BatchError(HTTPStatus.METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message)

    def supported_images(self, asked: Asked) -> BatchAnswer:
        """List the images that pools can have."""
        known = (_supported(image) for image in IMAGES.values() if image.node_agent)
        images = filtered(known, asked.query.get("$filter"))
        found = page(images, asked.query, asked.next_page("supportedimages"))
        return BatchAnswer(HTTPStatus.OK, {"odata.metadata": f"{asked.endpoint}/$metadata#supportedimages", **found})

    def _list(self, asked: Asked) -> BatchAnswer:
        with self._store.transaction():
            members = [self._shown(pool, asked) for pool in self._store.find(POOL, asked.account.id)]
        found = page(filtered(members, asked.query.get("$filter")), asked.query, asked.next_page("pools"))
        return BatchAnswer(HTTPStatus.OK, {"odata.metadata": f"{asked.endpoint}/$metadata#pools", **found})

    def _get(self, asked: Asked) -> BatchAnswer:
        with self._store.transaction():
            pool = self._require(asked, reads=True)
            shown = selected(self._shown(pool, asked), asked.query.get("$select"))
        body = {"odata.metadata": f"{asked.endpoint}/$metadata#pools/@Element", **shown}
        return BatchAnswer(HTTPStatus.OK, body, etag_of(pool), pool.internal["modified"])

    def _add(self, asked: Asked) -> BatchAnswer:
        body = _known(asked.body, wire.POOL_PROPERTIES)
        name = body.get("id")
        if not isinstance(name, str) or not name:
            raise invalid_body("Required property 'id' is missing.", "id")
        identifier = f"{asked.account.id}/pools/{name}"
        if self._store.get(identifier) is not None:
            raise BatchError(HTTPStatus.CONFLICT, "PoolExists", "The specified pool already exists.")
        self._manager.write(parse(identifier), wire.pool_to_arm(body), Conditions(), patch=False)
        return self._changed(identifier, HTTPStatus.CREATED)

    def _update(self, asked: Asked, allowed: frozenset[str]) -> BatchAnswer:
        body = _known(asked.body, allowed)
        with self._store.transaction():
            pool = self._require(asked)
            self._manager.write(parse(pool.id), wire.pool_to_arm(body), Conditions(), patch=True)
        return self._changed(pool.id, HTTPStatus.OK)

    def _replace(self, asked: Asked) -> BatchAnswer:
        """Replace what a start task, metadata and packages are; what is left out is removed."""
        body = _known(asked.body, frozenset(_REPLACED) | {"targetNodeCommunicationMode"})
        properties = wire.pool_to_arm(body)["properties"]
        properties.setdefault("startTask", None)
        properties.setdefault("metadata", None)
        properties.setdefault("applicationPackages", None)
        with self._store.transaction():
            pool = self._require(asked)
            self._manager.write(parse(pool.id), {"properties": properties}, Conditions(), patch=True)
        return self._changed(pool.id, HTTPStatus.NO_CONTENT)

    def _delete(self, asked: Asked) -> BatchAnswer:
        with self._store.transaction():
            pool = self._require(asked)
            if pool.state == "Deleting":
                raise _deleting()
            self._manager.delete(parse(pool.id), Conditions())
        return BatchAnswer(HTTPStatus.ACCEPTED)

    def _act(self, asked: Asked, action: str) -> BatchAnswer:
        if action == "updateproperties":
            return self._replace(asked)
        if action in {"enableautoscale", "evaluateautoscale"}:
            raise not_here("automatic scaling by formula")
        acts: dict[str, Callable[[Resource, Json], None]] = {
            "resize": self._resize,
            "stopresize": lambda pool, _body: self._allocation.stop(pool),
            "removenodes": self._remove_nodes,
            "disableautoscale": _require_fixed,
        }
        if action not in acts:
            message = "The requested URI does not represent any resource on the server."
            raise BatchError(HTTPStatus.BAD_REQUEST, "InvalidUri", message)
        with self._store.transaction():
            pool = self._require(asked)
            if pool.state == "Deleting":
                raise _deleting()
            acts[action](pool, asked.body or {})
        status = HTTPStatus.OK if action == "disableautoscale" else HTTPStatus.ACCEPTED
        return self._changed(pool.id, status)

    def _resize(self, pool: Resource, body: Json) -> None:
        _require_fixed(pool, body)
        if "targetDedicatedNodes" not in body and "targetLowPriorityNodes" not in body:
            raise invalid_body("Say targetDedicatedNodes or targetLowPriorityNodes.", "targetDedicatedNodes")
        scale = fixed_scale(pool)
        target = Target(
            whole_number(body.get("targetDedicatedNodes", scale["targetDedicatedNodes"]), "targetDedicatedNodes"),
            whole_number(body.get("targetLowPriorityNodes", scale["targetLowPriorityNodes"]), "targetLowPriorityNodes"),
            resize_timeout(body.get("resizeTimeout")),
            _deallocation(body),
        )
        self._allocation.begin(pool, target)

    def _remove_nodes(self, pool: Resource, body: Json) -> None:
        _require_fixed(pool, body)
        names = body.get("nodeList")
        if not isinstance(names, list) or not names:
            raise invalid_body("Required property 'nodeList' is missing or empty.", "nodeList")
        if len(names) > _LARGEST_REMOVAL:
            raise invalid_body(f"nodeList has {len(names)} nodes, more than {_LARGEST_REMOVAL}.", "nodeList")
        known = {node.name.lower(): node for node in self._nodes.of_pool(pool.id)}
        for name in names:
            if str(name).lower() not in known:
                raise missing("Node", str(name))
        doomed = [known[name] for name in dict.fromkeys(str(name).lower() for name in names)]
        self._allocation.remove(pool, doomed, resize_timeout(body.get("resizeTimeout")), _deallocation(body))

    def _require(self, asked: Asked, *, reads: bool = False) -> Resource:
        pool = self._store.get(f"{asked.account.id}/pools/{asked.path[0]}")
        if pool is None:
            raise missing("Pool", asked.path[0])
        check_conditions(asked.headers, etag_of(pool), pool.internal["modified"], reads=reads)
        return pool

    def _changed(self, identifier: str, status: HTTPStatus) -> BatchAnswer:
        pool = self._store.get(identifier)
        if pool is None:
            return BatchAnswer(status)
        return BatchAnswer(status, None, etag_of(pool), pool.internal["modified"], f"pools/{pool.name}")

    def _shown(self, pool: Resource, asked: Asked) -> Json:
        arm = self._pools.view(pool, {})
        properties = arm["properties"]
        return {
            "id": pool.name,
            "url": f"{asked.endpoint}/pools/{pool.name}",
            "eTag": etag_of(pool),
            "lastModified": properties["lastModified"],
            "creationTime": properties["creationTime"],
            "state": "deleting" if pool.state == "Deleting" else "active",
            "stateTransitionTime": properties["provisioningStateTransitionTime"],
            "allocationState": properties["allocationState"].lower(),
            "allocationStateTransitionTime": properties["allocationStateTransitionTime"],
        } | wire.pool_to_wire(arm)


def _known(body: Json | None, allowed: frozenset[str]) -> Json:
    """Refuse a body with a property that there is not."""
    if not body:
        raise invalid_body("The request has no body.")
    for name in body:
        if name not in allowed and not name.startswith("odata."):
            raise invalid_body(f"The property '{name}' does not exist here or cannot be changed.", name)
    return body


def _require_fixed(pool: Resource, _body: Json) -> None:
    if "autoScale" in pool.properties["scaleSettings"]:
        message = "The operation is invalid while the pool is scaled by a formula."
        raise BatchError(HTTPStatus.CONFLICT, "OperationInvalidForCurrentState", message)


def _deallocation(body: Json) -> str:
    option = wire.to_arm(body.get("nodeDeallocationOption") or "requeue", "nodeDeallocationOption")
    if option not in {"Requeue", "Terminate", "TaskCompletion", "RetainedData"}:
        raise invalid_body(f"'{option}' is no nodeDeallocationOption.", "nodeDeallocationOption")
    return str(option)


def _deleting() -> BatchError:
    return BatchError(HTTPStatus.CONFLICT, "PoolBeingDeleted", "The specified pool is being deleted.")


def _supported(image: Image) -> Json:
    windows = image.system is OperatingSystem.WINDOWS
    end = {"batchSupportEndOfLife": f"{image.end_of_life.isoformat()}T00:00:00Z"} if image.end_of_life else {}
    containers = {"capabilities": ["DockerCompatible"]} if "containers" in image.sku.lower() else {}
    return {
        "nodeAgentSKUId": image.node_agent,
        "imageReference": {
            "publisher": image.publisher,
            "offer": image.offer,
            "sku": image.sku,
            "version": image.version,
        },
        "osType": "windows" if windows else "linux",
        "verificationType": "verified",
    } | {**containers, **end}
