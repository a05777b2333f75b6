"""Tables 3 to 6 in the paper's form, and that Markdown, CSV, JSON and the page say the same."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from io import StringIO

import pytest
from made import evidence, measurement, training

from verydeep.evaluation.protocols import PROTOCOLS, TenCrop, Views
from verydeep.reports.published import TABLE_7, counterpart
from verydeep.results import rendered
from verydeep.studies import tables as in_tables
from verydeep.studies import verdicts
from verydeep.studies.claims import judge
from verydeep.studies.cost import cost
from verydeep.studies.description import Size, parse
from verydeep.studies.evidence import beside_the_paper
from verydeep.studies.workflow import make_workflow


@pytest.fixture
def found():
    a, d = training("A"), training("D", grow_from="A")
    jittered, again = training("D-jittered", scale=(32, 40)), training("D-again", "D")
    published = counterpart("D", (256, 256), 1, "dense")
    measurements = (
        measurement(a, (30, 31)),
        replace(measurement(d, (25, 26.5)), published=published),
        replace(measurement(again, 27), published=published),
        measurement(d, 24, scales="three"),
        *(measurement(jittered, 22, views, "three") for views in ("dense", "crops", "both")),
        measurement([d, jittered], 20, scales="three", name="two|three"),
        measurement(a, 33, "centre"),
    )
    return evidence(*beside_the_paper(measurements))


def test_each_test_has_its_table(found):
    tables = in_tables.make_tables(found)
    assert [table.number for table in tables] == [3, 4, 5, 6, 0]
    names = {table.number: [one.setup.name for one in table.measurements] for table in tables}
    assert names[3] == ["A", "D", "D-again"]
    assert names[4] == ["D", "D-jittered"]
    assert names[5] == ["D-jittered"] * 3
    assert [one.setup.views for one in tables[2].measurements] == ["dense", "crops", "both"]
    assert names[6] == ["two|three"]


def test_a_variant_has_no_published_row(found):
    rows = in_tables.make_tables(found)[0].text.rows
    assert [row[8] for row in rows] == ["–", "27.0", "–"]
    assert rows[0][5] == "30.50 ± 0.71"
    assert rows[2][5] == "27.00"


def test_markdown_and_csv_say_the_same(found):
    tables = in_tables.make_tables(found)
    in_markdown = [
        [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line[1:-1])]
        for line in in_tables.markdown(tables).splitlines()
        if line.startswith("|") and not line.startswith(("| :--", "| network", "| method"))
    ]
    rows = list(csv.reader(StringIO(in_tables.comma_separated(tables))))
    in_csv = [row[1:] for row in rows if row[0] != "table"]
    assert in_markdown == in_csv
    assert len([row for row in rows if row[0] != "Table 7"]) - len(tables) - 1 == 10
    assert sum(len(table.to_json()["rows"]) for table in tables) == 10


def test_every_claim_has_a_row(found):
    claims = judge(found)
    rows = verdicts.rows(claims)
    assert {len(row) for row in rows} == {len(verdicts.HEADINGS)}
    assert sum(bool(row[0]) for row in rows) == 9
    assert "9 claims" in verdicts.headline(claims)
    assert verdicts.markdown(claims).count("\n| ") == len(rows) + 2


def test_table_7_and_errors_on_the_test_set_are_in_every_form(found):
    """Table 7 stands where networks are fused, in Markdown, CSV and on the terminal, each row of it."""
    tables = in_tables.make_tables(found)
    lines = in_tables.markdown(tables).split("**Table 7**")[1].splitlines()
    assert [line for line in lines if line.startswith("| VGG |")] == [
        "| VGG | 2, multi-crop & dense | 23.7 | 6.8 | 6.8 |",
        "| VGG | 1, multi-crop & dense | 24.4 | 7.1 | 7.0 |",
    ]
    rows = [row for row in csv.reader(StringIO(in_tables.comma_separated(tables))) if row[0] == "Table 7"]
    assert ["Table 7", "GoogLeNet", "7", "–", "–", "6.7"] in rows
    shown = rendered(in_tables.text_tables(tables)[-1].rich()).splitlines()
    assert len(rows) == len(TABLE_7) == len([line for line in shown[4:] if line.strip()])
    without = [table for table in tables if table.number != 6]
    assert "Table 7" not in in_tables.markdown(without) + in_tables.comma_separated(without)


def test_a_fused_pair_has_the_papers_error_on_the_test_set(found):
    fused = next(table for table in in_tables.make_tables(found) if table.number == 6)
    published = counterpart("D + E", (256, 512), 3, "both")
    papers = replace(fused, measurements=(replace(fused.measurements[0], published=published),))
    assert papers.text.rows[0][-3:] == ("23.7", "6.8", "6.8")
    assert papers.to_json()["rows"][0]["paper_top5_test_error"] == 6.8
    assert fused.text.headings[-1] == "paper's top-5, test set"


def test_a_new_protocol_needs_no_other_change(monkeypatch):
    """It is described, planned, estimated and laid out by its entry alone."""
    views = Views("four corners", lambda scales, mirror, grid: (TenCrop(scales, mirror),))
    monkeypatch.setitem(PROTOCOLS, "corners", views)
    text = 'recipe = "digits"\n[[train]]\nnetworks = "A"\n[[test]]\nviews = ["ten", "corners"]\n'
    ten, corners = make_workflow(parse(text, "a study")).results
    assert cost(corners, Size(10, 10, 10)) == cost(ten, Size(10, 10, 10))
    (others,) = in_tables.make_tables(evidence(measurement(training("A"), 30, "corners")))
    assert (others.name, others.text.rows[0][4]) == ("Other tests", "four corners")
