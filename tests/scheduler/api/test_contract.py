"""`JobService`: the same suite in process and over HTTP, against the real service on a store in memory."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from node_bootstrap.protocol import (
    NODES,
    BootRecord,
    ExitCodeRules,
    FileRef,
    NodeState,
    NodeStatus,
    TaskDefinition,
    boot_blob,
    encode,
    file_blob,
    status_blob,
)
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.api.app import create_app
from scheduler.api.client import HttpJobService
from scheduler.api.server import ApiServer
from scheduler.autoscale.inputs import Inputs, decide_on, record_of
from scheduler.autoscale.plan import GroupFleet, Reason, ReasonKind, ScaleOut
from scheduler.decision_document import dump_record
from scheduler.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    UnavailableError,
)
from scheduler.job_schedule import (
    JobScheduleState,
    JobSpecification,
    NewJobSchedule,
    Overlap,
    RunState,
    Schedule,
)
from scheduler.model import (
    GroupKey,
    GroupPriority,
    JobResult,
    JobState,
    NewJob,
    Node,
    NodeGroup,
    NodePhase,
    PoolDemand,
    RetryPolicy,
    Sample,
    Step,
    StorageAddress,
    TaskResult,
    TaskState,
)
from scheduler.policy import ScalingPolicy
from scheduler.ports.job_service import JobService
from scheduler.service import Service
from scheduler.settings import PoolSettings, SchedulerSettings
from scheduler.views import FilePart

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TOKEN = "a token"
_KEY = GroupKey("demo", "main", "g1")
_GROUP = NodeGroup(
    key=_KEY,
    scale_set="demo-main-g1",
    queue="demo-main-g1",
    vm_size="Standard_D2s_v5",
    priority=GroupPriority.REGULAR,
    task_slots=2,
    max_nodes=4,
)
_NODE = Node(
    node_id="demo-main-g1_0",
    group=_KEY,
    instance_id="0",
    phase=NodePhase.WORKING,
    control_number=1,
    incarnation="i",
    first_seen_at=_NOW,
    ready_at=_NOW + timedelta(seconds=30),
    status_at=_NOW + timedelta(seconds=40),
    idle_since=None,
    held=("m1",),
)
_SAMPLE = Sample(
    at=_NOW, pool="demo", active_tasks=3, running_tasks=1, target_nodes=2, current_nodes=1, booting_nodes=1
)
_SETTINGS = SchedulerSettings(
    environment="test",
    subscription_id="s",
    resource_group="rg",
    location="westeurope",
    resource_manager="https://management.azure.com",
    blob_endpoint="https://x.blob.core.windows.net/",
    queue_endpoint="https://x.queue.core.windows.net/",
    storage_account="x",
    pools=(PoolSettings("demo", ScalingPolicy(acceptable_wait=timedelta(seconds=90), max_nodes=4), (_GROUP,)),),
)

_INPUTS = Inputs(
    policies={"demo": _SETTINGS.pools[0].policy},
    demand={"demo": PoolDemand(4, 0, 60.0, _NOW)},
    fleet=(GroupFleet(_GROUP, (), 0),),
    history=(),
    now=_NOW,
)
_RECORD = record_of(_INPUTS, decide_on(_INPUTS), "demo")


@pytest.fixture
def blobs() -> MemoryBlobs:
    """Give the storage that the service reads."""
    return MemoryBlobs(ManualClock(_NOW))


@pytest.fixture
def in_process(tmp_path: Path, blobs: MemoryBlobs) -> Iterator[Service]:
    """Give the real service, with one pool that has been decided upon."""
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    fleet = SqlFleetStore(database)
    epoch = database.begin_epoch()
    fleet.sync_groups(epoch, _SETTINGS, _NOW)
    fleet.save_nodes(epoch, (_NODE,), _NOW)
    fleet.record_decisions(epoch, (ScaleOut(_KEY, 2, Reason(ReasonKind.BACKLOG, "4 tasks wait")),), _NOW)
    fleet.record_inputs(epoch, _RECORD)
    fleet.record_sample(epoch, _SAMPLE)
    address = StorageAddress("https://x.blob.core.windows.net/")
    clock, views = ManualClock(_NOW), SqlJobViews(database)
    yield Service(
        SqlJobStore(database),
        fleet,
        lambda: address,
        clock,
        schedules=SqlScheduleStore(database),
        views=views,
        blobs=blobs,
    )
    database.close()


@pytest.fixture
def server(in_process: Service) -> Iterator[str]:
    """Give the address of a live server of the service."""
    with ApiServer(create_app(in_process, _TOKEN)) as running:
        yield running.url


@pytest.fixture(params=["in process", "over HTTP"])
def service(request: pytest.FixtureRequest, in_process: Service) -> Iterator[JobService]:
    """Give the service by each of its adapters."""
    if request.param == "in process":
        yield in_process
        return
    with HttpJobService(request.getfixturevalue("server"), _TOKEN) as client:
        yield client


def _step(name: str, first_task_id: int, count: int, **options: object) -> Step:
    definition = TaskDefinition(
        step=name,
        command=("python3", "run.py", "ü"),
        first_task_id=first_task_id,
        task_count=count,
        environment=(("A", "1"),),
        resource_files=(FileRef("run.py", "inputs", "files/00", 0, 7, "00"),),
        output_patterns=("*.bin",),
        wall_clock_limit_seconds=1.5,
        exit_codes=ExitCodeRules(permanent=(2,)),
    )
    return Step(definition, retry=RetryPolicy(max_task_retries=1), **options)  # type: ignore[arg-type]


_STEPS = (_step("simulate", 0, 3), _step("merge", 3, 1, depends_on=("simulate",), inputs_from=("simulate",)))


def _armed(service: JobService) -> str:
    job = service.create_job(NewJob("var", "demo", "key 1", priority=3))
    service.add_steps(job.job_id, 0, _STEPS)
    return service.arm_job(job.job_id, 4).job_id


def test_a_job_is_drafted_filled_and_armed(service: JobService) -> None:
    """A job's life begins as a draft; armed, it has its tasks: ready ones and those that wait for others."""
    draft = service.create_job(NewJob("var", "demo", "key 1", priority=3))
    assert (draft.state, draft.pool, draft.priority, draft.created_at) == (JobState.DRAFT, "demo", 3, _NOW)
    service.add_steps(draft.job_id, 0, _STEPS)
    armed = service.arm_job(draft.job_id, 4)
    assert (armed.state, armed.steps) == (JobState.ACTIVE, ("simulate", "merge"))
    assert (armed.counts.active, armed.counts.blocked) == (3, 1)
    assert service.get_job(draft.job_id) == armed
    assert service.list_jobs() == (armed,)


