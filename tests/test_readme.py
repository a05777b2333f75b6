"""The README's commands run, word for word; the Korean one has the same commands, tables and figures."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from test_architecture import ORDER

import verydeep
from verydeep.api.new import new
from verydeep.cli import COMMANDS, main
from verydeep.commands.special import command
from verydeep.configurations import Architecture
from verydeep.perceptual.lpips import last_relus

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
KOREAN = (ROOT / "README.ko.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.S | re.M)


def lines(language: str) -> list[str]:
    """The commands of the blocks of a language, without their comments."""
    return [line.partition("#")[0].strip() for block in blocks(language) for line in block.splitlines()]


def without_blocks(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.S | re.M)


def inline_commands() -> list[str]:
    """Commands in sentences and tables."""
    return re.findall(r"`((?:verydeep|python|pip|make) [^`]+)`", without_blocks(README))


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """A folder `photos` with discs and bars on grounds of many colours, a photograph of a cat, and an image."""
    desk = tmp_path_factory.mktemp("desk")
    for name in ("bar", "disc"):
        (desk / "photos" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.new("RGB", (150 + 10 * number, 160), (20 * number, 90, 200 - 15 * number))
            box = (40, 50, 110, 120) if name == "disc" else (10, 70, 140, 90)
            draw = ImageDraw.Draw(image)
            (draw.ellipse if name == "disc" else draw.rectangle)(box, fill="white")
            image.save(desk / "photos" / name / f"{number}.jpg")
    image.save(desk / "photo.jpg")
    cat = Path("docs", "tutorials", "images", "cat.jpg")
    (desk / cat).parent.mkdir(parents=True)
    (desk / cat).write_bytes((ROOT / cat).read_bytes())
    return desk


def like(line: str) -> str:
    """A line of output, with probabilities to the nearest hundredth, as processors differ in the last digits."""
    return re.sub(r"\b\d+\.\d+(?=%)", lambda share: f"{float(share[0]):.0f}", line)


def run(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)
    assert name == "verydeep"
    main(arguments)


def narrow_vgg16(monkeypatch) -> None:
    """A narrow network here in the place of the one to download, and so with linear weights for fewer channels."""
    new("D", Path("torchvision:vgg16"), width=0.06, num_classes=3, window=32)
    network = Architecture("D", 3, 0.06, 32)
    counts = [one.out_channels for one in network.convolutions if f"relu{one.place}" in last_relus(network)]
    monkeypatch.setattr("verydeep.perceptual.lpips.lpips_weights", lambda _: [torch.ones(n) for n in counts])
    monkeypatch.setattr("verydeep.perceptual.lpips.check_vgg16", lambda *_, any_width: None)


@pytest.mark.slow
def test_the_bundled_model_prints_what_the_readme_shows(desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    narrow_vgg16(monkeypatch)
    capsys.readouterr()
    commands = blocks("bash")[0].splitlines()
    assert len(commands) == 3
    for line in commands:
        run(line)
    shown = blocks("text")[0].splitlines()
    assert [*map(like, capsys.readouterr().out.splitlines())] == [*map(like, shown)]
    assert len(list(Path("maps").iterdir())) == 1
    (code,) = blocks("python")
    exec(code, {})
    assert [*map(like, capsys.readouterr().out.splitlines())] == [*map(like, shown[:2])]
    with Image.open("where.png") as sheet:
        assert sheet.width > 900


@pytest.mark.slow
def test_ones_own_photographs(desk, monkeypatch):
    monkeypatch.chdir(desk)
    photographs = blocks("bash")[1].splitlines()
    assert len(photographs) == 5
    for line in photographs:
        run(line)
    assert "<html" in Path("photos.html").read_text(encoding="utf-8")
    assert len(blocks("bash")) == 2


def test_a_fresh_machine_needs_two_commands():
    assert lines("console")[:2] == ["make demo", "make test"]
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("line", [*lines("console"), *inline_commands()])
def test_what_is_not_run_can_be_read(line, capsys):
    """Commands that fetch from the network or take long, and those in sentences and tables."""
    name, *arguments = shlex.split(line)
    if name == "make":
        assert re.search(rf"^{arguments[0]}\b.*:(?!=)", (ROOT / "Makefile").read_text(), re.M)
    elif name == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        verb, extras = arguments[0], re.fullmatch(r"\.(?:\[(.+)\])?", arguments[1])
        assert verb == "install"
        assert set((extras[1] or "train").split(",")) <= set(project["optional-dependencies"])
    elif name == "python":
        source = (ROOT / arguments[0]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in arguments if word.startswith("--"))
    else:
        assert arguments[0] in COMMANDS
        if arguments[1:]:
            command(arguments[0]).read(arguments[1:])
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore::verydeep.perceptual.RangeWarning")  # one of them wants another range
def test_the_recipes_of_the_guides_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    narrow_vgg16(monkeypatch)
    new("D", Path("features"), width=0.06, num_classes=0, window=32)
    verydeep.export("features", out="vgg16.pth", to="torchvision")
    guides = [ROOT / "docs" / "guides" / f"{name}.md" for name in ("features", "perceptual-losses")]
    recipes = [block for guide in guides for block in blocks("python", guide.read_text(encoding="utf-8"))]
    assert len(recipes) == 6
    names = {
        "images": torch.rand(2, 3, 40, 40),
        "target": torch.rand(2, 3, 40, 40),
        "pixels": np.zeros((2, 40, 40, 3), np.uint8),
    }
    for recipe in recipes:
        exec(f"import verydeep\n{recipe}", names)
    assert names["distances"].shape == (2,)


def test_the_layout_is_that_of_the_package():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"^## Layout\n.*?```\n(.*?)```", page, re.S | re.M)[1]
    for name in re.findall(r"\b[a-z_]+\.py\b", tree):
        assert (ROOT / "verydeep" / name).exists(), name
    for name in re.findall(r"^([a-z]+)/", tree, re.M):
        assert (ROOT / name).is_dir(), name
    listed = re.findall(r"^  ([a-z_]+)(?:/|\.py) {2,}", tree, re.M)
    assert set(listed) >= {path.parent.name for path in (ROOT / "verydeep").glob("*/__init__.py")}
    assert listed == sorted(listed, key=ORDER.index)


def outline(page: str) -> list[int]:
    return [len(marks) for marks in re.findall(r"^(#+) ", without_blocks(page), re.M)]


def sections(page: str) -> list[str]:
    """What stands under each heading, without code blocks."""
    return re.split(r"^#+ .*$", without_blocks(page), flags=re.M)


def numbers(text: str) -> list[str]:
    """Numbers of two digits and more; of fewer, one language writes `two` and the other 2."""
    return sorted(re.findall(r"\d(?:[\d.,]*\d)", text))


def code_of(page: str) -> list[str]:
    """Blocks of code without comments, which are in the page's language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.S | re.M)
    return [f"{language}\n{re.sub(r' +#.*', '', block)}" for language, block in found]


def cells(page: str) -> list[list[str]]:
    rows = re.findall(r"^\|(.*)\|$", page, re.M)
    return [row.split("|") for row in rows]


def test_the_korean_readme_says_the_same():
    assert outline(KOREAN) == outline(README)
    assert code_of(KOREAN) == code_of(README)
    for ours, korean in zip(sections(README), sections(KOREAN), strict=True):
        assert numbers(korean) == numbers(ours)
        links = [sorted(re.findall(r"\]\(([^)]+)\)", text)) for text in (ours, korean)]
        assert [name.replace("README.ko.md", "README.md") for name in links[0]] == links[1]
    for ours, korean in zip(cells(README), cells(KOREAN), strict=True):
        assert len(korean) == len(ours)
        for one, other in zip(ours, korean, strict=True):
            assert numbers(other) == numbers(one)
            assert re.findall("`[^`]+`", other) == re.findall("`[^`]+`", one)


def test_the_readme_fits_on_few_screens():
    assert all(len(page.splitlines()) <= 150 for page in (README, KOREAN))
