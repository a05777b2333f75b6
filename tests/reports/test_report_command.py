"""`verydeep report` from its arguments to what it prints and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import verydeep
from verydeep.cli import main
from verydeep.evaluation.results import Evaluation, write_result

MakeResult = Callable[..., Evaluation]


@pytest.fixture
def result(tmp_path: Path, make_result: MakeResult) -> Path:
    write_result(tmp_path / "a.npz", make_result())
    return tmp_path / "a.npz"


def refused(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["report", *map(str, arguments)])
    return int(end.value.code or 0)


def test_table(result: Path, capsys: pytest.CaptureFixture[str]):
    main(["report", str(result)])
    out = capsys.readouterr().out
    assert "A ×0.03" in out and "33.33" in out


def test_markdown_and_json(result: Path, capsys: pytest.CaptureFixture[str]):
    main(["report", str(result), "--out", "-"])
    assert "| A ×0.03 | 37 | 37 |" in capsys.readouterr().out
    main(["report", str(result), "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["num_images"], row["num_classes"], row["scales"]) == (6, 3, [37])
    assert row["published"]["top1_error"] == 29.6


def test_page(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "new" / "page.html"
    main(["report", str(result), "--page", str(page)])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    captured = capsys.readouterr()
    assert not captured.out and "page.html: 1 result" in captured.err


def test_requests_that_cannot_be_carried_out(result: Path, tmp_path: Path, make_result: MakeResult):
    assert refused(result, "--page", tmp_path / "page.pdf") == 2
    assert refused(result, "--out", tmp_path / "table.txt") == 2
    assert refused() == 2
    other = make_result(class_names=("one", "two", "three"))
    write_result(tmp_path / "other.npz", other)
    assert refused(result, tmp_path / "other.npz") == 2
    (tmp_path / "other.json").write_text(json.dumps(other.to_dict()))
    assert refused(result, tmp_path / "other.json") == 2
    assert refused(tmp_path / "missing.npz") == 1


def test_table_loads_neither_torch_nor_matplotlib(result: Path):
    program = (
        "import sys; from verydeep.cli import main; main(['report', sys.argv[1]]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'jinja2')))"
    )
    subprocess.run([sys.executable, "-c", program, str(result)], check=True, capture_output=True)


def test_csv_and_what_evaluate_printed(result: Path, make_result, tmp_path: Path, capsys):
    printed = tmp_path / "printed.json"
    printed.write_text(json.dumps(make_result(scales=(32, 40)).to_dict()))
    main(["report", str(result), str(printed), "--out", str(tmp_path / "table.csv")])
    assert not capsys.readouterr().out
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0].startswith("network,S,Q,protocol,top-1 error (%)")
    assert lines[0].endswith("paper's top-5 error (%),paper's top-5 error on the test set (%)")
    assert lines[1].startswith("A ×0.03,37,37,dense + mirror,33.33")
    assert lines[1].endswith(",29.6,10.4,")
    assert lines[2].startswith('A ×0.03,37,"32,40",dense + mirror,33.33')


def test_the_function_gives_what_the_command_prints(result: Path, tmp_path: Path, capsys):
    report = verydeep.report([result], out=tmp_path / "table.md", page=tmp_path / "page.html")
    main(["report", str(result)])
    assert capsys.readouterr().out == f"{report}\n"
    assert (tmp_path / "table.md").read_text() == report.markdown() + "\n"
    assert (tmp_path / "page.html").exists()
    assert report.rows[0].top1_error == pytest.approx(100 / 3)
    assert "<td>A ×0.03</td>" in report._repr_html_()


@pytest.mark.parametrize("option", ["--markdown", "--csv"])
def test_old_options_are_answered_by_the_new_one(option, result: Path, capsys):
    assert refused(result, option) == 2
    assert f"{option} is called --out TABLE." in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"members": 3}'])
def test_json_of_something_else_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "other.json")])
    assert ended.value.code == 1
    assert "is not what `verydeep evaluate --json` printed" in capsys.readouterr().err
