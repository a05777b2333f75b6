"""Tables 3 to 6 in the paper's form, and that Markdown, CSV, JSON and the page say the same."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO

import pytest
from made import evidence, outcome, training

from verydeep.reports.published import TABLE_7, counterpart
from verydeep.studies import tables as in_tables
from verydeep.studies import verdicts
from verydeep.studies.claims import judge
from verydeep.studies.evidence import beside_the_paper


@pytest.fixture
def found():
    a, d = training("A"), training("D", grow_from="A")
    jittered, again = training("D-jittered", scale=(32, 40)), training("D-again", "D")
    published = counterpart("D", (256, 256), 1, "dense")
    outcomes = (
        outcome(a, (30, 31)),
        replace(outcome(d, (25, 26.5)), published=published),
        replace(outcome(again, 27), published=published),
        outcome(d, 24, scales="three"),
        *(outcome(jittered, 22, views, "three") for views in ("dense", "crops", "both")),
        outcome([d, jittered], 20, scales="three", name="two|three"),
        outcome(a, 33, "centre"),
    )
    return evidence(*beside_the_paper(outcomes))


def test_each_test_has_its_table(found):
    tables = in_tables.make_tables(found)
    assert [table.number for table in tables] == [3, 4, 5, 6, 0]
    names = {table.number: [line.outcome.tested.name for line in table.lines] for table in tables}
    assert names[3] == ["A", "D", "D-again"]
    assert names[4] == ["D", "D-jittered"]
    assert names[5] == ["D-jittered"] * 3
    assert [line.outcome.tested.views for line in tables[2].lines] == ["dense", "crops", "both"]
    assert names[6] == ["two|three"]


def test_a_variant_has_no_published_row(found):
    lines = in_tables.make_tables(found)[0].lines
    assert [line.cells[8] for line in lines] == ["–", "27.0", "–"]
    assert lines[0].cells[5] == "30.50 ± 0.71"
    assert lines[2].cells[5] == "27.00"


def test_two_fused_networks_are_the_papers_where_both_are_jittered():
    published = counterpart("D + E", (256, 512), 3, "dense")
    fixed, jittered = training("E"), [training(f"{name}-jittered", scale=(32, 40)) for name in "DE"]
    pairs = [[jittered[0], fixed], jittered]
    fused = [replace(outcome(pair, 20, scales="three"), published=published) for pair in pairs]
    assert [one.published for one in beside_the_paper(fused)] == [None, published]


def test_markdown_and_csv_say_the_same(found):
    tables = in_tables.make_tables(found)
    in_markdown = [
        [cell.strip().replace("\\|", "|") for cell in line.strip("| ").replace("\\|", "\\!").split("|")]
        for line in in_tables.markdown(tables).splitlines()
        if line.startswith("|") and not line.startswith(("| :--", "| network", "| method"))
    ]
    in_markdown = [[cell.replace("\\!", "|") for cell in row] for row in in_markdown]
    rows = list(csv.reader(StringIO(in_tables.comma_separated(tables))))
    in_csv = [row[1:] for row in rows if row[0] != "table"]
    assert in_markdown == in_csv
    assert len([row for row in rows if row[0] != "Table 7"]) - len(tables) - 1 == 10
    assert sum(len(table["rows"]) for table in in_tables.to_json(tables)) == 10


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
    assert len(rows) == len(TABLE_7) == in_tables.rich_tables(tables)[-1].row_count
    without = [table for table in tables if table.number != 6]
    assert "Table 7" not in in_tables.markdown(without) + in_tables.comma_separated(without)


def test_a_fused_pair_has_the_papers_error_on_the_test_set(found):
    fused = next(table for table in in_tables.make_tables(found) if table.number == 6)
    published = counterpart("D + E", (256, 512), 3, "multi-crop & dense")
    line = in_tables.Line(replace(fused.lines[0].outcome, published=published))
    assert line.cells[-3:] == ("23.7", "6.8", "6.8")
    assert in_tables.to_json([replace(fused, lines=(line,))])[0]["rows"][0]["paper_top5_test_error"] == 6.8
    assert fused.headings[-1] == "paper's top-5, test set"
