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
    f"{RESAMPLINGS:,} resamplings of the images, and of seeds where {SEVERAL} or more are shared, as the table "
    "says. Else it shows the uncertainty over images, not over seeds. “3 alike” means that 3 seeds have a "
    "difference of the same sign."
)


def headline(claims: Sequence[Claim]) -> str:
    """Say in a sentence how many claims agree."""
    counts = Counter(claim.verdict for claim in claims)
    parts = []
    for verdict in get_args(Verdict):
        count = counts[verdict]
        told = verdict if verdict in PLURALS else f"is {verdict}"
        several = PLURALS.get(verdict, f"are {verdict}")
        parts += [f"{count} {several if count > 1 else told}"] * (count > 0)
    return f"Of {len(claims)} claims of the paper, {', '.join(parts)}."


def rows(claims: Sequence[Claim]) -> list[tuple[str, ...]]:
    """A row for each statement, claim and verdict before the first; one for a claim that was not tested."""
    found: list[tuple[str, ...]] = []
    for claim in claims:
        told = [cells(one) for one in claim.statements] or [(f"takes {claim.missing}", *(NOTHING,) * 7)]
        found.append((f"{claim.number}. {claim.says} ({claim.where})", claim.verdict, *told[0]))
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
    """Lay the claims out for a terminal: the numbers that matter most."""
    found: list[tuple[str, ...]] = []
    for claim in claims:
        found.append((f"{claim.number}. {claim.says}", claim.verdict, "", "", "", ""))
        for says, difference, interval, wanted, _, _, count, _ in map(cells, claim.statements):
            found.append((f"   {says}", "", difference, interval, wanted, count))
    headings = ("claim", "verdict", "difference", "95 % interval", "required", "seeds")
    return TextTable("Claims of the paper", headings, found, range(2, 6))
