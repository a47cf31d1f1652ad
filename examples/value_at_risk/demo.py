"""The main job on this machine, as a user would run it: `make demo`.

Every step is a command that is printed before it runs. The local Azure, the deployment and the scheduler are this
demonstration's own; at the end, also after a failure or Ctrl-C, all of them are taken down.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from examples.value_at_risk.parametric import measures
from examples.value_at_risk.phases import MILLPOND, DemoError, Phases, follow, millpond, run, say
from examples.value_at_risk.pictures import draw_losses, draw_runs, draw_timeline
from examples.value_at_risk.report import (
    MOST_STANDARD_ERRORS,
    Comparison,
    Figure,
    Observed,
    compare,
    critical_path_seconds,
    deployed_resources,
    write_page,
)
from examples.value_at_risk.trouble import Trouble
from scheduler.api.client import HttpJobService
from scheduler.cli.home import StackFolder
from scheduler.errors import MillpondError
from scheduler.model import PoolView, Task, TaskResult, TaskState

STACK = "local"
POOL = "risk"
BOOT_DELAY_SECONDS = 3.0
# Fewer and longer tasks than the job's own, so that a log can be seen to grow and a node has work to lose.
SETTINGS = ("tasks=16", "days=80000", "expected_time=5s")
PROJECT = Path(__file__).resolve().parents[2]
OUT = PROJECT / "out" / "demo"
MODEL = PROJECT / "out" / "value_at_risk" / "model.json"
_SCHEDULER_PID = OUT / "scheduler.pid"
JOB_FILE = Path("examples") / "value_at_risk" / "job.yaml"

_START_SECONDS = 30.0
_RUN_SECONDS = 60.0
_ZERO_SECONDS = 180.0
_STOP_SECONDS = 20.0


def main() -> int:
    """Run the demonstration; give its exit code."""
    os.chdir(PROJECT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # ends as Ctrl-C does
    started = time.monotonic()
    phases = Phases()
    marker = OUT / "running"
    try:
        _begin(marker)
        with _taken_down(phases, marker):
            critical_path = _run(phases, started)
    except DemoError as error:
        say(f"\nThe demonstration failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nThe demonstration was interrupted; everything it had started is taken down.")
        return 130
    _print_times(phases, time.monotonic() - started, critical_path)
    return 0


def _begin(marker: Path) -> None:
    """Make room: clear up after a demonstration that was killed, but touch nothing of anybody else's."""
    leftover = marker.exists()
    if leftover and _runs(int(marker.read_text()), "value_at_risk"):
        raise DemoError(f"another demonstration runs already (process {marker.read_text()}); wait for it or end it")
    if not leftover and _local_azure_runs():
        raise DemoError(
            "a local Azure of yours is running, and the demonstration would take it down with its own; "
            "first run `millpond destroy --yes` and `millpond local down`"
        )
    if leftover:
        say("An earlier demonstration was killed; clearing up after it.")
        _take_down()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    marker.write_text(str(os.getpid()))


def _local_azure_runs() -> bool:
    try:
        state = json.loads((StackFolder(STACK).path.parent / "local" / "state.json").read_text(encoding="utf-8"))
        return _runs(int(state["pid"]), "infra.local")
    except (OSError, ValueError, KeyError):
        return False


