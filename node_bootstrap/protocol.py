"""Wire records between scheduler and nodes: the only module that both sides import.

Standard library only, because it runs on nodes. Every record is frozen, goes to JSON with `encode` and comes back
with `decode(RecordType, text)`, which refuses what it does not understand with `ProtocolError`.
Instants on the wire are ISO 8601 in UTC; durations carry their unit in their name.

Where things lie (containers of the pool's storage account):

    bundles    <sha256>.tar.gz                                          written by `pulumi up`, read by nodes
    inputs     files/<sha256> · definitions/<sha256>.json · resolved/<sha256>.json
                                                                        written by clients and scheduler, read by nodes
    outputs    <job>/<message>/<run>/<n>.pack · <n>.manifest.json · <task>.<attempt>/<path>
                                                                        written by nodes only
    nodes      status/<node>.json · boot/<node>/<sequence>-<step>.json  written by nodes only
    control    <node>.json                                              written by the scheduler, read by nodes
    scheduler  leader.json · settings.json                              the scheduler's lease; settings from `pulumi up`
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from node_bootstrap.codec import SCHEMA_VERSION as SCHEMA_VERSION
from node_bootstrap.codec import ProtocolError as ProtocolError
from node_bootstrap.codec import decode as decode
from node_bootstrap.codec import encode as encode
from node_bootstrap.codec import sha256_hex as sha256_hex

BUNDLES = "bundles"
INPUTS = "inputs"
OUTPUTS = "outputs"
NODES = "nodes"
CONTROL = "control"
SCHEDULER = "scheduler"
CONTAINERS = (BUNDLES, INPUTS, OUTPUTS, NODES, CONTROL, SCHEDULER)

EVENTS_QUEUE = "events"

# Storage queues take 64 KiB after encoding; base64 adds a third (docs: scalability targets for queue storage).
MAX_MESSAGE_BYTES = 48 * 1024

# A lease long enough that two missed renewals do not lose it (renewed at a third).
LEASE_SECONDS = 60


class Outcome(StrEnum):
    """How one run of a task ended, as the runner saw it."""

    SUCCESS = "success"
    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    IGNORABLE = "ignorable"
    PREEMPTED = "preempted"
    NODE_FAULT = "node_fault"
    OUTPUT_LOST = "output_lost"
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    """What an event on the events queue says about its message."""

    STARTED = "started"
    FINISHED = "finished"
    RETURNED = "returned"


class NodeState(StrEnum):
    """What a node says of itself in its status blob."""

    WAITING = "waiting"
    WORKING = "working"
    DRAINING = "draining"
    DRAINED = "drained"


class Directive(StrEnum):
    """What the scheduler asks of a node in its control blob; an absent blob means wait."""

    WORK = "work"
    DRAIN = "drain"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class TaskRef:
    """One attempt of one task of the job that the record names."""

    task_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class FileRef:
    """Where the bytes of one file lie: `length` bytes at `offset` of a blob, with their SHA-256 in hex."""

    path: str
    container: str
    blob: str
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExitCodeRules:
    """Which exit codes are what; a code in no list is a success if it is 0 and retryable otherwise."""

    permanent: tuple[int, ...] = ()
    ignorable: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplicationPackage:
    """A program that was uploaded once: a zip file, unpacked on a node for all tasks that name it."""

    name: str
    version: str
    file: FileRef


@dataclass(frozen=True, slots=True)
class ParameterAxis:
    """One axis of a sweep: these texts, or, without any, `count` whole numbers from `start` on, `by` apart."""

    name: str
    values: tuple[str, ...] = ()
    start: int = 0
    by: int = 1
    count: int = 0

    @property
    def length(self) -> int:
        """How many values it has."""
        return len(self.values) or self.count


@dataclass(frozen=True, slots=True)
class ParameterTable:
    """A sweep as a table, a row a task: `parts` are the hashes of `ParameterRows` at `files/<sha256>`, in order.

    Every part but the last has `rows_in_part` rows.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    rows_in_part: int


@dataclass(frozen=True, slots=True)
class ParameterRows:
    """Some rows of a table, each with a value for every name."""

    rows: tuple[tuple[str, ...], ...]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """What the tasks of one step have in common; a task differs by its id alone (`MILLPOND_TASK_INDEX`).

    `command` is an argument list, run without a shell. `resource_files` are put into the working directory before it
    starts. Files matching `output_patterns` (globs relative to the working directory) are uploaded when it ends.
    `first_task_id` is the id of index 0.

    With `axes` or a `table` each task has parameters by its index: of the combinations of the axes' values, the last
    axis changes fastest. They are in the environment as `MILLPOND_PARAMETER_<NAME>`, and stand in `command` and
    `environment` in place of `${{ sweep.<name> }}`.
    """

    step: str
    command: tuple[str, ...]
    first_task_id: int
    task_count: int
    environment: tuple[tuple[str, str], ...] = ()
    resource_files: tuple[FileRef, ...] = ()
    output_patterns: tuple[str, ...] = ()
    wall_clock_limit_seconds: float | None = None
    exit_codes: ExitCodeRules = ExitCodeRules()
    application_packages: tuple[ApplicationPackage, ...] = ()
    axes: tuple[ParameterAxis, ...] = ()
    table: ParameterTable | None = None


