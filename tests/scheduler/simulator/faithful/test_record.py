"""What a faithful replay records of jobs that more than one node has."""

from scheduler.simulator.faithful.record import Record
from scheduler.simulator.nodes import GroupTotals
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import World


def recorded(*, first_ends: bool) -> tuple[Record, GroupTotals]:
    """Have two nodes begin a job at 10 and 40 s; the first is lost or ends at 60 s, the second ends at 100 s."""
    now = [0.0]
    record, totals = Record(workload_of("one", [SimulatedJob(0, 50)]), World(), lambda: now[0]), GroupTotals()
    record.arrive(0)
    for now[0] in (10.0, 40.0):
        record.begin(0)
    now[0] = 60.0
    if first_ends:
        record.finish(0)
    else:
        record.lose(0, 10.0, totals)
    record.note(0, ())
    now[0] = 100.0
    if first_ends:
        record.lose(0, 40.0, totals)
    else:
        record.finish(0)
    record.note(0, ())
    return record, totals


def test_a_job_that_a_second_node_has_goes_on_when_the_first_is_lost() -> None:
    """What is lost is what the first node did, from when it had begun; the job does not wait again."""
    record, totals = recorded(first_ends=False)
    assert (totals.restarts, totals.lost_slot_seconds) == (1, 50.0)
    assert (record.start[0], record.end[0], record.remaining) == (10.0, 100.0, 0)
    assert [list(record.series[0].waiting), list(record.series[0].running)] == [[0, 0], [1, 0]]


def test_what_a_second_node_does_of_a_job_that_has_ended_is_lost() -> None:
    """The job ends once, with the first; what the other node did of it counts as lost and moves nothing."""
    record, totals = recorded(first_ends=True)
    assert (totals.restarts, totals.lost_slot_seconds) == (1, 60.0)
    assert (record.start[0], record.end[0], record.remaining) == (10.0, 60.0, 0)
    assert [list(record.series[0].waiting), list(record.series[0].running)] == [[0, 0], [0, 0]]
