"""Panels -> text with curves in braille characters, which have two dots across and four down.

Where there is no colour to tell several runs apart, each has a character of its own instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from verydeep.reports.panels import Curve, Panel, even_ticks

COLORS = ("bright_blue", "dark_orange", "cyan", "magenta", "green", "yellow")
MARKS = "•x+o#@"
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)
LABEL_WIDTH = 6
GAP = 3
LEAST_WIDTH = 12  # of a plot, in characters
TWO_COLUMNS_FROM = 76
LOWEST, LOW, TALLEST = 4, 9, 13  # heights of a plot, in lines: on a fixed screen, where one can scroll, at most


class Canvas:
    """Characters with dots of several runs.

    Args:
        width: in characters.
        height: likewise.
        marks: draw a character for each run rather than dots.

    """

    def __init__(self, width: int, height: int, *, marks: bool) -> None:
        self.width, self.height = width, height
        self._across, self._down = (1, 1) if marks else (2, 4)
        self._marks = marks
        self._dots = np.zeros((height, width), np.uint8)
        self._run = np.full((height, width), -1)

    def draw(self, curve: Curve, panel: Panel) -> None:
        """Draw a curve as a line from point to point; a single point as a blot."""
        x = curve.x / panel.right * (self.width * self._across - 1)
        y = (1 - panel.height(curve.y)) * (self.height * self._down - 1)
        points = np.stack([x, y], 1).round().astype(np.int64)
        if len(points) == 1:
            self._blot(points[0], curve.run)
        for one, other in pairwise(points):
            count = int(np.abs(other - one).max()) + 1
            self._dot(np.linspace(one, other, count).round().astype(np.int64), curve.run)

    def _blot(self, point: NDArray[np.int64], run: int) -> None:
        column, row = point // (self._across, self._down)
        self._dots[row, column], self._run[row, column] = 0x36, run

    def _dot(self, points: NDArray[np.int64], run: int) -> None:
        columns, rows = points[:, 0] // self._across, points[:, 1] // self._down
        np.bitwise_or.at(self._dots, (rows, columns), DOTS[points[:, 1] % 4, points[:, 0] % 2])
        self._run[rows, columns] = run

    def lines(self) -> list[Text]:
        """The rows of characters, each of the canvas's width."""
        return [self._line(row) for row in range(self.height)]

    def _line(self, row: int) -> Text:
        line = Text()
        for dots, run in zip(self._dots[row], self._run[row], strict=True):
            if run < 0:
                line.append(" ")
            else:
                line.append(mark(run) if self._marks else chr(0x2800 + int(dots)), color(run))
        return line


def mark(run: int) -> str:
    """The character of a run."""
    return MARKS[run % len(MARKS)]


def color(run: int) -> str:
    """The colour of a run."""
    return COLORS[run % len(COLORS)]


def draw_panels(panels: Sequence[Panel], width: int, height: int, *, marks: bool, fixed: bool) -> Text:
    """Lay panels out in one column, or two where there is room.

    Args:
        panels: what to draw.
        width: of the whole, in characters; a very narrow one is exceeded.
        height: of the whole, in lines; a very low one is exceeded.
        marks: tell runs apart by characters, not by colours.
        fixed: what does not fit is lost, so that plots may be lower than is good.

    """
    columns = 2 if width >= TWO_COLUMNS_FROM else 1
    across = (width - GAP * (columns - 1)) // columns
    rows = -(-len(panels) // columns)
    plot = min(TALLEST, max(LOWEST if fixed else LOW, height // rows - 4))
    drawn = [_panel(panel, max(LEAST_WIDTH, across - LABEL_WIDTH - 1), plot, marks=marks) for panel in panels]
    lines = []
    for first in range(0, len(drawn), columns):
        beside = drawn[first : first + columns]
        lines += [*(Text(" " * GAP).join(parts) for parts in zip(*beside, strict=True)), Text()]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines[:-1])


def _panel(panel: Panel, width: int, height: int, *, marks: bool) -> list[Text]:
    """A title, the curves with their axes, and the numbers below; lines of one length."""
    canvas = Canvas(width, height, marks=marks)
    for curve in panel.curves:
        canvas.draw(curve, panel)
    labels = _labels(panel, height)
    lines = [Text(panel.title[: LABEL_WIDTH + 1 + width].ljust(LABEL_WIDTH + 1 + width), "bold")]
    for row, line in enumerate(canvas.lines()):
        axis = f"{labels.get(row, ''):>{LABEL_WIDTH}}{'┤' if row in labels else '│'}"
        nothing = not panel.curves and row == height // 2
        lines.append(Text.assemble((axis, "dim"), ("nothing yet".center(width), "dim") if nothing else line))
    return lines + _foot(panel.right, width)


def _labels(panel: Panel, height: int) -> dict[int, str]:
    """Row -> number: both ends, and of those between the ones that stand clear of others."""
    rows = np.round((1 - panel.height(panel.ticks)) * (height - 1)).astype(int).tolist()
    kept = {rows[0]: panel.ticks[0], rows[-1]: panel.ticks[-1]}
    # Powers of ten first.
    for row, tick in sorted(zip(rows, panel.ticks, strict=True), key=lambda pair: f"{pair[1]:e}"[0] != "1"):
        if all(abs(row - other) > 1 for other in kept):
            kept[row] = tick
    return {row: _short(tick) for row, tick in kept.items()}


def _foot(right: float, width: int) -> list[Text]:
    axis, numbers = ["─"] * width, " " * (LABEL_WIDTH + 1 + width)
    for tick in even_ticks(right, max(2, width // 7)):
        place = round(tick / right * (width - 1))
        label = f"{tick:.6g}"
        start = min(LABEL_WIDTH + 1 + place - len(label) // 2, len(numbers) - len(label))
        if numbers[max(0, start - 1) : start + len(label) + 1].strip():
            continue
        axis[place] = "┬"
        numbers = numbers[:start] + label + numbers[start + len(label) :]
    return [Text(" " * LABEL_WIDTH + "└" + "".join(axis), "dim"), Text(numbers, "dim")]


def _short(number: float) -> str:
    text = f"{number:g}"
    return text if len(text) <= LABEL_WIDTH else f"{number:.0e}"
