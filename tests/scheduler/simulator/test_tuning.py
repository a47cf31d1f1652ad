"""Parts of a history that a search sees, and does not see."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.simulator.tuning import part_of
from scheduler.simulator.workload import SimulatedJob, workload_of


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.data())
def test_a_part_is_when_it_was(submits: list[int], data: st.DataObject) -> None:
    """Each job of a part comes at the instant at which it came in the whole, and waits for jobs of the part alone."""
    zero = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    jobs = [SimulatedJob(at, 1.0 + number, after=(number - 1,) * (number > 0)) for number, at in enumerate(submits)]
    whole = workload_of("whole", jobs, zero)
    begin = data.draw(st.integers(0, len(jobs) - 1))
    end = data.draw(st.integers(begin + 1, len(jobs)))
    part = part_of(whole, begin, end)
    assert whole.begins_at is not None
    assert part.begins_at is not None
    assert part.submit[0] == 0
    for place in range(len(part)):
        came = whole.begins_at + timedelta(seconds=whole.submit[begin + place])
        assert part.begins_at + timedelta(seconds=part.submit[place]) == came
        assert part.run[place] == whole.run[begin + place]
        inside = (
            {other - begin for other in whole.after[begin + place]} & set(range(len(part))) if whole.after else set()
        )
        assert set(part.after[place] if part.after else ()) == inside
