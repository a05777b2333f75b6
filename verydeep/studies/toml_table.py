"""TOML's tables -> values of the types that are wanted, or one sentence that names the place and what to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from verydeep.errors import UsageError, did_you_mean, printable
from verydeep.typed import NAMES, is_of, shown

T = TypeVar("T", str, int)


@dataclass(frozen=True)
class Table:
    """A table of the file: its values by key, of the types that are wanted.

    Attributes:
        fields: what the file says.
        where: the table's place, as messages name it.
        known: its keys; empty for any.

    Raises:
        UsageError: a key is not one of them.

    """

    fields: dict[str, Any]
    where: str
    known: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in self.fields:
            if self.known and key not in self.known:
                raise UsageError(
                    f"{self.where and f'{self.where}: '}no key is called {printable(key, 60)!r}; there are "
                    f"{', '.join(self.known)}{did_you_mean(key, self.known)}"
                )

    def table(self, key: str, known: tuple[str, ...] = ()) -> Table:
        """A table within, empty where there is none."""
        value = self.fields.get(key, {})
        if not isinstance(value, dict):
            raise wrong(key, value, f"a table, [{key}]")
        return Table(value, f"[{key}]", known)

    def tables(self, key: str, known: tuple[str, ...]) -> list[Table]:
        """The tables of one name, numbered."""
        value = self.fields.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise wrong(key, value, f"a table for each, [[{key}]]")
        return [Table(one, f"[[{key}]] {number}", known) for number, one in enumerate(value, 1)]

    def value(self, key: str, default: T) -> T:
        """A word or a whole number, of the default's type."""
        value = self.fields.get(key, default)
        if not is_of(value, type(default)):
            raise wrong(key, value, NAMES[type(default)])
        return value  # type: ignore[no-any-return]

    def words(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A word, or a list of them, each once; without a default there must be one."""
        if default is None and not self.fields.get(key, []):
            raise UsageError(f"{self.where} has no {key}")
        return self._list(key, str, default or (), "a word in quotes, or a list of them")

    def numbers(self, key: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """A whole number, or a list of them, each once."""
        return self._list(key, int, default, "whole numbers, such as [0, 1, 2]")

    def _list(self, key: str, kind: type[T], default: tuple[T, ...], wanted: str) -> tuple[T, ...]:
        value = self.fields.get(key, list(default))
        listed = value if isinstance(value, list) else [value]
        if not listed or not all(is_of(one, kind) for one in listed):
            raise wrong(key, value, wanted)
        if len(set(listed)) < len(listed):
            raise UsageError(f"{key} names one twice: {shown(listed)}")
        return tuple(listed)

    def scale(self, key: str, default: tuple[int, int]) -> tuple[int, int]:
        """S: a number, or the least and the greatest."""
        value = self.fields.get(key, list(default))
        numbers = value if isinstance(value, list) else [value, value]
        whole = len(numbers) == 2 and all(type(one) is int and 0 < one < 2**31 for one in numbers)
        if not whole or numbers[0] > numbers[1]:
            raise wrong(key, value, "a number of pixels, or the least and the greatest, such as [256, 512]")
        return numbers[0], numbers[1]


def one_of(word: str, choices: Sequence[str], what: str) -> str:
    """Make sure that a word is one of those that there are.

    Raises:
        UsageError: it is not; the message names the near ones.

    """
    if word not in choices:
        raise UsageError(
            f"{what} has {printable(word, 60)!r}; there are {', '.join(choices)}{did_you_mean(word, choices)}"
        )
    return word


def wrong(key: str, value: Any, wanted: str) -> UsageError:
    """The error of a value that is not what is wanted."""
    return UsageError(f"{key} is {shown(value)}; it must be {wanted}")
