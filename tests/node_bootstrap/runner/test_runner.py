"""The whole runner as a process of its own, against a metadata address and a storage account on loopback."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from node_bootstrap.protocol import (
    OUTPUTS,
    ApplicationPackage,
    Directive,
    Event,
    EventKind,
    FileRef,
    Manifest,
    NodeControl,
    NodeState,
    NodeStatus,
    Outcome,
    ParameterAxis,
    ParameterRows,
    ParameterTable,
    ResolvedInputs,
    StopRef,
    TaskDefinition,
    TaskFiles,
    TaskMessage,
    TaskRef,
    TaskReport,
    TextFile,
    decode,
    encode,
    sha256_hex,
)
from node_bootstrap.runner.settings import RunnerSettings
from tests.node_bootstrap.runner.fake_azure import Answer, FakeAzure
from tests.node_bootstrap.runner.processes import processes_of

PATIENCE_SECONDS = 60.0
PROJECT = Path(__file__).parents[3]

START = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("sleeping", flush=True)
time.sleep(600)
"""


class Node:
    """A runner and what the scheduler would do for it."""

    def __init__(self, azure: FakeAzure, settings: RunnerSettings, environment: dict[str, str]) -> None:
        self.azure = azure
        self.settings = settings
        self._number = 0
        settings.root.mkdir(parents=True)
        path = settings.root / "settings.json"
        path.write_text(json.dumps(asdict(settings), default=str))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "node_bootstrap.runner", str(path)],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.url} | environment,
            stdin=subprocess.DEVNULL,
        )

    def direct(self, directive: Directive, *stop: StopRef) -> None:
        """Write the control blob."""
        self._number += 1
        self._put("control/set_0.json", encode(NodeControl(self._number, directive, stop)).encode())

    def hand_out(
        self,
        definition: TaskDefinition,
        *tasks: int,
        inputs: ResolvedInputs | None = None,
        own: ResolvedInputs | None = None,
    ) -> None:
        """Put a message with its definition and inputs."""
        text = encode(definition)
        self._put(f"inputs/definitions/{sha256_hex(text.encode())}.json", text.encode())
        refs = tuple(TaskRef(task, 1) for task in tasks)
        resolved, its_own = self._resolved(inputs), self._resolved(own)
        message = TaskMessage(f"m{tasks[0]}", "job", sha256_hex(text.encode()), refs, resolved, its_own)
        self.azure.put_message("work", encode(message))

    def _resolved(self, inputs: ResolvedInputs | None) -> str | None:
        if inputs is None:
            return None
        digest = sha256_hex(encode(inputs).encode())
        self._put(f"inputs/resolved/{digest}.json", encode(inputs).encode())
        return digest

    def file(self, path: str, data: bytes) -> FileRef:
        """Put an input file."""
        digest = sha256_hex(data)
        self._put(f"inputs/files/{digest}", data)
        return FileRef(path, "inputs", f"files/{digest}", 0, len(data), digest)

    @property
    def status(self) -> NodeStatus | None:
        """What the node says of itself."""
        data = self.azure.blobs.get("nodes/status/set_0.json")
        return decode(NodeStatus, data) if data is not None else None

    @property
    def events(self) -> list[Event]:
        """The events that it sent."""
        return [decode(Event, text) for text in self.azure.texts("events")]

    def reports(self) -> dict[int, TaskReport]:
        """What it vouches for, by task, as the events name it."""
        names = [event.manifest for event in self.events if event.manifest is not None]
        manifests = [decode(Manifest, self.azure.blobs[f"{OUTPUTS}/{name}"]) for name in names]
        return {report.task_id: report for manifest in manifests for report in manifest.reports}

    def text(self, task: int, path: str) -> str:
        """Read a file of a task's report, verified."""
        (ref,) = [file for file in self.reports()[task].files if file.path == path]
        data = self.azure.blobs[f"{ref.container}/{ref.blob}"][ref.offset : ref.offset + ref.length]
        assert sha256_hex(data) == ref.sha256
        return data.decode()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            log = self.settings.root / "runner.log"
            assert time.monotonic() < deadline, f"waited in vain; {self.status}; {log.read_text()}"
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.02)

    def wait_for_reports(self, count: int) -> dict[int, TaskReport]:
        """Wait until so many tasks are reported and the queue is empty."""
        self.wait(lambda: len(self.reports()) >= count and not self.azure.texts("work"))
        return self.reports()

    def end(self) -> int:
        """End it as a service manager does; give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def _put(self, name: str, data: bytes) -> None:
        with self.azure.lock:
            self.azure.blobs[name] = data


@contextlib.contextmanager
def running(node: Node) -> Iterator[Node]:
    """Admit a runner, and end it after the `with` block."""
    node.direct(Directive.WORK)
    try:
        yield node
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.end()
        node.process.kill()
        node.process.wait()
    assert processes_of(node.settings.root) == []


@pytest.fixture
def node(azure: FakeAzure, settings: RunnerSettings) -> Iterator[Node]:
    """A runner that has been admitted."""
    with running(Node(azure, settings, {"SECRET_OF_THE_RUNNER": "s3cr3t", "MILLPOND_INSTANCE": "set_0"})) as node:
        yield node


def script(node: Node, text: str, count: int = 1, **more: object) -> TaskDefinition:
    """Give a definition that runs a Python script."""
    resource = node.file("task.py", text.encode())
    plain = TaskDefinition("step", ("python3", "task.py"), 10, count, resource_files=(resource,))
    return TaskDefinition(**{field: getattr(plain, field) for field in plain.__dataclass_fields__} | more)  # type: ignore[arg-type]


def test_tasks_run_with_inputs_and_their_outputs_are_kept(node: Node) -> None:
    """Each task finds its files and names, and its outputs and logs are readable where the manifest says."""
    text = """
