"""Conditions of role assignments: read as the service's grammar has them, decided alike in Python and in Node.js."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.permissions import conditions as permission_conditions
from infra.local.permissions.conditions import ConditionError, Expression, Request, holds, parse
from infra.local.toolchain import AZURITE_SOURCES, azurite_command

QUEUE = "Microsoft.Storage/storageAccounts/queueServices/queues:name"
READ = "Microsoft.Storage/storageAccounts/queueServices/queues/messages/read"

SOURCES = ("Resource", "Request", "Principal", "Environment")
NAMES = (QUEUE, "Microsoft.Storage/storageAccounts/blobServices/containers:name", "Some.Provider/things:kind")
OPERATORS = tuple(name for name, _, _ in permission_conditions._OPERATORS.values())
QUANTIFIERS = ("", *permission_conditions._QUANTIFIERS)
texts = st.text(st.sampled_from("abAB0?*[]'- ."), max_size=5)
sides = st.one_of(
    st.tuples(st.just("attribute"), st.sampled_from(SOURCES), st.sampled_from(NAMES)).map(list),
    st.tuples(st.just("values"), st.lists(texts, min_size=1, max_size=3)).map(list),
)
leaves = st.one_of(
    st.tuples(st.just("compare"), st.sampled_from(QUANTIFIERS), st.sampled_from(OPERATORS), sides, sides).map(list),
    st.tuples(st.just("action"), st.lists(st.sampled_from((READ, "*/read", "*")), min_size=1)).map(list),
    st.tuples(st.just("suboperation"), st.lists(st.sampled_from(("Blob.List", "Other")), min_size=1)).map(list),
    st.tuples(st.just("exists"), sides.filter(lambda side: side[0] == "attribute")).map(list),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(("and", "or")), inner, inner).map(list),
        st.tuples(st.just("not"), inner).map(list),
    ),
    max_leaves=6,
)
requests = st.builds(
    Request,
    st.sampled_from((READ, "Microsoft.Storage/x/write")),
    st.booleans(),
    st.sampled_from(("", "Blob.List")),
    st.dictionaries(
        st.builds("{}:{}".format, st.sampled_from(SOURCES), st.sampled_from(NAMES)).map(str.lower), texts, max_size=4
    ),
)


def written(expression: Expression) -> str:
    """Write an expression in the service's grammar, every part in parentheses."""

    def literal(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    def side(part: Expression) -> str:
        if part[0] == "attribute":
            return f"@{part[1]}[{part[2]}]"
        return "{" + ", ".join(map(literal, part[1])) + "}"

    match expression:
        case ["and" | "or" as word, left, right]:
            return f"({written(left)} {word.upper()} {written(right)})"
        case ["not", inner]:
            return f"!({written(inner)})"
        case ["action" | "suboperation" as word, names]:
            call = "ActionMatches" if word == "action" else "SubOperationMatches"
            return f"({call}{{{', '.join(map(literal, names))}}})"
        case ["exists", attribute]:
            return f"(Exists {side(attribute)})"
        case [_, quantifier, operator, left, right]:
            return f"({side(left)} {quantifier}{':' if quantifier else ''}{operator} {side(right)})"
        case _:
            raise AssertionError(expression)


@given(expressions)
def test_what_is_written_is_read_back(expression: Expression) -> None:
    """Reading the text of an expression gives the expression."""
    assert parse(written(expression)) == expression


@pytest.fixture(scope="module")
def decider() -> Iterator[Callable[[Expression, Request], bool]]:
    """Decide by conditions.js, in one process for all questions."""
    script = AZURITE_SOURCES / "conditions.js"
    program = (
        f"const {{ holds }} = require({json.dumps(str(script))});"
        "require('readline').createInterface({ input: process.stdin }).on('line', (line) => {"
        "  const [expression, request] = JSON.parse(line); console.log(holds(expression, request)); });"
    )
    command = [azurite_command()[0], "-e", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def decide(expression: Expression, asked: Request) -> bool:
            request = {"action": asked.action, "suboperation": asked.suboperation, "attributes": asked.attributes}
            process.stdin.write(json.dumps([expression, request]) + "\n")
            return process.stdout.readline() == "true\n"

        yield decide
        process.stdin.close()


@settings(deadline=None)  # another process answers
@given(expressions, requests)
def test_the_storage_servers_decide_alike(
    decider: Callable[[Expression, Request], bool], expression: Expression, asked: Request
) -> None:
    """conditions.js says of every expression and request what `holds` says."""
    assert decider(expression, asked) is holds(expression, asked)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a value"),
        ("@Resource[a] StringLik 'x'", "'StringLik' is no operator"),
        ("@Resource[a] Any:StringLike 'x'", "is no operator"),
        ("(@Resource[a] StringLike 'x'", r"expected '\)', found 'the end'"),
        ("@Resource[a] StringLike 'x' 'y'", "unexpected 'y'"),
        ('@Resource[a] StringLike "x"', "cannot read"),
        ("ActionMatches{}", "expected a value"),
        ("(" * 300, "parentheses"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, words: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ConditionError, match=words):
        parse(text)


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("StringLike 'risk-*'", "risk-d2", True),
        ("StringLike 'risk-*'", "Risk-d2", False),
        ("StringLikeIgnoreCase 'risk-?'", "RISK-1", True),
        ("StringNotLike 'risk-*'", "other", True),
        ("StringEquals 'a'", "a", True),
        ("StringNotEquals {'a', 'b'}", "b", False),
        ("StringStartsWith 'a'", "ab", True),
        ("NumericLessThan 10", "9", True),
        ("GuidEquals 8E3AF657-A8FF-443C-A75C-2FE8C4BCB635", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", True),
        ("ForAllOfAnyValues:StringEquals {'a', 'b'}", "b", True),
    ],
)
def test_operators(operator: str, value: str, expected: bool) -> None:
    """Each operator compares as its name says, and is false where the attribute is missing."""
    condition = parse(f"@Resource[{QUEUE}] {operator}")
    assert holds(condition, Request(READ, attributes={f"resource:{QUEUE}".lower(): value})) is expected
    assert not holds(condition, Request(READ))
