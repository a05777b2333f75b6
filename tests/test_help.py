"""`help()` of the public names: what each is, its arguments, its errors, and examples that run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
import torch
from PIL import Image

import verydeep
from verydeep.errors import UsageError

THINGS = {name: getattr(verydeep, name) for name in verydeep.__all__}
WITH_EXAMPLE = ["load", "Model", "VGG", "features", "layer_names", "Architecture"]  # that run here
SHOWN = re.compile(r"(?P<call>[^#]+?)\s*#\s*(?P<answer>\(.*\))")


def example_of(name: str) -> str:
    """The indented lines of a docstring's own text, before its sections."""
    text = re.split("\n(?:Args|Attributes|Raises):", inspect.getdoc(THINGS[name]))[0]
    return textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ") or not line))


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_an_example_runs_and_gives_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("photo.jpg", "a.jpg", "b.jpg"):
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(file)
    names = {"verydeep": verydeep, "torch": torch}
    lines = [line for line in example_of(name).splitlines() if line]
    assert lines
    for line in lines:
        exec(line, names)
        shown = SHOWN.fullmatch(line)
        if shown:
            value = eval(shown["call"].partition(" = ")[2] or shown["call"], names)
            assert tuple(getattr(value, "shape", value)) == eval(shown["answer"])


@pytest.mark.parametrize("name", ["Recipe", "perceptual"])
def test_an_example_of_what_takes_long_is_python(name):
    assert "verydeep." in example_of(name)
    compile(example_of(name), name, "exec")


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if isinstance(thing, type)])
def test_a_class_tells_of_each_argument(name):
    told = inspect.getdoc(THINGS[name])
    for parameter in inspect.signature(THINGS[name]).parameters:
        described_elsewhere = name == "Recipe"  # by `verydeep train --help`, from beside each field
        assert described_elsewhere or f"{parameter}: " in told, parameter


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if isinstance(thing, types.FunctionType)])
def test_a_function_tells_of_its_errors(name):
    assert name == "engines" or "Raises:" in inspect.getdoc(THINGS[name])


def test_a_network_of_a_name_says_what_to_write():
    """In a process of its own: here types are checked before the network is asked."""
    code = """
import verydeep
for name in ("D", "vgg16", "VGG-11", None):
    try:
        verydeep.VGG(name)
    except verydeep.errors.UsageError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.findall(r'not (.*); write VGG\(Architecture\("(.*)"\)\)', said) == [
        ("'D'", "D"),
        ("'vgg16'", "D"),
        ("'VGG-11'", "A"),
        ("None", "D"),
    ]


@pytest.mark.parametrize(("name", "column"), [("vgg11", "A"), ("VGG-13", "B"), ("vgg16_bn", "D"), ("vgg_19", "E")])
def test_the_common_name_of_a_network_is_answered_by_its_column(name, column):
    with pytest.raises(UsageError, match=f" is configuration {column}"):
        verydeep.Architecture(name)
