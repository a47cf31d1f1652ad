"""What must hold, looked at from outside: the store's public views, storage itself and the simulated machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.adapters.memory import MemoryBlobs
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.model import Job, JobResult, JobState, OutputFile, Task, TaskResult, TaskState
from scheduler.simulator.faithful.node import OUTPUT
from tests.system.workload import Expected, JobPlan, expected

MOST_TASKS = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """A completed task as it was first seen: how it ended, and every committed file with its bytes."""

    result: TaskResult | None
    attempt: int
    exit_code: int | None
    files: tuple[tuple[OutputFile, bytes], ...]


@dataclass
class Judge:
    """Looks on while the simulation runs, and says at the end what was wrong."""

    jobs: SqlJobStore
    blobs: MemoryBlobs
    plans: Mapping[str, JobPlan]
    cancelled: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    _seen: dict[tuple[str, int], Verdict] = field(default_factory=dict)
    _ended: dict[str, JobResult | None] = field(default_factory=dict)

    def look(self) -> None:
        """Remember what is completed now; whatever was completed before must be as it was."""
        for job_id in self.plans:
            if job_id in self._ended:
                continue
            job = self.jobs.job(job_id)
            self._look_at(job)
            if job.state is JobState.COMPLETED:
                self._ended[job_id] = job.result

    def all_ended(self) -> bool:
        """Whether every job has ended."""
        return len(self._ended) == len(self.plans)

    def accuse(self, finding: str) -> None:
        """Note something that must not happen."""
        self.wrong.append(finding)

    def sentence(self) -> list[str]:
        """Look at everything once more and give all findings; none is what a run should have."""
        for job_id, plan in self.plans.items():
            job = self.jobs.job(job_id)
            self._look_at(job)
            if job.state is not JobState.COMPLETED:
                self.accuse(f"{plan.name} has not ended: {job}")
                continue
            if job.result is not self._ended.get(job_id, job.result):
                self.accuse(f"{plan.name} ended as {self._ended[job_id]} and is now {job.result}")
            self._compare(job, plan)
        return self.wrong

    def _look_at(self, job: Job) -> None:
        completed = [task for task in self._tasks(job.job_id) if task.state is TaskState.COMPLETED]
        new = [task for task in completed if (job.job_id, task.task_id) not in self._seen]
        again = job.state is JobState.COMPLETED
        if not new and not again:
            return
        files: dict[int, list[OutputFile]] = {}
        for file in self.jobs.outputs(job.job_id, None):
            files.setdefault(file.task_id, []).append(file)
        for task in completed if again else new:
            self._remember(job.job_id, task, tuple(files.get(task.task_id, ())))

    def _remember(self, job_id: str, task: Task, files: tuple[OutputFile, ...]) -> None:
        contents = tuple((item, self._bytes(item)) for item in sorted(files, key=lambda item: item.file.path))
        verdict = Verdict(task.result, task.attempt, task.exit_code, contents)
        before = self._seen.setdefault((job_id, task.task_id), verdict)
        if before != verdict:
            self.accuse(f"committed result of task {task.task_id} of {job_id} changed: {before} -> {verdict}")

    def _bytes(self, item: OutputFile) -> bytes:
        file = item.file
        return self.blobs.read_range(file.container, file.blob, file.offset, file.length) if file.length else b""

    def _tasks(self, job_id: str) -> tuple[Task, ...]:
        return self.jobs.tasks(job_id, -1, MOST_TASKS)

    def _compare(self, job: Job, plan: JobPlan) -> None:
        wanted = expected(plan)
        tasks = self._tasks(job.job_id)
        if sorted(task.task_id for task in tasks) != list(range(plan.task_count)):
            self.accuse(f"{plan.name} has tasks {[task.task_id for task in tasks]}, expected {plan.task_count}")
        for task in tasks:
            self._compare_task(job, plan, task, wanted[task.step, task.index])
        if job.job_id in self.cancelled:
            if job.result not in {JobResult.CANCELLED, JobResult.SUCCESS, JobResult.FAILURE}:
                self.accuse(f"{plan.name} was cancelled and ended as {job.result}")
            return
        result = JobResult.FAILURE if plan.doomed else JobResult.SUCCESS
        if job.result is not result:
            self.accuse(f"{plan.name} ended as {job.result}, expected {result}: {job.reason}")

    def _compare_task(self, job: Job, plan: JobPlan, task: Task, wanted: Expected) -> None:
        name = f"task {task.step}/{task.index} of {plan.name}"
        if task.state is not TaskState.COMPLETED:
            self.accuse(f"{name} has not ended: {task}")
            return
        if task.result is TaskResult.CANCELLED and job.job_id in self.cancelled:
            return
        if task.result is not wanted.result:
            self.accuse(f"{name} ended as {task.result}, expected {wanted.result}: {task.reason}")
            return
        verdict = self._seen[job.job_id, task.task_id]
        outputs = [data for item, data in verdict.files if item.file.path == OUTPUT]
        if wanted.output is not None and outputs != [wanted.output]:
            self.accuse(f"{name} committed {outputs}, expected {wanted.output!r}")
