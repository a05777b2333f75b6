"""The paper's nine claims, each put to the test by who was wrong on which picture. Pure functions; no files.

A claim is one statement or several on errors of networks that were tested on the same pictures. Each has a
difference with its 95 % interval, by resampling the pictures, the means over seeds taken first; and a threshold.
A statement holds where the whole interval is on its side of the threshold, fails where all of it is on the other,
and else is open. A claim agrees where all its statements hold, does not agree where one fails, and else is not
decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.paired import Interval, bootstrap, mcnemar
from verydeep.studies.description import Training
from verydeep.studies.evidence import Evidence, Outcome

Verdict = Literal["agrees", "does not agree", "not decided", "not tested"]
Terms = Sequence[tuple[float, Outcome]]

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
        below: whether it has to be below the threshold, or above.
        p: McNemar's, where two single runs are compared; else None.
        num_pictures: that all were tested on.
        seeds: that all have; where they have none in common, of the one with the fewest.
        seeds_alike: of these, how many have a difference of the same sign; None where it is no difference.
        published: the paper's difference, where it has all of the numbers.

    """

    says: str
    interval: Interval
    threshold: float
    below: bool
    p: float | None
    num_pictures: int
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
        """The side of the threshold on which it has to be."""
        return f"{'below' if self.below else 'above'} {self.threshold + 0.0:.2f}".replace("-0.00", "0.00")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, put to the test.

    Attributes:
        number: from 1 to 9.
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

    def to_json(self) -> dict[str, Any]:
        """The claim for programs."""
        return {
            "claim": self.number,
            "says": self.says,
            "where": self.where,
            "verdict": self.verdict,
            "missing": self.missing,
            "statements": [_statement_json(one) for one in self.statements],
        }


def _statement_json(one: Statement) -> dict[str, Any]:
    return {
        "says": one.says,
        "difference": one.interval.mean,
        "interval": [one.interval.low, one.interval.high],
        "threshold": one.threshold,
        "wanted": "below" if one.below else "above",
        "holds": one.holds,
        "mcnemar_p": one.p,
        "num_pictures": one.num_pictures,
        "seeds": one.seeds,
        "seeds_alike": one.seeds_alike,
        "paper_difference": one.published,
    }


def judge(evidence: Evidence) -> list[Claim]:
    """Put all nine claims to the test."""
    base = _Base(evidence.outcomes)
    return [make(number, base) for number, make in enumerate(CLAIMS, 1)]


def compare(says: str, terms: Terms, threshold: float = 0.0, *, below: bool = True) -> Statement:
    """Compare errors over the same pictures.

    Args:
        says: what has to hold.
        terms: factors and outcomes, whose sum is the difference.
        threshold: in points of %.
        below: whether the difference has to be below it.

    """
    seeds = _shared_seeds([outcome for _, outcome in terms])
    values = sum(factor * _wrong(outcome, seeds).mean(0) for factor, outcome in terms)
    assert isinstance(values, np.ndarray)
    difference = bootstrap(100 * values)
    rows = [outcome.published for _, outcome in terms]
    published = None
    if all(rows):
        published = sum(factor * row.top1_error for (factor, _), row in zip(terms, rows, strict=True) if row)
    return Statement(
        says,
        difference,
        threshold,
        below,
        _p_value(terms, seeds),
        len(values),
        len(seeds) or min(len(outcome.seeds) for _, outcome in terms),
        _alike(terms, seeds, difference.mean) if len(terms) > 1 else None,
        published,
    )


