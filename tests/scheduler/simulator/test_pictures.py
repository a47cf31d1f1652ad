"""Pictures show ours among its peers, and are for everybody: in words, by day and night, and whole or not there."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Case, Judged, run_cases
from scheduler.simulator.pictures import Drawing, draw_frontier, save_picture
from scheduler.simulator.targets import check_target, write_whole
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Group, one_pool


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    """Replay ours and some peers over bursts."""
    jobs = [SimulatedJob(burst * 3000.0, 200.0 + number) for burst in range(12) for number in range(burst % 5 + 1)]
    cases = [Case("millpond"), *(Case(name) for name in ("keda", "ray", "react", "slurm", "always-max"))]
    return run_cases(workload_of("bursts", jobs), one_pool(Group()), cases)


@pytest.fixture(scope="module")
def drawing(judged: list[Judged]) -> Drawing:
    """Draw them."""
    return draw_frontier(judged, "bursts & peers")


def test_ours_stands_out_from_its_peers_and_their_hull(judged: list[Judged], drawing: Drawing) -> None:
    """Every case is a point with a label of its own; what is dearer and slower than ours is said to be."""
    svg = ET.fromstring(drawing.svg)  # noqa: S314  of our own making
    texts = ["".join(text.itertext()) for text in svg.iter("text")]
    for said in ("dearer and slower than ours", "hull of all peers", "millpond", "keda", "always-max", "mean wait"):
        assert said in texts
    labels = [title.text or "" for title in svg.iter("title")]
    assert len(labels) == 2 * len(judged)
    assert all(sum(label.startswith(f"{each.case.label}: ") for label in labels) == 2 for each in judged)
    assert drawing == draw_frontier(judged, "bursts & peers")


def test_a_page_needs_nothing_else_and_is_for_everybody(tmp_path: Path, judged: list[Judged], drawing: Drawing) -> None:
    """It says in words what it shows, has colours for the night, and names no other address."""
    page, picture = tmp_path / "all.html", tmp_path / "new" / "all.PNG"
    for target in (page, picture):
        save_picture(target, drawing, "bursts & peers", [each.report for each in judged])
    text = page.read_text()
    assert "http" not in text
    assert "prefers-color-scheme:dark" in text
    assert 'role="img" aria-label="Two charts of cost against wait, of 6 settings. millpond: ' in text
    assert "<h1>bursts &amp; peers</h1>" in text
    # Colours that no variable stands for would be the same by night.
    assert not [part[:6] for part in drawing.svg.split("#")[1:] if len(part) > 6 and part[6] in ';" ']
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_written_is_told_before_and_leaves_nothing(tmp_path: Path) -> None:
    """A folder, another ending, a file in place of a folder: each is refused, and no part of a file is left."""
    (tmp_path / "file").write_text("")
    for name, says in (("a.gif", "ends in"), (".", "ends in"), ("file/a.png", "is no folder in which you may write")):
        with pytest.raises(InvalidRequestError, match=says):
            check_target(tmp_path / name)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(InvalidRequestError, match="is a folder"):
        check_target(tmp_path / "taken.png")
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        write_whole(tmp_path / "taken.png", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.png"]
