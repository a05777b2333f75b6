"""What a user may have meant by words that cannot be understood, or stand in the wrong order."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from verydeep.commands.words import MEANT, RENAMED
from verydeep.errors import command_line, did_you_mean
from verydeep.training.recipe import SHORT
from verydeep.training.scale import read_scale

SWITCHED = ("true", "false", "yes", "no", "on", "off", "1", "0")
"""What people write behind an option that takes no word."""


def unknown_word(name: str, extra: Sequence[str], known: Iterable[str], arguments: Sequence[str]) -> str:
    """What to say of words that a command does not take: an earlier option, another's, or a position too many.

    Args:
        name: of the command.
        extra: words that are too many, if there are any.
        known: its options and positions.
        arguments: all words after the command's name.

    """
    options = {"--help", *(word for word in known if word.startswith("--"))}
    for option in (word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("-")):
        now = RENAMED.get(name, {}).get(option)
        if now:
            return f"{option} is called {now} now" if now.startswith("-") else f"{option}: {now}"
        if option in extra or (option.startswith("--") and not {option, option.replace("--no-", "--")} & options):
            short = {f"--{word}": f"--{setting.replace('_', '-')}" for word, setting in SHORT.items()}
            near = did_you_mean((MEANT | short).get(option, option), options)
            return f"there is no {option}{near or f'; `verydeep {name} --help` lists the options'}"
    if not extra:
        return ""
    word = extra[0]
    for option, first, second in zip(arguments, arguments[1:], arguments[2:], strict=False):
        if option == "--train-scale" and first.isdecimal() and second.isdecimal():
            return f"{option} takes one word: write {option} {first}:{second}"
    for option, value in pairwise(arguments):
        if value == word and option in options and word.lower() in SWITCHED:
            return f"{option} takes no word; --no-{option.removeprefix('--')} switches it off"
    # Once the output stood there without an option; what exists is rather one input too many.
    if "--out" in options and "--out" not in arguments and not os.path.exists(word):  # noqa: PTH110 - of any word
        place = arguments.index(word)
        words = shlex.join([*arguments[:place], "--out", *arguments[place:]])
        return f"{word} is said by --out: `verydeep {name} {words}`"
    return f"{word} is one word too many; `verydeep {name} --help` tells what it takes"


def apart(words: Sequence[str]) -> str:
    """Words that commas join, with spaces instead."""
    return " ".join(" ".join(words).replace(",", " ").split())


def meant_number(kind: Any, word: str) -> str:
    """A number as an option takes it, of one that people write as a fraction or with a comma; else nothing."""
    ratio = re.fullmatch(r"(\d{1,9})/(\d{1,9})", word)
    if kind is float and ratio and int(ratio[2]):
        return f"{int(ratio[1]) / int(ratio[2]):.6g}"
    if kind is float and re.fullmatch(r"-?\d+,\d+", word):
        return word.replace(",", ".")
    if kind is read_scale and (ends := re.fullmatch(r"(\d+)\D(\d+)", word)):
        return f"{ends[1]}:{ends[2]}"
    return ""


def right_order(name: str, positions: Sequence[str], words: Sequence[str]) -> str:
    """What to say where a model does not stand before its data, or the data before the run; else nothing.

    Args:
        name: of the command.
        positions: its positions' words in the usage.
        words: that stand in them.

    """
    leads = {"MODEL": _is_model, "SOURCE": _is_model, "DATA": _is_data}.get(positions[0] if positions else "")
    if not leads or not words or leads(words[0]):
        return ""
    if leads is _is_model and not Path(words[0]).exists():  # a model whose name or path is wrong
        return ""
    right = sorted(words, key=lambda word: not leads(word))
    if right == list(words):
        return ""
    return f"{positions[0]} stands before {positions[1]}: {command_line(name, *right)}"


def _is_model(word: str) -> bool:
    """Whether a word means a model, as a look at it tells."""
    from verydeep.run_folder import CONFIG
    from verydeep.weights.formats import FORMATS
    from verydeep.weights.source import EMBEDDED

    path = Path(word)
    if path.is_file():
        return any(path.suffix in form.endings for form in FORMATS.values())
    return word in EMBEDDED or word.startswith(("torchvision:", "keras:", "hf:")) or (path / CONFIG).is_file()


def _is_data(word: str) -> bool:
    """Whether a word means labelled images, as a look at it tells."""
    from verydeep.images.sources import find_source

    return find_source(word) is not None and not _is_model(word)
