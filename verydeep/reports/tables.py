"""Results -> the rows of a table in the form of the paper's Tables 3 (one test scale) and 4 (several)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from io import StringIO
from typing import TYPE_CHECKING, Any

from verydeep.configurations import ALL_CONFIGURATIONS
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts
from verydeep.reports.published import Published, counterpart, percent

if TYPE_CHECKING:
    from rich.table import Table

RIGHT = range(4, 7)  # columns of numbers
PROTOCOLS = {  # names of the command line -> of the paper
    "dense": "dense",
    "crops": "multi-crop",
    "both": "multi-crop & dense",
    "centre": "centre crop",
    "ten": "ten crops",
}
PARTS = {  # names of results -> for people
    "test": "test images",
    "val": "validation images",
    "held-out": "held-out images",
    "train": "training images",
    "all": "images",
}


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        facts: how it came about.
        top1_error: in %.
        top5_error: in %.
        top_k: the 5 of top-5, or the number of classes where there are fewer.
        num_images: number of pictures.
        published: the paper's row for the same network and kind of test, on ImageNet.

    """

    facts: Facts
    top1_error: float
    top5_error: float
    top_k: int
    num_images: int
    published: Published | None

    @property
    def network(self) -> str:
        """Name of the network, with its width where it is not the paper's."""
        return " + ".join(network_name(member) for member in self.facts.networks)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row's text, under `headings`."""
        return (
            self.network,
            joined(trained_scale(member.trained_scale) for member in self.facts.networks),
            joined(test_scales(member.scales) for member in self.facts.members),
            self.protocol,
            f"{self.top1_error:.2f}",
            f"{self.top5_error:.2f}",
            f"{self.num_images:,}",
        )

    @property
    def published_cells(self) -> tuple[str, ...]:
        """The paper's S, Q, top-1, top-5 and top-5 test error; dashes where it has no such row, or number."""
        if self.published is None:
            return ("–",) * 5
        return (
            trained_scale(self.published.trained_scale),
            test_scales(self.published.scales),
            percent(self.published.top1_error),
            percent(self.published.top5_error),
            percent(self.published.top5_test_error),
        )

    @property
    def data(self) -> str:
        """Which pictures it was tested on."""
        return f"{PARTS.get(self.facts.part, self.facts.part)} of {self.facts.data}"

    @property
    def protocol(self) -> str:
        """How it was tested."""
        return joined(PROTOCOLS[member.views] + " + mirror" * member.mirror for member in self.facts.members)

    @property
    def model(self) -> str:
        """Paths of its networks."""
        return joined(member.model for member in self.facts.networks)

    def to_json(self) -> dict[str, Any]:
        """The row for programs."""
        fields = asdict(self)
        facts = fields.pop("facts")
        facts["num_classes"] = len(facts.pop("class_names"))
        return {**asdict(self.facts.first), **facts, **fields}


def make_rows(results: Sequence[Evaluation]) -> list[Row]:
    """Make a row of each result, in order."""
    return in_order([_row(result.facts, result.to_dict()) for result in results])


def row_of_summary(fields: dict[str, Any]) -> Row:
    """Make a row of what `verydeep evaluate --json` printed.

    Raises:
        KeyError, TypeError, ValueError: that is not what it printed.

    """
    names = [field.name for field in dataclass_fields(Facts)]
    return _row(Facts.from_json({name: fields[name] for name in names}), fields)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Sort rows as Table 1 does, then by S and Q, single networks first."""
    order = list(ALL_CONFIGURATIONS)
    return sorted(
        rows,
        key=lambda row: (
            len(row.facts.networks),
            order.index(row.facts.first.configuration),
            row.facts.first.width,
            row.facts.first.trained_scale,
            len(row.facts.first.scales),
            row.facts.first.scales,
        ),
    )


def _row(facts: Facts, summary: dict[str, Any]) -> Row:
    return Row(
        facts,
        top1_error=float(summary["top1_error"]),
        top5_error=float(summary["top5_error"]),
        top_k=int(summary["top_k"]),
        num_images=int(summary["num_images"]),
        published=_published(facts),
    )


def _published(facts: Facts) -> Published | None:
    """The paper's row of the same networks tested in the same way, fused protocols among them."""
    views = {member.views for member in facts.members}
    num_scales = {min(len(member.scales), 2) for member in facts.members}
    if not views <= {"dense", "crops", "both"} or len(num_scales) > 1:
        return None
    protocol = PROTOCOLS[views.pop() if len(views) == 1 else "both"]
    jittered = [member.trained_scale for member in facts.networks if len(set(member.trained_scale)) > 1]
    scale = jittered[0] if jittered else facts.first.trained_scale
    network = " + ".join(sorted(member.configuration for member in facts.networks))
    return counterpart(network, scale, num_scales.pop(), protocol)


