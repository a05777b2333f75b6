"""Outcomes -> the paper's Tables 3 to 6: ours beside the published ones, mean and spread over seeds; Table 7."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from verydeep.configurations import ALL_CONFIGURATIONS
from verydeep.reports.published import TABLE_7, TABLE_7_HEADINGS, TABLE_7_TITLE, percent
from verydeep.reports.tables import PROTOCOLS, joined, test_scales, trained_scale
from verydeep.studies.evidence import Evidence, Outcome

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MULTI_CROP = ("crops", "both")
NUMBERS = range(5, 11)  # columns of numbers
NOTHING = "–"


@dataclass(frozen=True)
class Line:
    """A test, all its seeds together.

    Attributes:
        outcome: what came of it.

    """

    outcome: Outcome

    @property
    def cells(self) -> tuple[str, ...]:
        """The text, under `headings`."""
        outcome, theirs = self.outcome, self.outcome.published
        return (
            outcome.network,
            outcome.tested.name,
            joined(trained_scale(training.scale) for training in outcome.trainings),
            joined(map(test_scales, outcome.tested.scales)),
            PROTOCOLS[outcome.tested.views],
            spread(outcome.top1),
            spread(outcome.top5),
            str(len(outcome.seeds)),
            *map(
                percent, (theirs.top1_error, theirs.top5_error, theirs.top5_test_error) if theirs else [None] * 3
            ),
        )


@dataclass(frozen=True)
class Table:
    """One of the tables.

    Attributes:
        number: the paper's; 0 for tests by protocols that it did not make.
        title: in a few words.
        lines: in the paper's order.

    """

    number: int
    title: str
    lines: tuple[Line, ...]

    @property
    def name(self) -> str:
        """How it is headed."""
        return f"Table {self.number}" if self.number else "Other tests"

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the columns."""
        top_k = min(line.outcome.top_k for line in self.lines)
        ours = (
            "top-1 error (%)",
            f"top-{top_k} error (%)",
            "seeds",
            "paper's top-1",
            "paper's top-5",
            "paper's top-5, test set",
        )
        return ("network", "run", "S", "Q", "protocol", *ours)


def make_tables(evidence: Evidence) -> list[Table]:
    """Lay out all that has been tested; tables that would be empty are left out."""
    outcomes = evidence.outcomes
    paired = {_key(one) for one in outcomes if one.single and one.tested.views in MULTI_CROP}
    kinds: list[tuple[int, str, Callable[[Outcome], bool]]] = [
        (3, "one network at one test scale, dense", lambda one: _dense(one) and not one.tested.several),
        (4, "one network at several test scales, dense", lambda one: _dense(one) and one.tested.several),
        (
            5,
            "dense and multi-crop evaluation, and both",
            lambda one: one.single and _key(one) in paired and _paper(one),
        ),
        (6, "several networks, their posteriors averaged", lambda one: not one.single),
        (0, "other protocols", lambda one: one.single and not _paper(one)),
    ]
    return [
        Table(number, title, lines)
        for number, title, belongs in kinds
        if (lines := _lines(one for one in outcomes if belongs(one)))
    ]


def _dense(outcome: Outcome) -> bool:
    return outcome.single and outcome.tested.views == "dense"


def _paper(outcome: Outcome) -> bool:
    return outcome.tested.views in ("dense", *MULTI_CROP)


def _key(outcome: Outcome) -> tuple[str, tuple[tuple[int, ...], ...]]:
    return outcome.tested.name, outcome.tested.scales


def _lines(chosen: Iterable[Outcome]) -> tuple[Line, ...]:
    order = list(ALL_CONFIGURATIONS)
    views = list(PROTOCOLS)

    def place(outcome: Outcome) -> tuple[Any, ...]:
        training = outcome.training
        where = order.index(training.configuration), (training.jittered, *training.scale) if outcome.single else ()
        return (*where, outcome.tested.several, outcome.tested.scales, views.index(outcome.tested.views))

    return tuple(Line(one) for one in sorted(chosen, key=place))


def spread(values: Sequence[float]) -> str:
    """Write the mean, and the standard deviation over seeds where there are several."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def markdown(tables: Sequence[Table]) -> str:
    """Write the tables as Markdown."""
    parts = []
    for table in tables:
        rules = ["--:" if number in NUMBERS else ":--" for number in range(len(table.headings))]
        rows = [table.headings, rules, *(line.cells for line in table.lines)]
        parts += [f"**{table.name}**: {table.title}", "", *map(markdown_row, rows), ""]
    if beside_others(tables):
        rows = [TABLE_7_HEADINGS, [":--", ":--", "--:", "--:", "--:"], *(row.cells for row in TABLE_7)]
        parts += [f"**Table 7**: {TABLE_7_TITLE}", "", *map(markdown_row, rows), ""]
    return "\n".join(parts)


def beside_others(tables: Sequence[Table]) -> bool:
    """Whether Table 7 of the paper belongs beside them: where networks are fused, as in most of its rows."""
    return any(table.number == 6 for table in tables)


def markdown_row(cells: Sequence[str]) -> str:
    """Write a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


def comma_separated(tables: Sequence[Table]) -> str:
    """Write the tables as CSV, all in one, the paper's number of each in front."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for table in tables:
        writer.writerow(["table", *table.headings])
        for line in table.lines:
            writer.writerow([table.name, *line.cells])
    if beside_others(tables):
        writer.writerow(["table", *TABLE_7_HEADINGS])
        writer.writerows(["Table 7", *row.cells] for row in TABLE_7)
    return text.getvalue()


def to_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The tables for programs: every seed's errors."""
    return [
        {
            "table": table.number,
            "title": table.title,
            "rows": [_row(line) for line in table.lines],
        }
        for table in tables
    ]


def _row(line: Line) -> dict[str, Any]:
    outcome, theirs = line.outcome, line.outcome.published
    return {
        "network": outcome.network,
        "run": outcome.tested.name,
        "networks": list(outcome.tested.networks),
        "trained_scales": [list(training.scale) for training in outcome.trainings],
        "test_scales": [list(scales) for scales in outcome.tested.scales],
        "views": outcome.tested.views,
        "seeds": list(outcome.seeds),
        "top1_error": list(outcome.top1),
        "top5_error": list(outcome.top5),
        "top_k": outcome.top_k,
        "paper_top1_error": theirs.top1_error if theirs else None,
        "paper_top5_error": theirs.top5_error if theirs else None,
        "paper_top5_test_error": theirs.top5_test_error if theirs else None,
    }


def rich_tables(tables: Sequence[Table]) -> list[RichTable]:
    """Lay the tables out for a terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = []
    for table in tables:
        shown = RichTable(
            title=Text(f"{table.name}: {table.title}"),
            box=box.SIMPLE_HEAD,
            title_style="bold",
            title_justify="left",
        )
        for number, name in enumerate(table.headings):
            shown.add_column(Text(name), justify="right" if number in NUMBERS else "left")
        for line in table.lines:
            shown.add_row(*map(Text, line.cells))
        made.append(shown)
    if beside_others(tables):
        made.append(_rich_table_7())
    return made


def _rich_table_7() -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    title = Text(f"Table 7: {TABLE_7_TITLE}")
    shown = RichTable(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left")
    for number, name in enumerate(TABLE_7_HEADINGS):
        shown.add_column(Text(name), justify="right" if number > 1 else "left")
    for row in TABLE_7:
        shown.add_row(*map(Text, row.cells))
    return shown
