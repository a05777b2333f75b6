"""A command, made from the function of its name.

The signature gives positions, options and defaults, the docstring their help. tyro reads the words and prints the
help. `words.py` has what a command line needs beyond; commands with more to them are in `special.py`.
"""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from inspect import Parameter
from itertools import dropwhile
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, SupportsIndex, Union, get_args, get_origin

import verydeep
from verydeep.arguments import documented_arguments
from verydeep.commands.hints import apart, meant_number, right_order, unknown_word
from verydeep.commands.words import EXAMPLES, FILES, NAMES, ONE_WORD, POSITIONS
from verydeep.errors import UsageError, VerydeepError, escaped_lines
from verydeep.files import json_text
from verydeep.results import Result
from verydeep.training.scale import read_scale, scale_text

Count = int | Literal["*"]

KINDS: Mapping[Any, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("FLOAT", "a number"),
    str: ("STR", "text"),
    Path: ("PATH", "a path"),
    read_scale: ("S|S:S", "a whole number, or two such as 256:512"),
}
"""What a word is read as: how the help calls it, and what a message says is wanted."""

_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n", re.MULTILINE)
_OF_PYTHON = re.compile(r" In Python [^.]*\.")


class Wrapped(str):
    """A text of which tyro keeps the lines: it would split it into them, and join them to long ones."""

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """Give the whole text."""
        return [str(self)]


