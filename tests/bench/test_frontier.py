"""The frontier's bench runs, keeps what it ran, and compares as the definition says."""

from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.simulator.bounds import bounds
from scheduler.simulator.cases import Case, Judged, run_case
from scheduler.simulator.policies.catalogue import PEERS
from scheduler.simulator.report import Report, report
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.bench import frontier
from tests.bench.frontier import OURS, cases, drawn, standing

LOAD = drawn("small", "seed", 40)


def judged(case: Case, like: Report, *, overhead: float, mean: float) -> Judged:
    """Give a case at a point."""
    return Judged(case, replace(like, overhead_hours=overhead, waits=replace(like.waits, mean=mean)))


def test_every_peer_has_the_same_budget() -> None:
    """Six cases of the search, the published one and the one at our interval; none but the blind pools has fewer."""
    found = cases(bounds(LOAD, 1, 240.0), search=True)
    assert found.count(OURS) == 1
    assert [case for case in found if case.policy == OURS.policy] == [OURS]
    for kind in PEERS:
        budget = 1 if kind.name in {"always-max", "fixed-hours"} else 8
        assert len({case for case in found if case.policy == kind.name}) == budget


def test_ours_stands_beside_the_mixture_of_peers() -> None:
    """Between two peers the hull is their mixture; one that is clearly better in one and no worse in both dominates."""
    like = report(run_case(LOAD, one_pool(Group(boot=Fixed(60.0))), OURS))
    ours = judged(OURS, like, overhead=30.0, mean=50.0)
    peers = [judged(Case("ray"), like, overhead=80.0, mean=0.0), judged(Case("keda"), like, overhead=40.0, mean=100.0)]
    assert standing([ours, *peers], "mean") == frontier.Standing((), 0.5)
    better = judged(Case("slurm"), like, overhead=20.0, mean=50.0)
    assert standing([ours, *peers, better], "mean") == frontier.Standing(("slurm",), 1.5)
    only = judged(Case("slurm"), like, overhead=20.0, mean=51.0)
    assert standing([ours, only], "mean").to_hull is None


def test_it_runs_and_a_second_run_replays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures and a table appear; what was kept is not run again, and gives the same table."""
    monkeypatch.setattr(frontier, "TRACES", tmp_path / "none")
    monkeypatch.setattr(frontier, "_QUICK_JOBS", 40)
    options = ["--quick", "--trace", "linkerd-gha-2020", "--processes", "1", "--out", str(tmp_path)]
    frontier.main(options)
    first = capsys.readouterr().out
    kept = {file: file.read_bytes() for file in tmp_path.glob("*.jsonl")}
    assert len(list(tmp_path.glob("drawn-for-linkerd*.png"))) == len(list(tmp_path.glob("*.html"))) == 1
    frontier.main(options)
    assert capsys.readouterr().out == first
    assert {file: file.read_bytes() for file in tmp_path.glob("*.jsonl")} == kept
    assert "mean wait: ours dominated in" in first
