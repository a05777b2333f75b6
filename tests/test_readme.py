"""The README's commands run, word for word."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.perceptual.lpips import last_relus

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder `photos` with discs and bars on grounds of many colours, and a picture."""
    desk = tmp_path_factory.mktemp("desk")
    for name in ("bar", "disc"):
        (desk / "photos" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.new("RGB", (150 + 10 * number, 160), (20 * number, 90, 200 - 15 * number))
            box = (40, 50, 110, 120) if name == "disc" else (10, 70, 140, 90)
            draw = ImageDraw.Draw(image)
            (draw.ellipse if name == "disc" else draw.rectangle)(box, fill="white")
            image.save(desk / "photos" / name / f"{number}.jpg")
    image.save(desk / "picture.jpg")
    return desk


def test_a_fresh_machine_needs_two_commands():
    commands = [line.partition("#")[0].strip() for line in blocks("bash")[0].splitlines()]
    assert commands == ["make demo", "make test"]
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_ones_own_photographs_and_python(desk, monkeypatch):
    monkeypatch.chdir(desk)
    embedded, photographs, protocols = blocks("bash")[1:]
    assert len(photographs.splitlines()) == 5
    for line in (embedded + photographs + protocols).splitlines():
        command, *arguments = shlex.split(line, comments=True)
        assert command == "verydeep"
        main(arguments)
    assert len(list(Path("maps").iterdir())) == 1 + 12
    assert "<html" in Path("photos.html").read_text(encoding="utf-8")
    exec(blocks("python")[0], {})
    with Image.open("where.png") as sheet:
        assert sheet.width > 900


@pytest.mark.filterwarnings("ignore::verydeep.perceptual.RangeWarning")  # one of them wants another range
def test_the_recipes_of_docs_features_run(tmp_path, monkeypatch):
    """On a narrow network, and so with linear weights for fewer channels."""
    monkeypatch.chdir(tmp_path)
    new("D", Path("runs/vgg16"), width=0.06, num_classes=3, window=32)
    network = Architecture("D", 3, 0.06, 32)
    counts = [one.out_channels for one in network.convolutions if f"relu{one.place}" in last_relus(network)]
    monkeypatch.setattr("verydeep.perceptual.lpips.lpips_weights", lambda _: [torch.ones(n) for n in counts])
    recipes = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "features.md").read_text(encoding="utf-8"), re.S)
    assert len(recipes) == 4
    names = {
        "images": torch.rand(2, 3, 40, 40),
        "target": torch.rand(2, 3, 40, 40),
        "pixels": np.zeros((2, 40, 40, 3), np.uint8),
    }
    for recipe in recipes:
        exec(f"import verydeep\n{recipe}", names)
    assert names["distances"].shape == (2,)


def test_every_file_it_names_is_there():
    tree = blocks("")[0]
    for name in re.findall(r"^\s{2,}([a-z_]+\.py)\b", tree, re.M):
        assert list((ROOT / "verydeep").rglob(name)), name
    for name in re.findall(r"`(verydeep/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((docs/[\w/.-]+|LICENSE)\)", README):
        assert (ROOT / name).exists(), name
