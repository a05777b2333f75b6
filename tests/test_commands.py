"""A command is its function: the signature gives words and defaults, the docstring the help."""

from __future__ import annotations

import inspect
import shlex
import subprocess
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

import verydeep
from verydeep.cli import COMMANDS, GROUPS, main
from verydeep.commands.command import Command, read_docstring
from verydeep.commands.special import command as command_of
from verydeep.commands.words import EXAMPLES
from verydeep.results import Result
from verydeep.training.recipe import Recipe
from verydeep.weights.published import PREPROCESSING, PreprocessingName

ONE_TEXT = ("engine", "precision", "device", "tensors", "threads", "processes", "max_unreadable")
OTHERWISE = {
    ("bench", "threads"),
    ("study", "processes"),
    ("train", "engine"),
    ("train", "max_unreadable"),
}  # of other things


class Answer(Result):
    def to_dict(self) -> dict[str, Any]:
        return {}


def made(
    model: str | PathLike[str],
    images: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    out: str | PathLike[str],
    kind: Literal["a", "b"] = "a",
    scales: tuple[int, ...] = (),
    layers: Sequence[str] = ("x", "y"),
    size: tuple[int, int] | None = None,
    rate: float = 0.0,
    mirror: bool | None = None,
    save: bool = True,
    crop: bool = False,
    seed: int | None = None,
) -> Answer:
    """Make something of `images`, with `crop`.

    As `verydeep.train` does.

    Args:
        model: a model. In Python also a `Model`.
        images: `images`
            or none.
        out: file to write.
        rate: of it (default: none).

    """
    return Answer()


@pytest.fixture
def command(monkeypatch) -> Command:
    monkeypatch.setattr(verydeep, "made", made, raising=False)
    monkeypatch.setitem(EXAMPLES, "made", "verydeep made cifar10 photo.jpg --out file")
    return Command("made")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--kind", "b", "--rate", "1e-3", "--seed", "-1"], {"kind": "b", "rate": 1e-3, "seed": -1}),
        (["--scales", "1", "2", "--layers", "z"], {"scales": (1, 2), "layers": ("z",)}),
        (["--size", "3", "4"], {"size": (3, 4)}),
        (["--mirror"], {"mirror": True}),
        (["--no-mirror"], {"mirror": False}),
        (["--no-save", "--crop", "--json"], {"save": False, "crop": True, "json": True}),
    ],
)
def test_words_are_read_as_the_annotations_say(command, words, given):
    read = command.read(["https://M//x", "a", "b", "--out", "o//p", *words])
    defaults = {name: one.default for name, one in inspect.signature(made).parameters.items()}
    asked = {"model": "https://M//x", "images": ("a", "b"), "out": Path("o/p"), "json": False}
    assert read == defaults | asked | given


def test_the_help_is_the_docstring_in_the_words_of_the_command_line(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        command.read(["--help"])
    lines = [" ".join(line.strip("│").split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "usage: verydeep made [-h] [OPTIONS] MODEL IMAGE [IMAGE ...]"
    for line in (
        "Make something of IMAGE, with --crop.",
        "Example: verydeep made cifar10 photo.jpg --out file",
        "As `verydeep train` does.",
        "MODEL A model. (required)",
        "IMAGE [IMAGE ...] IMAGE or none. (required)",
        "--out PATH File to write. (required)",
        "--kind {a,b} (default: a)",
        "--layers STR [STR ...] (default: x y)",
        "--size INT INT",
        "--rate FLOAT Of it (default: none). (default: 0.0)",
        "--save, --no-save (default: True)",
        "--crop",
    ):
        assert line in lines


def test_each_command_is_in_one_group(capsys):
    files = {path.stem for path in Path(verydeep.__file__).parent.glob("api/*.py")}
    assert set(COMMANDS) == files - {"__init__", "features"}
    assert sum(map(len, GROUPS.values())) == len(COMMANDS)
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.removesuffix(":") in GROUPS] == [f"{group}:" for group in GROUPS]
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_of_a_command_can_be_read(name):
    start, its_name, *words = shlex.split(EXAMPLES[name])
    assert (start, its_name) == ("verydeep", name)
    assert command_of(name).read(words)


@pytest.mark.parametrize("name", [*COMMANDS, "load"])
def test_a_docstring_tells_of_the_arguments_that_there_are(name):
    function = getattr(verydeep, name)
    args = inspect.getdoc(function).partition("\nArgs:\n")[2].partition("\n\n")[0]
    told = read_docstring(type(name, (), {"__doc__": f"Of it.\n\nArgs:\n{args}"}))[1]
    assert list(told) == list(inspect.signature(function).parameters)
    assert not [text for text in told.values() if "likewise" in text or "as for" in text]


def test_what_commands_share_has_one_text():
    texts = {name: read_docstring(getattr(verydeep, name))[1] for name in [*COMMANDS, "load"]}
    for argument in ONE_TEXT:
        found = {
            told[argument]
            for name, told in texts.items()
            if argument in told and (name, argument) not in OTHERWISE
        }
        assert len(found) == 1, argument


def test_a_recipe_tells_of_its_settings():
    assert list(read_docstring(Recipe)[1]) == list(inspect.signature(Recipe).parameters)


def test_names_of_preprocessings_are_those_of_the_table():
    assert get_args(PreprocessingName) == tuple(PREPROCESSING)


def test_no_command_waits_for_typeguard():
    """tyro imports it where it cannot check a default by itself; it takes as long as all else."""
    code = f"""
import sys
from verydeep.commands.special import command
for name in {list(COMMANDS)!r}:
    try:
        command(name).read(["--help"])
    except SystemExit:
        pass
assert "typeguard" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=120)


def test_of_a_recipes_settings_those_are_given_that_the_words_name():
    """One that has the recipe's value too: it may be other than the earlier network's, or the run's."""
    settings = inspect.signature(Recipe).parameters.keys()
    from verydeep.commands.special import command

    read = command("train").read
    for words, named in (
        ("", {}),
        ("--window 128 --no-mirror", {"window": 128, "mirror": False}),
        ("--epochs=80 --train_scale 144:192", {"epochs": 80, "train_scale": (144, 192)}),
        ("--recipe digits --batch-norm", {"batch_norm": True}),
    ):
        given = read(["photos", "run", *words.split()])
        assert {name: given[name] for name in given.keys() & settings} == named
