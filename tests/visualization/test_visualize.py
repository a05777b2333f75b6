"""`verydeep visualize`: a page that needs nothing else, and a sentence for what cannot be."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from advice import on_page
from PIL import Image
from without_torch import WITHOUT_TORCH

import verydeep
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.visualization.maps import LAYERS, layer_maps
from verydeep.visualization.sheet import GAP, HEAD, LABEL, TILE

FEW = ("--steps", "2", "--size", "48")


def visualize(*words: object) -> None:
    main(["visualize", *map(str, words)])


def refused(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        visualize(*words)
    assert ended.value.code in (1, 2)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    return said


def test_the_page_has_what_it_promises(small, desk, tmp_path, capsys):
    page = tmp_path / "page.html"
    visualize(small, desk / "content.png", "--page", page, *FEW, "--channels", 3)
    html = page.read_text(encoding="utf-8")
    for part in ("The first filters", "What is left of the image", "The strongest channels", "Make it again"):
        assert part in html
    for layer in LAYERS:
        assert f"inversion of {layer}" in html
        assert html.count(f'alt="{layer}, channel') == 3
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in html and "<script" not in html and "http" not in html
    images = [source for source in sources if source.startswith("data:image/png;base64,")]
    assert len(images) == 1 + 1 + len(LAYERS) + 3 * len(LAYERS)
    for image in images:
        with Image.open(BytesIO(base64.b64decode(image.split(",")[1]))) as shown:
            shown.load()
    assert "strongest channels" in capsys.readouterr().out


def test_json_and_the_command_that_makes_it_again(small, desk, tmp_path, capsys):
    page, again = tmp_path / "page.html", tmp_path / "again.html"
    words = [*FEW, "--json", "--layers", "conv2_1", "fc8", "--seed", "3", "--engine", "torch", "--threads", "1"]
    visualize(small, desk / "content.png", "--page", page, *words)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width"], facts["height"]) == (48, 32)
    first, last = facts["layers"]
    assert first["shape"][1:] == [16, 24] and last["shape"] == [3, 1, 1]
    assert first["sees"] == 8 and 0 < first["missing"] < 1 and first["steps"] == 2
    (command,) = on_page(page.read_text(encoding="utf-8"))
    assert command[-len(words) :] == words
    visualize(*command[2:], "--page", again)
    same = [path.read_text(encoding="utf-8").split('<section id="again">')[0] for path in (page, again)]
    assert same[0] == same[1]


@pytest.mark.parametrize("name", ["gray.png", "clear.png", "cmyk.jpg", "tiny.png", "huge.jpg"])
def test_images_of_every_kind(small, desk, tmp_path, name):
    visualize(small, desk / name, "--page", tmp_path / "page.html", "--steps", 1, "--layers", "relu1_1", "pool5")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_a_network_of_features_only(bare, desk, tmp_path, capsys):
    visualize(bare, desk / "content.png", "--page", tmp_path / "page.html", *FEW, "--layers", "pool5")
    said = refused(capsys, bare, desk / "content.png", "--page", tmp_path / "no.html", "--layers", "fc7")
    assert "features only: it ends at pool5 and has no fc7" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layers", "relu4_9"], "did you mean relu4_"),
        (["--layers", "relu1_1", "relu1_1"], "named twice"),
        (["--layers", "relu7", "--size", "30"], "at least 32"),
        (["--size", "8"], "layer relu5_1 needs both sides to be at least 16"),
        (["--size", "0"], "--size is 0"),
        (["--size", "1000000"], "--size is 1000000"),
        (["--steps", "-1"], "--steps is -1"),
        (["--channels", "0"], "--channels is 0"),
        (["--page", "page.png"], "has to end with .html"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_misuse_is_one_sentence(small, desk, tmp_path, capsys, words, said):
    page = ["--page", tmp_path / "page.html"] if "--page" not in words else []
    assert said in refused(capsys, small, desk / "content.png", *page, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing.png", "no such file"), ("text.png", "not a readable image"), ("strip.png", "both sides")],
)
def test_images_that_cannot_be_seen(small, desk, tmp_path, capsys, name, said):
    assert said in refused(capsys, small, desk / name, "--page", tmp_path / "page.html")
    assert said not in refused(capsys, tmp_path / "no-model", desk / name)


def test_without_torch_there_are_maps(small, desk, tmp_path):
    pytest.importorskip("verydeep._native")
    words = ["visualize", small, desk / "content.png", "--page", tmp_path / "page.html", "--steps", "0"]
    outcome = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "No layer was inverted" in html and "relu5_1, channel" in html


@pytest.mark.parametrize(("module", "extra"), [("jinja2", "report"), ("torch", "train")])
def test_what_is_not_installed_is_named(small, desk, tmp_path, capsys, monkeypatch, module, extra):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    said = refused(capsys, small, desk / "content.png", "--page", tmp_path / "page.html")
    assert f"pip install 'verydeep[{extra}]'" in said


def test_names_are_shown_as_they_are(small, tmp_path, desk):
    awkward = tmp_path / "<b>&'ü.png"
    awkward.write_bytes((desk / "content.png").read_bytes())
    visualize(small, awkward, "--page", tmp_path / "page.html", "--steps", 0)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>&" not in html and "&lt;b&gt;&amp;" in html


def test_the_function_gives_what_the_command_prints(small, desk, tmp_path, capsys):
    page = tmp_path / "page.html"
    shown = verydeep.visualize(small, desk / "content.png", page=page, steps=0, size=48, layers=["relu1_1", "fc8"])
    html, made_by = page.read_text(encoding="utf-8").split('<section id="again">')
    assert "verydeep.visualize(" in made_by
    visualize(
        small, desk / "content.png", "--page", page, "--steps", 0, "--size", 48, "--layers", "relu1_1", "fc8"
    )
    assert capsys.readouterr().out == f"{shown}\n"
    assert page.read_text(encoding="utf-8").split('<section id="again">')[0] == html
    assert [layer.layer for layer in shown.layers] == ["relu1_1", "fc8"]


def test_a_notebook_shows_a_row_for_each_layer(small, desk, tmp_path):
    layers = ["relu1_1", "relu2_1"]
    shown = verydeep.visualize(
        small, desk / "content.png", page=tmp_path / "page.html", steps=2, size=96, layers=layers, channels=3
    )
    sheet = shown.draw(channels=2)
    assert sheet.size == (LABEL + 4 * (TILE + GAP), HEAD + 2 * (80 + GAP))  # image, inversion, two channels
    first = np.asarray(sheet)[HEAD : HEAD + 80, LABEL : LABEL + TILE].astype(float)
    original = np.asarray(Image.fromarray(shown.pixels).resize((TILE, 80), Image.Resampling.BICUBIC), float)
    assert np.array_equal(first, original)
    rows = np.asarray(sheet)[HEAD : HEAD + 80], np.asarray(sheet)[HEAD + 80 + GAP : HEAD + 2 * 80 + GAP]
    assert (rows[1][:, LABEL : LABEL + TILE] == 255).all()  # the image is shown once
    assert not any((row[:, LABEL + TILE + GAP :] == 255).all() for row in rows)
    assert Image.open(BytesIO(shown._repr_png_())).width == LABEL + 5 * (TILE + GAP)
    assert shown._repr_html_() is None
    with pytest.raises(UsageError, match="`channels` is 0"):
        shown.draw(channels=0)


def test_without_inversions_the_sheet_has_no_place_for_them(small, desk, tmp_path):
    page = tmp_path / "page.html"
    shown = verydeep.visualize(small, desk / "content.png", page=page, steps=0, size=96, layers=["relu1_1"])
    assert shown.draw(channels=2).width == LABEL + 3 * (TILE + GAP)


def test_the_strongest_channels_come_first():
    maps = np.zeros((4, 2, 3), np.float32)
    maps[1], maps[2, 0, 0], maps[3] = 1, 9, -5
    seen = layer_maps("relu1_1", maps, 3, 3)
    assert [channel.number for channel in seen.strongest] == [2, 1, 0]
    assert [channel.strength for channel in seen.strongest] == [1.5, 1, 0]
    assert seen.num_silent == 2
    assert layer_maps("fc8", -np.ones((2, 1, 1), np.float32), 3, 2).much == 0


def test_memory_is_needed_for_the_search_alone(small, desk, tmp_path, capsys, monkeypatch):
    def never_fits(*asked, layers=None) -> None:
        if layers is None:
            raise UsageError("it does not fit")

    monkeypatch.setattr("verydeep.api.visualize.check_memory", never_fits)
    visualize(small, desk / "content.png", "--page", tmp_path / "page.html", "--steps", 0, "--size", 48)
    assert "it does not fit" in refused(capsys, small, desk / "content.png", "--steps", 1, "--size", 48)