import os, pathlib, sys
assert sorted(os.listdir()) == ["before", "task.py"], os.listdir()
index = int(os.environ["MILLPOND_TASK_INDEX"])
print("index", index, "of", os.environ["AZ_BATCH_JOB_ID"], os.environ["COLOUR"])
print("trouble", file=sys.stderr)
os.makedirs("deep/er")
parts = sorted(pathlib.Path("before").iterdir())
pathlib.Path(f"deep/er/{index}.txt").write_text("+".join(part.read_text() for part in parts))
pathlib.Path("scratch.bin").write_bytes(b"x")
os.symlink("/etc/passwd", "passwd.txt")
if index == 1:
    pathlib.Path("large.txt").write_text("L" * 3_000_000)
"""
    pack = b"--one--two"
    node.azure.blobs["outputs/job/m1/x/0.pack"] = pack
    before = ResolvedInputs(
        (
            FileRef("before/1", "outputs", "job/m1/x/0.pack", 2, 3, sha256_hex(b"one")),
            FileRef("before/2", "outputs", "job/m1/x/0.pack", 7, 3, sha256_hex(b"two")),
        )
    )
    definition = script(node, text, 3, output_patterns=("**/*.txt",), environment=(("COLOUR", "blue"),))
    node.hand_out(definition, 10, 11, 12, inputs=before)
    reports = node.wait_for_reports(3)
    assert {report.outcome for report in reports.values()} == {Outcome.SUCCESS}
    assert [file.path for file in reports[11].files] == ["stdout.txt", "stderr.txt", "deep/er/1.txt", "large.txt"]
    assert node.text(11, "stdout.txt") == "index 1 of job blue\n"
    assert node.text(11, "stderr.txt") == "trouble\n"
    assert node.text(12, "deep/er/2.txt") == "one+two"
    assert node.text(11, "large.txt") == "L" * 3_000_000
    assert {event.kind for event in node.events} == {EventKind.STARTED, EventKind.FINISHED}
    node.wait(lambda: node.status is not None and node.status.held == ())
    node.wait(lambda: list((node.settings.root / "tasks").iterdir()) == [])  # removed beside the status


def test_a_success_without_its_outputs_says_so(node: Node) -> None:
    """A pattern that matches nothing is no failure, as in Azure Batch, and stands in the report."""
    node.hand_out(script(node, "pass", 1, output_patterns=("*.png", "log/*")), 10)
    report = node.wait_for_reports(1)[10]
    assert (report.outcome, report.reason) == (Outcome.SUCCESS, "no file matches '*.png', 'log/*' of its outputs")


def test_a_task_finds_what_is_its_alone_and_what_is_missing(node: Node) -> None:
    """Of inputs resolved one by one each task gets its own; the list of what is missing is a file for all."""
    text = "import pathlib\nprint(*(f'{p}={p.read_text()!r}' for p in sorted(pathlib.Path('a').rglob('*.txt'))))"
    node.azure.blobs["outputs/pack"] = b"onetwo"
    parts = (b"one", b"two")
    files = [
        FileRef(f"a/{number}/x.txt", "outputs", "pack", 3 * number, 3, sha256_hex(part))
        for number, part in enumerate(parts)
    ]
    shared = ResolvedInputs((), (TextFile("a/missing.txt", "2\n7\n"),))
    own = ResolvedInputs((), own=tuple(TaskFiles(10 + number, (file,)) for number, file in enumerate(files)))
    node.hand_out(script(node, text, 2), 10, 11, inputs=shared, own=own)
    node.wait_for_reports(2)
    assert node.text(10, "stdout.txt") == "a/0/x.txt='one' a/missing.txt='2\\n7\\n'\n"
    assert node.text(11, "stdout.txt") == "a/1/x.txt='two' a/missing.txt='2\\n7\\n'\n"


def test_a_task_of_a_sweep_finds_its_parameters(node: Node) -> None:
    """By axes and by a table, each task has its own values in its command and in its environment."""
    text = "import os, sys; print(sys.argv[1], os.environ['MILLPOND_PARAMETER_N'])"
    command = ("python3", "task.py", "<${{ sweep.name }}>")
    axes = (ParameterAxis("name", ("a b", "c")), ParameterAxis("n", start=5, count=2))
    node.hand_out(script(node, text, 4, command=command, axes=axes), 10, 12, 13)
    rows = [ParameterRows((("é", "1"), ("$x", "2"))), ParameterRows((("", "3"),))]
    parts = [node.file("part", encode(part).encode()).sha256 for part in rows]
    table = ParameterTable(("name", "n"), tuple(parts), 2)
    node.hand_out(script(node, text, 3, command=command, table=table, first_task_id=20), 20, 21, 22)
    node.wait_for_reports(6)
    found = [node.text(task, "stdout.txt").strip() for task in (10, 12, 13, 20, 21, 22)]
    assert found == ["<a b> 5", "<c> 5", "<c> 6", "<é> 1", "<$x> 2", "<> 3"]


def test_the_runners_own_environment_is_not_the_tasks(node: Node) -> None:
    """A task sees neither the runner's variables nor the metadata address, but the marks of its machine."""
    node.hand_out(script(node, "import os, json; print(json.dumps(dict(os.environ)))"), 10)
    node.wait_for_reports(1)
    environment = json.loads(node.text(10, "stdout.txt"))
    assert "SECRET_OF_THE_RUNNER" not in environment
    assert "AZURE_POD_IDENTITY_AUTHORITY_HOST" not in environment
    assert environment["MILLPOND_INSTANCE"] == "set_0"
    assert environment["AZ_BATCH_TASK_WORKING_DIR"] == environment["AZ_BATCH_TASK_DIR"] + "/wd"
    assert (environment["AZ_BATCH_POOL_ID"], environment["AZ_BATCH_NODE_ID"]) == ("pool", "set_0")
    assert environment["MILLPOND_STEP"] == "step"
    assert environment["AZ_BATCH_NODE_ROOT_DIR"] == str(node.settings.root)


