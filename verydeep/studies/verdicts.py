"""Claims -> something to read: a Markdown table, a table for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from verydeep.evaluation.paired import RESAMPLINGS
from verydeep.studies.claims import Claim, Statement, Verdict
from verydeep.studies.tables import NOTHING, markdown_row

if TYPE_CHECKING:
    from rich.table import Table as RichTable

HEADINGS = (
    "claim",
    "verdict",
    "what has to hold",
    "difference",
    "95 % interval",
    "has to be",
    "McNemar's p",
    "pictures",
    "seeds",
    "paper's difference",
)
NUMBERS = range(3, 10)
TOLD: dict[Verdict, tuple[str, str]] = {
    "agrees": ("agrees", "agree"),
    "does not agree": ("does not agree", "do not agree"),
    "not decided": ("is not decided", "are not decided"),
    "not tested": ("is not tested", "are not tested"),
}
"""What is said of one claim, and of several."""
HOW = (
    "Differences are of top-1 errors on the same pictures, in points of %. The interval comes from "
    f"{RESAMPLINGS:,} resamplings of the pictures, the means over seeds taken first: it says how sure the "
    "difference is on other pictures, not with other seeds. Of several seeds, how many have a difference of the "
    "same sign stands behind their number."
)


def headline(claims: Sequence[Claim]) -> str:
    """Say in a sentence how many claims agree."""
    counts = Counter(claim.verdict for claim in claims)
    parts = [f"{counts[verdict]} {told[counts[verdict] > 1]}" for verdict, told in TOLD.items() if counts[verdict]]
    return f"Of {len(claims)} claims of the paper, {', '.join(parts)}."


def rows(claims: Sequence[Claim]) -> list[tuple[str, ...]]:
    """A row for each statement, claim and verdict before the first; one for a claim that was not tested."""
    found: list[tuple[str, ...]] = []
    for claim in claims:
        heads: list[tuple[str, str]] = [(f"{claim.number}. {claim.says} ({claim.where})", claim.verdict)]
        if not claim.statements:
            found.append((*heads[0], f"takes {claim.missing}", *(NOTHING,) * 7))
        heads += [("", "")] * (len(claim.statements) - 1)
        found += [(*head, *cells(one)) for head, one in zip(heads, claim.statements, strict=False)]
    return found


def cells(one: Statement) -> tuple[str, ...]:
    """A statement's numbers, under the headings from the third on."""
    interval = one.interval
    return (
        one.says,
        f"{interval.mean:+.2f}",
        f"{interval.low:+.2f} to {interval.high:+.2f}",
        one.wanted,
        NOTHING if one.p is None else probability(one.p),
        f"{one.num_pictures:,}",
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
    rules = ["--:" if number in NUMBERS else ":--" for number in range(len(HEADINGS))]
    lines = map(markdown_row, [HEADINGS, rules, *rows(claims)])
    return "\n".join(["**Claims of the paper, put to the test**", "", *lines, "", HOW, ""])


def rich_table(claims: Sequence[Claim]) -> RichTable:
    """Lay the claims out for a terminal: the numbers that matter most."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title="Claims of the paper", box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for name in ("claim", "verdict"):
        table.add_column(name)
    for name in ("difference", "95 % interval", "has to be", "seeds"):
        table.add_column(name, justify="right")
    colors = {"agrees": "green", "does not agree": "red"}
    for claim in claims:
        verdict = Text(claim.verdict, style=colors.get(claim.verdict, ""))
        table.add_row(Text(f"{claim.number}. {claim.says}"), verdict)
        for one in claim.statements:
            says, difference, interval, wanted, _, _, count, _ = cells(one)
            table.add_row(Text(f"   {says}", style="dim"), "", difference, interval, wanted, count)
    return table
