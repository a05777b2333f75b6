"""The page: every section, nothing from elsewhere, and no surprise where something is gone."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from verydeep.errors import UsageError
from verydeep.evaluation.results import Evaluation
from verydeep.reports.page import class_errors, render
from verydeep.run_folder import JOURNAL, read_config, read_model, write_model

MakeResult = Callable[..., Evaluation]
SECTIONS = ("trained", "learning", "results", "classes", "filters", "maps", "mistakes", "again")
AWKWARD = '<b>&"ü $x$'  # a class, as conftest.py makes it
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Collects a page's addresses, identifiers and text, and makes sure that its elements are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.identifiers: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def make_page(*results: Evaluation) -> str:
    """A page for which the user names the folders that the results name."""
    paths = [Path(f"{number}.npz") for number in range(len(results))]
    models = dict.fromkeys(Path(member.model) for result in results for member in result.facts.members)
    return render(results, paths, Path("page.html"), list(models), results[0].facts.data)


def test_page_is_whole_and_stands_alone(make_result: MakeResult):
    page = make_page(make_result(), make_result(scales=(37, 40)))
    reader = Reader(page)
    assert set(SECTIONS) <= set(reader.identifiers)
    assert len(set(reader.identifiers)) == len(reader.identifiers)
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)
    assert "<script" not in page and "@import" not in page
    assert page.count("<svg") == 3  # loss, errors, calibration
    assert "#0102" not in page
    assert "classifies 4 of 6 held-out images of photos correctly: 33.33 % top-1 error" in reader.text
    assert "test set (%)" not in reader.text  # the paper has no such figure for a single net A
    assert "guessing gives 66.7 %" in reader.text
    assert "One pass over a row of images" in reader.text
    assert "All 2 wrong answers" in reader.text
    assert "verydeep report 0.npz 1.npz --page page.html --models " in reader.text
    assert "cannot be" not in reader.text


def test_names_are_escaped(make_result: MakeResult):
    page = make_page(make_result(data="<i>$no$</i>"))
    assert AWKWARD not in page and "<i>$" not in page
    assert AWKWARD in Reader(page).text


def test_same_results_give_the_same_page(make_result: MakeResult):
    assert make_page(make_result()) == make_page(make_result())


def test_page_is_made_without_the_run_folder(make_result: MakeResult, run: Path):
    result = make_result()
    shutil.rmtree(run)
    reader = Reader(make_page(result))
    assert "Only the result of this run is shown" in reader.text
    assert "There are no learning curves" in reader.text
    assert "The filters of" in reader.text and "There are no score maps" in reader.text
    assert "All 2 wrong answers" in reader.text


def test_page_is_made_without_the_images(make_result: MakeResult, photos: Path, capsys):
    result = make_result()
    shutil.rmtree(photos)
    text = Reader(make_page(result)).text
    assert "the page has no images: " in capsys.readouterr().err
    assert "The images cannot be shown" in text and "does not exist" in text
    assert "There are no score maps" in text


def test_page_is_made_where_some_images_are_gone_or_damaged(make_result: MakeResult, photos: Path):
    result = make_result()
    (photos / result.names[0]).unlink()
    (photos / result.names[1]).write_bytes(b"no image")
    assert Reader(make_page(result)).text.count("no image") == 2


def test_page_is_made_of_a_journal_cut_short(make_result: MakeResult, run: Path):
    journal = run / JOURNAL
    journal.write_text(journal.read_text() + '{"step": 4, "ep')
    assert "<svg" in make_page(make_result())


def test_damaged_weights_are_told(make_result: MakeResult, run: Path):
    result = make_result()
    (run / "model.safetensors").write_bytes(b"\x00" * 20)
    assert "is not a complete safetensors file" in Reader(make_page(result)).text


def test_no_mistakes(make_result: MakeResult):
    text = Reader(make_page(make_result(wrong=0))).text
    assert "There are none: every image was classified correctly" in text


def test_nothing_right(make_result: MakeResult):
    text = Reader(make_page(make_result(wrong=6))).text
    assert "There are no score maps" in text and "none was classified correctly" in text


def test_window_too_large_for_a_row(make_result: MakeResult, run: Path):
    from verydeep.api.new import new

    class_names = read_config(run).class_names
    shutil.rmtree(run)
    new("A", run, num_classes=3, width=0.01, window=96)
    config, tensors = read_model(run)
    write_model(run, replace(config, class_names=class_names), tensors)
    text = Reader(make_page(make_result(scales=(110,)))).text
    assert "One pass over a row" not in text and "There are no score maps" not in text


@pytest.mark.parametrize("num_classes", [2, 25, 26, 120])
def test_numbers_in_the_confusion_matrix_up_to_25_classes(make_result: MakeResult, num_classes: int):
    labels = np.arange(num_classes)
    posteriors = np.eye(num_classes)
    names = tuple(f"class {number}" for number in labels)
    facts = replace(make_result(model="gone").facts, class_names=names, data="gone")
    result = Evaluation(facts, names, labels, posteriors)
    assert ('class="confusion"' in make_page(result)) == (num_classes <= 25)


def test_hardest_class_comes_first(make_result: MakeResult):
    errors = class_errors(make_result(wrong=2))
    assert [item["error"] for item in errors] == [100.0, 0.0, 0.0]
    assert errors[0]["name"] == AWKWARD and errors[0]["taken_for"] == "cat"


OPENED: list[str] = []
sys.addaudithook(
    lambda event, facts: OPENED.append(str(facts)) if event in ("open", "os.listdir", "os.scandir") else None
)


def test_nothing_that_a_result_names_is_opened(make_result: MakeResult, run: Path, photos: Path):
    """A result may come from anybody: only what the user names is opened."""
    results = [make_result(), make_result(model="hf-hub:nobody/vgg"), make_result(data="https://nobody.invalid/x")]
    for result in results:
        OPENED.clear()
        text = Reader(render([result], [Path("0.npz")], Path("page.html"))).text
        assert not [one for one in OPENED if str(run) in one or str(photos) in one]
        assert "its run folder was not named" in text and "no data was named" in text
        assert f"--models {result.facts.first.model} --data {result.facts.data}" in text


def test_a_model_is_that_of_the_same_path_or_of_the_same_name(make_result: MakeResult, run: Path, photos: Path):
    def page(model: Path, *results: Evaluation) -> str:
        paths = [Path("0.npz")] * len(results)
        return Reader(render(results, paths, Path("page.html"), [model], str(photos))).text

    assert "filters of conv1_1" in page(run, make_result(model="/another/machine/A"))
    with pytest.raises(UsageError, match="none of the networks"):
        page(run, make_result(model="runs/B"))
    with pytest.raises(UsageError, match="more than one"):
        page(run, make_result(model="one/A"), make_result(model="two/A"))


def test_a_model_of_other_classes_is_not_shown(make_result: MakeResult, run: Path):
    config, tensors = read_model(run)
    result = make_result()
    write_model(run, replace(config, class_names=("x", "y", "z")), tensors)
    assert "has other classes than the result" in Reader(make_page(result)).text


def test_a_journal_of_other_fields_and_words_that_cannot_be_written(make_result: MakeResult, run: Path):
    """What a run folder says is shown as text, and its journal ends where a line is no record."""
    journal, config = run / JOURNAL, run / "config.json"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    records[-1].pop("train_error")
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    fields = json.loads(config.read_text())
    fields["provenance"]["recipe_name"] = "\ud800"
    config.write_text(json.dumps(fields))
    page = make_page(make_result())
    assert page.count("<svg") == 3
    assert r"\ud800" in page


def test_a_fusion_alone_is_told_as_one(make_result: MakeResult):
    result = make_result(configuration="D")
    members = tuple(replace(result.facts.first, model=name, parameters=100) for name in ("first", "second"))
    fusion = replace(result, facts=replace(result.facts, members=members))
    page = " ".join(make_page(fusion).split())
    assert "the best of" not in page
    assert "Its 2 networks have 200 parameters together." in page
    assert "the best of 2," in make_page(fusion, result)