def test_tasks_find_their_application_packages(node: Node) -> None:
    """A package is where its variable says, a refused one is a permanent failure, and tasks share a folder."""
    good, bad = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("lib/words.txt", "from the package")
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../words.txt", "climbs out")
    text = """
import os, pathlib
print(pathlib.Path(os.environ["AZ_BATCH_APP_PACKAGE_my_tool_1_0"], "lib/words.txt").read_text())
pathlib.Path(os.environ["AZ_BATCH_NODE_SHARED_DIR"], "mine").touch()
"""
    package = ApplicationPackage("my-tool", "1.0", node.file("tool.zip", good.getvalue()))
    node.hand_out(script(node, text, application_packages=(package,)), 10)
    assert node.wait_for_reports(1)[10].outcome is Outcome.SUCCESS
    assert node.text(10, "stdout.txt") == "from the package\n"
    climbs = ApplicationPackage("my-tool", "1.1", node.file("tool.zip", bad.getvalue()))
    node.hand_out(script(node, text, application_packages=(climbs,)), 11)
    report = node.wait_for_reports(2)[11]
    assert report.outcome is Outcome.PERMANENT
    assert report.reason.startswith(
        "the application package 'my-tool' 1.1 cannot be unpacked: the entry '../words.txt'"
    )


def test_a_long_tasks_log_can_be_read_while_it_grows(node: Node) -> None:
    """After some seconds the log is in storage, and the report names that blob when the task ends."""
    go = node.settings.root / "go"
    text = f"""
import os, time
print("first", flush=True)
while not os.path.exists({str(go)!r}): time.sleep(0.02)
print("last")
"""
    node.hand_out(script(node, text), 10)
    logs = lambda: [data for name, data in node.azure.blobs.items() if name.endswith("/10.1/stdout.txt")]  # noqa: E731
    node.wait(lambda: logs() == [b"first\n"])
    go.touch()
    node.wait_for_reports(1)
    assert node.text(10, "stdout.txt") == "first\nlast\n"
    (file,) = [file for file in node.reports()[10].files if file.path == "stdout.txt"]
    assert file.blob.endswith("/10.1/stdout.txt")