@dataclass(frozen=True, slots=True)
class TextFile:
    """A small file whose content stands in the record itself."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """Files of one task."""

    task_id: int
    files: tuple[FileRef, ...]


@dataclass(frozen=True, slots=True)
class ResolvedInputs:
    """Extra files for one task: the outputs of the steps before it, from committed manifests only.

    `texts` name what is missing: `<step>/missing.txt` has the index of each task that did not succeed, a line each.
    `own` are files of one task alone, where each task depends on one.
    """

    files: tuple[FileRef, ...]
    texts: tuple[TextFile, ...] = ()
    own: tuple[TaskFiles, ...] = ()
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One message on the queue of a node group: tasks of one definition, to be run in order by one slot.

    `definition` is the SHA-256 of the definition's JSON, found at `definitions/<sha256>.json` in `inputs`;
    `inputs`, where given, that of a `ResolvedInputs` at `resolved/<sha256>.json`; `own_inputs` of another one, for what
    is this message's alone.
    """

    message_id: str
    job_id: str
    definition: str
    tasks: tuple[TaskRef, ...]
    inputs: str | None = None
    own_inputs: str | None = None
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class TaskReport:
    """How one run of a task ended and where its files are; `stdout.txt` and `stderr.txt` are among them."""

    task_id: int
    attempt: int
    outcome: Outcome
    exit_code: int | None
    reason: str
    started_at: datetime
    ended_at: datetime
    files: tuple[FileRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a node vouches for after its blobs are written: the unit that the scheduler commits."""

    message_id: str
    job_id: str
    node_id: str
    run_id: str
    reports: tuple[TaskReport, ...]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Event:
    """A hint on the events queue; the truth is in manifests and statuses.

    `manifest` is a blob of `outputs` (kind finished). `running` are the attempts whose processes were running and
    `unfinished` all attempts not reported (kind returned).
    """

    kind: EventKind
    message_id: str
    job_id: str
    node_id: str
    at: datetime
    manifest: str | None = None
    running: tuple[TaskRef, ...] = ()
    unfinished: tuple[TaskRef, ...] = ()
    reason: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that a node holds under its lease, and which of its tasks run now."""

    message_id: str
    job_id: str
    running: tuple[TaskRef, ...]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The one status blob of a node, overwritten; its time is the blob's last-modified."""

    node_id: str
    incarnation: str
    state: NodeState
    control_number: int
    task_slots: int
    runner_version: str
    started_at: datetime
    held: tuple[HeldMessage, ...] = ()
    note: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class StopRef:
    """Runs to stop: every attempt below `below_attempt` of a task, or of all tasks of a job where none is named."""

    job_id: str
    task_id: int | None = None
    below_attempt: int | None = None


@dataclass(frozen=True, slots=True)
class NodeControl:
    """The one control blob of a node; `number` only grows.

    A changed `wake` says that there is work on the node's queue: an idle node that looks at it seldom looks at once.
    """

    number: int
    directive: Directive
    stop: tuple[StopRef, ...] = ()
    wake: int = 0
    schema_version: int = SCHEMA_VERSION


class BootStep(StrEnum):
    """The steps of a boot, in order, as the black-box recorder names them."""

    STAGE_0 = "stage-0"
    FETCH = "fetch"
    INSTALL = "install"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class BootRecord:
    """One step of a boot, as recorded by the bootstrap script; `exit_code` is absent while it runs."""

    node_id: str
    step: str
    started_at: datetime
    ended_at: datetime | None
    exit_code: int | None
    output: str
    schema_version: int = SCHEMA_VERSION


def definition_blob(sha256: str) -> str:
    """Name of a definition in `inputs`."""
    return f"definitions/{sha256}.json"


def resolved_blob(sha256: str) -> str:
    """Name of resolved inputs in `inputs`."""
    return f"resolved/{sha256}.json"


def file_blob(sha256: str) -> str:
    """Name of an uploaded file in `inputs`."""
    return f"files/{sha256}"


def message_prefix(job_id: str, message_id: str) -> str:
    """Prefix in `outputs` of all that runs of a message write."""
    return f"{job_id}/{message_id}/"


def manifest_blob(job_id: str, message_id: str, run_id: str, number: int) -> str:
    """Name of the n-th manifest of one run of a message, in `outputs`."""
    return f"{message_prefix(job_id, message_id)}{run_id}/{number}.manifest.json"


def pack_blob(job_id: str, message_id: str, run_id: str, number: int) -> str:
    """Name of the n-th pack of one run of a message, in `outputs`."""
    return f"{message_prefix(job_id, message_id)}{run_id}/{number}.pack"


def own_blob(job_id: str, message_id: str, run_id: str, ref: TaskRef, path: str) -> str:
    """Name of a file that is too large for a pack, or of a log followed while it grows, in `outputs`."""
    return f"{message_prefix(job_id, message_id)}{run_id}/{ref.task_id}.{ref.attempt}/{path}"


def status_blob(node_id: str) -> str:
    """Name of a node's status in `nodes`."""
    return f"status/{node_id}.json"


def boot_blob(node_id: str, sequence: int, step: str) -> str:
    """Name of one recorded boot step in `nodes`."""
    return f"boot/{node_id}/{sequence}-{step}.json"


def control_blob(node_id: str) -> str:
    """Name of a node's control in `control`."""
    return f"{node_id}.json"