class Command:
    """The words of the command line for a function.

    Args:
        name: of both.

    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.function: Callable[..., Result | None] = getattr(verydeep, name)
        self.description, self.help = read_docstring(self.function)
        self.help["json"] = "print JSON."
        self.parameters = dict(inspect.signature(self.function, eval_str=True).parameters)
        self.parameters["json"] = Parameter("json", Parameter.KEYWORD_ONLY, default=False, annotation=bool)

    @property
    def words(self) -> dict[str, str]:
        """The arguments as the command line writes them, by name: options, or words of the usage."""
        return {name: word_of(parameter) for name, parameter in self.parameters.items()}

    def run(self, arguments: Sequence[str]) -> None:
        """Read the arguments, call the function and print what it answers.

        Raises:
            UsageError: the arguments cannot be read, or stand in the wrong order.
            VerydeepError: as the function does, or of what it could not do.

        """
        given = self.read(arguments)
        json = given.pop("json", False)
        try:
            answer = self.call(given)
        except VerydeepError:
            if order := self._right_order(given):
                raise UsageError(order) from None
            raise
        if answer is not None:
            self.show(answer, given, json)
            if failure := answer.failure():
                raise failure

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Read the words of the command line: the function's arguments, and `json`.

        Raises:
            UsageError: they cannot be read.

        """
        import tyro

        with _errors_told_to(lambda event: self._refuse(event, arguments)):
            read: dict[str, Any] = tyro.cli(
                self.collector(arguments),
                prog=f"verydeep {self.name}",
                description=self._description(),
                args=arguments,
            )
        for name, one in self.shown(arguments).items():
            if several := self._repeated(name, one, arguments):
                raise UsageError(several)
            if is_position(one) and read[name] == () and (hint := self._taken(name, arguments)):
                raise UsageError(f"{self.words[name]} is missing{hint}")
        return read

    def _description(self) -> str:
        """The text above the arguments in the help: what the command does, and an example."""
        width = shutil.get_terminal_size().columns
        paragraphs = in_options(self.description, self.words).split("\n\n")
        wrapped = [textwrap.fill(one, width, break_on_hyphens=False) for one in paragraphs]
        example = textwrap.wrap(f"Example: {EXAMPLES[self.name]}", width - 4, break_on_hyphens=False)
        return Wrapped("\n\n".join([*wrapped, " \\\n  ".join(example)]))

    def call(self, given: dict[str, Any]) -> Result | None:
        """Call the function; None on all processes but the first."""
        return self.function(**given)

    def show(self, answer: Result, given: Mapping[str, Any], json: bool) -> None:
        """Print an answer: as JSON, an object a line, or in words."""
        if json:
            for record in answer.records():
                print(json_line(record))
        elif not any(given[name] for name in FILES.get(self.name, ())):
            text = escaped_lines(str(answer)) if sys.stdout.isatty() else answer.exact()
            if text:
                print(text)

    def collector(self, arguments: Sequence[str] = ()) -> Callable[..., dict[str, Any]]:
        """For tyro: what takes the command's arguments, and answers with them."""

        def collect(**given: Any) -> dict[str, Any]:
            return given

        shown = [
            one.replace(kind=Parameter.KEYWORD_ONLY, annotation=self._for_tyro(one))
            for one in self.shown(arguments).values()
        ]
        collect.__annotations__ = {one.name: one.annotation for one in shown}
        collect.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return collect

    def shown(self, arguments: Sequence[str]) -> dict[str, Parameter]:
        """The positions and options of the command line."""
        return self.parameters

    def metavar(self, parameter: Parameter) -> str:
        """A position, or the value of an option, as the usage has it."""
        kind, count = kind_of(parameter)
        word = word_of(parameter)
        if not is_position(parameter):
            word = KINDS[kind][0] if kind in KINDS else "{" + ",".join(get_args(kind)) + "}"
        elif parameter.default is None:
            word = f"[{word}]"
        if count == "*":
            optional = is_position(parameter) and parameter.default not in (Parameter.empty, None)
            return f"[{word} ...]" if optional else f"{word} [{word} ...]"
        return " ".join([word] * count)

    def _for_tyro(self, parameter: Parameter) -> Any:
        """An annotation that tells tyro all about a parameter."""
        from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, arg

        (kind, count), default = kind_of(parameter), parameter.default
        required = default is Parameter.empty
        flag = kind is bool and not has_two_forms(parameter)
        text = in_options(_OF_PYTHON.sub("", self.help.get(parameter.name, "")), self.words)
        marks: list[Any] = [
            DisallowNone,
            arg(
                name=word_of(parameter).removeprefix("--"),
                metavar=None if kind is bool else self.metavar(parameter),
                help=text[:1].upper() + text[1:],
                # A default of no value is told by the text.
                help_behavior_hint="(required)" if required else "" if flag or default in (None, (), "") else None,
            ),
        ]
        if is_position(parameter):
            marks.append(Positional)
        if kind is not bool:
            marks.append(_reader(kind, count, self.metavar(parameter), some=not is_position(parameter)))
        elif flag:
            marks.append(FlagCreatePairsOff)
        plain = kind if isinstance(kind, type) else str
        # Not `|`: tyro has a default of such a type checked by typeguard, whose import takes as long as all else.
        return Annotated[(plain if required else Union[plain, type(default)], *marks)]  # noqa: UP007

    def _refuse(self, event: Any, arguments: Sequence[str]) -> None:
        """Say in one sentence why tyro refuses arguments; of what is not known here it tells by itself."""
        extra: Sequence[str] = getattr(event, "tokens", getattr(event, "unrecognized_tokens", ()))
        if hint := unknown_word(self.name, extra, self.words.values(), arguments):
            raise UsageError(hint)
        absent = f"missing; `verydeep {self.name} --help` tells all arguments"
        if missing := getattr(event, "missing_arguments", None):
            names = [one.arg.field.intern_name for one in missing]
            words = ", ".join(self.words[name] for name in names)
            are = "are" if len(names) > 1 else "is"
            raise UsageError(f"{words} {are} {absent}{self._taken(names[-1], arguments)}")
        if argument := getattr(event, "argument", None):
            parameter = self.parameters[argument.field.intern_name]
            needed = absent if is_position(parameter) else f"needs a value: {self.metavar(parameter)}"
            reason = getattr(event, "message", needed)
            if choices := getattr(event, "choices", None):
                reason = f"is {event.value!r}; it must be one of {', '.join(choices)}"
            raise UsageError(f"{word_of(parameter)} {reason}")

    def _taken(self, missing: str, arguments: Sequence[str]) -> str:
        """What to say of the last option of several words, which may have taken those of a missing position."""
        several = [
            self.words[name]
            for name, one in self.parameters.items()
            if not is_position(one) and kind_of(one)[1] == "*" and self.words[name] in arguments
        ]
        if not several or not is_position(self.parameters[missing]):
            return ""
        return f"; {several[-1]} takes all words behind it: put {self.words[missing]} before it"

    def _repeated(self, name: str, parameter: Parameter, arguments: Sequence[str]) -> str:
        """What to say of an option of several words that is given twice: tyro takes the last; else nothing."""
        word = self.words[name]
        times = sum(one.partition("=")[0] == word for one in arguments)
        if is_position(parameter) or times < 2 or kind_of(parameter)[1] != "*":
            return ""
        return f"{word} is given {times} times; write all its words behind one: {self.metavar(parameter)}"

    def _right_order(self, given: Mapping[str, Any]) -> str:
        """What to say where the words of the positions stand in the wrong order; else nothing."""
        positions = [name for name, parameter in self.parameters.items() if is_position(parameter)]
        several = [one if isinstance(one, (tuple, list)) else (one,) for one in map(given.get, positions)]
        words = [str(word) for one in several for word in one]
        return right_order(self.name, [self.words[name] for name in positions], words)


def read_docstring(thing: object) -> tuple[str, dict[str, str]]:
    """A docstring's text up to its sections, and what it says of each argument or attribute."""
    description, *sections = _SECTION.split(inspect.getdoc(thing) or "")
    paragraphs = [" ".join(paragraph.split()) for paragraph in description.strip().split("\n\n")]
    told = "\n".join(
        section
        for heading, section in zip(sections[::2], sections[1::2], strict=True)
        if heading in ("Args", "Attributes")
    )
    return "\n\n".join(paragraphs), documented_arguments(told)


