"""The language of template expressions, and the functions in it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.arm import relaxed_json
from infra.local.templates.evaluation import Evaluator, Place
from infra.local.templates.expressions import TemplateError, is_expression, parse

SUBSCRIPTION = "/subscriptions/s"
PLACE = Place(
    {"id": SUBSCRIPTION, "subscriptionId": "s", "tenantId": "t"},
    {"tenantId": "t"},
    {"id": f"{SUBSCRIPTION}/resourceGroups/g", "name": "g", "location": "westeurope"},
    {"name": "d"},
)
EVALUATOR = Evaluator(PLACE, {"p": {"list": [1, 2, {"x": "found"}]}, "name": "A"}, {"v": "[parameters('name')]"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def value(text: str) -> Any:
    """Work out one expression."""
    return EVALUATOR.value(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("[[literal]", "[literal]"),
        ("[concat('it''s ', 1)]", "it's 1"),
        ("[parameters('p').list[2].x]", "found"),
        ("[parameters('P')['list'][add(0,1)]]", 2),
        ("[variables('v')]", "A"),
        ("[resourceId('Microsoft.X/ys/zs', 'y', 'z')]", f"{PLACE.scope}/providers/Microsoft.X/ys/y/zs/z"),
        (
            "[resourceId('other', 'Microsoft.X/ys', 'y')]",
            "/subscriptions/s/resourceGroups/other/providers/Microsoft.X/ys/y",
        ),
        ("[subscriptionResourceId('Microsoft.X/ys', 'y')]", "/subscriptions/s/providers/Microsoft.X/ys/y"),
        ("[resourceGroup().location]", "westeurope"),
        ("[if(equals(1, 1), 'yes', json('not read'))]", "yes"),
        ("[format('{0}-{1}', 'a', 7)]", "a-7"),
        ("[toLower(take('ABCDEF', 3))]", "abc"),
        ("[parameters('p').?missing]", None),
        ("[length(split('a,b;c', createArray(',', ';')))]", 3),
        ("[union(createObject('a', 1), createObject('b', 2))]", {"a": 1, "b": 2}),
        ("[div(-7, 2)]", -3),
        ("[cidrSubnet('10.0.0.0/16', 24, 3)]", "10.0.3.0/24"),
    ],
)
def test_expressions_have_their_values(text: str, expected: Any) -> None:
    """Each function, path and escape gives what the service's documentation says."""
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[concat('a']", "ends too early"),
        ("[concat('a'))]", "is not expected"),
        ("['open]", "cannot be read"),
        ("[nothing('a')]", "not known"),
        ("[parameters('none')]", "not found"),
        ("[parameters('p').none]", "no member 'none'"),
        ("[copyIndex()]", "copyIndex"),
        ("[int('x')]", "cannot take its arguments"),
        ("[resourceId('Microsoft.X/ys', 'y', 'z')]", "needs 1 names"),
    ],
)
def test_what_cannot_be_right_is_said(text: str, part: str) -> None:
    """A mistake in an expression is told with its place or its name."""
    with pytest.raises(TemplateError, match=part.replace("(", r"\(")):
        value(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader fail in another way than by saying what is wrong."""
    if is_expression(f"[{text}]"):
        with contextlib.suppress(TemplateError):
            parse(f"[{text}]")


@given(st.text())
def test_quoted_texts_come_back(text: str) -> None:
    """A text in quotes, its quotes doubled, is itself."""
    quoted = text.replace("'", "''")
    assert value(f"[concat('{quoted}')]") == text


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_unique_strings_are_stable_and_like_the_services(parts: list[str]) -> None:
    """`uniqueString` gives 13 letters and digits, the same for the same arguments."""
    evaluator = Evaluator(PLACE, {"parts": parts})
    arguments = ", ".join(f"parameters('parts')[{place}]" for place in range(len(parts)))
    first = evaluator.value(f"[uniqueString({arguments})]")
    assert first == evaluator.value(f"[uniqueString({arguments})]")
    assert len(first) == 13
    assert first.isalnum()
    assert first.islower()


@given(JSON)
def test_relaxed_json_reads_all_json(content: Any) -> None:
    """Strict JSON means the same to the relaxed reader, however it is laid out."""
    for indent in (None, 2):
        assert relaxed_json.loads(json.dumps(content, indent=indent)) == content


def test_relaxed_json_reads_what_templates_have() -> None:
    """Comments, bare names, single quotes, trailing commas and texts of several lines are read."""
    text = """{ // a comment
      properties: {'it': 'has "both"', /* more */ "list": [1, 2,], "long": "a
b"}, template:{"x": [true, null,],},}"""
    wanted = {
        "properties": {"it": 'has "both"', "list": [1, 2], "long": "a\nb"},
        "template": {"x": [True, None]},
    }
    assert relaxed_json.loads(text) == wanted
    for wrong in ("{", '{"a" 1}', '{"a": 1}}', "[1 2]"):
        with pytest.raises(ValueError, match=r"Expecting|Extra data"):
            relaxed_json.loads(wrong)
