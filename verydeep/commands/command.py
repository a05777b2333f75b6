"""What all commands share: a command takes the arguments of the function of its name, and prints its answer."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from inspect import get_annotations
from typing import Any, ClassVar, Optional, TypeVar, dataclass_transform, get_type_hints

from tyro.conf import FlagCreatePairsOff, Positional

import verydeep
from verydeep.errors import UsageError, escaped_lines
from verydeep.files import json_text
from verydeep.inference import EngineName, PrecisionName
from verydeep.results import Result

_Class = TypeVar("_Class", bound=type)
_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


@dataclass_transform(kw_only_default=True)
def command(cls: _Class) -> _Class:
    """Make a class a command: a dataclass by keyword, whose own arguments stand before those it shares."""
    made: Any = dataclass(kw_only=True)(cls)
    shared = {name for base in made.__mro__[1:] for name in get_annotations(base)}
    made.__dataclass_fields__ = dict(sorted(made.__dataclass_fields__.items(), key=lambda item: item[0] in shared))
    return made  # type: ignore[no-any-return]


class Command:
    """Words of the command line for the function of the same name.

    Fields are the function's parameters; their docstrings are the help.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    """Options as they were called before, and what they are called now; or a sentence on what to write instead."""

    @classmethod
    def check(cls, arguments: Sequence[str]) -> None:
        """Refuse arguments as they were written before.

        Raises:
            UsageError: one is; the message has the new form.

        """
        for word in arguments:
            option = word.partition("=")[0]
            now = cls.renamed.get(option)
            if now is not None:
                raise UsageError(f"{option} is called {now} now" if now.startswith("--") else f"{option}: {now}")

    def execute(self) -> None:
        """Call the function and print what it answers."""
        answer = self.call()
        if answer is not None:
            self.show(answer)

    def call(self) -> Result | None:
        """Call the function of this name; None on all processes but the first."""
        name = type(self).__name__.lower()
        answer: Result | None = getattr(verydeep, name)(**self.arguments())
        return answer

    def arguments(self) -> dict[str, Any]:
        """Arguments of the function, by their names."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        named.pop("json", None)
        return named

    def show(self, answer: Result) -> None:
        """Print an answer: as JSON, an object a line, or in words."""
        if getattr(self, "json", False):
            for record in answer.records():
                print(json_line(record))
        else:
            print(escaped_lines(str(answer)) if sys.stdout.isatty() else answer.exact())


@dataclass(kw_only=True)
class Answering(Command):
    """A command that answers something."""

    json: FlagCreatePairsOff[bool] = False
    """Print JSON."""


@dataclass(kw_only=True)
class Computing(Answering):
    """A command that runs a network."""

    engine: EngineName = "auto"
    """native: our kernels on the processor, without torch. auto: torch on a GPU, else native."""
    precision: PrecisionName = "auto"
    """Precision of matrix products (default: float32)."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or mps."""
    threads: Optional[int] = None  # noqa: UP045 - as in `quick`
    """Threads on the processor (default: one for each that this process may use)."""


@dataclass(kw_only=True)
class ReadingMany(Computing):
    """A command that runs a network over many images."""

    processes: int = 1
    """Processes of this machine that share the images; the result is the same."""
    max_unreadable: int = 0
    """Continue if up to N images cannot be read; they are listed."""


def in_options(message: str, kind: type) -> str:
    """Write the arguments that stand in backticks in a message as the command line has them.

    `scales` becomes `--scales`, `max_unreadable=3` becomes `--max-unreadable 3`, `save=False` becomes `--no-save`,
    and a position its word in the usage. What a command does not have stays as it is.
    """
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if is_dataclass(field.default_factory):  # a group of options, such as a recipe
            hints |= get_type_hints(field.default_factory, include_extras=True)

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in hints:
            return match[0]
        word = word_of(name, hints[name])
        if value is None or value == "True" or not word.startswith("-"):
            return word
        return word.replace("--", "--no-", 1) if value == "False" else f"{word} {value}"

    return _ARGUMENT.sub(option, message)


def word_of(name: str, hint: Any) -> str:
    """A field of a command as the command line writes it: an option, or a position's word in the usage."""
    marks = getattr(hint, "__metadata__", ())
    told = [mark for mark in marks if getattr(mark, "metavar", None) or getattr(mark, "name", None)]
    if any(mark in getattr(Positional[int], "__metadata__", ()) for mark in marks):
        return next((mark.metavar for mark in told if getattr(mark, "metavar", None)), name.upper())
    called = next((mark.name for mark in told if getattr(mark, "name", None)), name)
    return "--" + called.replace("_", "-")


def json_line(value: Any, **options: Any) -> str:
    """JSON to be printed: in ASCII alone where standard output is not UTF-8, as programs that read it expect."""
    encoding = (sys.stdout.encoding or "").lower().replace("_", "-")
    return json_text(value, ensure_ascii=encoding not in ("utf-8", "utf8"), **options)
