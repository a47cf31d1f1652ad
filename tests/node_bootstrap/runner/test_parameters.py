"""The parameters of a task of a sweep, by its index alone."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import ParameterAxis, ParameterRows, ParameterTable, TaskDefinition
from node_bootstrap.runner.parameters import from_axes, from_table, part_of, with_parameters

NAMES = st.lists(st.sampled_from(["alpha", "beta", "seed", "_x1"]), min_size=1, max_size=3, unique=True)
TEXTS = st.lists(st.text(max_size=4), min_size=1, max_size=4)


@st.composite
def axes(draw: st.DrawFn) -> tuple[ParameterAxis, ...]:
    """Draw axes of texts and of numbers."""
    made = []
    for name in draw(NAMES):
        if draw(st.booleans()):
            made.append(ParameterAxis(name, tuple(draw(TEXTS))))
        else:
            start, by, count = draw(st.integers(-5, 5)), draw(st.sampled_from([-2, 1, 3])), draw(st.integers(1, 4))
            made.append(ParameterAxis(name, start=start, by=by, count=count))
    return tuple(made)


@given(axes())
def test_combinations_come_in_the_order_of_nested_loops(given_axes: tuple[ParameterAxis, ...]) -> None:
    """Index after index gives what nested loops over the axes would, the last axis innermost."""
    loops = [
        axis.values or [str(number) for number in range(axis.start, axis.start + axis.by * axis.count, axis.by)]
        for axis in given_axes
    ]
    expected = [
        dict(zip([axis.name for axis in given_axes], values, strict=True)) for values in itertools.product(*loops)
    ]
    definition = TaskDefinition("s", ("run",), 0, len(expected), axes=given_axes)
    assert [from_axes(definition, index) for index in range(len(expected))] == expected


@given(count=st.integers(1, 30), size=st.integers(1, 7))
def test_every_row_is_found_in_its_part(count: int, size: int) -> None:
    """However a table is cut into parts, an index leads to its row."""
    rows = [(str(number), f"é{number}") for number in range(count)]
    parts = {str(start): ParameterRows(tuple(rows[start : start + size])) for start in range(0, count, size)}
    table = ParameterTable(("n", "name"), tuple(parts), size)
    for index in range(count):
        part, row = part_of(table, index)
        assert from_table(table, parts[part], row) == {"n": str(index), "name": f"é{index}"}


@given(st.text(max_size=20))
def test_values_reach_command_and_environment_as_they_are(value: str) -> None:
    """Any text, quotes and references included, is put in whole and once; what is no reference stays."""
    definition = TaskDefinition(
        "s",
        ("run", "--a=${{ sweep.a }}", "${{sweep.b}}", "${{ other }} $a"),
        0,
        1,
        environment=(("X", "<${{ sweep.a }}>"),),
    )
    found = with_parameters(definition, {"a": value, "b": "${{ sweep.a }}"})
    assert found.command == ("run", f"--a={value}", "${{ sweep.a }}", "${{ other }} $a")
    assert dict(found.environment) == {
        "MILLPOND_PARAMETER_A": value,
        "MILLPOND_PARAMETER_B": "${{ sweep.a }}",
        "X": f"<{value}>",
    }


def test_without_a_sweep_nothing_changes() -> None:
    """A definition without parameters is the very same."""
    definition = TaskDefinition("s", ("run", "${{ sweep.a }}"), 0, 3)
    assert with_parameters(definition, from_axes(definition, 2)) is definition