PRINT_A_LOT = """
import os, sys, time
for _ in range(200): os.write(1, b"x" * 100_000)
while len(sys.argv) > 1 and os.stat("../stdout.txt").st_size > 1000: time.sleep(0.02)
os.write(1, b"the end")
"""


@pytest.mark.parametrize("more", [(), ("until it is cut",)], ids=["brief", "followed"])
def test_a_log_without_end_is_kept_up_to_its_limit(
    azure: FakeAzure, settings: RunnerSettings, more: tuple[str, ...]
) -> None:
    """Of what is printed beyond the limit nothing is kept, on disk neither, and the log says so at its end."""
    with running(Node(azure, replace(settings, log_bytes=1000), {})) as node:
        definition = script(node, PRINT_A_LOT)
        node.hand_out(replace(definition, command=(*definition.command, *more)), 10)
        assert node.wait_for_reports(1)[10].outcome is Outcome.SUCCESS
        note = "\n[The task printed more than 1,000 bytes here; the rest was not kept.]\n"
        assert node.text(10, "stdout.txt") == "x" * 1000 + note
        assert node.text(10, "stderr.txt") == ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        sys.platform != "linux"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=48m", "none", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("only root of a Linux that lets it can make a small disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


FILL = """
import os
print("filling", flush=True)
try:
    with open("big", "wb", buffering=0) as file:
        while file.write(bytes(1024 * 1024)): pass
except OSError:
    os._exit(3)  # there is no room for what Python would say
"""


def test_a_full_disk_is_the_nodes_fault_and_it_goes_on(
    azure: FakeAzure, settings: RunnerSettings, small_disk: Path
) -> None:
    """The reason says so, the log is kept, the room is free again, and the next task runs."""
    with running(Node(azure, replace(settings, root=small_disk / "root"), {})) as node:
        node.hand_out(script(node, FILL), 10)
        report = node.wait_for_reports(1)[10]
        assert (report.outcome, report.exit_code) == (Outcome.NODE_FAULT, 3)
        assert "the node's disk is full: 0 of 50,331,648 bytes are free" in report.reason
        assert node.text(10, "stdout.txt") == "filling\n"
        node.hand_out(script(node, "open('big', 'wb').write(bytes(30 * 1024 * 1024))"), 11)
        assert node.wait_for_reports(2)[11].outcome is Outcome.SUCCESS


def test_stop_list_ends_the_whole_tree(node: Node) -> None:
    """A task named in a stop list is killed with what it started, in sessions of their own too."""
    node.hand_out(script(node, START), 10)
    node.wait(lambda: len(processes_of(node.settings.root)) == 2)
    node.direct(Directive.WORK, StopRef("job", 10, 2))
    assert node.wait_for_reports(1)[10].outcome is Outcome.CANCELLED
    assert processes_of(node.settings.root) == []


def test_sigterm_reports_gives_back_and_leaves_nothing(node: Node) -> None:
    """Killed tasks are reported as preempted, the rest is returned, the message is deleted, no process stays."""
    node.hand_out(script(node, START, 2), 10, 11)
    node.wait(lambda: len(processes_of(node.settings.root)) == 2)
    assert node.end() == 0
    assert node.reports()[10].outcome is Outcome.PREEMPTED
    returned = node.events[-1]
    assert (returned.kind, returned.unfinished) == (EventKind.RETURNED, (TaskRef(11, 1),))
    assert node.azure.texts("work") == []
    assert node.status is not None
    assert (node.status.state, node.status.held) == (NodeState.DRAINED, ())


