"""The value-at-risk example: its programs, run as a node runs them."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist, fmean, stdev

import pytest

from examples.value_at_risk.parametric import measures
from examples.value_at_risk.prepare import DAYS, cholesky, covariance, daily_returns, fit, mean_vector, read_prices
from examples.value_at_risk.reduce import summarise

_SOURCE = Path(__file__).parents[2] / "examples" / "value_at_risk"


def _run(folder: Path, *command: str, index: int = 0) -> None:
    environment = {**os.environ, "MILLPOND_TASK_INDEX": str(index)}
    subprocess.run([sys.executable, "-I", *command], cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tasks' losses below `simulate`, with the programs beside them."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "model.json").write_text(json.dumps(fit()))
    for name in ("simulate.py", "reduce.py"):
        shutil.copy(_SOURCE / name, folder)
    for index in (2, 0, 3, 1):
        _run(folder, "simulate.py", "--days", "5000", "--seed", "1", index=index)
        (folder / "simulate" / str(index)).mkdir(parents=True)
        (folder / "losses.f64").rename(folder / "simulate" / str(index) / "losses.f64")
    _run(folder, "reduce.py", "simulate")
    return folder


def test_the_factor_multiplies_to_the_covariance() -> None:
    """The Cholesky factor times its transpose is the covariance of the real returns."""
    stocks, _, prices = read_prices()
    returns = daily_returns(prices[-DAYS - 1 :])
    matrix = covariance(returns, mean_vector(returns))
    factor = [[*row, *[0.0] * (len(stocks) - len(row))] for row in cholesky(matrix)]
    assert len(stocks) == 20
    assert len(returns) == DAYS
    for i, row in enumerate(factor):
        for j, other in enumerate(factor):
            assert sum(a * b for a, b in zip(row, other, strict=True)) == pytest.approx(matrix[i][j], rel=1e-9)


def test_the_result_agrees_with_the_closed_form(simulated: Path) -> None:
    """Both measures lie within four standard errors of the normal model's own."""
    result = json.loads((simulated / "result.json").read_text())
    exact = measures(json.loads((simulated / "model.json").read_text()), result["level"])
    assert result["days"] == 20_000
    for name in ("value_at_risk", "expected_shortfall"):
        assert abs(result[name] - getattr(exact, name)) < 4 * result[f"{name}_standard_error"]


def test_the_result_does_not_depend_on_the_split(simulated: Path, tmp_path: Path) -> None:
    """The same losses, cut and ordered otherwise, merge to the same bytes."""
    losses = b"".join((simulated / "simulate" / str(index) / "losses.f64").read_bytes() for index in range(4))
    days = [losses[at : at + 8] for at in range(0, len(losses), 8)]
    random.Random(7).shuffle(days)  # noqa: S311  any other order will do
    for index, (start, end) in enumerate([(0, 1), (1, 9_000), (9_000, 20_000)]):
        (tmp_path / "simulate" / str(index)).mkdir(parents=True)
        (tmp_path / "simulate" / str(index) / "losses.f64").write_bytes(b"".join(days[start:end]))
    _run(tmp_path, str(simulated / "reduce.py"), "simulate")
    for name in ("result.json", "losses.svg"):
        assert (tmp_path / name).read_bytes() == (simulated / name).read_bytes()


def test_a_task_depends_on_seed_and_index_alone(simulated: Path, tmp_path: Path) -> None:
    """A task run again gives the same bytes; another index gives others."""
    for name in ("simulate.py", "model.json"):
        shutil.copy(simulated / name, tmp_path)
    runs = []
    for index in (2, 2, 3):
        _run(tmp_path, "simulate.py", "--days", "200", "--seed", "1", index=index)
        runs.append((tmp_path / "losses.f64").read_bytes())
    assert runs[0] == runs[1] != runs[2]
    assert (simulated / "simulate" / "2" / "losses.f64").read_bytes().startswith(runs[0])


def test_standard_errors_are_those_of_repetition() -> None:
    """The standard errors that the merge prints are the spread of its estimates over many samples."""
    source = NormalDist(0, 1)
    results = [summarise(source.samples(4_000, seed=seed)) for seed in range(120)]
    for name in ("value_at_risk", "expected_shortfall"):
        spread = stdev(result[name] for result in results)
        printed = fmean(result[f"{name}_standard_error"] for result in results)
        assert printed == pytest.approx(spread, rel=0.25)
