"""Run times as a small sketch: how many by half powers of two, from which a mean and the odds of ending are read."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

# Half powers of two: a run is told from one that takes 1.42 times as long. From a millisecond to a year.
PER_DOUBLING = 2
_SHORTEST, _LONGEST = -20, 50
# The longest run counts as no longer than so many times the longest beneath it, so that one that hangs does not make a
# thousand nodes. With 4 the mean of 3 and more exponential, log-normal (sigma 1) or Pareto (1.5) times is as near the
# true one as the plain mean is, in the median; with 2 that takes 10.
OUTLIER = 4.0
# How many runs of its own weigh as much as what is known of similar work. Times of the same work differ less than those
# of different work, often by far, so that one of its own says as much as all of the others.
PRIOR_RUNS = 1.0
_LEAST_SECONDS = 0.001
_NOTHING = 1e-9


class Bucket(NamedTuple):
    """Runs of about one length: of 2^(`place`/2) s and more, below the next bucket; `seconds` is their sum.

    Older runs fade, so that `runs` need not be whole.
    """

    place: int
    runs: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What to expect of a run: lengths in seconds, in their order, each with how many runs it stands for.

    A length is off by less than a bucket's width, a factor of 1.42; the mean is exact, but for the longest run.
    """

    lengths: tuple[tuple[float, float], ...] = ()

    @property
    def runs(self) -> float:
        """How many runs this stands for."""
        return math.fsum([runs for _, runs in self.lengths])

    def leaning_on(self, prior: "Expected") -> "Expected":
        """Give what to expect, having seen `n` runs of this work and `prior` of similar work.

        The logarithm of its mean is n/(n + k) of its own and k/(n + k) of the prior's, k being `PRIOR_RUNS`. By
        logarithms, since times of different work differ by orders of magnitude. The shapes are mixed by the same
        weights.
        """
        own_mean, prior_mean = self.mean(), prior.mean()
        if own_mean is None or prior_mean is None:
            return prior if own_mean is None else self
        own_mean, prior_mean = max(own_mean, _LEAST_SECONDS), max(prior_mean, _LEAST_SECONDS)
        share = self.runs / (self.runs + PRIOR_RUNS)
        mean = math.exp(share * math.log(own_mean) + (1 - share) * math.log(prior_mean))
        weight = PRIOR_RUNS / prior.runs
        shape = prior.scaled(mean / prior_mean)
        weighed = [(length, runs * weight) for length, runs in shape.lengths]
        return Expected(_joined([*self.scaled(mean / own_mean).lengths, *weighed]))

    def scaled(self, factor: float) -> "Expected":
        """Give the same runs, each `factor` times as long."""
        return Expected(tuple([(length * factor, runs) for length, runs in self.lengths]))

    def mean(self) -> float | None:
        """Give the mean; None where nothing is known."""
        if not self.lengths:
            return None
        return math.fsum([length * runs for length, runs in self.lengths]) / self.runs

    def median(self) -> float | None:
        """Give the length that half of the runs do not exceed; None where nothing is known."""
        left = self.runs / 2
        for length, runs in self.lengths:
            left -= runs
            if left <= _NOTHING:
                return length
        return None

    def remaining(self, age: float) -> float | None:
        """Give how many more seconds a run takes on average that has run for `age` seconds; None if nothing is known.

        One that has outlived all that were seen takes as long again.
        """
        if not self.lengths:
            return None
        longer = _longer(self, age).mean()
        return age if longer is None else longer - age

    def ends_within(self, span: float, age: float) -> float | None:
        """Give the probability that a run ends within `span` seconds that has run for `age`; None if nothing is known.

        One that has outlived all that were seen is taken for one of a Pareto distribution with exponent 2, of which
        the mean time left is the age.
        """
        if not self.lengths:
            return None
        longer = _longer(self, age)
        if not longer.lengths:
            return 1.0 - (age / (age + span)) ** 2 if age + span > 0 else 1.0
        return 1.0 - _longer(longer, age + span).runs / longer.runs


NOTHING_KNOWN = Expected()


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Run times that were seen, in at most 71 buckets in order of length.

    Two sketches of different runs are merged by adding. `expected` says what to make of them.
    """

    buckets: tuple[Bucket, ...] = ()

    @classmethod
    def of(cls, lengths: Iterable[float]) -> "RunTimes":
        """Sketch these run times, in seconds."""
        return cls(_summed(Bucket(_index(length), 1.0, max(length, 0.0)) for length in lengths))

    @property
    def runs(self) -> float:
        """How many runs this stands for."""
        return math.fsum([bucket.runs for bucket in self.buckets])

    def merged(self, other: "RunTimes", weight: float = 1.0) -> "RunTimes":
        """Add another sketch, each of its runs counted `weight` times."""
        sums = {bucket.place: bucket for bucket in self.buckets}
        return RunTimes(_summed(_weighed(other.buckets, weight), sums))

    def followed_by(self, lengths: Iterable[float], span: float) -> "RunTimes":
        """Add newer run times; older ones fade, so that all together stand for no more than `span` runs."""
        now = self.merged(RunTimes.of(lengths))
        runs = now.runs
        return now if runs <= span else RunTimes(_noticed(_weighed(now.buckets, span / runs)))

    def expected(self) -> Expected:
        """Give what to expect after these: the longest run is cut (`OUTLIER`), the others count as they were."""
        lengths = [(seconds / runs, runs) for _, runs, seconds in self.buckets]
        top, single = [], 1.0
        while lengths and single > _NOTHING:
            length, runs = lengths.pop()
            part = min(runs, single)
            single -= part
            top.append((length, part))
            if runs - part > _NOTHING:
                lengths.append((length, runs - part))
        most = OUTLIER * lengths[-1][0] if lengths else math.inf
        return Expected((*lengths, *((min(length, most), runs) for length, runs in reversed(top))))


def _joined(lengths: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Put those of one bucket together, so that a mixture of mixtures is no longer than a sketch."""
    buckets = _summed(Bucket(_index(length), runs, length * runs) for length, runs in lengths)
    return tuple((each.seconds / each.runs, each.runs) for each in buckets)


def _longer(expected: Expected, age: float) -> Expected:
    return Expected(tuple([pair for pair in expected.lengths if pair[0] > age]))


def _index(length: float) -> int:
    if length <= 0:
        return _SHORTEST
    return min(max(math.floor(PER_DOUBLING * math.log2(length)), _SHORTEST), _LONGEST)


def _weighed(buckets: Iterable[Bucket], weight: float) -> list[Bucket]:
    return [Bucket(place, runs * weight, seconds * weight) for place, runs, seconds in buckets]


def _summed(buckets: Iterable[Bucket], known_sums: Mapping[int, Bucket] = MappingProxyType({})) -> tuple[Bucket, ...]:
    sums = dict(known_sums)
    for bucket in buckets:
        place, runs, seconds = bucket
        known = sums.get(place)
        sums[place] = bucket if known is None else Bucket(place, known.runs + runs, known.seconds + seconds)
    return _noticed([sums[place] for place in sorted(sums)])


def _noticed(buckets: Iterable[Bucket]) -> tuple[Bucket, ...]:
    """Leave out what has faded away."""
    return tuple([bucket for bucket in buckets if bucket.runs > _NOTHING])


NONE_SEEN = RunTimes()
