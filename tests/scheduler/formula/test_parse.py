"""Reading and printing formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.formula.dialect import DEFAULT, Dialect
from scheduler.formula.parse import MAX_DEPTH, parse
from scheduler.formula.printing import print_formula, print_number
from scheduler.formula.problems import ErrorCode, FormulaError, Span, excerpt
from scheduler.formula.syntax import Assignment, Binary, Formula, Member, MethodCall, walk
from tests.scheduler.formula.trees import FORMULAS


def refused(text: str, dialect: Dialect = DEFAULT) -> list[str]:
    """Give what is told of a text that is refused."""
    with pytest.raises(FormulaError) as caught:
        parse(text, dialect)
    return [str(problem) for problem in caught.value.problems]


@given(FORMULAS)
def test_what_is_printed_reads_as_the_same_tree(formula: Formula) -> None:
    """parse(print(f)) is f, and printing it again changes nothing."""
    text = print_formula(formula)
    assert parse(text) == formula
    assert print_formula(parse(text)) == text


@given(st.floats(0, 1e308, allow_nan=False))
def test_a_number_is_printed_without_loss(value: float) -> None:
    """A printed number has no exponent and reads as the same double."""
    text = print_number(value)
    assert "e" not in text.lower()
    assert float(text) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\nb = 2;", "Line 2, Col 1: expected ';' between two statements; got 'b'"),
        ("a = 7 % 3", "Line 1, Col 7: expected ';' between two statements; got '%' (there is no remainder; "),
        ("a = (1 + 2;", "Line 1, Col 11: expected ')' for the parenthesis opened at Line 1, Col 5; got ';'"),
        ("a = 1 ? 2;", "Line 1, Col 10: expected ':' between the two values of a condition ? a : b; got ';'"),
        ("a = ", "Line 1, Col 5: expected a value: a number, a text, a variable, a function call or a parenthesis"),
        ("max(1, 2) = 3;", "Line 1, Col 11: only a variable can be assigned to, as in name = value;; got '='"),
        ("a = 'x';", "(texts stand in double quotes)"),
        ('a = "x;\nb = 1;', 'Line 1, Col 5: a text begins here and has no closing " on its line'),
        ("a = 1e3;", "Line 1, Col 6: 1e3 is no number; write numbers without exponent"),
        ("a = .5;", "(a number begins with a digit; write 0.5, not .5)"),
        ("a = +1;", "(a number needs no plus sign; leave it out)"),
        ("a = b = 1;", "Line 1, Col 7: "),
        ("a = time().$x;", "Line 1, Col 12: expected the name of a property or method after the point"),
        ("a = max(1 2);", "Line 1, Col 11: expected ')' or a comma in the arguments begun at Line 1, Col 8; got '2'"),
        (f"a = {'9' * 400};", "the number is too large for a double"),
        ("a = 1;;", "Line 1, Col 7: expected a value"),
        ("// one\r\n\ta = ^;", "Line 2, Col 6: expected a value"),
    ],
)
def test_an_error_says_where_and_what_to_write(text: str, told: str) -> None:
    """Each refusal has its place, what was expected there, and a hint where people slip."""
    (problem,) = refused(text)
    assert told in problem


def test_every_error_is_told_at_once() -> None:
    """After an error reading goes on behind the next semicolon."""
    assert [told.partition(":")[0] for told in refused("a = ;\nb = 2;\nc = (;\nd = 4 4;")] == [
        "Line 1, Col 5",
        "Line 3, Col 6",
        "Line 4, Col 7",
    ]


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("a=1e3", Dialect(exponents=True)),
        ("a=.5", Dialect(leading_point=True)),
        ("a=+1", Dialect(unary_plus=True)),
        ("a=1;;b=2;", Dialect(empty_statements=True)),
    ],
)
def test_a_dialect_may_allow_what_is_not_documented(text: str, dialect: Dialect) -> None:
    """What is refused by default is read where the dialect says so."""
    assert refused(text)
    assert parse(text, dialect).statements


def test_limits_are_kept() -> None:
    """8 KB and 100 statements pass, one more does not."""
    assert parse("a=1;//".ljust(8192, "x")).statements
    assert refused("a=1;//".ljust(8193, "x")) == [
        "Line 1, Col 1: the formula has 8193 bytes, 8192 are allowed: shorten names, remove comments"
    ]
    assert refused("//" + "é" * 4096)
    with pytest.raises(FormulaError) as caught:
        parse("x" * 9000)
    assert caught.value.problems[0].code is ErrorCode.TOO_LONG
    assert len(parse("a=1;" * 100).statements) == 100
    assert refused("a=1;\n" * 101) == ["Line 101, Col 1: 101 statements, 100 are allowed: join some of them"]


@pytest.mark.parametrize("open_close", [("(", ")"), ("-", ""), ("!", ""), ("max(", ")"), ("1?1:", ""), ("1+(", ")")])
def test_deep_nesting_is_refused_and_not_fatal(open_close: tuple[str, str]) -> None:
    """A limit of ours stands before the stack's."""
    before, after = open_close
    depth = 8000 // len(before + after)
    (told,) = refused(f"a={before * depth}1{after * depth}")
    assert told.endswith(f"nested more than {MAX_DEPTH} deep; put parts into variables of their own")
    assert parse(f"a={before * 20}1{after * 20}").statements


def test_a_long_sum_is_not_deep() -> None:
    """Thousands of operands in a row are read, printed and walked."""
    text = "a=1" + "+1" * 4000
    tree = parse(text)
    value = tree.statements[0].value
    assert len(list(walk(value))) == 8001
    assert print_formula(tree) == "a = 1" + " + 1" * 4000 + ";\n"
    assert len(refused("a=1" + ".x" * 2000)) == 1


def test_spans_cover_their_text() -> None:
    """Every part of a tree knows the characters that it was read from."""
    text = "$x = max(1, $PendingTasks.GetSample(1)) +\n  time().hour ;"
    (statement,) = parse(text).statements
    assert isinstance(statement, Assignment)
    whole = statement.value
    assert isinstance(whole, Binary)
    assert text[whole.operator_span.start] == "+"
    spans = {type(each): text[each.span.start : each.span.end] for each in walk(whole)}
    assert spans[MethodCall] == "$PendingTasks.GetSample(1)"
    assert spans[Member] == "time().hour"
    assert text[whole.span.start : whole.span.end] == "max(1, $PendingTasks.GetSample(1)) +\n  time().hour"


def test_an_excerpt_points_at_the_place() -> None:
    """The line is shown with carets under the span, tabs kept so that they align."""
    with pytest.raises(FormulaError) as caught:
        parse("x = 1;\n\ty = 2 $abc;")
    assert excerpt("x = 1;\n\ty = 2 $abc;", caught.value.problems[0].span) == "\ty = 2 $abc;\n\t      ^^^^"


@given(st.integers(0, 3000), st.integers(1, 400), st.integers(0, 300))
def test_the_excerpt_of_a_long_line_still_points_at_the_place(before: int, length: int, after: int) -> None:
    """What stands above the first caret is the first letter of the span, and no line is wider than a terminal shows."""
    text = f"x = 1;\n{'a' * before}{'Z' * length}{'b' * after}\ny = 2;"
    line, carets = excerpt(text, Span(7 + before, 7 + before + length, 2, before + 1)).split("\n")
    place = carets.index("^")
    assert line[place] == "Z"
    assert line[:place].strip("a.") == ""
    assert set(line[place : len(carets)]) == {"Z"}
    assert max(len(line), len(carets)) <= 106
