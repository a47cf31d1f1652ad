"""A world that is written down is the world that is simulated, and what is wrong with one is told at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.catalog import VM_SIZES
from scheduler.errors import InvalidRequestError
from scheduler.policy import Limits
from scheduler.simulator.readers.world_file import distribution_of, read_world
from scheduler.simulator.world import (
    Dispatch,
    Exponential,
    Fixed,
    Group,
    LogNormal,
    Measured,
    Pool,
    Quota,
    World,
)

WHOLE = """
lag = "10s"

[[pools]]
name = "render"
dispatch = "easy"
most_waiting = 7
scaling = { acceptable_wait = "2min", min_nodes = 1 }

[[pools.groups]]
name = "spot"
vm_size = "Standard_D4s_v5"
spot = true
slots = 2
max_nodes = 4
initial = 1
boot = "lognormal:2min:0.3"
boot_failure = 0.1
boot_deadline = "10min"
lifetime = "exponential:2h"
refused = ["1h-2h", "300-400"]
listed_after = 5
deleted_after = "1min"

[[pools.groups]]
name = "regular"
usd_per_hour = 0.5

[[pools]]
name = "short"

[[quotas]]
groups = ["render/spot", "short/nodes"]
max_nodes = 9

[limits]
quota = { lowPriorityCores = 16 }
budget_per_hour = 2.5
"""


def written(folder: Path, text: str) -> Path:
    """Write a world."""
    path = folder / "world.toml"
    path.write_text(text)
    return path


def test_everything_that_a_world_can_do_can_be_written(tmp_path: Path) -> None:
    """Each field of pools, groups and quotas comes through; what is left out is the default, boots as measured."""
    spot = Group(
        name="spot",
        slots=2,
        max_nodes=4,
        boot=LogNormal(120.0, 0.3),
        boot_failure=0.1,
        boot_deadline=600.0,
        lifetime=Exponential(7200.0),
        refused=((3600.0, 7200.0), (300.0, 400.0)),
        listed_after=5.0,
        deleted_after=60.0,
        initial=1,
        usd_per_hour=VM_SIZES["Standard_D4s_v5"].usd_per_hour(spot=True),
        vm_size="Standard_D4s_v5",
        spot=True,
    )
    plain = VM_SIZES["Standard_D2s_v5"].usd_per_hour(spot=False)
    measured = Measured((100.0, 200.0))
    regular = Group("regular", boot=measured, usd_per_hour=0.5, vm_size="Standard_D2s_v5")
    nodes = Group("nodes", boot=measured, usd_per_hour=plain, vm_size="Standard_D2s_v5")
    render = Pool(
        "render",
        (spot, regular),
        Dispatch.EASY,
        spread=True,
        most_waiting=7,
        scaling=(("acceptable_wait", "2min"), ("min_nodes", "1")),
    )
    wanted = World(
        (render, Pool("short", (nodes,), spread=True)),
        (Quota(("render/spot", "short/nodes"), 9),),
        Limits({"lowPriorityCores": 16}, 2.5),
        lag=10.0,
        known_runs=True,
    )
    assert read_world(written(tmp_path, WHOLE), spread=True, boots=(100.0, 200.0), known_runs=True) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "pools: Field required"),
        ("pools = []", "pools: Tuple should have at least 1 item"),
        ('[[pools]]\nname = "a"\n[[pools]]\nname = "a"', "names must differ"),
        ('[[pools]]\nname = "a"\ncolour = 1', "pools.0.colour"),
        ('[[pools]]\nname = "a/b"', "pools.0.name"),
        ('[[pools]]\nname = "a"\n[[pools.groups]]\nname = "g"\nboot = "soon"', "'soon' is no span of time"),
        ('[[pools]]\nname = "a"\n[[pools.groups]]\nname = "g"\nvm_size = "Huge"', "no VM size 'Huge'"),
        ('[[pools]]\nname = "a"\n[[pools.groups]]\nname = "g"\nrefused = ["2h-1h"]', "does not end after it begins"),
        (
            '[[pools]]\nname = "a"\n[[quotas]]\ngroups = ["a/x"]\nmax_nodes = 1',
            "the group 'a/x', which is not declared",
        ),
        ('[[pools]]\nname = "a"\nname = "b"', "is no TOML"),
        (
            (
                '[[pools]]\nname = "a-b"\n[[pools.groups]]\nname = "c"\n'
                '[[pools]]\nname = "a"\n[[pools.groups]]\nname = "b-c"'
            ),
            "<pool>-<group> must differ",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    """The message names the file, the place and the fault."""
    with pytest.raises(InvalidRequestError, match=r"world\.toml") as caught:
        read_world(written(tmp_path, text))
    assert says in str(caught.value)


def test_all_findings_are_told_at_once(tmp_path: Path) -> None:
    """Two mistakes are two findings."""
    text = '[[pools]]\nname = "a"\n[[pools.groups]]\nname = "g"\nslots = 0\nboot_failure = 2\n'
    with pytest.raises(InvalidRequestError, match=r"slots.*boot_failure"):
        read_world(written(tmp_path, text))


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_a_distribution(text: str) -> None:
    """Whatever is written is a distribution with a mean, or is refused in our own words."""
    try:
        found = distribution_of(text)
    except InvalidRequestError:
        return
    assert found.mean >= 0


def test_measured_lengths_are_drawn_as_they_are() -> None:
    """A list of spans is what was measured; one span is fixed."""
    assert distribution_of("200s,4min") == Measured((200.0, 240.0))
    assert distribution_of("4min") == Fixed(240.0)
