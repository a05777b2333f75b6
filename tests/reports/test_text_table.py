"""Tables in a terminal: whatever its width, nothing is cut off that tells the rows apart."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from verydeep.api.describe import describe
from verydeep.api.report import Report
from verydeep.benchmark.table import text_table
from verydeep.evaluation.results import Evaluation
from verydeep.reports.published import table_7
from verydeep.reports.tables import make_rows
from verydeep.reports.text_table import TextTable
from verydeep.results import rendered

LONG = "runs/a_run_folder_whose_name_is_longer_than_forty_letters"
ENGINES = ("native", "native-bfloat16", "torch", "onnxruntime", "openvino")
FIGURES = {"images_per_second": 15.3, "milliseconds_per_image": 65.4, "ratio": 1.0, "error": 1e-6}
FIGURES |= {"peak_memory": 1.2e9, "share_of_peak": 0.8}


def words_of(table: TextTable) -> set[str]:
    """All that tells rows apart."""
    columns = [cells for cells in zip(*table.rows, strict=True) if len(set(cells)) > 1]
    return {word for cells in columns for cell in cells for word in cell.split()}


def bench_table() -> TextTable:
    cases = ("batch of 1, 224x224", "batch of 16, 224x224")
    rows = [
        {"case": case, "engine": engine, **{name: one * (1 + place / 9) for name, one in FIGURES.items()}}
        for case in cases
        for place, engine in enumerate(ENGINES)
    ]
    return text_table(rows, "VGG-16", "openvino")


def report_table() -> TextTable:
    """Long names, and columns that all rows share."""
    headings = ("network", "S", "Q", "protocol", "top-1 error (%)", "top-5 error (%)", "images", "model")
    protocols = ("dense + mirror", "multi-crop & dense + mirror", "ten crops + mirror")
    rows = [
        (
            "D+BN \u00d70.25",
            "[256;512]",
            "256,384,512",
            protocol,
            f"{10 + number}.00",
            "1.00",
            "300",
            f"{LONG}_{number}",
        )
        for number, protocol in enumerate(protocols)
    ]
    return TextTable("Errors by protocol", headings, rows, range(4, 7), "images of photos")


TABLES: dict[str, Callable[[], TextTable]] = {
    "report": report_table,
    "bench": bench_table,
    "describe": lambda: describe("D").layer_table(),
    "stages": lambda: describe("E").stage_table(),
    "Table 7": table_7,
}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_cut_off(name, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    table = TABLES[name]()
    shown = rendered(table.rich())
    assert max(map(len, shown.splitlines())) <= width
    assert "\u2026" not in shown
    words = set(shown.split())
    for word in words_of(table):  # of a word that is broken, its end
        assert word in words or (len(word) > 24 and any(len(one) > 1 and word.endswith(one) for one in words)), (
            word
        )
    for heading in (heading for heading in table.headings if "(" not in heading):
        assert set(heading.split()) <= words


def test_what_all_rows_share_moves_into_the_caption_where_the_table_is_too_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = " ".join(rendered(report_table().rich()).split())
    assert (
        "images of photos; network D+BN \u00d70.25, S [256;512], Q 256,384,512, top-5 error (%) 1.00, images 300"
        in shown
    )
    monkeypatch.setenv("COLUMNS", "200")
    assert rendered(report_table().rich()).count("[256;512]") == 3


def test_results_that_differ_in_one_thing_are_told_apart(make_result: Callable[..., Evaluation], monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shown = str(Report(tuple(make_rows([make_result(scales=(37,)), make_result(scales=(37, 40))]))))
    assert re.search(r"^ +37 ", shown, re.M) and re.search(r"^ +37,40 ", shown, re.M)


def test_parts_of_a_divided_table_have_what_names_the_rows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shown = rendered(describe("A").layer_table().rich())
    assert shown.count("conv1_1") == shown.count("fc8") > 1
