"""The paper's claims, each put to the test by who was wrong on which image. Pure functions; no files.

A claim is one statement or several on errors of networks that were tested on the same images. Each has a
difference with its 95 % interval, over the images and from three shared seeds on over seeds too; and a threshold.
A statement holds where the whole interval is on its side of the threshold, fails where all of it is on the other,
and else is open. A claim agrees where all its statements hold, does not agree where one fails, and else is not
decided.

Where many networks have what a claim asks, its difference is the mean over those with the most seeds, if these are
three or more, else over all.

A claim is added by a function with the decorator `claim`, which puts it into `CLAIMS`. Nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.paired import SEVERAL, Interval, bootstrap, mcnemar
from verydeep.studies.description import Training
from verydeep.studies.evidence import Evidence, Measurement

Verdict = Literal["agrees", "does not agree", "not decided", "not tested"]
Pair = tuple[Measurement, Measurement]
Terms = Sequence[tuple[float, Measurement]]

TOLERANCE = 0.02  # share of net A's error that LRN has to save before it helps
UNTRAINED = 0.9  # share of a guess's error at which a network has not been trained
STEPS_TO_D = 3  # from A by B and C


@dataclass(frozen=True)
class Statement:
    """One difference of errors, and what it shows. All numbers are in points of %.

    Attributes:
        says: what has to hold.
        interval: of the difference.
        threshold: that it is compared with.
        below: whether it must be below the threshold, or above.
        p: McNemar's, where two single runs are compared; else None.
        num_images: that all were tested on.
        seeds: that all have; where they have none in common, of the one with the fewest.
        seeds_alike: of these, how many have a difference of the same sign; None where it is no difference.
        published: the paper's difference, where it has all of the numbers.

    """

    says: str
    interval: Interval
    threshold: float
    below: bool
    p: float | None
    num_images: int
    seeds: int
    seeds_alike: int | None
    published: float | None

    @property
    def holds(self) -> bool | None:
        """Whether it does; None where that is open."""
        low, high = self.interval.low - self.threshold, self.interval.high - self.threshold
        if high < 0:
            return self.below
        return not self.below if low > 0 else None

    @property
    def wanted(self) -> str:
        """The side of the threshold on which it must be."""
        return f"{'below' if self.below else 'above'} {self.threshold + 0.0:.2f}".replace("-0.00", "0.00")

    def to_json(self) -> dict[str, Any]:
        """The statement for programs."""
        return {
            "says": self.says,
            "difference": self.interval.mean,
            "interval": [self.interval.low, self.interval.high],
            "interval_over": ["images", "seeds"] if self.interval.over_seeds else ["images"],
            "threshold": self.threshold,
            "wanted": "below" if self.below else "above",
            "holds": self.holds,
            "mcnemar_p": self.p,
            "num_images": self.num_images,
            "seeds": self.seeds,
            "seeds_alike": self.seeds_alike,
            "paper_difference": self.published,
        }


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, put to the test.

    Attributes:
        number: its place in `CLAIMS`, from 1.
        says: what the paper says.
        where: the section that says so.
        statements: that it consists of; none where it was not tested.
        missing: what would have to be trained and tested, where it was not.

    """

    number: int
    says: str
    where: str
    statements: tuple[Statement, ...]
    missing: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether what we saw agrees."""
        holds = [statement.holds for statement in self.statements]
        if not holds:
            return "not tested"
        if False in holds:
            return "does not agree"
        return "agrees" if all(holds) else "not decided"

    @property
    def deciding_seeds(self) -> int:
        """How many seeds decide the verdict; 0 where none does.

        All statements must hold for it to agree, so the fewest seeds of one count. One that fails is enough for
        it not to agree, so of these the most.
        """
        if self.verdict == "agrees":
            return min(one.seeds for one in self.statements)
        return max((one.seeds for one in self.statements if one.holds is False), default=0)

    def to_json(self) -> dict[str, Any]:
        """The claim for programs."""
        return {
            "claim": self.number,
            "says": self.says,
            "where": self.where,
            "verdict": self.verdict,
            "deciding_seeds": self.deciding_seeds,
            "missing": self.missing,
            "statements": [one.to_json() for one in self.statements],
        }


class Findings:
    """Finds the measurements that a claim compares.

    Of the networks of one configuration and one S the first in the description stands for it. Where several fixed
    S were trained, networks of different configurations are compared at the one that most of them have.

    Args:
        measurements: in the description's order.

    """

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self.single = [one for one in measurements if one.single]
        self.fused = [one for one in measurements if not one.single]
        self.at_one = [one for one in measurements if one.dense and not one.setup.several]
        self.fixed = [one for one in self.at_one if not one.training.jittered]
        self.scale = self._common_scale()

    def _common_scale(self) -> tuple[int, int]:
        """The fixed S that most configurations were trained at, the smallest of those."""
        configurations: dict[tuple[int, int], set[str]] = {}
        for one in self.fixed:
            configurations.setdefault(one.training.recipe.train_scale, set()).add(one.training.recipe.config)
        return min(configurations, key=lambda scale: (-len(configurations[scale]), scale), default=(0, 0))

    def of(self, configuration: str) -> list[Measurement]:
        """Networks of a configuration, dense, at one Q, of the S that most have: variants behind the first."""
        return [
            one
            for one in self.fixed
            if one.training.recipe.config == configuration and one.training.recipe.train_scale == self.scale
        ]

    def networks(self, *configurations: str) -> list[Measurement]:
        """What stands for each of several configurations.

        Raises:
            LookupError: one is lacking.

        """
        each = {name: self.of(name) for name in configurations}
        lacking = [name for name, networks in each.items() if not networks]
        if lacking:
            raise LookupError(f"lacking {', '.join(lacking)}")
        return [networks[0] for networks in each.values()]

    def same(
        self, other: Measurement, name: str, views: str, scales: tuple[int, ...] | None = None
    ) -> Measurement | None:
        """A network's measurement by these views, at the Q of another measurement or at `scales`."""
        key = name, views, scales or other.setup.scales[0]
        matching = (one for one in self.single if (one.setup.name, one.setup.views, one.setup.scales[0]) == key)
        return next(matching, None)