def is_position(parameter: Parameter) -> bool:
    """Whether an argument is a position on the command line, and no option."""
    return parameter.kind is Parameter.POSITIONAL_OR_KEYWORD


def has_two_forms(parameter: Parameter) -> bool:
    """Whether an argument is yes or no and has an option for each: --save, --no-save. Others are off."""
    return parameter.annotation == bool | None or parameter.default is True


def word_of(parameter: Parameter) -> str:
    """An argument as the command line writes it: an option, or a position's word in the usage."""
    name = parameter.name
    if is_position(parameter):
        return POSITIONS.get(name) or (name.removesuffix("s") if kind_of(parameter)[1] == "*" else name).upper()
    return "--" + NAMES.get(name, name).replace("_", "-")


def kind_of(parameter: Parameter) -> tuple[Any, Count]:
    """What each word of an argument is read as, and how many there are.

    A position stays as it is written: it may be a name or a URL as well as a path.
    """
    kind, count = _kind(parameter.annotation)
    return (str if kind is Path and is_position(parameter) else kind), 1 if parameter.name in ONE_WORD else count


def _kind(annotation: Any) -> tuple[Any, Count]:
    members = get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)
    for several in members:
        items = get_args(several)
        if get_origin(several) in (tuple, Sequence, Iterable):
            return _kind(items[0])[0], "*" if len(items) == 1 or ... in items else len(items)
    if any(get_origin(member) is PathLike for member in members):
        return Path, 1
    return next(one for one in members if one is bool or one in KINDS or get_origin(one) is Literal), 1


def _reader(kind: Any, count: Count, metavar: str, *, some: bool) -> Any:
    """How tyro reads an argument's words; `some` refuses none."""
    from tyro.constructors import PrimitiveConstructorSpec

    choices = get_args(kind)
    read_word, show_word = str if choices else kind, scale_text if kind is read_scale else str

    def read(words: list[str]) -> Any:
        try:
            values = tuple(map(read_word, words))
        except ValueError:
            raise ValueError(_misread(kind, count, words)) from None
        if kind is Path and "" in words:  # a variable of the shell that is not set
            raise ValueError(f"is ''; it must be {KINDS[kind][1]}")
        if some and count == "*" and not values:
            raise ValueError(f"needs a value: {metavar}")
        if some and count == "*" and kind is str and any("," in word for word in words):
            raise ValueError(f"is {' '.join(words)!r}; put spaces between names: write {apart(words)}")
        return values[0] if count == 1 else values

    return PrimitiveConstructorSpec(
        nargs=count,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: True,  # defaults are the function's
        str_from_instance=lambda value: [show_word(value)] if count == 1 else list(map(str, value or ())),
        choices=choices or None,
    )


def _misread(kind: Any, count: Count, words: Sequence[str]) -> str:
    """Why words are no values of an option: what is wanted, and what people write instead."""
    reason = f"is {' '.join(words)!r}; it must be {KINDS[kind][1]}"
    if count == "*":
        reason = f"is {' '.join(words)!r}; each must be {KINDS[kind][1]}"
        others = list(dropwhile(partial(_can_be, kind), words))
        if any("," in word for word in words):
            reason += f": write {apart(words)}"
        elif len(words) > len(others) > 0:
            reason += f": put {' '.join(others)} before the option"
    elif count == 1 and (meant := meant_number(kind, *words)):
        reason += f": write {meant}"
    return reason


def _can_be(kind: Any, word: str) -> bool:
    """Whether a word is a value of a kind."""
    try:
        kind(word)
    except ValueError:
        return False
    return True


def _errors_told_to(refuse: Callable[[Any], None]) -> Any:
    """A context in which tyro tells of what it refuses; another version of tyro prints it by itself."""
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return nullcontext()
    return on_parse_error(refuse)


def in_options(message: str, words: Mapping[str, str]) -> str:
    """Write the arguments and functions that stand in backticks in a message as the command line has them.

    `scales` becomes `--scales`, `max_unreadable=3` becomes `--max-unreadable 3`, `save=False` becomes `--no-save`,
    a position its word in the usage, and `verydeep.train` becomes `verydeep train`. What a command does not have
    stays as it is.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        word = words.get(name, match[0])
        if value in (None, "True") or not word.startswith("-"):
            return word
        return word.replace("--", "--no-", 1) if value == "False" else f"{word} {value}"

    return _ARGUMENT.sub(option, message).replace("`verydeep.", "`verydeep ")


def json_line(value: Any) -> str:
    """JSON to be printed: in ASCII alone where standard output is not UTF-8, as programs that read it expect."""
    encoding = (sys.stdout.encoding or "").lower().replace("_", "-")
    return json_text(value, ensure_ascii=encoding not in ("utf-8", "utf8"))
