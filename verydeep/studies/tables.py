"""Measurements -> the paper's Tables 3 to 6: ours beside the published ones, mean and spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from verydeep.configurations import ALL_CONFIGURATIONS
from verydeep.evaluation.protocols import PROTOCOLS, protocol_name
from verydeep.reports.published import PAPERS_PROTOCOLS, percent, table_7
from verydeep.reports.tables import joined, test_scales, trained_scale
from verydeep.reports.text_table import TextTable
from verydeep.studies.evidence import Evidence, Measurement

NUMBERS = range(5, 11)  # columns of numbers


@dataclass(frozen=True)
class Table:
    """One of the tables.

    Attributes:
        number: the paper's; 0 for tests by protocols that it did not make.
        title: in a few words.
        measurements: in the paper's order.

    """

    number: int
    title: str
    measurements: tuple[Measurement, ...]

    @property
    def name(self) -> str:
        """How it is headed."""
        return f"Table {self.number}" if self.number else "Other tests"

    @property
    def text(self) -> TextTable:
        """The table as text."""
        top_k = min(one.top_k for one in self.measurements)
        ours = ("network", "run", "S", "Q", "protocol", "top-1 error (%)", f"top-{top_k} error (%)", "seeds")
        theirs = ("paper's top-1", "paper's top-5", "paper's top-5, test set")
        rows = [cells(one) for one in self.measurements]
        return TextTable(f"{self.name}: {self.title}", (*ours, *theirs), rows, NUMBERS, theirs=8)

    def to_json(self) -> dict[str, Any]:
        """The table for programs: every seed's errors."""
        rows = [_row(one) for one in self.measurements]
        return {"table": self.number, "title": self.title, "rows": rows}


def make_tables(evidence: Evidence) -> list[Table]:
    """Lay out all that has been tested; tables that would be empty are left out."""
    single = [one for one in evidence.measurements if one.single]
    fused = [one for one in evidence.measurements if not one.single]
    dense = [one for one in single if one.dense]
    by_paper = [one for one in single if one.setup.views in PAPERS_PROTOCOLS]
    cropped = {(one.setup.name, one.setup.scales) for one in by_paper if not one.dense}
    by_protocol = [one for one in by_paper if (one.setup.name, one.setup.scales) in cropped]
    others = [one for one in single if one.setup.views not in PAPERS_PROTOCOLS]
    chosen = (
        (3, "one network at one test scale, dense", [one for one in dense if not one.setup.several]),
        (4, "one network at several test scales, dense", [one for one in dense if one.setup.several]),
        (5, "dense and multi-crop evaluation, and both", by_protocol),
        (6, "several networks, their posteriors averaged", fused),
        (0, "other protocols", others),
    )
    return [Table(number, title, tuple(sorted(each, key=_place))) for number, title, each in chosen if each]


def _place(one: Measurement) -> tuple[Any, ...]:
    training = one.training
    where = list(ALL_CONFIGURATIONS).index(training.recipe.config)
    scale = (training.jittered, *training.recipe.train_scale) if one.single else ()
    return where, scale, one.setup.several, one.setup.scales, list(PROTOCOLS).index(one.setup.views)


def cells(one: Measurement) -> tuple[str, ...]:
    """A measurement as a row of a table."""
    theirs = one.published
    published = (theirs.top1_error, theirs.top5_error, theirs.top5_test_error) if theirs else (None,) * 3
    return (
        one.network,
        one.setup.name,
        joined(trained_scale(training.recipe.train_scale) for training in one.trainings),
        joined(map(test_scales, one.setup.scales)),
        protocol_name([one.setup.views]),
        spread(one.top1),
        spread(one.top5),
        str(len(one.seeds)),
        *map(percent, published),
    )


def spread(values: Sequence[float]) -> str:
    """Write the mean, and the standard deviation over seeds where there are several."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def text_tables(tables: Sequence[Table]) -> list[TextTable]:
    """The tables as text; Table 7 of the paper behind them where networks are fused, as in most of its rows."""
    beside_others = any(table.number == 6 for table in tables)
    return [*(table.text for table in tables), *([table_7()] if beside_others else [])]


def markdown(tables: Sequence[Table]) -> str:
    """Write the tables as Markdown."""
    parts = []
    for text in text_tables(tables):
        name, _, title = text.title.partition(": ")
        parts += [f"**{name}**: {title}", "", text.markdown(), ""]
    return "\n".join(parts)


def comma_separated(tables: Sequence[Table]) -> str:
    """Write the tables as CSV, all in one, the name of each in front."""
    return "".join(text.csv("table", text.title.partition(": ")[0]) for text in text_tables(tables))


def _row(one: Measurement) -> dict[str, Any]:
    theirs = one.published
    return {
        "network": one.network,
        "run": one.setup.name,
        "networks": list(one.setup.networks),
        "trained_scales": [list(training.recipe.train_scale) for training in one.trainings],
        "test_scales": [list(scales) for scales in one.setup.scales],
        "views": one.setup.views,
        "seeds": list(one.seeds),
        "top1_error": list(one.top1),
        "top5_error": list(one.top5),
        "top_k": one.top_k,
        "paper_top1_error": theirs.top1_error if theirs else None,
        "paper_top5_error": theirs.top5_error if theirs else None,
        "paper_top5_test_error": theirs.top5_test_error if theirs else None,
    }
