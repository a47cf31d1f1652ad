"""`millpond simulate` and `tune` from a file to what is printed and drawn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scheduler.cli.tune import commands

JOBS = "submit_s,run_s\n" + "".join(f"{number * 300},{60 + number % 5 * 100}\n" for number in range(60))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Write a small table of jobs, one line of it wrong."""
    path = tmp_path / "work.csv"
    path.write_text(JOBS + "x,1\n")
    return path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command; give its exit code and what it wrote."""
    done = CliRunner().invoke(commands, [str(each) for each in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_one_run_is_reported_drawn_and_its_bad_lines_named(trace: Path, tmp_path: Path) -> None:
    """The JSON has the whole report, the picture is a PNG, and the wrong line is told with its number."""
    picture = tmp_path / "run.png"
    code, out, err = run("simulate", "--trace", trace, "--policy", "queue-depth", "--picture", picture, "--json")
    assert code == 0
    assert "work.csv: line 62: submit: 'x' is neither a number" in err
    (judged,) = json.loads(out)
    assert judged["report"]["jobs"] == 60
    assert judged["report"]["unfinished"] == 0
    assert 0 < judged["report"]["waits"]["mean"] <= 240
    assert picture.read_bytes().startswith(b"\x89PNG")
    first = picture.read_bytes()
    assert run("simulate", "--trace", trace, "--policy", "queue-depth", "--picture", picture)[0] == 0
    assert picture.read_bytes() == first


def test_many_runs_stand_side_by_side_on_a_page_of_its_own(trace: Path, tmp_path: Path) -> None:
    """Each combination is a row; the page names no other address."""
    page = tmp_path / "all.html"
    sets = ("--set", "queue-depth.idle_timeout=0,5min", "--set", "acceptable_wait=1min")
    policies = ("--policy", "queue-depth", "--policy", "millpond")
    code, out, _ = run("simulate", "--trace", trace, *policies, *sets, "--picture", page, "--processes", "1")
    assert code == 0
    assert [row in out for row in ("idle_timeout=0", "idle_timeout=5min", "millpond acceptable_wait=1min")] == [
        True
    ] * 3
    assert "http" not in page.read_text()


WORLD = """
[[pools]]
name = "a"
scaling = { acceptable_wait = "1min" }
[[pools.groups]]
name = "spot"
spot = true
max_nodes = 2
boot = "60s"
lifetime = "exponential:8min"
[[pools.groups]]
name = "regular"
max_nodes = 2
boot = "60s"
[[pools]]
name = "b"
"""


@pytest.mark.parametrize("engine", ["fast", "faithful"])
def test_many_pools_are_reported_each_with_its_groups(tmp_path: Path, engine: str) -> None:
    """Cost, waits, interruptions and lost work of pools and groups add up to those of the whole."""
    trace, world = tmp_path / "two.csv", tmp_path / "world.toml"
    trace.write_text("submit_s,run_s,pool\n" + "".join(f"{n * 90},400,{'ab'[n % 2]}\n" for n in range(16)))
    world.write_text(WORLD)
    arguments = ("simulate", "--trace", trace, "--world", world, "--engine", engine, "--seed", "2")
    (judged,) = json.loads(run(*arguments, "--json")[1])
    whole = judged["report"]
    assert [pool["name"] for pool in whole["pools"]] == ["a", "b"]
    assert [pool["jobs"] for pool in whole["pools"]] == [8, 8]
    assert whole["unfinished"] == 0
    groups = [group for pool in whole["pools"] for group in pool["groups"]]
    assert [group["name"] for group in groups] == ["spot", "regular", "nodes"]
    for number in ("node_hours", "usd", "node_starts", "preempted", "restarts", "lost_slot_hours"):
        assert sum(group[number] for group in groups) == pytest.approx(whole[number])
    assert groups[0]["preempted"] > 0
    assert groups[0]["lost_slot_hours"] > 0
    assert groups[0]["usd"] / groups[0]["node_hours"] < groups[1]["usd"] / groups[1]["node_hours"]
    assert whole["gap"]["work_hours"] == pytest.approx(16 * 400 / 3600)
    code, out, _ = run(*arguments)
    assert code == 0
    assert "spot (Standard_D2s_v5, Spot)" in out


@pytest.mark.parametrize("engine", ["fast", "faithful"])
def test_the_same_seed_gives_the_same_bytes_in_every_process(tmp_path: Path, engine: str) -> None:
    """Reports of two processes that order sets and hash texts differently are equal to the byte."""
    trace, world = tmp_path / "two.csv", tmp_path / "world.toml"
    trace.write_text("submit_s,run_s,pool\n" + "".join(f"{n * 50},200,{'ab'[n % 2]}\n" for n in range(8)))
    world.write_text(WORLD)
    arguments = ["simulate", "--trace", trace, "--world", world, "--engine", engine, "--seed", "5", "--json"]
    reports = [
        subprocess.run(
            [sys.executable, "-c", "from scheduler.cli.tune import commands; commands()", *map(str, arguments)],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    ]
    assert reports[0] == reports[1]
    assert json.loads(reports[0])[0]["report"]["unfinished"] == 0


def test_a_world_stands_for_the_options_about_nodes(trace: Path, tmp_path: Path) -> None:
    """Both together are refused, and so is a pool's setting that there is not."""
    world = tmp_path / "world.toml"
    world.write_text(WORLD)
    code, _, err = run("simulate", "--trace", trace, "--world", world, "--slots", "2", "--spot")
    assert code == 2
    assert "write --slots, --spot there" in " ".join(err.split())
    world.write_text(WORLD.replace("acceptable_wait", "patience"))
    code, _, err = run("simulate", "--trace", trace, "--world", world)
    assert code == 2
    assert "millpond, pool a has no setting 'patience'" in " ".join(err.split())


