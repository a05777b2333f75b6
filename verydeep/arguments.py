"""Arguments of public functions -> one sentence where one is missing, or of another type than is wanted.

Types are those of the signatures. What these cannot say, the functions check themselves.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from inspect import Parameter
from numbers import Integral, Real
from os import PathLike, fsdecode
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from verydeep.errors import ArgumentError, UsageError, did_you_mean, printable

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

ONE: dict[Any, tuple[str, str, str]] = {
    bool: ("True or False", "", ""),
    int: ("a whole number", "whole numbers", "64"),
    float: ("a number", "numbers", "0.5"),
    str: ("text", "words", "'a'"),
    PathLike: ("a path", "paths", "'a'"),
}
"""Types of arguments: what a message calls one, several, and an example."""

_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)  # of a docstring's sections


def checked(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Check the arguments of a function, before it is called, by its annotations.

    Calls raise `ArgumentError`, a `UsageError` and a `TypeError`: an argument is missing, or of another type.
    """

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            given = _signature(function).bind(*args, **kwargs).arguments
        except TypeError as error:
            raise ArgumentError(_not_bound(function, str(error))) from None
        for name, value in given.items():
            check_type(name, value, _annotations(function)[name])
        return function(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})

    return call


def _plain(value: Any) -> Any:
    """A number of NumPy's as Python's own: others, such as JSON and torch, take no other."""
    if isinstance(value, (int, float)) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def check_fields(instance: Any) -> None:
    """Check the fields of a dataclass by their annotations.

    Raises:
        ArgumentError: one is of another type.

    """
    for name, annotation in _fields(type(instance)).items():  # type: ignore[arg-type]
        check_type(name, getattr(instance, name), annotation)


def check_type(name: str, value: object, annotation: Any) -> None:
    """Make sure that an argument is of a type.

    Raises:
        ArgumentError: it is not, or it is an empty path; the message says what is wanted.
        UsageError: it is none of the words of a `Literal`, or text with a zero byte, which no path can have.

    """
    if _has_zero_byte(value):
        raise UsageError(f"`{name}` is {printable(repr(value), 60)}; no path and no name has a zero byte")
    if fits(value, annotation) and not _is_empty_path(value, annotation):
        return
    plain = isinstance(value, (str, bytes, Real, NoneType, list, tuple))
    seen = printable(repr(value), 60) if plain else _with_article(type(value).__name__)
    message = f"`{name}` is {seen}; it must be {_wanted(annotation)}{_advice(value, annotation)}"
    raise (UsageError if isinstance(value, str) and _words(annotation) else ArgumentError)(message)


def fits(value: object, annotation: Any) -> bool:
    """Whether a value is of a type. Of types that are not known here, all values are."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(isinstance(value, type(one)) and value == one for one in inner)
    if origin in (tuple, Sequence, Iterable):
        if isinstance(value, (str, bytes, PathLike)):
            return False
        if origin is Iterable and not isinstance(value, Sequence):
            return isinstance(value, Iterable)  # it may be read once only
        if origin is Sequence and hasattr(value, "tolist"):  # an array or a tensor of numbers
            value = value.tolist()
        if not isinstance(value, Sequence):
            return False
        if origin is tuple and Ellipsis not in inner:
            return len(value) == len(inner) and all(map(fits, value, inner))
        return all(fits(one, inner[0]) for one in value)
    if annotation in (int, float):
        return isinstance(value, Integral if annotation is int else Real) and not isinstance(value, bool)
    if annotation in (None, NoneType):
        return value is None
    kind = origin or annotation
    unknown = annotation is Any or not isinstance(kind, type) or getattr(kind, "_is_protocol", False)
    return unknown or isinstance(value, kind)


def _wanted(annotation: Any) -> str:
    """What is wanted, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        words = dict.fromkeys(_wanted(one) for one in inner if one is not NoneType)
        if {ONE[str][0], ONE[PathLike][0]} <= words.keys():
            words = {"a path or a name": None} | {word: None for word in words if word not in ("text", "a path")}
        return " or ".join(words)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (tuple, Sequence, Iterable):
        kinds = [get_origin(one) or one for one in (inner[0], *get_args(inner[0]))]
        kind = next((one for one in reversed(ONE) if one in kinds), None)
        _, several, example = ONE.get(kind, ("", "", ""))
        if origin is tuple and Ellipsis not in inner:
            return f"{len(inner)} {several}, such as ({', '.join([example] * len(inner))})"
        brackets = "({},)" if origin is tuple else "[{}]"
        return f"a list of {several}, such as {brackets.format(example)}" if several else "a list"
    kind = origin or annotation
    return ONE[kind][0] if kind in ONE else _with_article(kind.__name__)


def _is_empty_path(value: object, annotation: Any) -> bool:
    """Whether a path is empty text, as a shell's variable that is not set: it would be the folder where we are."""
    kinds = [get_origin(one) or one for one in (annotation, *get_args(annotation))]
    return isinstance(value, str) and not value and PathLike in kinds


def _has_zero_byte(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_zero_byte, value))
    return isinstance(value, (str, PathLike)) and "\0" in fsdecode(value)


def _words(annotation: Any) -> tuple[str, ...]:
    """Those that an argument can be, of a `Literal`; none of another type."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(word for one in get_args(annotation) for word in _words(one))


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _advice(value: object, annotation: Any) -> str:
    """What to write instead, where that can be told: for one value in the place of a list, and for a model."""
    if isinstance(value, str) and (words := _words(annotation)):
        return did_you_mean(value, words)
    name = getattr(value, "name", "")
    if hasattr(value, "posterior") and isinstance(name, str) and name:
        return f": give what it was loaded by, {name!r}, or use its own methods"
    origin, inner = get_origin(annotation), get_args(annotation)
    several = origin in (tuple, Sequence) and (len(inner) == 1 or Ellipsis in inner)
    if several and fits(value, inner[0]):
        return f": write {f'({value!r},)' if origin is tuple else f'[{value!r}]'}"
    if isinstance(value, (list, tuple)) and value and origin not in (tuple, Sequence):
        return _advice(value[0], annotation)
    if type(value).__module__.partition(".")[0] in ("PIL", "numpy", "torch") and fits("", annotation):
        return "; `verydeep.load(model).predict` takes images that are open, and arrays"
    return ""


def documented_arguments(text: str) -> dict[str, str]:
    """What a docstring says of each name in its sections, `Args` and the like."""
    return {name: " ".join(told.split()) for name, told in _ENTRY.findall(text)}


def _not_bound(function: Callable[..., Any], reason: str) -> str:
    """Why a function cannot be called: the argument that is missing, with what its docstring says of it."""
    name = function.__qualname__.removesuffix(".__init__")
    missing = re.fullmatch("missing a required (?:keyword-only )?argument: '(.*)'", reason)
    if not missing:
        return f"{name}: {reason}; help({name}) tells its arguments"
    documented = function.__globals__.get(name.partition(".")[0], function)
    text = inspect.getdoc(documented if function.__name__ == "__init__" else function) or ""
    told = documented_arguments(text).get(missing[1])
    return f"{name} lacks `{missing[1]}`" + (f": {told.removesuffix('.')}" if told else "")


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@cache
def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Of each parameter; `Any` for what only a type checker can find, and for what a function hands on."""
    found: dict[str, Any] = {}
    for name, parameter in _signature(function).parameters.items():
        found[name] = Any
        if parameter.annotation is not Parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD:
            try:
                found[name] = eval(parameter.annotation, function.__globals__)  # as the module itself would
            except NameError:
                continue
    return found


@cache
def _fields(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)
