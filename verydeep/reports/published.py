"""Tables 3 to 7 of the paper as data, to stand beside one's own results.

Source: K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv
1409.1556v6 (ICLR 2015), Sections 4.1 to 4.5. All errors are in %, on ImageNet's validation set (ILSVRC-2012,
50,000 images of 1000 classes), or where it is said on its test set (100,000 images).
"""

from __future__ import annotations

from dataclasses import dataclass

from verydeep.reports.text_table import NOTHING, TextTable

SOURCE = "Simonyan and Zisserman, arXiv 1409.1556v6"
JITTERED = (256, 512)
PAPERS_PROTOCOLS = ("dense", "crops", "both")
"""Names of the protocols by which the paper tested."""


@dataclass(frozen=True)
class Published:
    """One row of a table of the paper.

    Attributes:
        table: its number.
        network: column of Table 1, or the columns of several networks, sorted, with ` + ` between them.
        trained_scale: least and greatest S; of several networks the jittered one's.
        scales: Q, where all networks are tested at the same.
        protocol: a name of `verydeep.evaluation.protocols.PROTOCOLS`: `dense`, `crops` or `both`.
        top1_error: in %.
        top5_error: in %.
        top5_test_error: in %, on the test set; None where the paper has none.

    """

    table: int
    network: str
    trained_scale: tuple[int, int]
    scales: tuple[int, ...]
    protocol: str
    top1_error: float
    top5_error: float
    top5_test_error: float | None = None