def test_every_step_of_a_submission_may_be_repeated(service: JobService) -> None:
    """Sending anything again, with the same key and numbers, changes nothing."""
    assert _armed(service) == _armed(service)
    assert len(service.list_jobs()) == 1


def test_contradictions_are_conflicts(service: JobService) -> None:
    """The same key for another job, the same chunk with other steps, a wrong count: each is refused."""
    job = service.create_job(NewJob("var", "demo", "key 1"))
    with pytest.raises(ConflictError, match="idempotency key"):
        service.create_job(NewJob("other", "demo", "key 1"))
    service.add_steps(job.job_id, 0, _STEPS)
    with pytest.raises(ConflictError):
        service.add_steps(job.job_id, 0, _STEPS[:1])
    with pytest.raises(ConflictError):
        service.arm_job(job.job_id, 5)


def test_what_is_not_there_is_not_found(service: JobService) -> None:
    """Jobs and pools that do not exist are told as such, whatever characters their names have."""
    for name in ("none", "a/b", "ü ?#%", ""):
        with pytest.raises(NotFoundError):
            service.get_job(name)
        with pytest.raises(NotFoundError):
            service.list_nodes(name)
    with pytest.raises(NotFoundError):
        service.cancel_job("none")


def test_wrong_requests_say_what_is_wrong(service: JobService) -> None:
    """A job for a pool that does not exist is refused with the names of those that do."""
    with pytest.raises(InvalidRequestError, match=r"no pool 'demi'.*demo"):
        service.create_job(NewJob("var", "demi", "key 1"))


def test_tasks_come_in_pages(service: JobService) -> None:
    """Tasks are listed in order of id, from any id on."""
    job_id = _armed(service)
    first = service.list_tasks(job_id, limit=3)
    rest = service.list_tasks(job_id, after=first[-1].task_id)
    assert [(task.step, task.index) for task in (*first, *rest)] == [
        ("simulate", 0),
        ("simulate", 1),
        ("simulate", 2),
        ("merge", 0),
    ]
    assert rest[0].state is TaskState.BLOCKED
    assert service.list_outputs(job_id) == ()
    assert service.list_outputs(job_id, 0) == ()


