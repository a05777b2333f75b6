"""One protocol has one name: a key for programs, and one name for people, in every table, page, card and help."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from verydeep.cli import main
from verydeep.evaluation.protocols import PROTOCOLS, protocol_name
from verydeep.evaluation.results import read_result
from verydeep.exports.card import _views
from verydeep.reports.page import render
from verydeep.reports.published import TABLE_3, TABLE_4, TABLE_5, TABLE_6
from verydeep.reports.tables import make_rows

ROOT = Path(__file__).parent.parent.parent
OLD = ROOT / "tests" / "old_files" / "results"
OTHER_NAMES = re.compile(
    r"[Mm]ulti crop|multicrop|crops (and|&|\+) dense|dense (and|&|\+) crops|multi-crop and dense"
    r"|[Cc]enter crop|centre-crop|10 crops|10-crop"
)


def of(result, *views: str):
    """A result as if it were by these views, averaged."""
    first = result.facts.first
    return replace(result, facts=replace(result.facts, members=tuple(replace(first, views=one) for one in views)))


@pytest.mark.parametrize("views", PROTOCOLS)
def test_people_read_one_name_everywhere(views, capsys):
    result, name = of(read_result(OLD / "crops.npz"), views), PROTOCOLS[views].words
    assert make_rows([result])[0].protocol.partition(" + mirror")[0] == name
    assert _views(result).startswith(f"{name}, Q = ")
    assert f"<div>{name}" in render([result], [Path("a.npz")], Path("a.html")).replace("&amp;", "&")
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert name in " ".join(capsys.readouterr().out.replace("\u2502", " ").split())


def test_dense_and_crops_averaged_are_what_both_is():
    result = read_result(OLD / "crops.npz")
    assert protocol_name(["crops", "dense"]) == protocol_name(["both"]) == "multi-crop & dense"
    rows = make_rows([of(result, "both"), of(result, "dense", "crops")])
    assert rows[0].protocol == rows[1].protocol
    assert _views(of(result, "dense", "crops")) == _views(of(result, "both"))


def test_programs_read_keys(capsys):
    """In the paper's rows and in ours."""
    assert {row.protocol for row in TABLE_3 + TABLE_4 + TABLE_5 + TABLE_6} == {"dense", "crops", "both"}
    main(["report", str(OLD / "crops.npz"), "--json"])
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["views"] == row["members"][0]["views"] == "crops"


def test_old_results_have_the_names(capsys):
    main(["report", str(OLD / "crops.npz"), str(OLD / "fused.npz")])
    shown = capsys.readouterr().out
    assert "multi-crop + mirror" in " ".join(shown.split()) and "multi-crop & dense + mirror" in " ".join(
        shown.split()
    )


def test_no_text_has_another_name():
    folders = (ROOT / "verydeep", ROOT / "docs", ROOT / "benchmarks")
    files = [file for folder in folders for file in folder.rglob("*") if file.name != "lab-notes.md"]
    for file in (file for file in files if file.suffix in (".py", ".md", ".jinja", ".toml")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert not OTHER_NAMES.search(line), f"{file}:{number}: {line}"