def test_the_faithful_engine_runs_ours_alone(trace: Path) -> None:
    """Another policy is refused in words that say why."""
    code, _, err = run("simulate", "--trace", trace, "--engine", "faithful", "--policy", "ray")
    assert code == 2
    assert "runs the real scheduler" in " ".join(err.split())


def test_processes_give_what_one_gives(trace: Path) -> None:
    """Replays beside each other come out as one after another, and in the same order."""
    arguments = ("simulate", "--trace", trace, "--policy", "queue-depth", "--set", "idle_timeout=0,60,900", "--json")
    assert run(*arguments, "--processes", "2")[1] == run(*arguments, "--processes", "1")[1]


def test_tune_proposes_the_cheapest_setting_that_keeps_the_objective(trace: Path) -> None:
    """No setting that keeps the bound costs less; a bound that none keeps is said to be."""
    arguments = ("tune", "--history", trace, "--policy", "queue-depth", "--processes", "1", "--json")
    found = json.loads(run(*arguments, "--objective", "mean wait 100s")[1])
    keeping = [each for each in found["tried"] if each["report"]["waits"]["mean"] <= 100]
    assert found["kept"]
    assert found["best"]["case"] == min(keeping, key=lambda each: each["report"]["node_hours"])["case"]
    assert not json.loads(run(*arguments, "--objective", "max wait 1s")[1])["kept"]
    assert run(*arguments, "--objective", "max wait 1s")[0] == 1


def test_tune_says_what_it_costs_how_sure_it_is_and_what_to_paste(tmp_path: Path) -> None:
    """Today's setting stands beside the proposed, on the whole history and on the part that the search did not see."""
    trace = tmp_path / "work.csv"
    trace.write_text(
        "submit_s,run_s\n" + "".join(f"{day * 86400 + n * 400},300\n" for day in range(30) for n in range(5))
    )
    arguments = ("tune", "--history", trace, "--set", "acceptable_wait=1min,30min", "--processes", "1")
    arguments = (*arguments, "--set", "waiting_cost=1", "--today", "idle_timeout=2h")
    code, out, _ = run(*arguments, "--objective", "p95 wait 5 min")
    assert code == 0
    for said in ("today", "PROPOSED", "held back: p95 wait 5 min", "kept, 4", "in 30 days; against today", "USD less"):
        assert said in out
    assert "kept in 5 of 5 weeks with work" in out
    assert out.endswith("      scaling:\n        waiting_cost: 1\n        acceptable_wait: 1m\n")
    found = json.loads(run(*arguments, "--objective", "p95 wait 5 min", "--json")[1])
    assert list(found) == [
        "objective", "kept", "best", "today", "around", "held_back", "spells", "settings", "tried",
    ]  # fmt: skip
    assert found["best"]["report"]["jobs"] == 150
    assert [each["report"]["jobs"] for each in (found["tried"][0], found["held_back"][0])] == [100, 50]
    assert found["best"]["report"]["usd"] < found["today"]["report"]["usd"]


def test_tune_keeps_nodes_up_where_waits_are_to_be_shorter_than_boots(tmp_path: Path) -> None:
    """No rule about a queue has a first task wait for less than a boot: nodes that are always up are proposed."""
    trace = tmp_path / "work.csv"
    trace.write_text("submit_s,run_s\n" + "".join(f"{n * 7200},300\n" for n in range(30)))
    arguments = ("tune", "--history", trace, "--set", "acceptable_wait=1min,5min", "--set", "waiting_cost=1")
    code, out, _ = run(*arguments, "--processes", "1", "--objective", "p95 wait 1 min")
    assert code == 0
    assert "min_nodes: 1" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--policy", "nobody"), "there is no policy 'nobody'"),
        (("--set", "colour=red"), "no policy here has such a setting"),
        (("--boot", "soon"), "'soon' is no span of time"),
        (("--picture", "run.jpg"), "ends in .png or .html"),
        (("--vm-size", "Huge"), "no VM size 'Huge'"),
    ],
)
def test_what_is_wrong_is_told(trace: Path, arguments: tuple[str, ...], says: str) -> None:
    """Wrong use ends with code 2 and a message that names it."""
    code, _, err = run("simulate", "--trace", trace, *arguments)
    assert code == 2
    assert says in " ".join(err.split())
