"""What a scheduler's store knows of workflows while a replay runs: steps, run times by kind of work, what is to come.

Kept job by job, so that looking costs by the steps that have waiting or running jobs. As much is shown as the real
store tells the decision (`scheduler.adapters.sql.demand`): the greatest steps, and the edges that end soonest.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest, nsmallest
from itertools import islice

from scheduler.dispatch.run_times import POOL_SPAN, STEP_SPAN, expected_run_times
from scheduler.simulator.interface import ComingView, StepView, WorkView
from scheduler.simulator.workflows import WorkflowStep, is_workflow, joined, steps_of
from scheduler.simulator.workload import Workload
from scheduler.sketch import NONE_SEEN, Expected, RunTimes

_STEPS, _EDGES, _COHORTS = 16, 32, 12


class _Times:
    """Run times of one kind; what is new is taken in when somebody looks."""

    __slots__ = ("_known", "_new", "_span", "version")

    def __init__(self, span: int) -> None:
        self._known, self._new, self._span, self.version = NONE_SEEN, list[float](), span, 0

    def add(self, seconds: float) -> None:
        self._new.append(seconds)
        self.version += 1

    def known(self) -> RunTimes:
        if self._new:
            self._known, self._new = self._known.followed_by(self._new, self._span), []
        return self._known


class _Edge:
    """Jobs of one step that another step waits for; `left` of their slots have not ended."""

    __slots__ = ("before", "left", "step")

    def __init__(self, before: "_Step", step: "_Step") -> None:
        self.before, self.step, self.left = before, step, 0


class _Step:
    """A step; numbers are slots. `begun` has the running jobs in the order in which they began."""

    __slots__ = (
        "begun",
        "edges",
        "estimate",
        "number",
        "open",
        "running",
        "times",
        "waiting",
        "waits_for",
        "work",
        "workflow",
    )

    def __init__(self, workflow: int, number: int, work: str, estimate: float | None) -> None:
        self.workflow, self.number, self.work, self.estimate = workflow, number, work, estimate
        self.open = self.waiting = self.running = 0
        self.begun: dict[int, float] = {}
        self.times = _Times(STEP_SPAN)
        # From this step to those that wait for jobs of it, and from those that it waits for.
        self.edges: list[_Edge] = []
        self.waits_for: list[_Edge] = []

    @property
    def place(self) -> tuple[int, int]:
        return self.workflow, self.number


class Flows:
    """The steps of a workload in which jobs wait for others. Jobs that nothing is joined to are one class."""

    def __init__(self, workload: Workload, pools: Sequence[int], count: int, *, known_runs: bool) -> None:
        self._slots = workload.slots
        self._pools = pools
        self._step_of: dict[int, _Step] = {}
        self._edges_of: dict[int, list[_Edge]] = {}
        # The steps of each pool that have waiting or running jobs, in the order in which they came to have some.
        self._busy: list[dict[tuple[int, int], _Step]] = [{} for _ in range(count)]
        self._pool_times = [_Times(POOL_SPAN) for _ in range(count)]
        self._work_times: list[dict[str, _Times]] = [{} for _ in range(count)]
        self._leaning: dict[tuple[int, str], tuple[tuple[int, int], Expected]] = {}
        self._single: dict[int, _Step] = {}
        for members in joined(workload):
            if len(members) > 1 and is_workflow(workload, members, pools):
                self._know(workload, members[0], steps_of(workload, members), known_runs=known_runs)

    def _know(self, workload: Workload, name: int, steps: Iterable[WorkflowStep], *, known_runs: bool) -> None:
        for number, each in enumerate(steps):
            first = each.jobs[0]
            estimate = None
            if known_runs:
                believed = workload.estimate or workload.run
                runs = [workload.run[job] if believed[job] is None else believed[job] for job in each.jobs]
                estimate = sum(run for run in runs if run is not None) / len(runs)
            step = _Step(name, number, workload.work[first] if workload.work else "", estimate)
            step.open = sum(self._slots[job] for job in each.jobs)
            self._step_of |= dict.fromkeys(each.jobs, step)
            edges: dict[tuple[int, int], _Edge] = {}
            for job in each.after:
                before = self._step_of[job]
                if before.place not in edges:
                    edges[before.place] = _Edge(before, step)
                    before.edges.append(edges[before.place])
                    step.waits_for.append(edges[before.place])
                edges[before.place].left += self._slots[job]
                self._edges_of.setdefault(job, []).append(edges[before.place])

    # What happens.

    def _of(self, job: int) -> tuple[int, _Step]:
        pool = self._pools[job] if self._pools else 0
        step = self._step_of.get(job)
        if step is None:
            step = self._single.setdefault(pool, _Step(-1, pool, "", None))
        return pool, step

    def arrive(self, job: int) -> None:
        """Have a job wait."""
        pool, step = self._of(job)
        if step.workflow < 0:
            step.open += self._slots[job]
        step.waiting += self._slots[job]
        self._busy[pool].setdefault(step.place, step)

    def turn_away(self, job: int) -> None:
        """Have a waiting job give up; what waits for it waits for ever."""
        pool, step = self._of(job)
        step.waiting -= self._slots[job]
        self._rest(pool, step)

    def begin(self, job: int, now: float) -> None:
        """Have a waiting job run."""
        _, step = self._of(job)
        step.waiting -= self._slots[job]
        step.running += self._slots[job]
        step.begun[job] = now

    def give_back(self, job: int) -> None:
        """Have a running job wait again."""
        _, step = self._of(job)
        step.waiting += self._slots[job]
        step.running -= self._slots[job]
        del step.begun[job]

    def finish(self, job: int, seconds: float) -> None:
        """Have a running job end."""
        pool, step = self._of(job)
        step.running -= self._slots[job]
        step.open -= self._slots[job]
        del step.begun[job]
        for times in (step.times, self._pool_times[pool], self._of_work(pool, step.work)):
            times.add(seconds)
        for edge in self._edges_of.pop(job, ()):
            edge.left -= self._slots[job]
        self._rest(pool, step)

    def _rest(self, pool: int, step: _Step) -> None:
        if not step.waiting and not step.running:
            self._busy[pool].pop(step.place, None)

    def _of_work(self, pool: int, work: str) -> _Times:
        return self._work_times[pool].setdefault(work, _Times(POOL_SPAN))

    # What is seen of it.

    def view(self, pool: int) -> WorkView:
        """Show the work of a pool."""
        busy = self._busy[pool]
        edges = list(self._ending_soonest(busy.values()))
        greatest = nlargest(_STEPS, busy.values(), key=lambda step: (step.waiting + step.running, step.place))
        seen = {step.place: self._seen(pool, step) for step in greatest}
        rest = [step for step in busy.values() if step.place not in seen] if len(busy) > len(seen) else []
        return WorkView(
            steps=tuple(seen.values()),
            waiting=sum(step.waiting for step in rest),
            running=sum(step.running for step in rest),
            times=self._pool_times[pool].known().expected(),
            coming=tuple(self._coming(pool, edges, seen)),
        )

    def _ending_soonest(self, busy: Iterable[_Step]) -> Iterable[_Edge]:
        open_edges = (edge for step in busy for edge in step.edges if edge.left)
        return nsmallest(_EDGES, open_edges, key=lambda edge: (edge.before.open, edge.step.place, edge.before.place))

    def _coming(self, pool: int, edges: Iterable[_Edge], seen: dict[tuple[int, int], StepView]) -> Iterator[ComingView]:
        """Give steps that wait for nothing but jobs at hand."""
        by_step: dict[tuple[int, int], list[_Edge]] = {}
        for edge in edges:
            by_step.setdefault(edge.step.place, []).append(edge)
        for found in by_step.values():
            step = found[0].step
            all_told = len(found) == sum(edge.left > 0 for edge in step.waits_for)
            if not all_told or any(edge.before.open > edge.before.waiting + edge.before.running for edge in found):
                continue
            behind = tuple((seen.get(edge.before.place) or self._seen(pool, edge.before), edge.left) for edge in found)
            yield ComingView(step.workflow, step.number, step.open, self._times(pool, step), behind)

    def _seen(self, pool: int, step: _Step) -> StepView:
        return StepView(
            step.workflow, step.number, step.waiting, step.running, self._times(pool, step), tuple(_cohorts(step))
        )

    def _times(self, pool: int, step: _Step) -> Expected:
        """Say what to expect of a job of a step; what leans on its kind of work alone is worked out once."""
        of_pool, of_work = self._pool_times[pool], self._of_work(pool, step.work)
        if step.times.version or step.estimate is not None:
            return expected_run_times(step.times.known(), step.estimate, of_work.known(), of_pool.known())
        version, known = self._leaning.get((pool, step.work), ((-1, -1), Expected()))
        if version != (of_pool.version, of_work.version):
            version = of_pool.version, of_work.version
            known = expected_run_times(NONE_SEEN, None, of_work.known(), of_pool.known())
            self._leaning[pool, step.work] = version, known
        return known


def _cohorts(step: _Step) -> Iterator[tuple[float, int]]:
    """Put running jobs together that began one after the other, each with the mean of their beginnings."""
    began = iter(step.begun.values())
    size = -(-len(step.begun) // _COHORTS)
    while part := list(islice(began, max(1, size))):
        yield sum(part) / len(part), len(part)
