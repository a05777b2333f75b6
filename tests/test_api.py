"""Commands and functions have the same words; public names stay what they are."""

from __future__ import annotations

import inspect
import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import verydeep
from verydeep.cli import COMMANDS, main
from verydeep.commands.command import in_options
from verydeep.commands.special import command as command_of
from verydeep.results import Result


@pytest.mark.parametrize("name", COMMANDS)
def test_positions_stand_before_options(name):
    kinds = [parameter.kind for parameter in inspect.signature(getattr(verydeep, name)).parameters.values()]
    assert kinds == sorted(kinds)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_function_tells_of_each_argument(name):
    function = getattr(verydeep, name)
    told = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters:
        assert f"{parameter}: " in told, parameter


def test_a_function_stays_one_when_every_submodule_is_imported():
    """In a process of its own: importing a submodule sets an attribute of the package."""
    names = [
        one.name for one in pkgutil.walk_packages(verydeep.__path__, "verydeep.") if "__main__" not in one.name
    ]
    code = f"""
from importlib import import_module
for name in {[name for name in names if name != "verydeep.__main__"]!r}:
    import_module(name)
import types, verydeep
for name in {list(COMMANDS)!r} + ["features", "load", "layer_names"]:
    assert isinstance(getattr(verydeep, name), types.FunctionType), name
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_public_names_are_listed():
    assert dir(verydeep) == sorted(verydeep.__all__)
    assert {*COMMANDS, "Preprocessing", "Dense", "MultiCrop", "Prediction", "Recipe", "errors"} <= set(
        dir(verydeep)
    )
    for name in verydeep.__all__:
        assert getattr(verydeep, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'predcit'"):
        verydeep.predcit  # noqa: B018 - the attribute is asked for


@pytest.mark.parametrize("result", [verydeep.describe("A", window=32, width=0.1), verydeep.engines()])
def test_results_show_themselves(result):
    assert isinstance(result, Result)
    json.dumps(result.to_dict())
    assert str(result) == repr(result)
    assert result._repr_html_().startswith("<")


def test_a_command_prints_what_its_function_answers(capsys):
    main(["describe", "A", "--window", "32", "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads(
        json.dumps(verydeep.describe("A", window=32).to_dict())
    )
    main(["describe", "A", "--window", "32"])
    assert capsys.readouterr().out.rstrip("\n") == str(verydeep.describe("A", window=32))


@pytest.mark.parametrize(
    ("command", "message", "said"),
    [
        ("evaluate", "use `scales=64` or more", "use --scales 64 or more"),
        ("evaluate", "`max_unreadable` is -1", "--max-unreadable is -1"),
        ("transfer", "by `save=False`", "by --no-save"),
        ("predict", "by `network=True`", "by --network"),
        ("train", "`start_from` and `grow_from`", "--from and --grow-from"),
        ("fuse", "`results` are two", "RESULT are two"),
        ("fuse", "`scales` is no argument of it", "`scales` is no argument of it"),
        ("fuse", "`verydeep evaluate --out` makes one", "`verydeep evaluate --out` makes one"),
    ],
)
def test_messages_are_in_the_words_of_the_command_line(command, message, said):
    assert in_options(message, command_of(command).words) == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["features", "M", "a.png"], "`verydeep features` is called `verydeep extract` now"),
        (["look", "M", "a.png"], "`verydeep look` is called `verydeep visualize` now"),
        (["evaluate", "M", "D", "--posteriors", "a.npz"], "--posteriors is called --out now"),
        (["evaluate", "M", "D", "--posteriors=a.npz"], "--posteriors is called --out now"),
        (["train", "D", "R", "--image-size", "32"], "--image-size is called --window now"),
        (["train", "D", "R", "--scale", "32"], "--scale is called --train-scale now"),
        (["train", "D", "R", "--start", "he"], "--start is called --init now"),
        (["train", "D", "R", "--configuration", "D"], "--configuration is called --config now"),
        (["convert", "S", "R", "--scale", "256", "256"], "--scale is called --train-scale now"),
        (["predict", "M", "a.png", "--map", "maps"], "--map is called --maps now"),
        (["watch", "R", "--png", "a.png"], "--png is called --out now"),
        (["shard", "D", "OUT"], "--out OUT"),
        (["study", "digits", "OUT"], "`verydeep study digits --out OUT`"),
        (["export", "M", "a.onnx"], "--out a.onnx"),
    ],
)
def test_an_old_word_is_answered_with_the_new_one(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_every_command_can_be_completed():
    script = subprocess.run(
        [sys.executable, "-m", "verydeep", "--tyro-print-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ask = "COMP_WORDS=(verydeep {0}); COMP_CWORD={1}; _tyro_verydeep verydeep; echo ${{COMPREPLY[@]}}"
    asked = "\n".join([script, ask.format("ev", 1), ask.format("evaluate --vi", 2)])
    said = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0].strip() == "evaluate"
    assert said[1].startswith("--views")


def test_each_command_has_a_file_with_its_function():
    files = {one.name for one in pkgutil.iter_modules(import_module("verydeep.api").__path__)}
    assert set(COMMANDS) <= files
