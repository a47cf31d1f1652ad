"""The resource group of an environment, which is never replaced: everything that the environment has is in it."""

from collections.abc import Mapping
from functools import partial

import pulumi
from pulumi_azure_native import authorization, resources

from infra import naming
from infra.components.placement import Placement

ENVIRONMENT_TAG = "millpond-environment"

# Another name or region would make the engine put a new group in the old one's place, and delete that with all data.
FIXED = ["resourceGroupName", "location"]


def declare_environment(
    environment: str,
    location: str,
    declared_tags: Mapping[str, str],
    client: pulumi.Output[authorization.GetClientConfigResult],
    *,
    protect: bool,
) -> Placement:
    """Declare the group, and refuse to go on where the stack's group is another environment's or in another region."""
    name = naming.resource_group(environment)
    tags = {ENVIRONMENT_TAG: environment, **declared_tags}
    group = resources.ResourceGroup(
        "resource-group",
        resource_group_name=name,
        location=location,
        # Not the environment's: its name says it, and a wrong one is to be refused before anything is written.
        tags=declared_tags,
        opts=pulumi.ResourceOptions(ignore_changes=FIXED, protect=protect),
    )
    checked: pulumi.Output[str] = pulumi.Output.all(group.name, group.location).apply(partial(_same, name, location))
    return Placement(group, location, tags, client.subscription_id, checked)


def _same(name: str, location: str, known: list[str]) -> str:
    there, where = known
    if there.lower() != name.lower() or where.replace(" ", "").lower() != location:
        raise pulumi.RunError(
            f"this stack is the resource group {there} in {where}, and its settings say {name} in {location}. An"
            " environment is not renamed or moved: that would delete it with all data. Write the old"
            " millpond:environment and millpond:location again, or make another stack (pulumi stack init)"
        )
    return there