@dataclass(frozen=True)
class Entry:
    """A claim before it is put to the test.

    Attributes:
        says: what the paper says.
        where: the section that says so.
        takes: what must be trained and tested.
        statements: makes the statements; none, or LookupError, where tests are lacking.

    """

    says: str
    where: str
    takes: str
    statements: Callable[[Findings], Iterable[Statement]]


CLAIMS: list[Entry] = []
"""All claims, in the order of their numbers."""


def claim(says: str, where: str, *, takes: str) -> Callable[[Callable[[Findings], Iterable[Statement]]], Entry]:
    """Add a claim to `CLAIMS`, by the function that makes its statements; the arguments are those of `Entry`."""

    def add(statements: Callable[[Findings], Iterable[Statement]]) -> Entry:
        CLAIMS.append(Entry(says, where, takes, statements))
        return CLAIMS[-1]

    return add


def judge(evidence: Evidence) -> list[Claim]:
    """Put all claims to the test."""
    claims, found = [], Findings(evidence.measurements)
    for number, entry in enumerate(CLAIMS, 1):
        missing = entry.takes
        try:
            statements = tuple(entry.statements(found))
        except LookupError as error:
            statements, missing = (), f"{entry.takes}; {error}"
        claims.append(Claim(number, entry.says, entry.where, statements, "" if statements else missing))
    return claims


def compare(says: str, terms: Terms, threshold: float = 0.0, *, below: bool = True) -> Statement:
    """Compare errors over the same images.

    Args:
        says: what has to hold.
        terms: factors and measurements, whose sum is the difference.
        threshold: in points of %.
        below: whether the difference must be below it.

    """
    factors, measurements = zip(*terms, strict=True)
    seeds = shared_seeds(measurements)
    compared = list(zip(factors, of_shared_seeds(measurements), strict=True))
    # Where no seed is shared: of each image by the means over seeds.
    wrong = [factor * (one.wrong if seeds else one.wrong.mean(0, keepdims=True)) for factor, one in compared]
    values: NDArray[np.float64] = np.sum(wrong, axis=0)
    interval = bootstrap(100 * values)
    published = [factor * one.published.top1_error for factor, one in terms if one.published]
    alike = None
    if seeds and len(terms) > 1:
        alike = np.count_nonzero(np.sign(values.mean(1)) == np.sign(interval.mean))
    return Statement(
        says,
        interval,
        threshold,
        below,
        _p_value(compared),
        values.shape[1],
        len(seeds) or min(len(one.seeds) for one in measurements),
        None if alike is None else int(alike),
        sum(published) if len(published) == len(terms) else None,
    )


