"""What the package raises when the world is not as it should be.

Each message is one sentence that says what was seen, what is wanted and what to do. The command line prints
it and ends: a `UsageError` with exit code 2, any other with 1.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, get_args

_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # what Python makes of a file name's byte that is not UTF-8


class VerydeepError(Exception):
    """Something cannot be done; the message says why and what to do."""

    def __str__(self) -> str:
        return as_text(super().__str__())


class UsageError(VerydeepError, ValueError):
    """The request itself cannot be carried out as it was made."""


class DataError(VerydeepError):
    """The data set is not one of the layouts that can be read, or lacks what is asked of it."""


class PictureError(VerydeepError):
    """A picture cannot be read, or is not of a size that can be used."""


class ModelError(VerydeepError):
    """A model on disk is incomplete, damaged or of another configuration."""


class TrainingError(VerydeepError):
    """A training run cannot go on."""


class DiskError(VerydeepError, OSError):
    """A file cannot be written: the disk is full, say."""


def as_text(name: object) -> str:
    r"""The name of a file or folder as text that can be written anywhere: a byte that is not UTF-8 becomes `\xe9`.

    This is the one rule for such names, in every output. A name is put through it where it is found, so that names
    that are read back are equal to those that are found again.
    """
    return _NOT_UTF_8.sub(_escaped, str(name))


def _escaped(letter: re.Match[str]) -> str:
    code = ord(letter[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def printable(text: object, most: int = 300) -> str:
    """Words of a file's own, safe to print within a sentence: one line, no control characters, not too long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
    return line if len(line) <= most else line[: most - 3] + "..."


def few(names: Sequence[str], most: int = 5, *, quoted: bool = True) -> str:
    """Name some in a sentence and count the rest."""
    shown = [repr(name) if quoted else name for name in names[:most]]
    return ", ".join(shown) + f" and {len(names) - most} more" * (len(names) > most)


def command_line(*words: object) -> str:
    """A command to propose, in backticks, quoted as a shell needs it."""
    return f"`{shlex.join(['verydeep', *map(str, words)])}`"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """End a sentence by the name that a word may have meant; with nothing where none is near."""
    near = get_close_matches(word, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def check_choice(what: str, value: str, choices: Any) -> Any:
    """Make sure that a value is among the words of a `Literal`, or among other names.

    Raises:
        UsageError: it is not; the message names the near one.

    """
    names = get_args(choices) or tuple(choices)
    if value not in names:
        raise UsageError(
            f"no {what} is called {value!r}; there are {', '.join(names)}{did_you_mean(value, names)}"
        )
    return value


def check_least(name: str, value: int, least: int) -> None:
    """Make sure that an argument is not too small.

    Raises:
        UsageError: it is.

    """
    if value < least:
        wanted = f"at least {least}" if least else "0 or more"
        raise UsageError(f"`{name}` is {value}; it has to be {wanted}")


def require(module: str, extra: str, purpose: str) -> None:
    """Say which extra to install if `module` is not there.

    Raises:
        VerydeepError: `module` cannot be found.

    """
    from importlib.util import find_spec

    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise VerydeepError(
            f"{purpose} needs {module}, which is not installed; run: pip install 'verydeep[{extra}]'"
        )
