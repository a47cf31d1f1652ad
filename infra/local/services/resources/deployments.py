"""Deployments of templates: what a template declares is made through the resource manager, in order."""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from infra.local.arm import regions
from infra.local.arm.addresses import group_of, parse, subscription_of
from infra.local.arm.errors import ArmError, conflict, invalid, not_found, unsupported
from infra.local.arm.manager import Conditions, ResourceManager
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Status, Store
from infra.local.arm.subscription import Names, SubscriptionRoute
from infra.local.services.resources.deployment_records import operation_records, output_name, shown_parameters
from infra.local.templates.evaluation import Evaluator, NotYetError, Place
from infra.local.templates.expressions import TemplateError
from infra.local.templates.plan import Planned, find, parameters_of, plan
from infra.local.tokens import Principal

Json = dict[str, Any]

DEPLOYMENT = "Microsoft.Resources/deployments"

_LOOK_AGAIN_SECONDS = 0.1
_NAME = re.compile(r"[-\w._()]{1,64}")
_PATTERN = "{*scope}/providers/Microsoft.Resources/deployments/{name}"
_FAILED = (
    "At least one resource deployment operation failed. Please list deployment operations for details. Please see"
    " https://aka.ms/arm-deployment-operations for usage details."
)


class Deployments:
    """The type of deployments; `manager` is asked for when the first template is deployed."""

    def __init__(self, store: Store, manager: Callable[[], ResourceManager], user: Principal, tenant_id: str) -> None:
        self._store = store
        self._manager = manager
        self._user = user
        self._tenant_id = tenant_id

    def types(self) -> tuple[ResourceType, ...]:
        """Return the type."""
        return (
            ResourceType(
                DEPLOYMENT,
                prepare=self._prepare,
                provision=self._step,
                actions={"cancel": self._cancel, "exportTemplate": _export},
                views={"operations": lambda deployment: {"value": operation_records(deployment)}},
                follow_create=Follow.STATUS,
                follow_update=Follow.STATUS,
                follow_delete=Follow.LOCATION,
                creating_state="Accepted",
                tracked=False,
            ),
        )

    def routes(self) -> tuple[SubscriptionRoute, ...]:
        """Return the questions about deployments that need not exist, and the other addresses of their operations."""
        old = "/subscriptions/{subscription}/resourceGroups/{group}/deployments/{name}/operations"
        return (
            SubscriptionRoute("POST", f"{_PATTERN}/validate", self._validate),
            SubscriptionRoute("GET", f"{_PATTERN}/operations/{{operation}}", self._operation),
            SubscriptionRoute("GET", old, self._operations),
            SubscriptionRoute("GET", f"{old}/{{operation}}", self._operation),
        )

    def _prepare(self, write: Write) -> None:
        resource = write.resource
        if self._store.unfinished(resource.id, "write"):
            message = f"The deployment '{resource.name}' is running; wait for its end or cancel it."
            raise conflict("DeploymentActive", message)
        template, planned, evaluator = self._read(resource.id, resource.body)
        properties = resource.properties
        mode = _mode(resource.body)
        resource.internal = {
            "template": template,
            "given": properties.get("parameters") or {},
            "steps": {},
            "started": time.time(),
        }
        resource.body["properties"] = {
            "mode": mode,
            "templateHash": str(int(hashlib.sha256(json.dumps(template).encode()).hexdigest()[:15], 16)),
            "parameters": shown_parameters(template, evaluator.parameters),
            "timestamp": _now(),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "providers": _providers(planned),
            "dependencies": [_dependency(found, planned) for found in planned if found.after],
        }

    def _read(self, identifier: str, body: Json) -> tuple[Json, list[Planned], Evaluator]:
        """Check a deployment's body; refuse what cannot be right before anything is made."""
        name = identifier.rsplit("/", 1)[1]
        if not _NAME.fullmatch(name):
            message = f"The deployment name '{name}' is not 1 to 64 letters, digits and '-', '.', '_', '(' or ')'."
            raise invalid(message, code="InvalidDeploymentName")
        properties = body.get("properties") or {}
        if properties.get("templateLink"):
            raise unsupported("way to read a template by a link; send it as 'properties.template'")
        template = properties.get("template")
        if not isinstance(template, dict) or "resources" not in template:
            message = "The request needs 'properties.template', a template with 'resources'."
            raise invalid(message, "properties.template", "InvalidTemplate")
        if _mode(body) not in {"Incremental", "Complete"}:
            message = f"The deployment mode '{properties['mode']}' is neither Incremental nor Complete."
            raise invalid(message, "properties.mode", "InvalidRequestContent")
        if group_of(identifier) is None and not body.get("location"):
            message = "The 'location' property must be specified for a deployment at subscription scope."
            raise invalid(message, "location", "LocationRequired")
        try:
            evaluator, planned = self._planned(identifier, template, properties.get("parameters") or {}, body)
            for found in planned:
                _check_now(found, evaluator)
        except TemplateError as error:
            raise invalid(f"Deployment template validation failed: '{error}'.", code="InvalidTemplate") from error
        return template, planned, evaluator

    def _planned(self, identifier: str, template: Json, given: Json, body: Json) -> tuple[Evaluator, list[Planned]]:
        evaluator = Evaluator(self._place(identifier, template, body), api_versions=regions.api_versions)
        parameters = parameters_of(template, given, evaluator)
        evaluator = replace(evaluator, parameters=parameters, variables=_variables(template))
        return evaluator, plan(template, evaluator)

    def _place(self, identifier: str, template: Json, body: Json) -> Place:
        subscription = subscription_of(identifier)
        group_id = group_of(identifier)
        group = self._store.get(group_id) if group_id else None
        if group_id and group is None:
            name = group_id.rsplit("/", 1)[1]
            raise not_found(f"Resource group '{name}' could not be found.", "ResourceGroupNotFound")
        deployment = {
            "name": identifier.rsplit("/", 1)[1],
            "location": body.get("location"),
            "properties": {"template": template, "templateHash": "", "mode": "Incremental"},
        }
        shown = {"id": group.id, "name": group.name, "type": "Microsoft.Resources/resourceGroups"} if group else {}
        return Place(
            {
                "id": f"/subscriptions/{subscription}",
                "subscriptionId": subscription,
                "tenantId": self._tenant_id,
                "displayName": "Local Azure",
            },
            {"tenantId": self._tenant_id, "displayName": "Local Azure", "countryCode": "US"},
            shown | group.body if group else None,
            deployment,
        )

    def _step(self, deployment: Resource, _payload: Json) -> float | None:
        """Make what can be made now; its progress is kept, so that a restart goes on."""
        internal = deployment.internal
        evaluator, planned = self._planned(deployment.id, internal["template"], internal["given"], deployment.body)
        evaluator = self._looking(evaluator, planned)
        steps = internal["steps"]
        for found in planned:
            self._advance(found, evaluator, steps)
        deployment.state = "Running"
        failures = [step["error"] for step in steps.values() if step["state"] == "Failed"]
        running = any(step["state"] == "Running" for step in steps.values())
        if failures and not running:
            error = _failed(failures)
            deployment.properties["error"] = error.error()
            self._keep(deployment)
            raise error
        if not failures and len(steps) == len(planned) and not running:
            self._finish(deployment, evaluator, planned)
            return None
        self._keep(deployment)
        return _LOOK_AGAIN_SECONDS

    def _advance(self, found: Planned, evaluator: Evaluator, steps: Json) -> None:
        """Begin to make one resource when what it depends on is there, or look how far it is."""
        step = steps.get(found.id)
        if step is None:
            if any(steps.get(other, {}).get("state") != "Succeeded" for other in found.after):
                return
            if any(known["state"] == "Failed" for known in steps.values()):
                return
            step = steps[found.id] = {"state": "Succeeded", "type": found.type, "started": time.time(), "ended": None}
            if not found.existing:
                self._begin(found, evaluator, step)
        elif step["state"] == "Running":
            operation = self._store.operation(step["operation"])
            if operation is None or operation.status is Status.SUCCEEDED:
                step["state"] = "Succeeded"
            elif operation.status is not Status.RUNNING:
                step.update(
                    state="Failed", error=operation.error or {"code": "Canceled", "message": "It was canceled."}
                )
        if step["state"] != "Running" and step["ended"] is None:
            step["ended"] = time.time()

    def _begin(self, found: Planned, evaluator: Evaluator, step: Json) -> None:
        try:
            body = found.body(evaluator)
            answer = self._manager().write(parse(found.id), body, Conditions(), patch=False)
        except ArmError as error:
            step.update(state="Failed", error=error.error() | {"target": found.id})
        except (TemplateError, NotYetError) as error:
            step.update(state="Failed", error={"code": "InvalidTemplate", "message": str(error), "target": found.id})
        else:
            if answer.operation is not None:
                step.update(state="Running", operation=answer.operation.id)

    def _looking(self, evaluator: Evaluator, planned: list[Planned]) -> Evaluator:
        """Return an evaluator that looks at resources."""

        def identify(name: str) -> str:
            if name.startswith("/"):
                return name
            targets = find(name, planned)
            if not targets:
                raise TemplateError(f"The resource '{name}' of a reference is not defined in the template.")
            return targets[0].id

        def reference(name: str, _version: str = "", form: str = "") -> Any:
            try:
                body = self._manager().get(parse(identify(name)), {}).body or {}
            except ArmError as error:
                raise TemplateError(f"The reference to '{name}' failed: {error.message}") from error
            return body if form.lower() == "full" else body.get("properties", {})

        def list_action(action: str, name: str, _version: str = "", sent: Any = None) -> Any:
            try:
                target = parse(f"{identify(name)}/{action}")
                return self._manager().act(target, sent or {}, {}, self._user).body
            except ArmError as error:
                raise TemplateError(f"The function '{action}' on '{name}' failed: {error.message}") from error

        return replace(evaluator, reference=reference, list_action=list_action)

    def _finish(self, deployment: Resource, evaluator: Evaluator, planned: list[Planned]) -> None:
        try:
            outputs = _outputs(deployment.internal["template"], evaluator)
        except TemplateError as error:
            message = f"The template output evaluation failed: '{error}'."
            raise invalid(message, code="DeploymentOutputEvaluationFailed") from error
        made = [found.id for found in planned if not found.existing]
        deployment.properties["outputs"] = outputs
        deployment.properties["outputResources"] = [{"id": identifier} for identifier in made]
        self._keep(deployment)
        if deployment.properties["mode"] == "Complete":
            self._remove_others(deployment, {identifier.lower() for identifier in made})

    def _remove_others(self, deployment: Resource, made: set[str]) -> None:
        """Delete what the group has and the template has not, as mode Complete asks for."""
        group = group_of(deployment.id)
        for resource in self._store.find(under=group) if group else []:
            kept = resource.key in made or resource.type.startswith(
                ("microsoft.resources/", "microsoft.authorization/")
            )
            if not kept and resource.type.count("/") == 1:
                self._manager().delete(parse(resource.id), Conditions())

    def _keep(self, deployment: Resource) -> None:
        """Save progress, unless the deployment was deleted or sent anew meanwhile."""
        took = time.time() - deployment.internal["started"]
        deployment.properties.update(timestamp=_now(), duration=f"PT{took:.7f}S")
        with self._store.transaction():
            current = self._store.get(deployment.id)
            if current is not None and current.internal.get("started") == deployment.internal["started"]:
                self._store.save(deployment, changed=False)

    def _cancel(self, call: Call) -> Reply:
        running = self._store.unfinished(call.resource.id, "write")
        if not running:
            message = f"The deployment '{call.resource.name}' is not running; there is nothing to cancel."
            raise conflict("DeploymentCannotBeCancelled", message)
        error = {"code": "DeploymentCanceled", "message": "The deployment was canceled."}
        for operation in running:
            self._store.finish(operation.id, Status.CANCELED, error, 409)
        call.resource.state = "Canceled"
        self._store.save(call.resource)
        return Reply(status=HTTPStatus.NO_CONTENT)

    def _validate(self, names: Names, _query: Query, body: Json) -> Json:
        sent = parse(f"{names['scope']}/providers/{DEPLOYMENT}/{names['name']}").address
        identifier = sent.id if sent else ""
        template, planned, evaluator = self._read(identifier, body)
        properties = {
            "mode": _mode(body),
            "templateHash": str(int(hashlib.sha256(json.dumps(template).encode()).hexdigest()[:15], 16)),
            "parameters": shown_parameters(template, evaluator.parameters),
            "provisioningState": "Succeeded",
            "timestamp": _now(),
            "duration": "PT0S",
            "correlationId": str(uuid.uuid4()),
            "providers": _providers(planned),
            "dependencies": [_dependency(found, planned) for found in planned if found.after],
            "validatedResources": [{"id": found.id} for found in planned],
        }
        return {"id": identifier, "name": names["name"], "type": DEPLOYMENT, "properties": properties}

    def _find(self, names: Names) -> Resource:
        scope = names.get("scope") or f"/subscriptions/{names['subscription']}/resourceGroups/{names['group']}"
        deployment = self._store.get(f"{scope}/providers/{DEPLOYMENT}/{names['name']}")
        if deployment is None:
            raise not_found(f"Deployment '{names['name']}' could not be found.", "DeploymentNotFound")
        return deployment

    def _operations(self, names: Names, _query: Query, _body: Json) -> Json:
        return {"value": operation_records(self._find(names))}

    def _operation(self, names: Names, _query: Query, _body: Json) -> Json:
        for record in operation_records(self._find(names)):
            if record["operationId"].lower() == names["operation"].lower():
                return record
        message = f"Deployment operation '{names['operation']}' could not be found."
        raise not_found(message, "DeploymentOperationNotFound")


