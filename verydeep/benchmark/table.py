"""What was measured -> plain data, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from verydeep.benchmark.engines import ENGINES, Engine
from verydeep.benchmark.measure import Measured
from verydeep.benchmark.task import Case, Task

if TYPE_CHECKING:
    from rich.table import Table


def engine(name: str) -> Engine:
    """The engine of a name."""
    return next(engine for engine in ENGINES if engine.name == name)


def rows(measured: Measured, task: Task, base: str) -> list[dict[str, Any]]:
    """A row for each case and engine, as plain data; the fastest engine of a case first.

    `ratio` is to the base; `share_of_peak` counts a direct convolution's operations and may so exceed 1 where an
    engine needs fewer; it is None for a precision whose peak is not known.
    """
    return [
        row
        for number, case in enumerate(task.cases)
        for row in sorted(
            (_row(measured, number, case, name, base) for name in measured.figures),
            key=lambda row: -row["pictures_per_second"],
        )
    ]


def _row(measured: Measured, number: int, case: Case, name: str, base: str) -> dict[str, Any]:
    figures = measured.figures[name][number]
    precision = engine(name).precision
    operations = 2 * case.multiply_adds / figures.median
    peak = measured.peak.get(precision)
    return {
        "case": case.name,
        "engine": name,
        "summary": engine(name).summary,
        "precision": precision,
        "pictures_per_second": case.num_pictures / figures.median,
        "milliseconds_per_picture": 1e3 * figures.median / case.num_pictures,
        "ratio": measured.ratio(name, base, number),
        "error": figures.error,
        "peak_memory": figures.peak_memory,
        "share_of_peak": operations / peak if peak else None,
        "opening_seconds": measured.opening[name],
        "seconds": figures.seconds,
    }


def rich_table(rows: Sequence[dict[str, Any]], title: str, base: str) -> Table:
    """Lay the rows out for a terminal, case by case."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("case")
    table.add_column("engine")
    for heading in ("pictures/s", "ms/picture", f"× {base}", "error", "peak memory", "share of peak"):
        table.add_column(heading, justify="right")
    for number, row in enumerate(rows):
        first = number == 0 or rows[number - 1]["case"] != row["case"]
        last = number + 1 == len(rows) or rows[number + 1]["case"] != row["case"]
        table.add_row(
            Text(row["case"] if first else ""),
            Text(row["engine"], "bold" if engine(row["engine"]).ours else ""),
            *map(Text, cells(row)),
            end_section=last,
        )
    return table


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row's figures as they are read."""
    return (
        three_digits(row["pictures_per_second"]),
        three_digits(row["milliseconds_per_picture"]),
        f"{row['ratio']:.2f}",
        f"{row['error']:.1e}",
        f"{row['peak_memory'] / 1e6:,.0f} MB",
        "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}",
    )


def three_digits(number: float) -> str:
    """Write a positive number with three digits, or all those before its point."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:#.3g}".rstrip(".")


def markdown(rows: Sequence[dict[str, Any]], base: str) -> str:
    """Write the rows as a Markdown table, as the documentation has it."""
    headings = (
        "case",
        "engine",
        "pictures/s",
        "ms a picture",
        f"× {base}",
        "error",
        "peak memory",
        "share of peak",
    )
    rules = (":--", ":--", *("--:",) * 6)
    lines = [headings, rules, *((row["case"], row["engine"], *cells(row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
