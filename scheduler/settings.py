"""What the scheduler needs to know of a deployment: published by `pulumi up`, read by the scheduler.

The program writes one `SchedulerSettings` as JSON to `settings.json` in the `scheduler` container and names its
address in the stack output `scheduler_settings_url`. The scheduler reads it again whenever its ETag changes, so that
a new generation of a node group is taken up without a restart.
"""

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from scheduler.errors import InvalidRequestError
from scheduler.model import NodeGroup
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy

SETTINGS_BLOB = "settings.json"
LEADER_BLOB = "leader.json"

# A field with a default may be added without another version: older schedulers do without it, newer ones take the
# default for older settings. What older ones would misread takes the next one.
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class PoolSettings:
    """A pool: its policy and the current generation of each of its node groups.

    `shadow` is a policy that is only proposed: it is decided by, too, and nothing is done.
    """

    name: str
    policy: ScalingPolicy
    groups: tuple[NodeGroup, ...]
    shadow: ScalingPolicy | None = None


@dataclass(frozen=True)
class SchedulerSettings:
    """Everything that the scheduler reads of a deployment; no secret is in it.

    `batch_endpoint` is the https address of the Batch account, named where some pool has groups of kind `batch`.
    """

    environment: str
    subscription_id: str
    resource_group: str
    location: str
    resource_manager: str
    blob_endpoint: str
    queue_endpoint: str
    storage_account: str
    pools: tuple[PoolSettings, ...]
    schema_version: int = SCHEMA_VERSION
    batch_endpoint: str | None = None
    batch_account: str | None = None
    limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class _Heading:
    schema_version: int = SCHEMA_VERSION


_ADAPTER = TypeAdapter(SchedulerSettings)
_HEADING = TypeAdapter(_Heading)


def dump_settings(settings: SchedulerSettings) -> str:
    """Write settings as JSON."""
    return _ADAPTER.dump_json(settings, indent=2).decode()


def load_settings(text: str | bytes) -> SchedulerSettings:
    """Read settings; `InvalidRequestError` says what is wrong with them."""
    try:
        version = _HEADING.validate_json(text).schema_version
        if version != SCHEMA_VERSION:
            raise InvalidRequestError(
                f"the scheduler settings have version {version}, and this scheduler reads {SCHEMA_VERSION}: run "
                "`millpond up` and the scheduler of one version of Millpond"
            )
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise InvalidRequestError(f"the scheduler settings cannot be read; run `millpond up` again: {error}") from error
