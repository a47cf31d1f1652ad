"""Parameters of a job file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.parameters import ParameterError, merge, substitute

_SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())


@given(value=_SCALARS)
def test_a_whole_reference_keeps_the_type(value: bool | float | str) -> None:
    """A text that is one reference becomes the parameter's value itself, whatever characters that has."""
    assert substitute("${{ parameters.x }}", {"x": value}) is value


@given(value=st.text(), before=st.text(alphabet="ab $"), after=st.text(alphabet="cd {}"))
def test_a_value_is_not_searched_again(value: str, before: str, after: str) -> None:
    """Within a longer text the value stands as it is, even if it looks like a reference."""
    assert substitute(f"<{before}>${{{{parameters.x}}}}<{after}>", {"x": value}) == f"<{before}>{value}<{after}>"


@given(text=st.text())
def test_text_without_references_stays(text: str) -> None:
    """What holds no reference is not changed."""
    if "${{" not in text:
        assert substitute(text, {}) == text


@pytest.mark.parametrize("text", ["${{ secrets.x }}", "${{ parameters. }}", "${{ }}", "${{ parameters.x + 1 }}"])
def test_other_expressions_are_refused(text: str) -> None:
    """Only a reference to a parameter is understood."""
    with pytest.raises(ParameterError, match=r"write \$\{\{ parameters.NAME \}\}"):
        substitute(text, {"x": 1})


def test_an_unknown_parameter_is_named_with_the_known_ones() -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(ParameterError, match=r"no parameter 'task'.*tasks"):
        substitute("${{ parameters.task }}", {"tasks": 1})


def test_settings_take_the_type_of_the_default() -> None:
    """`--set` reads a value as its default is typed, and the text may hold an equals sign."""
    values, findings = merge(
        {"tasks": 1, "share": 0.5, "fast": False, "name": "x", "must": None},
        ["tasks=48", "share=2", "fast=true", "name=a=b", "must=7"],
    )
    assert findings == []
    assert values == {"tasks": 48, "share": 2.0, "fast": True, "name": "a=b", "must": "7"}


def test_every_wrong_setting_is_told_at_once() -> None:
    """All that is wrong with settings is found in one go."""
    _, findings = merge({"tasks": 1, "fast": False, "must": None}, ["tasks=many", "fast=1", "other=1", "plain"])
    assert [finding.split(":")[0] for finding in findings] == [
        "--set other=1",
        "--set plain",
        "--set tasks=many",
        "--set fast=1",
        "the parameter 'must' has no default; give it with --set must=VALUE",
    ]