def network_name(member: MemberFacts) -> str:
    """Say which network it is: `D`, or `D+BN ×0.125` where it is not the paper's in this or that."""
    name = member.configuration + "+BN" * member.batch_norm
    return name if member.width == 1 else f"{name} ×{member.width:g}"


def joined(words: Iterable[str]) -> str:
    """Name different things once each."""
    return " + ".join(dict.fromkeys(words))


def trained_scale(scale: tuple[int, int]) -> str:
    """Write S as the paper does: `256`, or `[256;512]`."""
    return str(scale[0]) if scale[0] == scale[1] else f"[{scale[0]};{scale[1]}]"


def test_scales(scales: Sequence[int]) -> str:
    """Write Q as the paper does: `256`, or `256,384,512`."""
    return ",".join(map(str, scales))


def title(rows: Sequence[Row]) -> str:
    """Say which of the paper's tables this one corresponds to."""
    if any(len(row.facts.networks) > 1 for row in rows):
        return "Errors of networks and of their fusion, in the form of the paper's Table 6"
    if any(member.views != "dense" for row in rows for member in row.facts.members):
        return "Errors by protocol, in the form of the paper's Table 5"
    several = {len(row.facts.first.scales) > 1 for row in rows}
    if several == {False}:
        return "Errors at one test scale, in the form of the paper's Table 3"
    if several == {True}:
        return "Errors at several test scales, in the form of the paper's Table 4"
    return "Errors at one and several test scales, in the form of Tables 3 and 4"


def headings(rows: Sequence[Row]) -> tuple[str, ...]:
    """Head the columns of `Row.cells`."""
    top_k = min(row.top_k for row in rows)
    return ("network", "S", "Q", "protocol", "top-1 error (%)", f"top-{top_k} error (%)", "pictures")


def data_names(rows: Sequence[Row]) -> str:
    """Name the pictures that the rows were tested on."""
    return " and ".join(dict.fromkeys(row.data for row in rows))


def text_table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Give the headings and lines of a table that is text alone.

    Where two rows would look the same it names their models, and where their pictures differ, these.
    """
    names, lines = headings(rows), [row.cells for row in rows]
    if len({row.cells[:4] for row in rows}) < len(rows):
        names, lines = (*names, "model"), [(*line, row.model) for line, row in zip(lines, rows, strict=True)]
    if len({row.data for row in rows}) > 1:
        names, lines = (*names, "data"), [(*line, row.data) for line, row in zip(lines, rows, strict=True)]
    return names, lines


def markdown(rows: Sequence[Row]) -> str:
    """Write the table as Markdown, its title above."""
    names, lines = text_table(rows)
    rules = tuple("--:" if number in RIGHT else ":--" for number in range(len(names)))
    heading = f"**{title(rows)}**: {_escape(data_names(rows))}"
    written = ["| " + " | ".join(map(_escape, line)) + " |" for line in (names, rules, *lines)]
    return "\n".join([heading, "", *written])


def comma_separated(rows: Sequence[Row]) -> str:
    """Write the table as CSV, with the paper's errors in three more columns."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names, lines = text_table(rows)
    theirs = ("top-1 error", "top-5 error", "top-5 error on the test set")
    writer.writerow([*names, *(f"paper's {error} (%)" for error in theirs)])
    for row, line in zip(rows, lines, strict=True):
        writer.writerow([*line, *(cell.replace("–", "") for cell in row.published_cells[2:])])
    return text.getvalue().rstrip("\n")


def _escape(text: str) -> str:
    return "".join("\\" + letter if letter in "\\|*_`<[" else letter for letter in text)


def rich_table(rows: Sequence[Row]) -> Table:
    """Lay the table out for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title(rows)), caption=Text(data_names(rows)), box=box.SIMPLE_HEAD, title_style="bold")
    names, lines = text_table(rows)
    for number, name in enumerate(names):
        table.add_column(Text(name), justify="right" if number in RIGHT else "left")
    for line in lines:
        table.add_row(*map(Text, line))
    return table