def test_a_cancelled_job_is_over(service: JobService) -> None:
    """Cancelling a job of which nothing runs ends it at once; again changes nothing."""
    job_id = _armed(service)
    cancelled = service.cancel_job(job_id)
    assert (cancelled.state, cancelled.result) == (JobState.COMPLETED, JobResult.CANCELLED)
    assert service.cancel_job(job_id) == cancelled


def test_a_cancelled_job_is_requeued(service: JobService) -> None:
    """All that did not succeed waits again, or the tasks named; naming what is not there is refused."""
    job_id = _armed(service)
    with pytest.raises(ConflictError, match="no task of job"):
        service.requeue_job(job_id)
    service.cancel_job(job_id)
    again = service.requeue_job(job_id, (0,))
    assert (again.state, again.counts.active, again.counts.cancelled) == (JobState.ACTIVE, 1, 3)
    again = service.requeue_job(job_id)
    assert (again.counts.active, again.counts.blocked) == (3, 1)
    with pytest.raises(NotFoundError, match="has no task 4"):
        service.requeue_job(job_id, (4,))
    with pytest.raises(InvalidRequestError, match="no task is named"):
        service.requeue_job(job_id, ())


def test_a_priority_is_changed_while_it_means_something(service: JobService) -> None:
    """An active job takes a new priority; one that has ended does not."""
    job_id = _armed(service)
    assert service.set_priority(job_id, -5).priority == -5
    assert service.get_job(job_id).priority == -5
    service.cancel_job(job_id)
    with pytest.raises(ConflictError, match="is completed"):
        service.set_priority(job_id, 1)


def test_only_a_job_that_has_ended_is_deleted(service: JobService) -> None:
    """The intent is kept, and may be said again; nothing else can be done to the job from then on."""
    job_id = _armed(service)
    with pytest.raises(ConflictError, match="is active; cancel it"):
        service.delete_job(job_id)
    service.cancel_job(job_id)
    for _ in range(2):
        service.delete_job(job_id)
    assert service.get_job(job_id).state is JobState.DELETING
    for call in (lambda: service.requeue_job(job_id), lambda: service.set_priority(job_id, 1)):
        with pytest.raises(ConflictError, match=r"deleting|deleted"):
            call()
    with pytest.raises(NotFoundError):
        service.delete_job("none")


def test_one_task_is_shown(service: JobService) -> None:
    """A task is given as the list gives it; one that is not there is told."""
    job_id = _armed(service)
    assert service.get_task(job_id, 3) == service.list_tasks(job_id)[3]
    with pytest.raises(NotFoundError, match="has no task 4"):
        service.get_task(job_id, 4)


def test_tasks_are_listed_by_state(service: JobService) -> None:
    """Only tasks of the state or result asked for are given, and pages go on where the last one ended."""
    job_id = _armed(service)

    def listed(**chosen: Any) -> list[int]:
        return [task.task_id for task in service.list_tasks(job_id, **chosen)]

    assert listed(state=TaskState.ACTIVE) == [0, 1, 2]
    assert listed(state=TaskState.ACTIVE, after=0, limit=1) == [1]
    assert listed(state=TaskState.BLOCKED) == [3]
    assert listed(result=TaskResult.CANCELLED) == []
    service.cancel_job(job_id)
    assert listed(result=TaskResult.CANCELLED) == [0, 1, 2, 3]


def test_jobs_come_in_pages(service: JobService) -> None:
    """Jobs are listed newest first, from any job on; a job that is not there begins no page."""
    made = [service.create_job(NewJob(f"job {number}", "demo", f"key {number}")).job_id for number in range(5)]
    first = service.list_jobs(limit=2)
    second = service.list_jobs(before=first[-1].job_id, limit=2)
    last = service.list_jobs(before=second[-1].job_id, limit=2)
    assert [job.job_id for page in (first, second, last) for job in page] == made[::-1]
    assert service.list_jobs(before=made[0]) == ()
    with pytest.raises(NotFoundError):
        service.list_jobs(before="none")


def _program(letter: str) -> FileRef:
    return FileRef("", "inputs", file_blob(letter * 64), 0, 7, letter * 64)


