"""Claims -> something to read: a Markdown table, a table for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from verydeep.evaluation.paired import RESAMPLINGS, SEVERAL
from verydeep.reports.text_table import NOTHING, TextTable
from verydeep.studies.claims import Claim, Statement, Verdict

HEADINGS = (
    *("claim", "verdict", "statement", "difference", "95 % interval", "required", "McNemar's p", "images"),
    *("seeds", "paper's difference"),
)
NUMBERS = range(3, 10)
PLURALS = {"agrees": "agree", "does not agree": "do not agree"}
HOW = (
    "Differences are of top-1 errors on the same images, in points of %. The interval comes from "
    f"{RESAMPLINGS:,} resamplings of the images. Where {SEVERAL} seeds or more are shared, their spread is added "
    "by Student's t, and the table says “over seeds”. Else it is over images alone, and other seeds could differ. "
    "“3 alike” means that 3 seeds have a difference of the same sign."
)


def headline(claims: Sequence[Claim]) -> str:
    """Say in a sentence how many claims agree."""
    if not any(claim.statements for claim in claims):
        return f"None of the paper’s {len(claims)} claims is tested."
    counts = Counter(claim.verdict for claim in claims)
    parts = []
    for word in get_args(Verdict):
        count = counts[word]
        told = word if word in PLURALS else f"is {word}"
        several = PLURALS.get(word, f"are {word}")
        parts += [f"{count} {several if count > 1 else told}"] * (count > 0)
    few = sum(0 < claim.deciding_seeds < SEVERAL for claim in claims)
    by_few = f" {few} of the verdicts {'are' if few > 1 else 'is'} by fewer than {SEVERAL} seeds." * (few > 0)
    return f"Of {len(claims)} claims of the paper, {', '.join(parts)}.{by_few}"


def verdict(claim: Claim) -> str:
    """A claim's verdict, with the number of seeds that it stands on where it is decided."""
    count = claim.deciding_seeds
    return f"{claim.verdict} ({count} seed{'s' * (count > 1)})" if count else claim.verdict


def rows(claims: Sequence[Claim]) -> list[tuple[str, ...]]:
    """A row for each statement, claim and verdict before the first; one for a claim that was not tested."""
    found: list[tuple[str, ...]] = []
    for claim in claims:
        told = [cells(one) for one in claim.statements] or [(f"takes {claim.missing}", *(NOTHING,) * 7)]
        found.append((f"{claim.number}. {claim.says} ({claim.where})", verdict(claim), *told[0]))
        found += [("", "", *cells) for cells in told[1:]]
    return found


def cells(one: Statement) -> tuple[str, ...]:
    """A statement's numbers, under the headings from the third on."""
    interval = one.interval
    return (
        one.says,
        f"{interval.mean:+.2f}",
        f"{interval.low:+.2f} to {interval.high:+.2f}{', over seeds' * interval.over_seeds}",
        one.wanted,
        NOTHING if one.p is None else probability(one.p),
        f"{one.num_images:,}",
        seeds(one),
        NOTHING if one.published is None else f"{one.published:+.1f}",
    )


def probability(p: float) -> str:
    """Write a probability; very small ones as a bound."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def seeds(one: Statement) -> str:
    """How many seeds, and how many of them agree on the sign."""
    if one.seeds == 1 or one.seeds_alike is None:
        return str(one.seeds)
    return f"{one.seeds} ({one.seeds_alike} alike)"


def markdown(claims: Sequence[Claim]) -> str:
    """Write the claims as Markdown."""
    table = TextTable("", HEADINGS, rows(claims), NUMBERS)
    return f"**Claims of the paper, put to the test**\n\n{table.markdown()}\n\n{HOW}\n"


def terminal_table(claims: Sequence[Claim]) -> TextTable:
    """Lay the claims that were tested out for a terminal: the numbers that matter most."""
    found: list[tuple[str, ...]] = []
    for claim in claims:
        if not claim.statements:
            continue
        found.append((f"{claim.number}. {claim.says}", verdict(claim), "", "", "", ""))
        for says, difference, interval, wanted, _, _, count, _ in map(cells, claim.statements):
            found.append((f"   {says}", "", difference, interval, wanted, count))
    headings = ("claim", "verdict", "difference", "95 % interval", "required", "seeds")
    return TextTable("Claims of the paper", headings, found, range(2, 6))
