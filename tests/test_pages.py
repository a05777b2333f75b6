"""Pages fit narrow windows; the commands that they and messages propose work, run one after the other."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from advice import on_page
from pages import OTHER, RUN, make_pages, make_photographs

from verydeep.cli import main
from verydeep.run_folder import SPLIT, read_model, write_model

STYLE = Path(__file__).parent.parent / "verydeep" / "reports" / "page.css"
BRIEFLY = "--epochs 1 --window 32 --train-scale 36 --batch-size 16"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with all pages and what they are of."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_pages()
    return folder


class Tables(HTMLParser):
    """Makes sure that each table can be scrolled, or turns into cards whose cells have headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.around: list[dict[str, str]] = []
        self.cards = False
        self.count = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "div":
            self.around.append(attributes)
        if tag == "table":
            self.count += 1
            assert any("scroll" in each.get("class", "").split() for each in self.around)
            self.cards = "cards" in attributes.get("class", "")
        if tag == "td" and self.cards:
            assert attributes["data-heading"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self.around.pop()
        self.cards &= tag != "table"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report.html", "bare.html", "image.html", "study/index.html"])
def test_nothing_is_wider_than_its_page(name, desk):
    """As far as that is seen without a browser; `make check-pages` asks one."""
    page = (desk / name).read_text(encoding="utf-8")
    assert Tables(page).count or name == "image.html"
    for width, unit in re.findall(r"<svg[^>]*width=\"([\d.]+)(pt|px)", page):
        assert float(width) < 420, unit  # a drawing that is wider has letters too small for a telephone
    assert all("</span>" in command for command in re.findall(r"<pre>(.*?)</pre>", page, re.S))


def test_the_style_cuts_nothing_off():
    style = STYLE.read_text(encoding="utf-8")
    assert "ellipsis" not in style
    assert re.search(r"^pre \{[^}]*white-space: pre-wrap", style, re.M)
    assert re.search(r"^\.scroll \{[^}]*overflow-x: auto", style, re.M)
    assert re.search(r"^body \{[^}]*overflow-wrap: anywhere", style, re.M)
    assert re.search(r"^svg \{[^}]*width: 100%", style, re.M)


def run_all(commands: list[list[str]], *more: str) -> None:
    """Run a page's commands in order; trainings with more options."""
    for _, name, *words in commands:
        main([name, *words, *(more if name == "train" else ())])


@pytest.mark.heavy
@pytest.mark.slow
def test_the_commands_of_a_report_make_it_again(desk, tmp_path, monkeypatch):
    page = (desk / "report.html").read_text(encoding="utf-8")
    commands = on_page(page)
    own = next(number for number, words in enumerate(commands) if "my-photos" in words)
    assert [words[1] for words in commands[:own]] == ["train"] * 2 + ["evaluate"] * 3 + ["fuse", "report"]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(desk / "photos", "photos")
    run_all(commands[:own])
    assert on_page(Path("report.html").read_text(encoding="utf-8")) == commands


@pytest.mark.slow
def test_the_commands_of_a_report_for_ones_own_photographs_work(desk, tmp_path, monkeypatch):
    """At scales that fit the window of the model that they name."""
    commands = on_page((desk / "report.html").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    make_photographs(Path("my-photos"), 64)
    Path("holiday").mkdir()
    shutil.copy(next(Path("my-photos", "cat").iterdir()), "holiday/one.jpg")
    own = [words for words in commands if any("mine" in word or "my-photos" in word for word in words)]
    assert len(own) == 6
    run_all(own, "--epochs", "1", "--batch-size", "32")
    assert Path("mine.html").is_file() and Path("better.npz").is_file() and Path("runs/quick").is_dir()


@pytest.mark.slow
def test_a_report_of_which_nothing_is_named_says_how_to_have_it_whole(desk, tmp_path, monkeypatch):
    bare = on_page((desk / "bare.html").read_text(encoding="utf-8"))
    proposed = next(words for words in bare if "--models" in words and RUN in words)
    assert proposed[proposed.index("--models") + 1 :] == [RUN, OTHER, "--data", "photos"]
    monkeypatch.chdir(desk)
    main([*proposed[1:], "--page", str(tmp_path / "whole.html")])
    whole = (tmp_path / "whole.html").read_text(encoding="utf-8")
    assert "was not named" not in whole and whole.count("<svg") == 3


@pytest.mark.slow
def test_the_commands_of_a_study_make_it_again(desk, tmp_path, monkeypatch):
    commands = on_page((desk / "study" / "index.html").read_text(encoding="utf-8"))
    assert [words[1] for words in commands] == ["train", "evaluate", "evaluate", "fuse"]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(desk / "pictures", "pictures")
    run_all(commands)
    assert len(list(Path("study/tests").glob("*.npz"))) == 3


@pytest.mark.slow
def test_the_command_of_an_images_page_makes_it_again(desk, monkeypatch):
    before = (desk / "image.html").read_bytes()
    (command,) = on_page(before.decode())
    monkeypatch.chdir(desk)
    main(command[1:])
    assert (desk / "image.html").read_bytes() == before


@pytest.fixture(scope="module")
def troubles(desk):
    """What makes commands refuse: data that was trained on, an image that is none, a network without classes."""
    shutil.copytree(desk / "photos", desk / "trained on")
    for name in json.loads((desk / RUN / SPLIT).read_text(encoding="utf-8"))["held_out"]:
        (desk / "trained on" / name).unlink()
    shutil.copytree(desk / "photos", desk / "damaged")
    next((desk / "damaged" / "cat").iterdir()).write_text("no image")
    config, tensors = read_model(desk / RUN)
    architecture = replace(config.architecture, num_classes=0)
    kept = {name: tensors[name] for name in architecture.tensors}
    write_model(desk / "features", replace(config, architecture=architecture, class_names=()), kept)
    return desk


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refused", "advice", "chosen"),
    [
        (["evaluate", RUN, "photos", "--scales", "20"], "--scales 32", []),
        (["evaluate", RUN, "trained on"], "--part all", []),
        (["evaluate", RUN, "damaged", "--part", "all"], "--max-unreadable 1", []),
        (["train", "photos", RUN], "--resume", []),
        (["export", RUN, "a b.onnx"], f"verydeep export {RUN} --out 'a b.onnx'", []),
        (["transfer", "cifar10", "photos"], "--out RUN", ["RUN=converted"]),
        (["report"], "verydeep evaluate MODEL DATA --out FILE.npz", [f"MODEL={RUN}", "DATA=photos"]),
        (
            ["evaluate", "features", "photos"],
            "verydeep train DATA RUN --from MODEL",
            [
                "DATA=photos",
                "RUN=named",
                "MODEL=features",
                f"more={BRIEFLY}",
            ],
        ),
    ],
    ids=lambda one: " ".join(one)[:40] if isinstance(one, list) else None,
)
def test_what_a_refusal_proposes_works(refused, advice, chosen, troubles, monkeypatch, capsys):
    monkeypatch.chdir(troubles)
    with pytest.raises(SystemExit) as ended:
        main(refused)
    assert ended.value.code in (1, 2)
    assert advice in capsys.readouterr().err
    places = dict(one.split("=", 1) for one in chosen)
    words = [places.get(word, word) for word in shlex.split(advice)] + places.get("more", "").split()
    if words[0] == "verydeep":
        main(words[1:])
    else:  # an option, in place of what was given
        start = refused.index(words[0]) if words[0] in refused else len(refused)
        main([*refused[:start], *words])