def test_applications_are_kept_by_version(service: JobService) -> None:
    """The first version is the default, until another is marked; a version never changes; repeating is harmless."""
    first = service.put_application("tool", "1.0", _program("a"))
    assert (first.default, first.file.sha256, first.file.length, first.created_at) == (True, "a" * 64, 7, _NOW)
    assert not service.put_application("tool", "2.0", _program("b")).default
    assert service.put_application("tool", "1.0", _program("a")) == first
    with pytest.raises(ConflictError, match=r"tool:1\.0 is there with another content"):
        service.put_application("tool", "1.0", _program("b"))
    assert service.put_application("tool", "2.0", _program("b"), default=True).default
    service.put_application("other", "1", _program("a"))
    listed = [(each.name, each.version, each.default) for each in service.list_applications()]
    assert listed == [("other", "1", True), ("tool", "2.0", True), ("tool", "1.0", False)]
    service.delete_application("tool", "2.0")
    assert [each.default for each in service.list_applications()] == [True, True]
    with pytest.raises(NotFoundError, match=r"no application tool:2\.0"):
        service.delete_application("tool", "2.0")
    service.put_application("tool", "2.0", _program("c"))
    service.delete_application("tool", "2.0")


def test_wrong_applications_are_refused(service: JobService) -> None:
    """Names that could not stand in a variable or a folder, and files that do not lie by content, are told."""
    for name, version in (("a b", "1"), ("tool", "1:2"), ("-a", "1"), ("a" * 65, "1")):
        with pytest.raises(InvalidRequestError, match="of an application"):
            service.put_application(name, version, _program("a"))
    with pytest.raises(InvalidRequestError, match="must lie by its content"):
        service.put_application("tool", "1", FileRef("", "inputs", "files/x", 0, 7, "a" * 64))


def test_pools_are_seen_with_their_reasons(service: JobService) -> None:
    """Pools, nodes, decisions and the timeline arrive whole: nested records, instants, durations, enums."""
    (pool,) = service.list_pools()
    (decision,) = service.list_decisions("demo")
    assert pool.groups == (_GROUP,)
    assert (pool.acceptable_wait, pool.max_nodes) == (timedelta(seconds=90), 4)
    assert (decision.reason, decision.count, decision.group, decision.at) == ("4 tasks wait", 2, _KEY, _NOW)
    assert pool.last_decision == decision
    assert service.list_nodes("demo") == (_NODE,)
    assert service.list_samples("demo") == (_SAMPLE,)
    assert service.storage() == StorageAddress("https://x.blob.core.windows.net/")


def test_decisions_are_given_with_their_inputs(service: JobService) -> None:
    """The document of a decision arrives to the byte, with what was done; an instant needs its zone."""
    (kept,) = service.list_kept_decisions("demo")
    assert kept.document.encode() == dump_record(_RECORD)
    assert (kept.at, kept.decisions) == (_NOW, service.list_decisions("demo"))
    zone = timezone(timedelta(hours=2))
    assert service.list_kept_decisions("demo", 9, _NOW.astimezone(zone)) == (kept,)
    assert service.list_kept_decisions("demo", 9, _NOW - timedelta(microseconds=1)) == ()
    with pytest.raises(NotFoundError, match="no pool"):
        service.list_kept_decisions("demi")
    with pytest.raises(InvalidRequestError, match="names no time zone"):
        service.list_kept_decisions("demo", 1, _NOW.replace(tzinfo=None))
    with pytest.raises(InvalidRequestError, match="limit"):
        service.list_kept_decisions("demo", 0)


def test_nodes_are_drained_by_name(service: JobService) -> None:
    """A drain is a wish in the node's row; wrong names, none, and another pool are refused."""
    (node,) = service.drain_nodes("demo", (_NODE.node_id, _NODE.node_id))
    assert node == replace(_NODE, drain_asked_at=_NOW)
    assert service.list_nodes("demo") == (node,)
    with pytest.raises(NotFoundError, match="nothing was drained"):
        service.drain_nodes("demo", ("none",))
    with pytest.raises(NotFoundError, match="no pool"):
        service.drain_nodes("demi", (_NODE.node_id,))
    with pytest.raises(InvalidRequestError, match="no node is named"):
        service.drain_nodes("demo", ())