def test_retire_ends_the_runner_for_good(node: Node) -> None:
    """The exit code tells the service manager not to start it again."""
    node.wait(lambda: node.status is not None and node.status.state is NodeState.WORKING)
    node.direct(Directive.RETIRE)
    assert node.process.wait(PATIENCE_SECONDS) == 3


def test_a_preemption_notice_drains_the_node(node: Node) -> None:
    """A scheduled event of this machine kills and gives back; one of another does nothing."""
    node.wait(lambda: node.status is not None and node.status.state is NodeState.WORKING)
    event = {"EventId": "1", "EventType": "Preempt", "Resources": ["set_9"], "NotBefore": "soon"}
    node.azure.scheduled_events = [event, event | {"EventId": "2", "Resources": ["set_0"]}]
    node.wait(lambda: node.status is not None and node.status.state is NodeState.DRAINED)
    assert node.status is not None
    assert node.status.note == "Azure announces: Preempt not before soon"


def test_an_outage_of_storage_loses_nothing(node: Node) -> None:
    """The runner survives refusals and errors, and results come when storage is back."""
    state = {"down": False}

    def fault(method: str, path: str) -> Answer | None:
        return (503, {"x-ms-error-code": "ServerBusy"}, b"") if state["down"] and path.startswith("/blob") else None

    node.azure.fault = fault
    go = node.settings.root / "go"
    text = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    node.hand_out(script(node, text), 10)
    node.wait(lambda: bool(node.events))
    state["down"] = True
    go.touch()
    time.sleep(2.0)
    assert node.reports() == {}
    state["down"] = False
    assert node.wait_for_reports(1)[10].outcome is Outcome.SUCCESS


@pytest.mark.parametrize("broken", ["definition", "input", "resource"])
def test_what_the_node_cannot_fetch_is_its_fault(node: Node, broken: str) -> None:
    """Another content than named is reported as a node fault, and nothing is run."""
    definition = script(node, "print('ran')")
    inputs = None
    if broken == "resource":
        resource = definition.resource_files[0]
        node.azure.blobs[f"inputs/{resource.blob}"] = b"#" * resource.length
    if broken == "input":
        node.azure.blobs["outputs/pack"] = b"abc"
        inputs = ResolvedInputs((FileRef("in", "outputs", "pack", 0, 3, sha256_hex(b"abd")),))
    if broken == "definition":
        node.azure.fault = lambda method, path: (
            (200, {}, b"{}") if method == "GET" and path.startswith("/blob/inputs/definitions") else None
        )
    node.hand_out(definition, 10, 11, inputs=inputs)
    node.wait(lambda: any(event.kind is EventKind.RETURNED for event in node.events))
    reports = node.wait_for_reports(1)
    assert {task: report.outcome for task, report in reports.items()} == {10: Outcome.NODE_FAULT}
    assert "SHA-256" in reports[10].reason
    assert reports[10].files == ()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are bytes on Linux")
def test_outputs_of_hostile_names_are_kept(node: Node) -> None:
    """Quotes, spaces, newlines and bytes that are no UTF-8 lose neither the file nor the results beside it."""
    names = [b"a 'b' \"c\".txt", b"new\nline.txt", b"\xff.txt", "\u00e9 $(x) `y`.txt".encode()]
    text = f"for name in {names!r}: open(name, 'w').write(ascii(name))"
    node.hand_out(script(node, text, output_patterns=("*.txt",)), 10)
    report = node.wait_for_reports(1)[10]
    assert report.outcome is Outcome.SUCCESS
    expected = {name.decode("utf-8", "replace").replace("\ufffd", "%FF"): ascii(name) for name in names}
    kept = {file.path for file in report.files} - {"stdout.txt", "stderr.txt"}
    assert {path: node.text(10, path) for path in kept} == expected


def test_many_arguments_reach_a_task(node: Node) -> None:
    """64 KB of arguments are passed on whole."""
    definition = script(node, "import sys; print(len(sys.argv) - 1, sum(map(len, sys.argv[1:])))")
    command = (*definition.command, *["x" * 1024] * 64)
    node.hand_out(replace(definition, command=command), 10)
    assert node.wait_for_reports(1)[10].outcome is Outcome.SUCCESS
    assert node.text(10, "stdout.txt") == "64 65536\n"