def _shared_seeds(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    return tuple(seed for seed in outcomes[0].seeds if all(seed in one.seeds for one in outcomes))


def _wrong(outcome: Outcome, seeds: Sequence[int]) -> NDArray[np.bool_]:
    """Of these seeds, or of all where it shares none with the others."""
    chosen = [outcome.seeds.index(seed) for seed in seeds] or list(range(len(outcome.seeds)))
    return outcome.wrong[chosen]


def _p_value(terms: Terms, seeds: Sequence[int]) -> float | None:
    """McNemar's test, of two single runs."""
    if len(terms) != 2 or [factor for factor, _ in terms] != [1, -1]:
        return None
    first, second = (_wrong(outcome, seeds) for _, outcome in terms)
    return mcnemar(first[0], second[0]) if len(first) == len(second) == 1 else None


def _alike(terms: Terms, seeds: Sequence[int], mean: float) -> int | None:
    if not seeds:
        return None
    each = [sum(factor * _wrong(outcome, [seed]).mean() for factor, outcome in terms) for seed in seeds]
    return sum(bool(np.sign(one) == np.sign(mean)) for one in each)


class _Base:
    """Finds the outcomes that a claim compares.

    Of the networks of one configuration and one S the first in the description stands for it. Where several fixed
    S were trained, networks of different configurations are compared at the one that most of them have.

    Args:
        outcomes: in the description's order.

    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.single = [outcome for outcome in outcomes if outcome.single]
        self.fused = [outcome for outcome in outcomes if not outcome.single]
        self.at_one = [one for one in self.single if one.tested.views == "dense" and not one.tested.several]
        self.fixed = [one for one in self.at_one if not one.training.jittered]
        self.scale = self._base_scale()

    def _base_scale(self) -> tuple[int, int]:
        """The fixed S that most configurations were trained at, the smallest of those."""
        configurations: dict[tuple[int, int], set[str]] = {}
        for one in self.fixed:
            configurations.setdefault(one.training.scale, set()).add(one.training.configuration)
        return min(configurations, key=lambda scale: (-len(configurations[scale]), scale), default=(0, 0))

    def network(self, configuration: str) -> Outcome | None:
        """What stands for a configuration: dense, at one Q, of the S that most have."""
        return next(iter(self.networks(configuration)), None)

    def networks(self, configuration: str) -> list[Outcome]:
        """The same, with its variants."""
        return [
            one
            for one in self.fixed
            if one.training.configuration == configuration and one.training.scale == self.scale
        ]

    def same(
        self, outcome: Outcome, name: str, views: str, scales: tuple[int, ...] | None = None
    ) -> Outcome | None:
        """The outcome of one network by other views, at the same Q or at others."""
        wanted = scales or outcome.tested.scales[0]
        for one in self.single:
            tested = one.tested
            if tested.name == name and tested.views == views and tested.scales[0] == wanted:
                return one
        return None


def _average(pairs: Sequence[tuple[Outcome, Outcome]]) -> Terms:
    """The mean difference of pairs, the first less the second."""
    count = len(pairs)
    return [term for first, second in pairs for term in ((1 / count, first), (-1 / count, second))]


def _names(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(dict.fromkeys(one.tested.name for one in outcomes))


def _missing(number: int, says: str, where: str, missing: str) -> Claim:
    return Claim(number, says, where, (), missing)


def _depth(number: int, base: _Base) -> Claim:
    says, where = "error falls with depth from A to D and levels off at E", "Section 4.1"
    found = {name: base.network(name) for name in ("A", "B", "D", "E")}
    a, b, d, e = found.values()
    if a is None or b is None or d is None or e is None:
        lacking = ", ".join(name for name, one in found.items() if one is None)
        return _missing(
            number,
            says,
            where,
            f"dense tests at one Q of networks A, B, D and E of one fixed S; lacking {lacking}",
        )
    step = max(0.0, (a.error - d.error) / STEPS_TO_D)
    return Claim(
        number,
        says,
        where,
        (
            compare("B errs less than A", ((1, b), (-1, a))),
            compare("D errs less than B", ((1, d), (-1, b))),
            compare(
                "E gains less on D than a step from A to D did on the mean", ((1, e), (-1, d)), -step, below=False
            ),
        ),
    )


def _normalisation(number: int, base: _Base) -> Claim:
    says, where = "local response normalisation does not help", "Section 4.1"
    a, lrn = base.network("A"), base.network("A-LRN")
    if a is None or lrn is None:
        return _missing(number, says, where, "dense tests at one Q of A and A-LRN of one fixed S")
    statement = compare(
        f"A-LRN does not save {TOLERANCE:.0%} of A's error", ((1, lrn), (-1, a)), -TOLERANCE * a.error, below=False
    )
    return Claim(number, says, where, (statement,))


def _context(number: int, base: _Base) -> Claim:
    says, where = "C is better than B (non-linearity) and worse than D (spatial context)", "Section 4.1"
    b, c, d = (base.network(name) for name in "BCD")
    if b is None or c is None or d is None:
        return _missing(number, says, where, "dense tests at one Q of B, C and D of one fixed S")
    statements = compare("C errs less than B", ((1, c), (-1, b))), compare("D errs less than C", ((1, d), (-1, c)))
    return Claim(number, says, where, statements)


def _jitter(number: int, base: _Base) -> Claim:
    says, where = "training with jittered S beats fixed S", "Section 4.1"
    pairs: list[tuple[Outcome, Outcome]] = []
    for jittered in base.at_one:
        if jittered.training.jittered and jittered.training.configuration not in {
            one.training.configuration for one, _ in pairs
        }:
            fixed = [one for one in base.fixed if one.training.configuration == jittered.training.configuration]
            if fixed:
                pairs.append((jittered, min(fixed, key=lambda one: one.error)))
    if not pairs:
        return _missing(number, says, where, "dense tests at one Q of a network with fixed and with jittered S")
    compared = "; ".join(f"{one.tested.name} and {two.tested.name}" for one, two in pairs)
    how = f"jittered errs less than the best fixed S ({compared})"
    return Claim(number, says, where, (compare(how, _average(pairs)),))


def _scales(number: int, base: _Base) -> Claim:
    says, where = "several test scales Q beat one", "Section 4.2"
    several = [one for one in base.single if one.tested.views == "dense" and one.tested.several]
    pairs = [(one, other) for one in several for other in base.at_one if one.tested.name == other.tested.name]
    if not pairs:
        return _missing(number, says, where, "dense tests of a network at one Q and at several")
    statement = compare(f"several Q err less than one ({_names(several)})", _average(pairs))
    return Claim(number, says, where, (statement,))


def _complementary(number: int, base: _Base) -> Claim:
    says, where = "dense and multi-crop evaluation are complementary", "Section 4.3"
    both = [one for one in base.single if one.tested.views == "both"]
    both = [one for one in both if one.tested.several] or both
    statements = []
    for views, name in (("dense", "dense"), ("crops", "multi-crop")):
        alone = [(one, other) for one in both if (other := base.same(one, one.tested.name, views))]
        if not alone:
            return _missing(number, says, where, "tests of a network by dense, crops and both at the same Q")
        statements.append(compare(f"both err less than {name} alone ({_names(both)})", _average(alone)))
    return Claim(number, says, where, tuple(statements))


def _fusion(number: int, base: _Base) -> Claim:
    says, where = "a fusion of networks beats the best of them", "Section 4.4"
    pairs = []
    for fused in base.fused:
        members = [
            base.same(fused, name, fused.tested.views, scales)
            for name, scales in zip(fused.tested.networks, fused.tested.scales, strict=True)
        ]
        known = [one for one in members if one]
        if known:
            pairs.append((fused, min(known, key=lambda one: one.error)))
    if not pairs:
        return _missing(number, says, where, "a [[fuse]] of networks")
    statement = compare(
        f"fusions err less than their best network ({_names([one for one, _ in pairs])})", _average(pairs)
    )
    return Claim(number, says, where, (statement,))


def _small_filters(number: int, base: _Base) -> Claim:
    says, where = "a deep net of small filters beats a shallow one of large filters (B and B-5x5)", "Section 4.1"
    shallow = base.network("B-5x5")
    deep = base.networks("B")
    if shallow is None or not deep:
        return _missing(number, says, where, "dense tests at one Q of B and B-5x5 of one fixed S")
    first = next((one for one in deep if one.training.parent is None), deep[0])  # B-5x5 cannot be grown
    how = f"{first.tested.name} errs less than {shallow.tested.name}"
    return Claim(number, says, where, (compare(how, ((1, first), (-1, shallow))),))


def _growing(number: int, base: _Base) -> Claim:
    says = "growing from A lets deep nets train where the normal start alone does not"
    where = "Section 3.1"
    pairs = []
    for alone in base.fixed:
        training = alone.training
        if training.parent or not training.recipe.init.startswith("normal") or training.configuration == "A":
            continue
        grown = [
            one for one in base.fixed if one.training.grow_from and _alike_but_for_start(one.training, training)
        ]
        grown.sort(key=lambda one: one.training.recipe.init != training.recipe.init)
        if grown:
            pairs.append((grown[0], alone))
    if not pairs:
        return _missing(
            number,
            says,
            where,
            'dense tests at one Q of a deep network grown from A, and of it with init = "normal"',
        )
    guess = 100 * (1 - 1 / pairs[0][1].num_classes)
    alone_terms = [(1 / len(pairs), alone) for _, alone in pairs]
    return Claim(
        number,
        says,
        where,
        (
            compare(f"grown nets err less ({_names([one for one, _ in pairs])})", _average(pairs)),
            compare(
                f"without growing it is at least {UNTRAINED:.0%} of a guess's "
                f"({_names([one for _, one in pairs])})",
                alone_terms,
                UNTRAINED * guess,
                below=False,
            ),
        ),
    )


def _alike_but_for_start(first: Training, second: Training) -> bool:
    """Whether two are of one network, shown at one S."""
    fields = ("config", "train_scale", "width", "window", "batch_norm")
    return all(getattr(first.recipe, name) == getattr(second.recipe, name) for name in fields)


CLAIMS: tuple[Callable[[int, _Base], Claim], ...] = (
    _depth,
    _normalisation,
    _context,
    _jitter,
    _scales,
    _complementary,
    _fusion,
    _small_filters,
    _growing,
)