def test_steps_and_explanations_arrive_whole(service: JobService) -> None:
    """Steps come in order with what they wait for; whatever has a name can be explained."""
    job_id = _armed(service)
    simulate, merge = service.list_steps(job_id)
    assert (simulate.name, simulate.task_count, simulate.open_tasks, simulate.depends_on) == ("simulate", 3, 3, ())
    assert merge.depends_on == ("simulate",)
    for subject in (job_id, f"{job_id}/3", _NODE.node_id, "demo"):
        told = service.explain(subject)
        assert told.subject
        assert told.paragraph.endswith(".")
        assert all(fact.name and fact.value for fact in told.facts)
    with pytest.raises(NotFoundError, match="no job, node, pool or schedule"):
        service.explain("ü ?#%")
    with pytest.raises(InvalidRequestError, match="JOB/TASK"):
        service.explain(f"{job_id}/x")
    with pytest.raises(NotFoundError, match="no task 9"):
        service.explain(f"{job_id}/9")


def test_a_file_is_read_in_pieces(service: JobService) -> None:
    """Of a task that has not begun there is no log yet, other files are refused, and so are impossible pieces."""
    job_id = _armed(service)
    nothing = FilePart("stdout.txt", 0, 5, 0, b"", complete=False, found=False)
    assert service.read_file(job_id, 0, "stdout.txt", 5) == nothing
    with pytest.raises(NotFoundError, match="has not ended"):
        service.read_file(job_id, 0, "a b/ü?#.bin")
    for offset, limit in ((-1, 1), (0, 0), (0, 1 << 30)):
        with pytest.raises(InvalidRequestError, match="offset"):
            service.read_file(job_id, 0, "stdout.txt", offset, limit)


def test_what_a_node_left_is_read(service: JobService, blobs: MemoryBlobs) -> None:
    """Boot records come in their order with the last status; what cannot be read is named, not hidden."""
    name = _NODE.node_id
    for number, step_name in ((0, "stage-0"), (10, "service"), (2, "fetch")):
        record = BootRecord(name, step_name, _NOW, _NOW, 0, f"<output> of {number}\n")
        blobs.write(NODES, boot_blob(name, number, step_name), encode(record).encode())
    blobs.write(NODES, boot_blob(name, 3, "broken"), b"{")
    blobs.write(NODES, boot_blob(f"{name}0", 0, "stage-0"), b"another node's")
    status = NodeStatus(name, "i", NodeState.WORKING, 1, 2, "v1", _NOW)
    blobs.write(NODES, status_blob(name), encode(status).encode())
    log = service.node_log(name)
    assert [record.step for record in log.boot] == ["stage-0", "fetch", "service"]
    assert (log.node, log.status, log.status_at) == (_NODE, status, _NOW)
    assert len(log.unreadable) == 1
    assert "3-broken" in log.unreadable[0]


def test_a_node_is_read_after_its_row_is_gone(service: JobService, blobs: MemoryBlobs) -> None:
    """Records outlive the row; where there is nothing at all, that is told."""
    record = BootRecord("old_1", "stage-0", _NOW, None, None, "")
    blobs.write(NODES, boot_blob("old_1", 0, "stage-0"), encode(record).encode())
    log = service.node_log("old_1")
    assert (log.node, log.boot, log.status) == (None, (record,), None)
    for name in ("old", "ü ?#%", "a/b"):
        with pytest.raises(NotFoundError):
            service.node_log(name)


def test_a_wrong_token_is_refused(server: str) -> None:
    """Nothing is told to a caller without the token."""
    with HttpJobService(server, "another") as client, pytest.raises(AccessDeniedError, match="token"):
        client.list_jobs()
    assert httpx.get(f"{server}/v1/openapi.json", trust_env=False).status_code == 401