def shared_seeds(measurements: Sequence[Measurement]) -> list[int]:
    """Seeds that all of them have."""
    return [seed for seed in measurements[0].seeds if all(seed in one.seeds for one in measurements)]


def of_shared_seeds(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same of the seeds that all have; unchanged where they have none in common."""
    seeds = shared_seeds(measurements)
    return [one.of_seeds(seeds) if seeds else one for one in measurements]


def with_most_seeds(pairs: Sequence[Pair]) -> list[Pair]:
    """Those that share the most seeds: a network of one seed alone would leave the others with that one.

    All of them where none shares `SEVERAL`, below which seeds do not count in the interval.
    """
    most = max(len(shared_seeds(pair)) for pair in pairs)
    if most < SEVERAL:
        return list(pairs)
    return [pair for pair in pairs if len(shared_seeds(pair)) == most]


def _p_value(terms: Terms) -> float | None:
    """McNemar's test, of two single runs."""
    if [factor for factor, _ in terms] != [1, -1]:
        return None
    first, second = (one.wrong for _, one in terms)
    return mcnemar(first[0], second[0]) if len(first) == len(second) == 1 else None


def less(first: Measurement, second: Measurement) -> Terms:
    """The first one's error less the second one's."""
    return ((1, first), (-1, second))


def mean_less(pairs: Sequence[Pair]) -> Terms:
    """The mean of several such differences."""
    return [(factor / len(pairs), one) for pair in pairs for factor, one in less(*pair)]


def guess(one: Measurement) -> float:
    """The error of guessing, in %."""
    return 100 * (1 - 1 / one.num_classes)


def untrained(one: Measurement) -> bool:
    """Whether a network has not learned: what a test protocol does to it says nothing."""
    return one.error >= UNTRAINED * guess(one)


def _names(measurements: Iterable[Measurement]) -> str:
    return ", ".join(dict.fromkeys(one.setup.name for one in measurements))


def _firsts(pairs: Sequence[Pair]) -> str:
    return _names(first for first, _ in pairs)


@claim(
    "error falls with depth from A to D and levels off at E",
    "Section 4.1",
    takes="dense tests at one Q of networks A, B, D and E of one fixed S",
)
def depth(found: Findings) -> Iterable[Statement]:
    """Claim 1."""
    a, b, d, e = found.networks("A", "B", "D", "E")
    # E - D + (A - D) / 3: the step is as uncertain as what it is compared with.
    gain = ((1, e), (-1 - 1 / STEPS_TO_D, d), (1 / STEPS_TO_D, a))
    yield compare("B errs less than A", less(b, a))
    yield compare("D errs less than B", less(d, b))
    yield compare("E gains less on D than a step from A to D did on the mean", gain, below=False)


@claim(
    "local response normalisation does not help",
    "Section 4.1",
    takes="dense tests at one Q of A and A-LRN of one fixed S",
)
def normalisation(found: Findings) -> Iterable[Statement]:
    """Claim 2."""
    a, lrn = of_shared_seeds(found.networks("A", "A-LRN"))
    says = f"A-LRN does not save {TOLERANCE:.0%} of A's error"
    yield compare(says, less(lrn, a), -TOLERANCE * a.error, below=False)


@claim(
    "C is better than B (non-linearity) and worse than D (spatial context)",
    "Section 4.1",
    takes="dense tests at one Q of B, C and D of one fixed S",
)
def context(found: Findings) -> Iterable[Statement]:
    """Claim 3."""
    b, c, d = found.networks("B", "C", "D")
    yield compare("C errs less than B", less(c, b))
    yield compare("D errs less than C", less(d, c))


@claim(
    "training with jittered S beats fixed S",
    "Section 4.1",
    takes="dense tests at one Q of a network with fixed and with jittered S",
)
def jitter(found: Findings) -> Iterable[Statement]:
    """Claim 4."""
    each: dict[str, Pair] = {}
    for jittered in (one for one in found.at_one if one.training.jittered):
        fixed: dict[tuple[int, int], Measurement] = {}  # of each S the first in the description
        for one in found.fixed:
            if _same_network(one.training, jittered.training):
                fixed.setdefault(one.training.recipe.train_scale, one)
        if fixed:
            first, *others = of_shared_seeds([jittered, *fixed.values()])
            each.setdefault(jittered.training.recipe.config, (first, min(others, key=lambda one: one.error)))
    if each:
        pairs = with_most_seeds(list(each.values()))
        compared = "; ".join(f"{one.setup.name} and {two.setup.name}" for one, two in pairs)
        yield compare(f"jittered errs less than the best fixed S ({compared})", mean_less(pairs))


@claim(
    "several test scales Q beat one",
    "Section 4.2",
    takes="dense tests of a network at one Q and at several",
)
def scales(found: Findings) -> Iterable[Statement]:
    """Claim 5."""
    several = [one for one in found.single if one.dense and one.setup.several]
    pairs = [
        (one, other)
        for one in several
        for other in found.at_one
        if one.setup.name == other.setup.name and not untrained(other)
    ]
    if pairs:
        pairs = with_most_seeds(pairs)
        yield compare(f"several Q err less than one ({_firsts(pairs)})", mean_less(pairs))


@claim(
    "dense and multi-crop evaluation are complementary",
    "Section 4.3",
    takes="tests of a network by dense, crops and both at the same Q",
)
def complementary(found: Findings) -> Iterable[Statement]:
    """Claim 6."""
    both = [one for one in found.single if one.setup.views == "both" and not untrained(one)]
    both = [one for one in both if one.setup.several] or both
    for views, name in (("dense", "dense"), ("crops", "multi-crop")):
        pairs = [(one, other) for one in both if (other := found.same(one, one.setup.name, views))]
        if not pairs:
            raise LookupError(f"lacking {name}")
        pairs = with_most_seeds(pairs)
        yield compare(f"both err less than {name} alone ({_firsts(pairs)})", mean_less(pairs))


@claim("a fusion of networks beats the best of them", "Section 4.4", takes="a [[fuse]] of networks")
def fusion(found: Findings) -> Iterable[Statement]:
    """Claim 7."""
    pairs = []
    for fused in found.fused:
        members = zip(fused.setup.networks, fused.setup.scales, strict=True)
        known = [found.same(fused, name, fused.setup.views, scales) for name, scales in members]
        members_known = [one for one in known if one]
        if len(members_known) == len(known):
            whole, *each = of_shared_seeds([fused, *members_known])
            pairs.append((whole, min(each, key=lambda one: one.error)))
    if pairs:
        pairs = with_most_seeds(pairs)
        yield compare(f"fusions err less than their best network ({_firsts(pairs)})", mean_less(pairs))


@claim(
    "a deep net of small filters beats a shallow one of large filters (B and B-5x5)",
    "Section 4.1",
    takes="dense tests at one Q of B and B-5x5 of one fixed S",
)
def small_filters(found: Findings) -> Iterable[Statement]:
    """Claim 8."""
    deep, shallow = found.networks("B", "B-5x5")
    alone = next((one for one in found.of("B") if one.training.parent is None), deep)  # B-5x5 cannot be grown
    ahead = f"{alone.setup.name}, which was grown," if alone.training.parent else alone.setup.name
    yield compare(f"{ahead} errs less than {shallow.setup.name}", less(alone, shallow))


@claim(
    "growing from A lets deep nets train where the normal start alone does not",
    "Section 3.1",
    takes='dense tests at one Q of a deep network with init = "normal", grown from A and not',
)
def growing(found: Findings) -> Iterable[Statement]:
    """Claim 9."""
    pairs = []
    for alone in found.fixed:
        training = alone.training
        if training.parent or not training.recipe.init.startswith("normal") or training.recipe.config == "A":
            continue
        for grown in found.fixed:
            recipe = grown.training.recipe
            same = _same_network(grown.training, training) and recipe.train_scale == training.recipe.train_scale
            # Another start could help as much as growing does.
            if grown.training.grow_from and same and recipe.init == training.recipe.init:
                pairs.append((grown, alone))
    if pairs:
        pairs = with_most_seeds(pairs)
        yield compare(f"grown nets err less ({_firsts(pairs)})", mean_less(pairs))
        yield compare(
            f"without growing it is at least {UNTRAINED:.0%} of a guess's ({_names(one for _, one in pairs)})",
            [(1 / len(pairs), alone) for _, alone in pairs],
            UNTRAINED * guess(pairs[0][1]),
            below=False,
        )


def _same_network(first: Training, second: Training) -> bool:
    """Whether two are of one network, whatever S it was shown at."""
    fields = ("config", "width", "window", "batch_norm")
    return all(getattr(first.recipe, name) == getattr(second.recipe, name) for name in fields)
