"""Names of classes as a user gives them: ImageNet's, numbers, a list, or a file that lists classes.

A wrong name for a class is not seen in any number, so of a file nothing is guessed. A JSON list of names means
just these.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.errors import UsageError, printable, refusal
from verydeep.files import MOST_JSON_BYTES
from verydeep.images import imagenet
from verydeep.images.names import nfc

Entry = str | tuple[str, str]  # a name, or a WordNet number and a name
Numbered = list[tuple[int, Entry]]

_SEPARATOR = r"(?P<separator>\s*(?:[,;:|\t]|=>|->|=)\s*|\s+[-–]\s+|\s+)"
_NUMBER_FIRST = re.compile(rf'"?(?P<number>[0-9]+)[.)]?"?{_SEPARATOR}(?P<name>\S.*)')
_NUMBER_LAST = re.compile(rf'(?P<name>.*\S){_SEPARATOR}"?(?P<number>[0-9]+)"?')
_WORDNET = re.compile(rf"(?P<number>n[0-9]{{8}})(?:{_SEPARATOR}(?P<name>\S.*))?")
_RANGE = re.compile(r"[-–.]+\s*[0-9].*|(?:to|until|through|and)\s+[0-9].*")  # behind its first number
_YAML_ITEM = re.compile(r"-(?:\s+(?P<item>.*))?")
_YAML_SIGNS = tuple("[{&*!|>%@`-?")  # begin what is no plain text
AS_THEY_ARE = "a JSON list of names takes names as they are"


def names_in(content: bytes, is_json: bool) -> tuple[str, ...]:
    """Names of classes in a file.

    Args:
        content: of the file: a line for each class, with its number or without; or JSON: a list of names, or a map
            of numbers to names or of names to numbers. Where there are WordNet numbers of ImageNet's classes, they
            decide, and the names are those that this package has for them.
        is_json: whether the file says so.

    Raises:
        ValueError: it is not certain which class is called what; the message says why.

    """
    text = _decoded(content)
    if is_json or text.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(text, object_pairs_hook=_without_doubles)
        except json.JSONDecodeError as error:
            if is_json or text.lstrip().startswith("{"):
                raise ValueError(f"it is not JSON: {error}") from None
        else:
            return _checked(_of_json(value))
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    return _checked(_of_lines([line for line in lines if line and not line.startswith("#")]))


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
        if "\ufffd" in text:
            raise ValueError("it is damaged UTF-16; save it as UTF-8")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(
                f"line {line} has the byte 0x{content[error.start]:02x}, which is not UTF-8; save it as UTF-8"
            ) from None
    if "\0" in text:
        raise ValueError("it has NUL characters, as UTF-16 without its mark or another file has; save it as UTF-8")
    return text


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it has {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found


def _of_json(value: Any) -> list[Entry]:
    if isinstance(value, list):
        return [_entry(item) for item in value]
    if not isinstance(value, dict) or not value:
        raise ValueError("it is neither a list of names nor a map between numbers and names")
    readings: list[Numbered] = []
    if all(_is_number(key) for key in value):
        readings.append([(int(key), _entry(item)) for key, item in value.items()])
    if all(_is_number(item) for item in value.values()):
        readings.append([(int(item), key) for key, item in value.items()])
    if not readings:
        raise ValueError("it is neither a map of numbers to names nor one of names to numbers")
    if len(readings) > 1 and sorted(readings[0], key=itemgetter(0)) != sorted(readings[1], key=itemgetter(0)):
        raise ValueError(f"both sides of its map are numbers, so either could be the name; {AS_THEY_ARE}")
    return _in_order(readings[0])


def _is_number(item: Any) -> bool:
    return type(item) in (int, str) and re.fullmatch("[0-9]+", str(item)) is not None


def _entry(item: Any) -> Entry:
    if type(item) in (str, int):
        return str(item)
    if isinstance(item, list) and len(item) == 2 and all(type(part) is str for part in item):
        if not re.fullmatch("n[0-9]{8}", item[0]):
            raise ValueError(f"{item!r} is not a WordNet number and a name")
        return item[0], item[1]
    raise ValueError(f"{item!r} is not the name of a class")


def _in_order(pairs: Numbered) -> list[Entry]:
    """Entries by their numbers, which must be 0, 1, 2 and so on."""
    ordered = sorted(pairs, key=itemgetter(0))
    numbers = [number for number, _ in ordered]
    for one, other in pairwise(numbers):
        if one == other:
            raise ValueError(f"two classes have the number {one}")
    if numbers != list(range(len(numbers))):
        missing = next(number for number in range(len(numbers)) if numbers[number] != number)
        begin = "they begin at 1: subtract 1, if" if numbers[0] == 1 else f"{missing} is missing:"
        rest = "the first is the network's class 0" if numbers[0] == 1 else f"the greatest is {numbers[-1]}"
        raise ValueError(f"its {len(numbers)} classes are not numbered from 0 on; {begin} {rest}; {AS_THEY_ARE}")
    return [entry for _, entry in ordered]


def _of_lines(lines: Sequence[str]) -> list[Entry]:
    lines = _items(lines)
    numbered = _numbered(lines)
    names = [name for _, name in numbered] if numbered else lines
    _check_columns(names)
    entries = _by_wordnet(names)
    if numbered:
        return _in_order(list(zip([number for number, _ in numbered], entries, strict=True)))
    return entries


def _items(lines: Sequence[str]) -> Sequence[str]:
    """The texts of a YAML list's items; the lines themselves where they are none."""
    matches = [_YAML_ITEM.fullmatch(line) for line in lines if line != "---"]
    items = [match["item"] or "" for match in matches if match]
    if 2 * len(items) <= len(matches):
        return lines
    if len(items) < len(matches):
        raise ValueError(f"most lines are items of a YAML list, which begin with '- ', and not all; {AS_THEY_ARE}")
    for item in items:
        if item.startswith(_YAML_SIGNS) or " #" in item or "\\" in item:
            raise ValueError(f"{item!r} is an item of a YAML list that is no plain name; {AS_THEY_ARE}")
    return [item[1:-1].replace("''", "'") if re.fullmatch("'.+'", item) else item for item in items]