def test_another_host_is_refused(server: str) -> None:
    """A request under a name that is not this machine's is refused even with the token."""
    headers = {"Host": "example.org", "Authorization": f"Bearer {_TOKEN}"}
    answer = httpx.get(f"{server}/v1/jobs", headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")


def test_malformed_requests_are_problems(server: str) -> None:
    """A request that cannot be read is answered by a problem document that names the field."""
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    answer = httpx.post(f"{server}/v1/jobs", json={"name": "x"}, headers=headers, trust_env=False)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:millpond:invalid-request"
    assert "body.pool" in answer.json()["detail"]


def test_nobody_there_is_unavailable() -> None:
    """When no scheduler answers, the message says where it was looked for and how to start one."""
    started = time.monotonic()
    with HttpJobService("http://127.0.0.1:9", _TOKEN) as client, pytest.raises(UnavailableError) as raised:
        client.list_jobs()
    assert isinstance(raised.value, MillpondError)
    assert "http://127.0.0.1:9" in str(raised.value)
    assert "millpond scheduler run" in str(raised.value)
    assert time.monotonic() - started < 20


def test_a_schedule_from_making_to_deleting(service: JobService) -> None:
    """Schedules are made, seen, run by hand, disabled, enabled, ended and deleted; each request may be repeated."""
    when = Schedule("0 6 * * MON-FRI", "Europe/Zurich", start_window=timedelta(hours=2), overlap=Overlap.REPLACE)
    new = NewJobSchedule("nightly", when, JobSpecification("prices", "demo", _STEPS, 3))
    made = service.create_schedule(new)
    assert service.create_schedule(new) == made
    assert (made.schedule, made.steps, made.task_count, made.pool) == (when, ("simulate", "merge"), 4, "demo")
    assert len(made.next_occurrences) == 5
    assert service.list_schedules() == (service.get_schedule("nightly"),) == (made,)
    run = service.run_schedule("nightly", "key", _NOW - timedelta(days=3))
    assert service.run_schedule("nightly", "key", _NOW - timedelta(days=3)) == run
    assert service.list_runs("nightly") == (run,)
    assert (run.occurrence, run.state, run.manual) == (_NOW - timedelta(days=3), RunState.ACTIVE, True)
    assert service.get_schedule("nightly").active_jobs == (run.job_id,)
    told = service.explain("nightly")
    assert (told.subject, told.facts[1].value) == ("schedule nightly", "0 6 * * MON-FRI, Europe/Zurich")
    assert told.paragraph.startswith("It makes its next job at 20")
    assert told.paragraph.endswith(f"job {run.job_id}, active, by hand.")
    assert service.disable_schedule("nightly").state is JobScheduleState.DISABLED
    assert "It makes no jobs until `millpond schedule enable nightly`" in service.explain("nightly").paragraph
    assert service.enable_schedule("nightly").next_occurrences == made.next_occurrences
    assert service.terminate_schedule("nightly").state is JobScheduleState.TERMINATING
    for _ in range(2):
        service.delete_schedule("nightly", keep_jobs=True)
    assert service.get_schedule("nightly").state is JobScheduleState.DELETING


def test_schedules_that_cannot_be_are_refused(service: JobService) -> None:
    """Wrong times, names, pools and references are told with what to do; what is not there is not found."""
    job = JobSpecification("prices", "demo", _STEPS)
    daily = Schedule("@daily")
    command = replace(_STEPS[0].definition, command=("run", "${{ schedule.week }}"))
    wrong = [
        (NewJobSchedule("a/b", daily, job), "is no id of a schedule"),
        (NewJobSchedule("a", Schedule("0 6 * *", "Mars"), job), "'Mars' is no time zone"),
        (NewJobSchedule("a", daily, replace(job, pool="none")), "there is no pool 'none'"),
        (NewJobSchedule("a", daily, replace(job, name=" ")), "has no name"),
        (NewJobSchedule("a", daily, replace(job, steps=_STEPS[1:])), "expected 0"),
        (
            NewJobSchedule("a", daily, replace(job, steps=(Step(command),))),
            "no schedule has week; there are",
        ),
    ]
    for new, message in wrong:
        with pytest.raises(InvalidRequestError, match=message):
            service.create_schedule(new)
    assert service.list_schedules() == ()
    for ask in (service.get_schedule, service.list_runs, service.terminate_schedule, service.delete_schedule):
        with pytest.raises(NotFoundError, match="there is no schedule x"):
            ask("x")
    service.create_schedule(NewJobSchedule("a", daily, job))
    with pytest.raises(ConflictError, match="there is a schedule a already"):
        service.create_schedule(NewJobSchedule("a", replace(daily, time_zone="Asia/Tokyo"), job))
    replaced = service.create_schedule(NewJobSchedule("a", replace(daily, time_zone="Asia/Tokyo"), job), replace=True)
    assert replaced.schedule.time_zone == "Asia/Tokyo"
    with pytest.raises(InvalidRequestError, match="the idempotency key is empty"):
        service.run_schedule("a", "")
    with pytest.raises(InvalidRequestError, match="names no time zone"):
        service.run_schedule("a", "key", _NOW.replace(tzinfo=None))
