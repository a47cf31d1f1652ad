"""Formulas made up by hypothesis: trees of the grammar, and texts of the language's words in any order."""

from hypothesis import strategies as st

from scheduler.formula.language import (
    CONSTANTS,
    DEALLOCATION_OPTIONS,
    FUNCTIONS,
    METHODS,
    METRICS,
    PROPERTIES,
    WRITABLE,
)
from scheduler.formula.printing import print_formula
from scheduler.formula.syntax import (
    Assignment,
    Binary,
    BinaryOperator,
    Call,
    Conditional,
    Evaluation,
    Expression,
    Formula,
    Member,
    MethodCall,
    Name,
    Number,
    Statement,
    Text,
    Unary,
    UnaryOperator,
)

_VARIABLES = ("a", "b", "$c", "weekday", "max")
NAMES = st.sampled_from(
    sorted({*_VARIABLES, *WRITABLE, *METRICS, *CONSTANTS, *DEALLOCATION_OPTIONS, "$NodeDeallocationOption"})
)
_TEXTS = st.sampled_from(("", "2016-10-13T19:00:00Z", "Thu, 13 Oct 2016 19:00:00 GMT", "x", "9999-12-31"))
_NUMBERS = st.floats(0, 1e300, allow_nan=False).map(Number) | st.integers(0, 1000).map(lambda each: Number(float(each)))


def _wider(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    arguments = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Unary, st.sampled_from((UnaryOperator.MINUS, UnaryOperator.NOT)), inner),
        st.builds(Binary, st.sampled_from(BinaryOperator), inner, inner),
        st.builds(Conditional, inner, inner, inner),
        st.builds(Call, st.sampled_from(sorted(FUNCTIONS)), arguments),
        st.builds(Member, inner, st.sampled_from(sorted(PROPERTIES))),
        st.builds(MethodCall, st.sampled_from(sorted(METRICS)).map(Name), st.sampled_from(sorted(METHODS)), arguments),
        st.builds(MethodCall, inner, st.sampled_from(("GetSample", "Count", "GetStuff")), arguments),
    )


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    _NUMBERS | _TEXTS.map(Text) | NAMES.map(Name), _wider, max_leaves=12
)
_STATEMENTS: st.SearchStrategy[Statement] = st.one_of(
    st.builds(Assignment, NAMES.map(Name), EXPRESSIONS), st.builds(Evaluation, EXPRESSIONS)
)
FORMULAS = st.lists(_STATEMENTS, max_size=6).map(lambda statements: Formula(tuple(statements)))

_WORDS = (
    *METRICS, *WRITABLE, *CONSTANTS, *FUNCTIONS, *METHODS, *PROPERTIES, *DEALLOCATION_OPTIONS,
    *"+-*/!<>=?:.,;()%\"'$#", "==", "&&", "||", "//", "\n", " ", "1", "0.5", "1e9", "a", "$b", '"2016-10-13"',
)  # fmt: skip
SOUP = st.lists(st.sampled_from(_WORDS), max_size=60).map("".join)


def _damaged(text: str, cuts: list[tuple[int, int, bytes]]) -> str:
    data = text.encode()
    for place, length, put in cuts:
        at = place % (len(data) + 1)
        data = data[:at] + put + data[at + length :]
    return data.decode("utf-8", errors="surrogateescape")


# Texts of formulas with bytes taken out and put in: cut words, half of a character, unclosed quotes, doubled signs.
_PUT = st.binary(max_size=4) | st.sampled_from(_WORDS).map(str.encode)
_CUTS = st.tuples(st.integers(0, 400), st.integers(0, 12), _PUT)
DAMAGED = st.builds(_damaged, FORMULAS.map(print_formula) | SOUP, st.lists(_CUTS, min_size=1, max_size=6))
# Any characters, those that no file has too; any bytes; and much too much of anything.
TEXTS = (
    st.text(st.characters(exclude_categories=()), max_size=200)
    | st.binary(max_size=300).map(lambda data: data.decode("latin-1"))
    | st.builds(lambda word, times: word * times, st.sampled_from(_WORDS), st.integers(1, 9000))
)