def _check_columns(names: Sequence[str]) -> None:
    """Refuse what looks like more than a name in every line, or like a part of a list in a program."""
    for name in names:
        if name.endswith((",", ";", "|")):
            raise ValueError(f"{name!r} ends with {name[-1]!r}; remove it, or: {AS_THEY_ARE}")
    for sign in ";|":
        if names and all(sign in name and '"' not in name for name in names):
            raise ValueError(f"{names[0]!r} has more columns than a name; {AS_THEY_ARE}")
    if names and all(re.fullmatch("'.*'", name) for name in names):
        raise ValueError(f"{names[0]} is in single quotation marks; remove them, or: {AS_THEY_ARE}")


def _numbered(lines: Sequence[str]) -> list[tuple[int, str]] | None:
    """Numbers and names, where every line has both, below a heading or without one; None where they have not."""
    for pattern in (_NUMBER_FIRST, _NUMBER_LAST):
        matches = [pattern.fullmatch(line) for line in lines]
        if len(matches) > 2 and matches[0] is None and re.search("[,;\t]", lines[0]):
            matches = matches[1:]  # the heading of a table
        found = [(int(match["number"]), _name(match)) for match in matches if match]
        if len(found) == len(matches) > 0:
            if pattern is _NUMBER_FIRST or max(found)[0] <= len(found):
                return found
        elif 2 * len(found) > len(matches) and max(found)[0] <= len(lines):
            other = lines[len(lines) - len(matches) + matches.index(None)]
            raise ValueError(f"most lines have a class's number, and {other!r} has none; {AS_THEY_ARE}")
    return None


def _name(match: re.Match[str]) -> str:
    """The name beside a number, if it is one."""
    name, separator = match["name"], match["separator"].strip()
    further = {"": r"\t", ",": r",\S", ":": r":\S", "-": r"\s-\s", "–": r"\s–\s"}.get(
        separator, re.escape(separator)
    )
    if '"' not in name and re.search(further, name):
        raise ValueError(f"{match[0]!r} has more columns than a number and a name; {AS_THEY_ARE}")
    is_other_number = _is_number(name.strip('"')) and int(name.strip('"')) != int(match["number"])
    if is_other_number or _RANGE.fullmatch(name) or (separator in ("-", "–") and name[:1].isdecimal()):
        raise ValueError(f"{match[0]!r} is two numbers or a range, and not a number and a name; {AS_THEY_ARE}")
    return name