def _mode(body: Json) -> str:
    return str((body.get("properties") or {}).get("mode", "Incremental")).capitalize()


def _check_now(found: Planned, evaluator: Evaluator) -> None:
    """Work out what can be known before anything is made, to find mistakes."""
    try:
        found.body(evaluator)
    except NotYetError:
        return


def _variables(template: Json) -> Json:
    """Return the variables as they are written; a `copy` among them makes arrays, which are worked out when used."""
    variables = dict(template.get("variables") or {})
    for loop in variables.pop("copy", []):
        name = loop["name"]
        variables[name] = (loop,)
    return variables


def _outputs(template: Json, evaluator: Evaluator) -> Json:
    outputs: Json = {}
    for name, output in (template.get("outputs") or {}).items():
        if not evaluator.value(output.get("condition", True)):
            continue
        kind = str(output.get("type", "object"))
        shown = {"type": kind[:1].upper() + kind[1:]}
        if not kind.lower().startswith("secure"):
            shown["value"] = evaluator.value(output.get("value"))
        outputs[output_name(name)] = shown
    return outputs


def _failed(failures: list[Json]) -> ArmError:
    error = conflict("DeploymentFailed", _FAILED)
    error.details = failures
    return error


def _providers(planned: list[Planned]) -> list[Json]:
    kinds: dict[str, dict[str, list[Any]]] = {}
    for found in planned:
        namespace, _, kind = found.type.partition("/")
        location = found.evaluator.value(found.raw["location"]) if isinstance(found.raw.get("location"), str) else None
        places = kinds.setdefault(namespace, {}).setdefault(kind, [])
        if location not in places:
            places.append(location)
    return [
        {
            "namespace": namespace,
            "resourceTypes": [{"resourceType": kind, "locations": places} for kind, places in found.items()],
        }
        for namespace, found in kinds.items()
    ]


def _dependency(found: Planned, planned: list[Planned]) -> Json:
    def described(one: Planned) -> Json:
        return {"id": one.id, "resourceType": one.type, "resourceName": one.name}

    known = {one.id: one for one in planned}
    return {"dependsOn": [described(known[other]) for other in found.after if other in known]} | described(found)


def _export(call: Call) -> Reply:
    return Reply({"template": call.resource.internal["template"]})


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
