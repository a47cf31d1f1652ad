"""Deployments of templates, through the official client's plain requests."""

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from infra.local.services.resources.deployment_records import output_name
from tests.infra.local.conftest import GROUP, RunningAzure

VERSION = "2024-11-01"


class Deployer:
    """Sends templates to a running local Azure."""

    def __init__(self, running: RunningAzure) -> None:
        self._running = running
        self.base = f"{running.group}/providers/Microsoft.Resources/deployments"

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the answer."""
        url = f"{self._running.azure.arm_url}{path}?api-version={VERSION}"
        request = HttpRequest(
            method, url, json=body, headers={"Authorization": f"Bearer {self._running.azure.token()}"}
        )
        return self._running.resources.send_request(request)

    def deploy(self, name: str, template: dict[str, Any], **properties: Any) -> Any:
        """Deploy a template and return how the deployment ends."""
        body = {"properties": {"mode": "Incremental", "template": template} | properties}
        operations = self._running.resources.resources
        poller = operations.begin_create_or_update_by_id(f"{self.base}/{name}", body, api_version=VERSION)
        return poller.result()

    def refused(self, template: dict[str, Any], **properties: Any) -> HttpResponseError:
        """Return the refusal of a template."""
        with pytest.raises(HttpResponseError) as raised:
            self.deploy("refused", template, **properties)
        return raised.value


def template(*resources: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """Return a template."""
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    return {"$schema": schema, "contentVersion": "1.0.0.0", "resources": list(resources)} | parts


def group(name: str, **parts: Any) -> dict[str, Any]:
    """Return a security group in a template."""
    kind = {"type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2024-05-01"}
    return kind | {"name": name, "location": "[resourceGroup().location]"} | parts


def network(name: str, uses: str, **parts: Any) -> dict[str, Any]:
    """Return a network in a template whose subnet uses a security group."""
    used = {"id": f"[resourceId('Microsoft.Network/networkSecurityGroups', '{uses}')]"}
    subnet = {"name": "a", "properties": {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": used}}
    properties = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
    kind = {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2024-05-01"}
    return kind | {"name": name, "location": "westeurope", "properties": properties} | parts


@pytest.fixture
def deployer(running: RunningAzure) -> Deployer:
    """Return what sends templates."""
    return Deployer(running)


def test_resources_are_made_in_order_and_outputs_told(deployer: Deployer) -> None:
    """What depends on another comes after it, whatever the order of the text, and outputs look at what was made."""
    outputs = {"NSGRules": {"type": "int", "value": "[length(reference('rules').defaultSecurityRules)]"}}
    parts: dict[str, Any] = {"outputs": outputs, "parameters": {"name": {"type": "string", "defaultValue": "net"}}}
    depends = {"dependsOn": ["[resourceId('Microsoft.Network/networkSecurityGroups', 'rules')]"]}
    deployed = deployer.deploy(
        "one", template(network("[parameters('name')]", "rules", **depends), group("rules"), **parts)
    )
    properties = deployed.properties
    assert properties["provisioningState"] == "Succeeded"
    assert properties["outputs"] == {"nsgRules": {"type": "Int", "value": 6}}
    made = [resource["id"].rsplit("/", 1)[1] for resource in properties["outputResources"]]
    assert made == ["rules", "net"]
    operations = deployer.send("GET", f"{deployer.base}/one/operations").json()["value"]
    assert {found["properties"]["provisioningState"] for found in operations} == {"Succeeded"}
    listed = deployer.send("GET", deployer.base).json()["value"]
    assert [found["name"] for found in listed] == ["one"]
    assert "template" not in listed[0]["properties"]


def test_copies_conditions_and_children_are_expanded(deployer: Deployer, running: RunningAzure) -> None:
    """A loop makes as many as it says, a condition leaves out, a child is made in its parent, a variable may loop."""
    rule = {
        "type": "securityRules",
        "apiVersion": "2024-05-01",
        "name": "deny",
        "properties": {"priority": 100, "direction": "Inbound", "access": "Deny", "protocol": "*"}
        | {f"{end}AddressPrefix": "*" for end in ("source", "destination")}
        | {f"{end}PortRange": "*" for end in ("source", "destination")},
    }
    loop = {"name": "groups", "count": "[length(variables('names'))]"}
    names = {"copy": [{"name": "names", "count": 2, "input": "[format('n{0}', copyIndex('names', 1))]"}]}
    deployer.deploy(
        "one",
        template(
            group("[variables('names')[copyIndex()]]", copy=loop),
            group("left-out", condition="[equals(1, 2)]"),
            group("parent", resources=[rule], dependsOn=["groups"]),
            variables=names,
        ),
    )
    listed = [found.name for found in running.resources.resources.list_by_resource_group(GROUP)]
    assert listed == ["n1", "n2", "parent"]
    parent = running.resources.resources.get_by_id(
        f"{running.group}/providers/Microsoft.Network/networkSecurityGroups/parent", api_version="2024-05-01"
    )
    assert [found["name"] for found in parent.properties["securityRules"]] == ["deny"]


def test_secure_parameters_are_not_shown(deployer: Deployer) -> None:
    """The value of a secure parameter is in no answer."""
    parameters = {"secret": {"type": "securestring"}}
    given = {"secret": {"value": "hidden-value"}}
    deployed = deployer.deploy("one", template(parameters=parameters), parameters=given)
    assert deployed.properties["parameters"] == {"secret": {"type": "SecureString"}}


def test_wrong_templates_are_refused_before_anything_is_made(deployer: Deployer, running: RunningAzure) -> None:
    """Circles, unknown names, missing and wrong parameters are told with 400 InvalidTemplate."""
    size = {"parameters": {"size": {"type": "int", "maxValue": 3}}}
    wrong = {
        "Circular dependency": template(group("a", dependsOn=["b"]), group("b", dependsOn=["a"])),
        "is not defined": template(group("a", dependsOn=["none"])),
        "not known": template(group("[lower('A')]")),
        "defined multiple times": template(group("a"), group("A")),
        "is not provided": template(**size),
        "segment length": template(group("a/b")),
    }
    for part, content in wrong.items():
        error = deployer.refused(content)
        assert error.status_code == 400
        assert error.error is not None
        assert error.error.code == "InvalidTemplate"
        assert part in error.message
    assert "imum of 3" in deployer.refused(template(**size), parameters={"size": {"value": 4}}).message
    answer = deployer.send("POST", f"{deployer.base}/x/validate", {"properties": {"template": wrong["not known"]}})
    assert answer.status_code == 400
    assert not list(running.resources.resources.list_by_resource_group(GROUP))


def test_a_failing_resource_fails_the_deployment(deployer: Deployer) -> None:
    """What a resource's type refuses is told in the details, and the operations say which it was."""
    error = deployer.refused(template(network("net", "none")))
    assert error.error is not None
    assert error.error.code == "DeploymentFailed"
    assert error.error.details
    assert error.error.details[0].code == "InvalidResourceReference"
    operations = deployer.send("GET", f"{deployer.base}/refused/operations").json()["value"]
    assert operations[0]["properties"]["statusMessage"]["error"]["code"] == "InvalidResourceReference"


def test_mode_complete_removes_what_the_template_leaves_out(deployer: Deployer, running: RunningAzure) -> None:
    """After a complete deployment the group has what the template declares."""
    deployer.deploy("one", template(group("a"), group("b")))
    deployer.deploy("two", template(group("b")), mode="Complete")
    for found in running.resources.resources.list_by_resource_group(GROUP):
        assert found.name == "b" or found.properties is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [("VMSS", "vmss"), ("VnetId", "vnetId"), ("NSGRules", "nsgRules"), ("a", "a"), ("publicIP", "publicIP"), ("", "")],
)
def test_outputs_have_the_services_names(name: str, shown: str) -> None:
    """The capitals at the begin of an output's name are lowered as recorded answers show."""
    assert output_name(name) == shown