@contextmanager
def _taken_down(phases: Phases, marker: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # A second Ctrl-C must not leave half of it running.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with phases.phase("tear down"):
                _take_down()
            marker.unlink(missing_ok=True)
        finally:
            signal.signal(signal.SIGINT, before)


def _run(phases: Phases, started: float) -> float:
    with phases.phase("model from real prices"):
        run("python", sys.executable, "-m", "examples.value_at_risk.prepare", str(MODEL.relative_to(PROJECT)))
    with phases.phase("local Azure up"):
        millpond("local", "up", "--boot-delay", f"{BOOT_DELAY_SECONDS:g}")
    with phases.phase("pulumi up"):
        millpond("up", "--stack", STACK)
    with phases.phase("scheduler"):
        _start_scheduler()
        say("To look while it runs, open this in a browser:")
        millpond("ui", "--no-open")
    set_up = sum(phases.taken.values())
    with phases.phase("submit"):
        model = f"model={os.path.relpath(MODEL, PROJECT / JOB_FILE.parent)}"
        millpond("job", "submit", str(JOB_FILE), *(word for each in (model, *SETTINGS) for word in ("--set", each)))
        with _service() as service:
            job_id = service.list_jobs()[0].job_id
    with phases.phase("the job"):
        trouble = _make_trouble(job_id)
        millpond("job", "watch", job_id)
    with phases.phase("what became of it"):
        retried = _retried(job_id, trouble)
        millpond("why", f"{job_id}/{retried}")
        millpond("why", trouble.killed)
    with phases.phase("outputs"):
        millpond("job", "outputs", job_id, "--to", str((OUT / "outputs").relative_to(PROJECT)))
    with phases.phase("comparison"):
        comparison = _compare()
    with phases.phase("nodes go"):
        _wait_for_zero()
        millpond("pool", "show", POOL)
    with phases.phase("report"):
        observed = _observe(job_id)
        path = critical_path_seconds(observed.tasks)
        _write_report(observed, comparison, trouble, phases, set_up, time.monotonic() - started)
    if not all(item.agrees for item in comparison):
        raise DemoError(f"a measure is more than {MOST_STANDARD_ERRORS:g} standard errors from its closed form")
    return path


def _start_scheduler() -> None:
    command = [str(MILLPOND), "scheduler", "run", "--stack", STACK, "--interval", "0.5"]
    say(f"$ millpond {' '.join(command[1:])} &    (its log: out/demo/scheduler.log)")
    with (OUT / "scheduler.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    _SCHEDULER_PID.write_text(str(process.pid))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with _service() as service:
                known = service.list_pools()
        except (MillpondError, DemoError):
            known = ()
        if known:
            return
        time.sleep(0.1)
    raise DemoError(f"the scheduler did not start; the end of its log:\n{_tail(OUT / 'scheduler.log')}")


def _service() -> HttpJobService:
    address = StackFolder(STACK).api_address()
    if address is None:
        raise DemoError("no scheduler runs; see out/demo/scheduler.log")
    return HttpJobService(address.url, address.token)


def _pool() -> PoolView:
    with _service() as service:
        return next(pool for pool in service.list_pools() if pool.name == POOL)


def _make_trouble(job_id: str) -> Trouble:
    """Follow the log of a task, and kill another task's node meanwhile."""
    victim, followed = _two_running_tasks(job_id)
    with ThreadPoolExecutor(1) as beside:
        begun_at = datetime.now(UTC)
        following = beside.submit(follow, "task", "logs", job_id, str(followed.task_id), "--follow")
        say(f"  meanwhile, task {victim.task_id} runs on {victim.node_id}; that machine loses its power now")
        killed_at = datetime.now(UTC)
        millpond("local", "fault", "kill", str(victim.node_id))
        say("  nobody tells the scheduler: it has to notice by itself")
        lines = following.result()
    return Trouble(
        killed=str(victim.node_id),
        killed_at=killed_at,
        followed_task=followed.task_id,
        followed_from=begun_at,
        lines=lines,
    )


def _two_running_tasks(job_id: str) -> tuple[Task, Task]:
    """Wait until tasks run on two nodes, and give one of each."""
    deadline = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < deadline:
        with suppress(MillpondError), _service() as service:
            running = service.list_tasks(job_id, state=TaskState.RUNNING)
            others = [task for task in running if task.node_id != running[0].node_id]
            if others:
                return running[0], others[-1]
        time.sleep(0.2)
    raise DemoError(f"no two nodes ran tasks within {_RUN_SECONDS:.0f} s; see out/demo/scheduler.log")


def _retried(job_id: str, trouble: Trouble) -> int:
    """Give a task that ran on the killed node and succeeded on another; it would be wrong if there were none."""
    with _service() as service:
        tasks = service.list_tasks(job_id)
    again = [task for task in tasks if task.node_faults and task.result is TaskResult.SUCCESS]
    if not again:
        raise DemoError(f"no task was tried again although the node {trouble.killed} was killed while it worked")
    say(f"  tried again after the node was lost: {', '.join(f'task {task.task_id}' for task in again)}; why, in words:")
    return again[0].task_id


def _compare() -> tuple[Comparison, ...]:
    result = json.loads(_result_file().read_text(encoding="utf-8"))
    model = json.loads(MODEL.read_text(encoding="utf-8"))
    exact = measures(model, result["level"])
    comparison = compare(result, exact)
    say(f"{result['days']:,} simulated days, measures at {result['level']:.0%}:")
    for item in comparison:
        verdict = "agrees" if item.agrees else "DIFFERS"
        say(
            f"  {item.name:<19} {item.simulated:>12,.2f} ± {item.error:,.2f}   closed form {item.exact:>12,.2f}   "
            f"{item.apart:+.2f} standard errors apart: {verdict} (bound {MOST_STANDARD_ERRORS:g})"
        )
    draw_losses(result, exact, OUT / "losses.png")
    say("  drawn: out/demo/losses.png")
    return comparison


def _result_file() -> Path:
    return OUT / "outputs" / "reduce" / "0" / "result.json"


def _wait_for_zero() -> None:
    deadline = time.monotonic() + _ZERO_SECONDS
    shown = None
    while time.monotonic() < deadline:
        try:
            pool = _pool()
        except MillpondError:  # a scheduler that is being started again
            time.sleep(0.5)
            continue
        if (pool.current_nodes, pool.target_nodes) != shown:
            shown = (pool.current_nodes, pool.target_nodes)
            say(f"  nodes: {pool.current_nodes} current, {pool.target_nodes} target")
        if shown == (0, 0):
            return
        time.sleep(0.25)
    raise DemoError(f"the pool did not go back to zero within {_ZERO_SECONDS:.0f} s; see out/demo/scheduler.log")


def _observe(job_id: str) -> Observed:
    with _service() as service:
        pool = next(pool for pool in service.list_pools() if pool.name == POOL)
        return Observed(
            job=service.get_job(job_id),
            tasks=service.list_tasks(job_id),
            groups=pool.groups,
            nodes=service.list_nodes(POOL),
            decisions=service.list_decisions(POOL),
            samples=service.list_samples(POOL),
        )


def _write_report(
    observed: Observed,
    comparison: tuple[Comparison, ...],
    trouble: Trouble,
    phases: Phases,
    set_up: float,
    so_far: float,
) -> None:
    end = datetime.now(UTC)
    pictures = {name: OUT / f"{name}.png" for name in ("losses", "timeline", "runs")}
    draw_timeline(observed.samples, observed.start, pictures["timeline"])
    draw_runs(observed.tasks, observed.start, pictures["runs"])
    path = critical_path_seconds(observed.tasks)
    figures = (
        Figure("so far", f"{so_far:.1f} s", "from the start to this page; tearing down comes after it"),
        Figure("set-up", f"{set_up:.1f} s", "local Azure, deployment, scheduler"),
        Figure("boot delay", f"{BOOT_DELAY_SECONDS:.1f} s", "from asking for a node to its first line"),
        Figure("critical path", f"{path:.1f} s", "slowest simulation, then the merge"),
    )
    write_page(
        OUT / "index.html",
        observed,
        model=json.loads(MODEL.read_text(encoding="utf-8")),
        result=json.loads(_result_file().read_text(encoding="utf-8")),
        comparison=comparison,
        trouble=trouble,
        resources=deployed_resources(_checkpoint()),
        phases=tuple(phases.taken.items()),
        figures=figures,
        boot_delay=BOOT_DELAY_SECONDS,
        pictures=pictures,
        end=end,
    )
    say("  the page: out/demo/index.html")


def _checkpoint() -> Path:
    """Where the engine keeps its record of the stack."""
    return StackFolder(STACK).path.parent / "pulumi" / ".pulumi" / "stacks" / "millpond" / f"{STACK}.json"


def _take_down() -> None:
    """Stop and remove everything, each part whether or not the others went well."""
    _stop_scheduler()
    folder = StackFolder(STACK)
    failed = []
    deployed = (folder.path / "deployment.json").exists() or _checkpoint().exists()
    for arguments in (("destroy", "--stack", STACK, "--yes"), ("local", "down")):
        if arguments[0] == "destroy" and not (deployed and _local_azure_runs()):
            continue
        try:
            millpond(*arguments)
        except DemoError as error:
            failed.append(str(error))
    # The store of a deployment that is gone would offer its old jobs to the next one.
    for path in folder.path.glob("scheduler.sqlite*"):
        path.unlink(missing_ok=True)
    if failed:
        raise DemoError("something may be left running: " + "; ".join(failed))


def _stop_scheduler() -> None:
    """Stop the schedulers of the demonstration's stack: its own, and one that was started by hand in its place."""
    numbers = set()
    if _SCHEDULER_PID.exists():
        numbers.add(int(_SCHEDULER_PID.read_text()))
    with suppress(MillpondError):
        address = StackFolder(STACK).api_address()
        if address is not None:
            numbers.add(address.pid)
    for number in numbers:
        if not _runs(number, "scheduler"):
            continue
        say(f"$ kill -TERM {number}    (the scheduler)")
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()


def _runs(number: int, word: str) -> bool:
    """Say whether a process is there and is what it was: a number may be another program's by now."""
    try:
        return any(word in part for part in psutil.Process(number).cmdline())
    except psutil.Error:
        return False


def _print_times(phases: Phases, wall: float, critical_path: float) -> None:
    say("\nWhere the time went:")
    for name, seconds in phases.taken.items():
        say(f"  {name:<24} {seconds:6.1f} s")
    set_up = sum(phases.taken[name] for name in ("model from real prices", "local Azure up", "pulumi up", "scheduler"))
    overhead = wall - BOOT_DELAY_SECONDS - critical_path
    say(f"set-up                     {set_up:6.1f} s   (within the wall time)")
    say(f"wall                       {wall:6.1f} s")
    say(f"boot delay                 {BOOT_DELAY_SECONDS:6.1f} s")
    say(f"critical path of the job   {critical_path:6.1f} s   (slowest simulation, then the merge)")
    say(f"overhead                   {overhead:6.1f} s   (wall less boot delay less critical path)")
    say("\nEverything is taken down. The page of this run: out/demo/index.html")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


if __name__ == "__main__":
    sys.exit(main())
