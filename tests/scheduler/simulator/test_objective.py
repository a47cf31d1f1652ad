"""Objectives as people write them."""

import re

import pytest

from scheduler.errors import InvalidRequestError
from scheduler.simulator.objective import Objective, read_objective


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("P95  wait <= 5 min", Objective("p95", 300.0)),
        ("mean wait 30s", Objective("mean", 30.0)),
        ("cost 200 node-hours", Objective("node_hours", 200.0)),
        ("cost 500 usd a month", Objective("usd", 500.0, "month")),
        ("cost 20 $ per day", Objective("usd", 20.0, "day")),
    ],
)
def test_an_objective_is_read_and_written(text: str, means: Objective) -> None:
    """What is written is read as the same again."""
    assert read_objective(text) == means
    assert read_objective(str(means)) == means


@pytest.mark.parametrize("text", ["", "p95 wait", "p90 wait 5 min", "p95 wait 5 parsecs", "cost -1 usd", "$40"])
def test_what_is_no_objective_is_refused_by_name(text: str) -> None:
    """The message repeats what was written."""
    with pytest.raises(InvalidRequestError, match=re.escape(f"the objective {text!r}")):
        read_objective(text)
