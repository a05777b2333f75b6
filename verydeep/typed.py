"""Values that a file holds (JSON, TOML) -> values of the types that they must be.

Files come from strangers: a value of another type is refused here, in a few words, before anything believes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from verydeep.errors import as_text, did_you_mean, printable

NAMES: dict[Any, str] = {
    str: "a word in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    dict: "a table",
    type(None): "null",
}
MOST = 2**63  # of whole numbers


def as_type(kind: Any, value: Any, name: str = "it") -> Any:
    """A value as a type: `int`, `tuple[int, ...]`, `dict[str, Any]`, a dataclass, and so on.

    Lists become tuples, tables dataclasses, and whole numbers floats where a float is wanted. A number must be
    finite, and a text one that can be written anywhere.

    Args:
        kind: the type; of a dataclass every field is one.
        value: what `json` or `tomllib` have read.
        name: of the value, for the message.

    Raises:
        ValueError: it is of another type; the message names it.

    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _as_dataclass(kind, value, name)
    if origin in (Union, UnionType):
        [kind] = [one for one in inner if one is not type(None)]
        return None if value is None else as_type(kind, value, name)
    if origin is Literal and isinstance(value, str) and value in inner:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if inner[-1] is Ellipsis:
            return tuple(as_type(inner[0], one, name) for one in value)
        if len(inner) == len(value):
            return tuple(as_type(one, part, name) for one, part in zip(inner, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {
            as_type(inner[0], key, name): as_type(inner[1], one, f"{name}'s {key}") for key, one in value.items()
        }
    if kind is float and is_of(value, int):
        return float(value)
    if is_of(value, kind):
        return value
    wanted = f"one of {', '.join(inner)}" if origin is Literal else NAMES.get(origin or kind, str(kind))
    raise ValueError(f"{name} is {shown(value)}; it must be {wanted}")


def _as_dataclass(kind: Any, value: Any, name: str) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {shown(value)}; it must be {NAMES[dict]}")
    known = {field.name: field for field in fields(kind)}
    for key in value:
        if key not in known:
            raise ValueError(f"{name} has {shown(key)}, which is not known{did_you_mean(str(key), known)}")
    for key, field in known.items():
        if key not in value and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{name} lacks {key}")
    return kind(**{key: as_type(hints[key], one, key) for key, one in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def is_of(value: Any, kind: Any) -> bool:
    """Whether a value has exactly this type and can be written: a finite number, not too great; Unicode text."""
    if type(value) is not kind:
        return False
    if kind is str:
        return bool(as_text(value) == value)
    if kind is int:
        return bool(abs(value) < MOST)
    return bool(kind is not float or isfinite(value))


def texts(values: Iterable[str]) -> tuple[str, ...]:
    """Words, each of which can be written anywhere.

    Raises:
        ValueError: one cannot, or is no word.

    """
    return as_type(tuple[str, ...], list(values), "names")  # type: ignore[no-any-return]


def shown(value: Any) -> str:
    """A value of the file's, short and safe. Of one that holds more than plain values, its size."""
    if type(value) in (list, tuple, dict):
        held = [*value, *value.values()] if type(value) is dict else value
        if not all(map(is_plain, held)):
            return f"a {'table' if type(value) is dict else 'list'} of {len(value)}"
    elif not is_plain(value):
        return "too great a number" if type(value) is int else f"a {type(value).__name__}"
    return printable(repr(value), 60)


def is_plain(value: Any) -> bool:
    """Whether a value has nothing within it; of whole numbers those of thousands of digits cannot be written."""
    return type(value) in (str, float, bool, type(None)) or (type(value) is int and abs(value) < MOST)