@dataclass(frozen=True)
class Compared:
    """A row of Table 7: what others had reached by then.

    Attributes:
        method: whose it is.
        networks: how many, and how they were tested where the paper says so.
        top1_error: in %; None where it is not known.
        top5_error: likewise.
        top5_test_error: likewise, on the test set.

    """

    method: str
    networks: str
    top1_error: float | None
    top5_error: float | None
    top5_test_error: float | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The text, under `TABLE_7_HEADINGS`."""
        errors = (self.top1_error, self.top5_error, self.top5_test_error)
        return (self.method, self.networks, *map(percent, errors))


def percent(error: float | None) -> str:
    """Write an error as the paper does; a dash where there is none."""
    return NOTHING if error is None else f"{error:.1f}"


def _table_3(network: str, trained_scale: tuple[int, int], top1: float, top5: float) -> Published:
    """One scale: Q = S, or the middle of its range."""
    return Published(3, network, trained_scale, (sum(trained_scale) // 2,), "dense", top1, top5)


def _table_4(network: str, trained_scale: tuple[int, int], top1: float, top5: float) -> Published:
    """Three scales: 32 pixels around S, or the ends and the middle of its range."""
    least, greatest = trained_scale
    reach = 32 if least == greatest else (greatest - least) // 2
    middle = (least + greatest) // 2
    scales = (middle - reach, middle, middle + reach)
    return Published(4, network, trained_scale, scales, "dense", top1, top5)


def _table_5(network: str, protocol: str, top1: float, top5: float, test: float | None = None) -> Published:
    return Published(5, network, JITTERED, (256, 384, 512), protocol, top1, top5, test)


TABLE_3 = (
    _table_3("A", (256, 256), 29.6, 10.4),
    _table_3("A-LRN", (256, 256), 29.7, 10.5),
    _table_3("B", (256, 256), 28.7, 9.9),
    _table_3("C", (256, 256), 28.1, 9.4),
    _table_3("C", (384, 384), 28.1, 9.3),
    _table_3("C", JITTERED, 27.3, 8.8),
    _table_3("D", (256, 256), 27.0, 8.8),
    _table_3("D", (384, 384), 26.8, 8.7),
    _table_3("D", JITTERED, 25.6, 8.1),
    _table_3("E", (256, 256), 27.3, 9.0),
    _table_3("E", (384, 384), 26.9, 8.7),
    _table_3("E", JITTERED, 25.5, 8.0),
)

TABLE_4 = (
    _table_4("B", (256, 256), 28.2, 9.6),
    _table_4("C", (256, 256), 27.7, 9.2),
    _table_4("C", (384, 384), 27.8, 9.2),
    _table_4("C", JITTERED, 26.3, 8.2),
    _table_4("D", (256, 256), 26.6, 8.6),
    _table_4("D", (384, 384), 26.5, 8.6),
    _table_4("D", JITTERED, 24.8, 7.5),
    _table_4("E", (256, 256), 26.9, 8.7),
    _table_4("E", (384, 384), 26.7, 8.6),
    _table_4("E", JITTERED, 24.8, 7.5),
)

TABLE_5 = (
    _table_5("D", "dense", 24.8, 7.5),
    _table_5("D", "crops", 24.6, 7.5),
    _table_5("D", "both", 24.4, 7.2),
    _table_5("E", "dense", 24.8, 7.5),
    _table_5("E", "crops", 24.6, 7.4),
    _table_5("E", "both", 24.4, 7.1, 7.0),  # on the test set: Table 7
)


SEVEN_NETS = "C + C + D + D + D + E + E"
"""The submission to ILSVRC-2014: C, D and E of S = 256 and of S = 384, each at its three Q, and D jittered."""

TABLE_6 = (
    Published(6, SEVEN_NETS, JITTERED, (256, 384, 512), "dense", 24.7, 7.5, 7.3),
    Published(6, "D + E", JITTERED, (256, 384, 512), "dense", 24.0, 7.1, 7.0),
    Published(6, "D + E", JITTERED, (256, 384, 512), "crops", 23.9, 7.2),
    Published(6, "D + E", JITTERED, (256, 384, 512), "both", 23.7, 6.8, 6.8),
)

TABLE_7_TITLE = "the state of the art in 2014, as the paper has it (an excerpt)"
TABLE_7_HEADINGS = ("method", "networks", "top-1 error (%)", "top-5 error (%)", "top-5 error on the test set (%)")
TABLE_7 = (
    Compared("VGG", "2, multi-crop & dense", 23.7, 6.8, 6.8),
    Compared("VGG", "1, multi-crop & dense", 24.4, 7.1, 7.0),
    Compared("VGG, ILSVRC submission", "7, dense", 24.7, 7.5, 7.3),
    Compared("GoogLeNet", "1", None, 7.9, None),
    Compared("GoogLeNet", "7", None, None, 6.7),
    Compared("MSRA", "11", None, None, 8.1),
    Compared("MSRA", "1", 27.9, 9.1, 9.1),
    Compared("Clarifai", "several", None, None, 11.7),
    Compared("Zeiler & Fergus", "6", 36.0, 14.7, 14.8),
    Compared("OverFeat", "7", 34.0, 13.2, 13.6),
    Compared("AlexNet", "5", 38.1, 16.4, 16.4),
    Compared("AlexNet", "1", 40.7, 18.2, None),
)


def table_7() -> TextTable:
    """Table 7, to stand beside one's own fusions."""
    rows = [row.cells for row in TABLE_7]
    return TextTable(f"Table 7: {TABLE_7_TITLE}", TABLE_7_HEADINGS, rows, range(2, 5), theirs=0)


def counterpart(network: str, trained_scale: tuple[int, int], num_scales: int, views: str) -> Published | None:
    """Find the paper's row for the same network, tested in the same way.

    Args:
        network: column of Table 1, or several, sorted, with ` + ` between them.
        trained_scale: S. A fixed S finds the paper's row of that S, or else its smallest; any range finds the
            paper's [256;512].
        num_scales: number of Q: one, or several.
        views: a name of `verydeep.evaluation.protocols.PROTOCOLS`.

    Returns:
        None where the paper has no such row.

    """
    jittered = trained_scale[0] != trained_scale[1]
    rows = [
        row
        for row in TABLE_3 + TABLE_4 + TABLE_5 + TABLE_6
        if row.network == network
        and row.protocol == views
        and (len(row.scales) > 1) == (num_scales > 1)
        and (row.trained_scale == JITTERED) == jittered
    ]
    exact = [row for row in rows if row.trained_scale == trained_scale]
    return next(iter(exact + rows), None)
