"""`verydeep style`: an image that comes whole, also when it is stopped, and a sentence for what cannot be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep.cli import main
from verydeep.visualization.descent import Descent

FEW = ("--size", "64", "--steps", "3")


def style(*words: object) -> None:
    main(["style", *map(str, words)])


def refused(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        style(*words)
    assert ended.value.code in (1, 2)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    return said


@pytest.fixture
def pair(desk):
    return desk / "content.png", desk / "style.png"


@pytest.mark.parametrize("name", ["out.png", "deep/out.jpg", "out.webp", "out.tif"])
def test_an_image_of_the_contents_size(small, pair, tmp_path, capsys, name):
    out = tmp_path / name
    style(small, *pair, "--out", out, *FEW, "--json")
    facts = json.loads(capsys.readouterr().out)
    with Image.open(out) as image:
        assert image.size == (facts["width"], facts["height"]) == (64, 43)
        image.load()
    assert facts["steps"] == 3 and not facts["stopped"]
    assert facts["after"]["total"] < facts["before"]["total"]
    assert facts["before"]["content"] == pytest.approx(0, abs=1e-6)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_the_same_command_gives_the_same_bytes(small, pair, tmp_path):
    outs = [tmp_path / f"{number}.png" for number in range(3)]
    for out, seed in zip(outs, (1, 1, 2), strict=True):
        style(small, *pair, "--out", out, *FEW, "--init", "noise", "--seed", seed)
    first, second, other = (out.read_bytes() for out in outs)
    assert first == second != other


def test_it_goes_on_from_an_image(small, pair, tmp_path, capsys):
    out = tmp_path / "out.png"
    style(small, *pair, "--out", out, *FEW, "--json")
    ended = json.loads(capsys.readouterr().out)["after"]["total"]
    style(small, *pair, "--out", out, *FEW, "--json", "--init", out)
    facts = json.loads(capsys.readouterr().out)
    assert facts["before"]["total"] == pytest.approx(ended, rel=0.05)  # of rounding to levels
    assert facts["after"]["total"] < ended


def test_every_option_is_heard(small, pair, tmp_path, capsys):
    plain = tmp_path / "plain.png"
    style(small, *pair, "--out", plain, *FEW)
    for number, words in enumerate(
        (
            ["--content-layers", "relu2_1"],
            ["--style-layers", "relu1_1"],
            ["--style-layer-weights", "9", "1", "1", "1", "1"],
            ["--content-layers", "relu1_1", "relu4_2", "--content-layer-weights", "5", "1"],
            ["--content-weight", "50"],
            ["--style-weight", "0.1"],
            ["--variation-weight", "100"],
            ["--pooling", "max"],
            ["--init", "noise"],
            ["--size", "50"],
        )
    ):
        out = tmp_path / f"{number}.png"
        style(small, *pair, "--out", out, *FEW, *words)
        assert out.read_bytes() != plain.read_bytes(), words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_the_image_as_far_as_it_is(small, pair, tmp_path, number, capsys, monkeypatch):
    step, steps = Descent.step, []

    def and_then_stop(self):
        step(self)
        steps.append(1)
        if len(steps) == 4:
            signal.raise_signal(number)

    monkeypatch.setattr(Descent, "step", and_then_stop)
    out = tmp_path / "out.png"
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        style(small, *pair, "--out", out, "--size", 64, "--steps", 1000, "--json")
    assert ended.value.code == 128 + number
    printed = capsys.readouterr()
    facts = json.loads(printed.out)
    assert facts["stopped"] and facts["steps"] == 4
    assert facts["after"]["total"] < facts["before"]["total"]
    assert f"the same again with --init {out} resumes" in printed.err
    with Image.open(out) as image, Image.open(pair[0]) as content:
        assert not np.array_equal(np.asarray(image), np.asarray(content.resize(image.size)))
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert signal.getsignal(number) is before


@pytest.mark.heavy
def test_a_process_ends_soon_after_sigterm(small, pair, tmp_path):
    out = tmp_path / "out.png"
    words = ["style", small, *pair, "--out", out, "--size", 64, "--steps", 100_000, "--json"]
    code = (
        "import sys\n"
        "from verydeep.visualization.descent import Descent\n"
        "step = Descent.step\n"
        "def told(self):\n"
        "    step(self)\n"
        "    print('step', file=sys.stderr, flush=True)\n"
        "Descent.step = told\n"
        "from verydeep.cli import main\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "step\n"
        process.terminate()
        printed, _ = process.communicate(timeout=600)  # 100,000 steps would take hours
    assert process.returncode == 128 + signal.SIGTERM
    assert json.loads(printed)["stopped"]
    with Image.open(out) as image:
        image.load()


@pytest.mark.parametrize("name", ["gray.png", "clear.png", "cmyk.jpg", "huge.jpg"])
def test_images_of_every_kind(small, desk, tmp_path, name):
    style(small, desk / name, desk / "style.png", "--out", tmp_path / "1.png", "--size", 48, "--steps", 1)
    style(small, desk / "content.png", desk / name, "--out", tmp_path / "2.png", "--size", 48, "--steps", 1)
    for number in (1, 2):
        with Image.open(tmp_path / f"{number}.png") as image:
            assert image.mode == "RGB"


def test_a_network_of_features_only(bare, pair, tmp_path, capsys):
    style(bare, *pair, "--out", tmp_path / "out.png", *FEW)
    said = refused(capsys, bare, *pair, "--out", tmp_path / "no.png", "--content-layers", "fc6")
    assert "features only" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--style-layers", "relu4_9"], "did you mean relu4_"),
        (["--content-layers", "features.28"], "not indices"),
        (["--style-layer-weights", "1", "2"], "2 weights for 5 layers"),
        (["--content-weight", "-1"], "--content-weight is -1"),
        (["--style-weight", "0", "--content-weight", "0"], "there is nothing to optimise"),
        (["--size", "0"], "--size is 0"),
        (["--size", "1000000"], "1 to 10,000"),
        (["--size", "10"], "needs both sides to be at least"),
        (["--steps", "0"], "--steps is 0"),
        (["--init", "nothing"], "content, noise, or an image's path"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_misuse_is_one_sentence(small, pair, tmp_path, capsys, words, said):
    assert said in refused(capsys, small, *pair, "--out", tmp_path / "out.png", *words)
    assert not list(tmp_path.iterdir())


def test_a_style_need_not_reach_the_layers_of_the_content(small, pair, tmp_path, capsys):
    Image.new("RGB", (5, 3), "red").save(tmp_path / "style.png")
    images = pair[0], tmp_path / "style.png"
    style(small, *images, "--out", tmp_path / "out.png", *FEW, "--style-layers", "relu1_1")
    said = refused(capsys, small, *images, "--out", tmp_path / "no.png", *FEW, "--style-layers", "relu4_1")
    assert "the style image is 5x3 pixels; layer relu4_1 needs both sides" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.png", "no such file"),
        ("text.png", "not a readable image"),
        ("tiny.png", "both sides"),
        ("strip.png", "both sides"),
    ],
)
def test_images_that_cannot_be_used(small, desk, tmp_path, capsys, name, said):
    good, bad = desk / "content.png", desk / name
    assert said in refused(capsys, small, bad, good, "--out", tmp_path / "out.png")
    assert said in refused(capsys, small, good, bad, "--out", tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_out_has_to_be_a_file_that_can_be_made(small, pair, tmp_path, capsys):
    there, file = tmp_path / "there.png", tmp_path / "file"
    there.write_bytes(b"dear")
    file.write_bytes(b"dear")
    for out, said in (
        (tmp_path / "out.xyz", "has to end with one of .png"),
        (pair[0], "is one of the input images"),
        (file / "out.png", "cannot be made"),
    ):
        assert said in refused(capsys, small, *pair, "--out", out, *FEW)
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in refused(capsys, small, *pair, "--out", tmp_path / "folder.png")
    assert there.read_bytes() == file.read_bytes() == b"dear"
    style(small, *pair, "--out", there, *FEW)
    with Image.open(there) as image:
        assert image.size == (64, 43)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out.png", "--model", "cifar10"], "--model: the model stands first now: `verydeep style MODEL CONTENT"),
        (["--overwrite"], "--overwrite: an image that is there is replaced now"),
        (["--start", "noise"], "--start is called --init now"),
    ],
)
def test_old_words_are_answered_by_the_new_ones(pair, capsys, words, said):
    assert said in refused(capsys, *pair, *words)


def test_the_function_paints_what_the_command_does(small, pair, tmp_path):
    made = verydeep.style(small, *pair, out=tmp_path / "1.png", size=64, steps=3)
    style(small, *pair, "--out", tmp_path / "2.png", *FEW)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    assert (made.width, made.height, made.steps, made.stopped) == (64, 43, 3, False)


def test_a_notebook_shows_the_image(small, pair, tmp_path):
    made = verydeep.style(small, *pair, out=tmp_path / "out.webp", size=64, steps=1)
    with Image.open(BytesIO(made._repr_png_())) as shown, Image.open(made.out) as written:
        assert shown.format == "PNG"
        assert np.array_equal(np.asarray(shown), np.asarray(written))
    assert made._repr_html_() is None
    made.out.unlink()
    assert made._repr_png_() is None


def test_a_model_that_is_not_there(pair, tmp_path, capsys):
    assert "no-model" in refused(capsys, tmp_path / "no-model", *pair, "--out", tmp_path / "out.png")


def test_a_gpu_without_room_is_one_sentence(small, pair, tmp_path, capsys, monkeypatch):
    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Descent, "step", full)
    said = refused(capsys, small, *pair, "--out", tmp_path / "out.png", *FEW)
    assert "does not fit in the memory of cpu; use a smaller --size" in said


def test_without_torch_it_says_what_to_install(small, pair, tmp_path, capsys, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    said = refused(capsys, small, *pair, "--out", tmp_path / "out.png")
    assert "style transfer needs torch" in said and "verydeep[train]" in said
