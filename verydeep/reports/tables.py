"""Results -> the rows of a table in the form of the paper's Tables 3 (one test scale) and 4 (several)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from verydeep.configurations import ALL_CONFIGURATIONS
from verydeep.errors import ModelError, printable, refusal
from verydeep.evaluation.error_rates import ErrorRates
from verydeep.evaluation.protocols import GRID, protocol_name
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts
from verydeep.evaluation.test_set import HELD_OUT
from verydeep.files import read_json
from verydeep.reports.published import Published, counterpart, percent
from verydeep.reports.text_table import NOTHING, TextTable, in_markdown
from verydeep.typed import as_type

NUMBERS = range(4, 7)  # columns of numbers
PARTS = {  # names of results -> for people
    "test": "test images",
    "val": "validation images",
    HELD_OUT: "held-out images",
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
        num_images: number of images.
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
            return (NOTHING,) * 5
        return (
            trained_scale(self.published.trained_scale),
            test_scales(self.published.scales),
            percent(self.published.top1_error),
            percent(self.published.top5_error),
            percent(self.published.top5_test_error),
        )

    @property
    def data(self) -> str:
        """Which images it was tested on."""
        return f"{PARTS.get(self.facts.part, self.facts.part)} of {self.facts.data}"

    @property
    def protocol(self) -> str:
        """How it was tested."""
        members = self.facts.members
        grids = {grid for member in members if (grid := _grid(member)) is not None}
        if len({member.mirror for member in members}) > 1 or len(grids) > 1:
            return joined(_protocol([member]) for member in members)
        return _protocol(members)

    @property
    def model(self) -> str:
        """Paths of its networks."""
        return joined(member.model for member in self.facts.networks)

    def to_json(self) -> dict[str, Any]:
        """The row for programs."""
        row = asdict(self)
        facts = row.pop("facts")
        facts["num_classes"] = len(facts.pop("class_names"))
        return {**self.facts.shared, **facts, **row}


def make_rows(results: Sequence[Evaluation]) -> list[Row]:
    """Make a row of each result, in order."""
    return in_order([_row(result.facts, result.error_rates) for result in results])


def read_row(path: Path) -> Row:
    """Make a row of what `verydeep evaluate --json` or `verydeep fuse --json` printed into a file.

    Raises:
        ModelError: there is no such file, or it is something else.

    """
    try:
        return row_from_json(as_type(dict[str, Any], read_json(path)))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; `verydeep evaluate --json` prints what it may hold") from None
    except PermissionError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except KeyError as error:
        raise ModelError(f"{path} is not what `verydeep evaluate --json` printed (it lacks {error})") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not what `verydeep evaluate --json` printed ({printable(error)})") from None


def row_from_json(summary: Mapping[str, Any]) -> Row:
    """Make a row of a result's facts, errors and numbers, as JSON has them.

    Raises:
        KeyError: one is missing.
        ValueError: one is not what it should be.

    """
    facts = Facts.from_json({field.name: summary[field.name] for field in fields(Facts)})
    top1, top5 = (as_type(float, summary[name], name) for name in ("top1_error", "top5_error"))
    top_k, num_images = (as_type(int, summary[name], name) for name in ("top_k", "num_images"))
    if not (0 <= top1 <= 100 and 0 <= top5 <= 100 and min(top_k, num_images) > 0):
        raise ValueError("it has errors that are no shares, or no images")
    return Row(facts, top1, top5, top_k, num_images, _published(facts))


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


def _row(facts: Facts, rates: ErrorRates) -> Row:
    return Row(facts, rates.top1_error, rates.top5_error, rates.top_k, rates.num_images, _published(facts))


def _protocol(members: Sequence[MemberFacts]) -> str:
    """What tests are called that are alike but for their views; the paper's grid needs no word."""
    others = [grid for member in members if (grid := _grid(member)) not in (None, GRID)]
    crops = f", {others[0]}x{others[0]} crops" if others else ""
    return protocol_name(member.views for member in members) + " + mirror" * members[0].mirror + crops


def _grid(member: MemberFacts) -> int | None:
    """Crops along each side; None where a test has no grid."""
    return member.grid if member.views in ("crops", "both") else None


def _published(facts: Facts) -> Published | None:
    """The paper's row of the same networks tested in the same way, fused protocols among them."""
    if any(_grid(one) not in (None, GRID) for one in facts.members):
        return None
    if not all(one.mirror or one.views == "centre" for one in facts.members):
        return None
    tests = facts.scales_by_test.values()
    views = {tuple(sorted(by_views)) for by_views in tests}
    num_scales = {min(len(scales), 2) for by_views in tests for scales in by_views.values()}
    if len(views) > 1 or len(num_scales) > 1:
        return None  # the paper's networks are all tested alike
    shown = views.pop()
    protocol = "both" if shown == ("crops", "dense") else joined(shown)
    jittered = [member.trained_scale for member in facts.networks if len(set(member.trained_scale)) > 1]
    if len(facts.networks) == 2 and len(jittered) < 2:
        return None  # the paper's two networks are both jittered
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
    several = {len(row.facts.scales_by_test[row.facts.first.model]["dense"]) > 1 for row in rows}
    if several == {False}:
        return "Errors at one test scale, in the form of the paper's Table 3"
    if several == {True}:
        return "Errors at several test scales, in the form of the paper's Table 4"
    return "Errors at one and several test scales, in the form of Tables 3 and 4"


def headings(rows: Sequence[Row]) -> tuple[str, ...]:
    """Head the columns of `Row.cells`, of rows of the same classes."""
    top_k = rows[0].top_k
    return ("network", "S", "Q", "protocol", "top-1 error (%)", f"top-{top_k} error (%)", "images")


def data_names(rows: Sequence[Row]) -> str:
    """Name the images that the rows were tested on."""
    return " and ".join(dict.fromkeys(row.data for row in rows))


def markdown(rows: Sequence[Row]) -> str:
    """Write the table as Markdown, its title above."""
    return f"**{title(rows)}**: {in_markdown(data_names(rows))}\n\n{table(rows).markdown()}"


def table(rows: Sequence[Row], *, papers_errors: bool = False) -> TextTable:
    """Lay the rows out.

    Where two rows would look the same their models are named, and where their images differ, these.

    Args:
        rows: at least one.
        papers_errors: give the paper's errors in three more columns; what it does not have is empty.

    """
    columns = dict(zip(headings(rows), zip(*(row.cells for row in rows), strict=True), strict=True))
    if len({row.cells[:4] for row in rows}) < len(rows):
        columns["model"] = tuple(row.model for row in rows)
    if len({row.data for row in rows}) > 1:
        columns["data"] = tuple(row.data for row in rows)
    if papers_errors:
        for number, error in enumerate(("top-1 error", "top-5 error", "top-5 error on the test set"), 2):
            cells = (row.published_cells[number].replace(NOTHING, "") for row in rows)
            columns[f"paper's {error} (%)"] = tuple(cells)
    lines = list(zip(*columns.values(), strict=True))
    return TextTable(title(rows), tuple(columns), lines, NUMBERS, data_names(rows))
