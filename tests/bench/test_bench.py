"""The benches run."""

import json
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.plan import benches
from tests.bench.regrets import KINDS
from tests.bench.scaling import Scaler, replicas


def test_every_bench_runs_and_is_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every side runs at a tiny size, comes to the end state that it checks, and is printed and written."""
    written = json.loads(main(["--quick", "--out", str(tmp_path)]).read_text(encoding="utf-8"))
    sides = [side.label for bench in benches(quick=True) for side in bench.sides]
    assert [figure["side"] for figure in written["figures"]] == sides
    assert all(figure["median_us"] > 0 and figure["peak_mib"] > 1 for figure in written["figures"])
    assert written["machine"]["cores"] >= 1
    assert {each["workload"] for each in written["regrets"]} == {kind.name for kind in KINDS}
    assert all(each["formula_node_hours"] > 0 for each in written["regrets"])
    assert "hand out and commit" in capsys.readouterr().out


@pytest.mark.parametrize(("tasks", "expected"), [(0, 0), (105, 10), (120, 12), (1_000_000, 50)])
def test_the_formula_is_the_hpas(tasks: int, expected: int) -> None:
    """Within a tenth of the target nothing changes; else it is the quotient rounded up, in bounds."""
    assert replicas(Scaler(tasks=tasks, per_replica=10, replicas=10, most=50)) == expected