def _unquoted(name: str) -> str:
    """A name without the quotation marks around it, as tables have them."""
    if len(name) > 1 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    if name[:1] == '"' or name[-1:] == '"':
        raise ValueError(f"{name!r} has one quotation mark of two; {AS_THEY_ARE}")
    return name


def _by_wordnet(names: Sequence[str]) -> list[Entry]:
    """Lines as of `synset_words.txt`: a WordNet number and a name; or names alone."""
    matches = [_WORDNET.fullmatch(name) for name in names]
    found = [(match["number"], _unquoted(match["name"] or match["number"])) for match in matches if match]
    if len(found) == len(names):
        return list(found)
    if 2 * len(found) > len(names):
        raise ValueError(f"most lines have a WordNet number, and {names[matches.index(None)]!r} has none")
    return [_unquoted(name) for name in names]


def _checked(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The names, none of them empty and no two the same."""
    wordnet = [entry[0] for entry in entries if isinstance(entry, tuple)]
    known = imagenet.named(wordnet) if wordnet and len(wordnet) == len(entries) else None
    names = known or tuple((entry if isinstance(entry, str) else entry[1]).strip() for entry in entries)
    check_names(names)
    return names


def check_names(names: Sequence[str]) -> None:
    """Make sure that names of classes tell them apart.

    Raises:
        ValueError: one is empty or has a control character, or two are the same.

    """
    number_of: dict[str, int] = {}
    for number, name in enumerate(names):
        if not name.strip():
            raise ValueError(f"class {number} has an empty name")
        if _has_control(name):
            raise ValueError(f"class {number} is called {name!r}, with a tab or another control character")
        if nfc(name) in number_of:
            raise ValueError(f"classes {number_of[nfc(name)]} and {number} are both called {name!r}")
        number_of[nfc(name)] = number


def as_they_came(names: Sequence[str]) -> tuple[str, ...]:
    """Names that came with weights of others: as they are, or escaped where control characters are in them."""
    return tuple(printable(name) if _has_control(name) else name for name in names)


def _has_control(name: str) -> bool:
    return any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


ClassNames = str | PathLike[str] | Sequence[str]


def class_names(given: ClassNames, num_classes: int) -> tuple[str, ...]:
    """Names of classes as an argument gives them.

    Args:
        given: the names; or `imagenet`, `numbers`, or a file, as `names_in` reads it.
        num_classes: how many there must be.

    Raises:
        UsageError: there is no such file, it is not certain which class it calls what, or there are names for
            another number of classes; or there are no classes to name.

    """
    if not num_classes:
        raise UsageError("these weights are features only, without classes; leave `class_names` out")
    if given == "imagenet":
        names = imagenet.class_names()
    elif given == "numbers":
        names = tuple(map(str, range(num_classes)))
    else:
        names = _read(Path(given)) if isinstance(given, str | PathLike) else _checked_list(given)
    if len(names) != num_classes:
        what, one = (f"`class_names={given}`", "line") if isinstance(given, str) else ("`class_names`", "name")
        raise UsageError(
            f"{what} names {len(names)} classes, the weights have {num_classes}; give a {one} for each class, in "
            "the order of the scores"
        )
    return names


def _checked_list(given: Sequence[str]) -> tuple[str, ...]:
    try:
        return _checked(list(map(str, given)))
    except ValueError as error:
        raise UsageError(f"`class_names`: {printable(error)}") from None


def _read(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_JSON_BYTES + 1)
        if len(content) > MOST_JSON_BYTES:
            raise ValueError("it is too long to be a list of classes")
        return names_in(content, path.suffix.lower() == ".json")
    except FileNotFoundError:
        reason = ": there is no such file; give imagenet, numbers, or a file with a line for each class"
    except OSError as error:
        raise UsageError(refusal(path, "read", error)) from None
    except (ValueError, RecursionError) as error:
        reason = f" cannot be read: {printable(error)}"
    raise UsageError(f"`class_names={path}`{reason}")
