"""TOML's tables -> values of the types that are wanted, or one sentence that names the place and what to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verydeep.errors import UsageError, did_you_mean, printable


@dataclass(frozen=True)
class Table:
    """A table of the file: its values by key, of the types that are wanted.

    Attributes:
        fields: what the file says.
        where: the table's place, as messages name it.
        known: its keys; empty for any.

    """

    fields: dict[str, Any]
    where: str
    known: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        prefix = f"{self.where}: " if self.where else ""
        for key in self.fields:
            if self.known and key not in self.known:
                raise UsageError(
                    f"{prefix}no key is called {printable(key, 60)!r}; there are {', '.join(self.known)}"
                    f"{did_you_mean(key, self.known)}"
                )

    def table(self, key: str, known: tuple[str, ...] = ()) -> Table:
        """A table within, empty where there is none."""
        value = self.fields.get(key, {})
        if not isinstance(value, dict):
            raise UsageError(f"{key} is {shown(value)}; it has to be a table, [{key}]")
        return Table(value, f"[{key}]", known)

    def tables(self, key: str, known: tuple[str, ...]) -> list[Table]:
        """The tables of one name, numbered."""
        value = self.fields.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise UsageError(f"{key} is {shown(value)}; it has to be a table for each, [[{key}]]")
        return [Table(one, f"[[{key}]] {number}", known) for number, one in enumerate(value, 1)]

    def word(self, key: str, default: str) -> str:
        """A word."""
        value = self.fields.get(key, default)
        if not isinstance(value, str):
            raise UsageError(f"{key} is {shown(value)}; it has to be a word in quotes")
        return value

    def words(self, key: str, default: tuple[str, ...] = (), *, required: bool = False) -> tuple[str, ...]:
        """A word, or a list of them, each once."""
        value = self.fields.get(key, list(default))
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in listed):
            raise UsageError(f"{key} is {shown(value)}; it has to be a word in quotes, or a list of them")
        if not listed:
            raise UsageError(f"{self.where} has no {key}" if required else f"{key} is an empty list")
        if len(set(listed)) < len(listed):
            raise UsageError(f"{key} names one twice: {printable(', '.join(listed), 90)}")
        return tuple(listed)

    def number(self, key: str, default: int) -> int:
        """A whole number."""
        value = self.fields.get(key, default)
        if type(value) is not int or abs(value) >= 2**63:
            raise UsageError(f"{key} is {shown(value)}; it has to be a whole number")
        return value

    def numbers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A whole number, or a list of them, each once."""
        value = self.fields.get(key, list(default))
        listed = value if isinstance(value, list) else [value]
        if not listed or any(type(one) is not int or abs(one) >= 2**63 for one in listed):
            raise UsageError(f"{key} is {shown(value)}; it has to be whole numbers, such as [0, 1, 2]")
        if len(set(listed)) < len(listed):
            raise UsageError(f"{key} has a number twice: {shown(listed)}")
        return tuple(listed)

    def scale(self, key: str, default: tuple[int, int]) -> tuple[int, int]:
        """S: a number, or the least and the greatest."""
        numbers = self.fields.get(key, list(default))
        numbers = numbers if isinstance(numbers, list) else [numbers, numbers]
        whole = len(numbers) == 2 and all(type(one) is int and 0 < one < 2**31 for one in numbers)
        if not whole or numbers[0] > numbers[1]:
            raise UsageError(
                f"{key} is {shown(self.fields.get(key))}; it has to be a number of pixels, or the least and "
                "the greatest, such as [256, 512]"
            )
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


def shown(value: Any) -> str:
    """A value of the file's, short and safe; whole numbers of thousands of digits cannot be written at all."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return "too great a number"
    return printable(repr(value), 60)
