"""What Microsoft's documents leave open about the language, as settings, each with the reason for its default.

"Documents" are the article "Automatically scale compute nodes in an Azure Batch pool", the REST reference, and answers
that the SDKs' tests recorded. A pool of no nodes would settle most of these with one call of Evaluate each.
"""

from dataclasses import dataclass
from enum import StrEnum


class NegativeTarget(StrEnum):
    """What becomes of a target below zero."""

    ZERO = "zero"
    ERROR = "error"


class DivisionByZero(StrEnum):
    """What a division by zero gives."""

    INFINITY = "infinity"
    ERROR = "error"


class Percentile(StrEnum):
    """How a percentile between two samples is found."""

    LINEAR = "linear"
    NEAREST_RANK = "nearest-rank"


class HalfRule(StrEnum):
    """Where `round` takes a half."""

    EVEN = "even"
    AWAY_FROM_ZERO = "away-from-zero"


class ResultForm(StrEnum):
    """How the result string names the targets."""

    CURRENT = "current"
    DEDICATED_ONLY = "dedicated-only"
    FIRST_NAMES = "first-names"


@dataclass(frozen=True, slots=True)
class Dialect:
    """Settings of the language; the defaults follow the best evidence there is.

    lag                     newest samples not yet to be seen. The article says that a sample takes about a minute, but
                            windows of 180 s and 15 min were seen complete on live pools: 0, and compiled formulas are
                            checked with 0, 1 and 2
    default_sample_percent  what `GetSample(interval)` needs when it names no percentage. Fresh pools fail and sparse
                            ones do not, which 1 explains; one recording says "wanted 10%", maybe its argument
    negative_target         not documented; the article's formulas guard with max(0, ...). 0 keeps the formula working
    division_by_zero        not documented; the service's doubles look like .NET's, which follow IEEE 754
    lazy_logic              `&&` and `||` leave out what cannot matter. `?:` does so in documented formulas; for these
                            two nothing is known
    case_sensitive          the REST reference has one formula with `$targetDedicatedNodes`: a slip, or any case will do
    subtract_interval       `timestamp - timeinterval` is not in the operator table; adding a negative one is. It is so
                            natural that it is evaluated, and the linter says what is certain
    sunday                  Monday is 1; for Sunday 7 follows, and a public formula counts on it; .NET says 0
    percentile              the method is not documented; linear interpolation is what spreadsheets and NumPy do
    half_rule               `round` is younger than the article; .NET rounds halves to the even neighbour
    newest_first            the order in a vector of samples is not documented; only `val` can tell
    exponents               `1e3`: absent from every known formula and grammar, so refused here rather than there
    leading_point           `.5`: likewise
    unary_plus              `+1`: not in the operator table
    empty_statements        `;;`: not documented; known grammars of others allow an empty formula only
    max_fraction_digits     of a second in `time("...")`: microseconds work on live pools, nanoseconds are refused
    zone_required           W3C's format wants `Z` or an offset after a time of day; .NET reads it without. Read as UTC
    days_in_year            of `TimeInterval_Year`: not documented
    result_form             since low-priority nodes exist both targets are printed; before 2017 one, at first under its
                            first name
    fraction_digits         significant digits of a printed fraction: .NET Framework prints 15
    max_bytes               8 KB by the article, 8192 characters by the SDKs: bytes, the stricter reading
    max_statements          by the article
    """

    lag: int = 0
    default_sample_percent: float = 1.0
    negative_target: NegativeTarget = NegativeTarget.ZERO
    division_by_zero: DivisionByZero = DivisionByZero.INFINITY
    lazy_logic: bool = True
    case_sensitive: bool = True
    subtract_interval: bool = True
    sunday: int = 7
    percentile: Percentile = Percentile.LINEAR
    half_rule: HalfRule = HalfRule.EVEN
    newest_first: bool = False
    exponents: bool = False
    leading_point: bool = False
    unary_plus: bool = False
    empty_statements: bool = False
    max_fraction_digits: int = 6
    zone_required: bool = False
    days_in_year: int = 365
    result_form: ResultForm = ResultForm.CURRENT
    fraction_digits: int = 15
    max_bytes: int = 8192
    max_statements: int = 100


DEFAULT = Dialect()
