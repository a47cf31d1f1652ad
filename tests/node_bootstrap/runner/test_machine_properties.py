"""What holds for the machine whatever happens, in whatever order."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from node_bootstrap.protocol import (
    Directive,
    EventKind,
    NodeControl,
    NodeState,
    Outcome,
    StopRef,
    TaskMessage,
    TaskRef,
    TaskReport,
)
from node_bootstrap.runner.events import MachineEvent, Received, RenewFailed, StopAsked, TaskEnded, Tick
from node_bootstrap.runner.instructions import (
    DeleteMessage,
    Discard,
    Exit,
    Instruction,
    ReadControl,
    Receive,
    Renew,
    SendEvent,
    StartTask,
    StopTask,
    Upload,
    WriteStatus,
)
from node_bootstrap.runner.machine import MachineSettings, RunnerMachine
from tests.node_bootstrap.runner.machine_world import START, delivery, failure_of, message, success_of

SLOTS = 2
LEASE = timedelta(seconds=60)


@dataclass
class Held:
    """A message that the queue gave out at its first delivery, and what became of it."""

    message: TaskMessage
    accounted: set[TaskRef] = field(default_factory=set)
    started: list[TaskRef] = field(default_factory=list)


class Chaos:
    """Carries out instructions in an order and with results that are drawn, and watches what must hold."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.now = START
        self.machine = RunnerMachine(MachineSettings("n", "one", "v", SLOTS, timedelta(seconds=10), START))
        self.control = NodeControl(1, Directive.WORK)
        self.under_way: list[Instruction] = []
        self.running: dict[str, StartTask] = {}
        # By run: the machine numbers its runs in the order of deliveries, as `deliver` does.
        self.leases: dict[str, datetime] = {}
        self.held: dict[str, Held] = {}
        self.count = 0
        self.over = False

    def give(self, event: MachineEvent) -> None:
        """Hand an event over and look at what the machine asks."""
        for instruction in self.machine.handle(event, self.now):
            self.look_at(instruction)
            if isinstance(instruction, StartTask):
                assert instruction.run_id not in self.running, "two tasks of a run at once"
                assert all(other.message != instruction.message for other in self.running.values())
                self.running[instruction.run_id] = instruction
            elif not isinstance(instruction, Discard | StopTask | Exit):
                same = [other for other in self.under_way if type(other) is type(instruction)]
                if isinstance(instruction, ReadControl | WriteStatus | Receive):
                    assert same == [], "two of a kind at once"
                self.under_way.append(instruction)

    def look_at(self, instruction: Instruction) -> None:
        """Check one instruction against what must hold."""
        match instruction:
            case StartTask(run_id, of, task):
                assert self.now < self.leases[run_id], "started without a lease"
                held = self.held[of.message_id]
                assert task not in held.started
                assert task not in held.accounted
                held.started.append(task)
            case Upload(_, _, of, reports):
                self.held[of.message_id].accounted |= {TaskRef(item.task_id, item.attempt) for item in reports}
            case SendEvent(_, _, event) if event.kind is EventKind.RETURNED and event.message_id in self.held:
                held = self.held[event.message_id]
                held.accounted |= set(event.unfinished)
            case WriteStatus(status):
                assert len(status.held) <= SLOTS
                if status.state is NodeState.DRAINED:
                    assert status.held == ()
                    assert not self.running
                    assert not any(isinstance(item, Receive) for item in self.under_way)
            case DeleteMessage(_, lease):
                name = lease.queue_message_id.removeprefix("q-")
                if name in self.held:
                    assert self.held[name].accounted == set(self.held[name].message.tasks), "deleted, not accounted for"
            case Exit():
                assert not self.running
                self.over = True
            case _:
                pass

    def step(self) -> None:
        """Let something happen."""
        acts = ["pass time", "pass time", "answer", "answer", "fail", "end", "control", "stop"]
        act = self.draw(st.sampled_from(acts))
        if act == "pass time":
            self.now += timedelta(seconds=self.draw(st.sampled_from([0.1, 1, 5, 25])))
            self.give(Tick())
        elif act in {"answer", "fail"} and self.under_way:
            self.answer(self.under_way.pop(self.draw(st.integers(0, len(self.under_way) - 1))), fail=act == "fail")
        elif act == "end" and self.running:
            self.end(self.draw(st.sampled_from(sorted(self.running))), self.draw(st.sampled_from(list(Outcome))))
        elif act == "control":
            directive = self.draw(st.sampled_from([Directive.WORK, Directive.WORK, Directive.DRAIN, Directive.RETIRE]))
            stop = (StopRef("job", self.draw(st.integers(0, 3))),) if self.draw(st.booleans()) else ()
            self.control = NodeControl(self.control.number + 1, directive, stop)
        elif act == "stop" and self.draw(st.integers(0, 9)) == 0:
            self.give(StopAsked("notice", at_once=self.draw(st.booleans()), leave=self.draw(st.booleans())))

    def answer(self, instruction: Instruction, *, fail: bool) -> None:
        """Answer an instruction as drawn."""
        if isinstance(instruction, Renew) and fail and self.draw(st.booleans()):
            self.leases[instruction.run_id] = START
            self.give(RenewFailed(instruction.run_id, gone=True))
            return
        event = failure_of(instruction) if fail else success_of(instruction, self.now, self.control)
        if isinstance(instruction, Receive) and not fail:
            event = self.deliver(instruction.count)
        if isinstance(instruction, Renew) and not fail:
            self.leases[instruction.run_id] = self.now + LEASE
        assert event is not None
        self.give(event)

    def deliver(self, most: int) -> Received:
        """Give messages, some of them not for the first time."""
        deliveries = []
        for _ in range(self.draw(st.integers(0, most))):
            self.count += 1
            of = message(f"m{self.count}", *range(self.draw(st.integers(1, 3))))
            first = self.draw(st.integers(0, 3)) > 0
            deliveries.append(delivery(of, 1 if first else 2))
            self.leases[f"one.{self.count}"] = self.now + LEASE
            if first:
                self.held[of.message_id] = Held(of)
        return Received(tuple(deliveries), self.now)

    def end(self, run_id: str, outcome: Outcome) -> None:
        """End a task."""
        begun = self.running.pop(run_id)
        ref = begun.task
        self.give(TaskEnded(run_id, TaskReport(ref.task_id, ref.attempt, outcome, None, "", self.now, self.now)))

    def settle(self) -> None:
        """Let everything be answered well and every task end."""
        for _ in range(400):
            if self.over:
                return
            while self.under_way:
                instruction = self.under_way.pop(0)
                if isinstance(instruction, Receive):
                    self.give(Received((), self.now))
                else:
                    self.answer(instruction, fail=False)
            for run_id in sorted(self.running):
                self.end(run_id, Outcome.SUCCESS)
            self.now += timedelta(seconds=1)
            self.give(Tick())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_protocol_holds_whatever_happens(data: st.DataObject) -> None:
    """Never two runs of a message, nothing started without a lease, and each message accounted for in the end."""
    chaos = Chaos(data)
    for _ in range(data.draw(st.integers(0, 80))):
        if chaos.over:
            break
        chaos.step()
    chaos.settle()
    for held in chaos.held.values():
        assert held.accounted == set(held.message.tasks), f"lost tasks of {held.message.message_id}"
