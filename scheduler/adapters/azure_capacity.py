"""What the adapters of `Capacity` have in common: how patient their clients are, and which instances may be removed."""

from typing import Any

from azure.core.pipeline.policies import RetryPolicy

from scheduler.model import Instance, InstanceState

# A step must not be blocked for minutes: the next step is the retry. Only a broken connection is tried once more.
CONNECTION_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30


def retry_policy() -> RetryPolicy[Any, Any]:
    """Make the retry policy of one client."""
    return RetryPolicy(retry_total=1, retry_connect=1, retry_read=0, retry_status=0)


def still_there(listed: tuple[Instance, ...], instance_ids: tuple[str, ...]) -> list[str]:
    """Give those of the instances that are listed and not going already; the services refuse ids that are gone."""
    return [
        instance.instance_id
        for instance in listed
        if instance.instance_id in instance_ids and instance.state is not InstanceState.DELETING
    ]
