"""What the package raises when the world is not as it should be.

Each message is one sentence that says what was seen, what is wanted and what to do. The command line prints
it and ends: a `UsageError` with exit code 2, any other with 1.
"""

import os
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

_NO_MEMORY = re.compile(
    "can't allocate memory|cannot allocate memory|out of memory|failed to map segment|bad_alloc", re.IGNORECASE
)
_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # what Python makes of a file name's byte that is not UTF-8
_CONTROLS = "\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_COLOR_OR_CONTROL = re.compile(rf"(\x1b\[[\d;]*m|\n)|[{_CONTROLS}]")


class VerydeepError(Exception):
    """Something cannot be done; the message says why and what to do."""

    def __str__(self) -> str:
        return as_text(super().__str__())


class ElsewhereError(VerydeepError):
    """Another process that this one works with could not go on, and says why; here it is not told again."""


class UsageError(VerydeepError, ValueError):
    """The request itself cannot be carried out as it was made."""


class ArgumentError(UsageError, TypeError):
    """An argument of a function is missing, or of another type than is wanted."""


class DataError(VerydeepError):
    """The data set is not one of the layouts that can be read, or lacks what is asked of it."""


class ImageError(VerydeepError):
    """An image cannot be read, or is not of a size that can be used."""


class ModelError(VerydeepError):
    """A model on disk is incomplete, damaged or of another configuration."""


class TrainingError(VerydeepError):
    """A training run cannot go on."""


class BusyError(VerydeepError):
    """Another process writes there now."""


class DiskError(VerydeepError, OSError):
    """A file cannot be written: the disk is full, say."""


class DeniedError(DiskError, PermissionError):
    """A file or folder cannot be written by this user."""


def refusal(path: str | PathLike[str], done: str, error: OSError) -> str:
    """Say what the system refuses, and why.

    Args:
        path: of a file or folder. Where it is not there, or not to be seen, the folder that it is in is named.
        done: what is refused: `read`, `written`, `listed`.
        error: of the system.

    """
    if not isinstance(error, PermissionError):
        return f"{path} cannot be {done}: {error.strerror or error}"
    place = next(filter(os.path.exists, (Path(path), *Path(path).parents)), Path(path))
    shown = place if place.name else place.absolute()  # the folder where we are has no name
    return f"{shown} cannot be {done}: permission denied; change its permissions or run as its owner"


def of_system(error: OSError) -> str:
    """An error of the system that nobody has told of: most are of files that are read."""
    if error.filename is None:
        return error.strerror or str(error)
    return refusal(os.fsdecode(error.filename), "read", error)


def as_text(name: object) -> str:
    r"""The name of a file or folder as text that can be written anywhere: a byte that is not UTF-8 becomes `\xe9`.

    This is the one rule for such names, in every output. A name is put through it where it is found, so that names
    that are read back are equal to those that are found again.
    """
    return _NOT_UTF_8.sub(_escaped, str(name))


def _escaped(letter: re.Match[str]) -> str:
    code = ord(letter[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def escaped(name: object) -> str:
    r"""A name as it is printed within a line: control characters, and those that turn it round, as `\n` or `\x1b`.

    Every name of a file, a class or a run is put through it where it is printed for people. JSON has rules of its
    own, and files have names as they are.
    """
    return _CONTROL.sub(_as_code, as_text(name))


def escaped_lines(text: str) -> str:
    """A text for the terminal: as `escaped`, but for the ends of lines and for colours."""
    return _COLOR_OR_CONTROL.sub(lambda match: match[0] if match[1] else _as_code(match), as_text(text))


def _as_code(letter: re.Match[str]) -> str:
    return letter[0].encode("unicode_escape").decode()


def printable(text: object, most: int = 300) -> str:
    """Words of a file's own, safe to print within a sentence: one line, no control characters, not too long."""
    words = " ".join(str(text).split())
    line = "".join(letter if letter.isprintable() else escaped(letter) for letter in words)
    return line if len(line) <= most else line[: most - 3] + "..."


def in_words(error: Exception) -> str:
    """What an error says, within a sentence; of one of the system's, its words alone, without number and file."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


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


def near_path(path: str | PathLike[str]) -> str:
    """End a sentence by the file or folder that was meant by a path at which there is none; likewise."""
    near = nearest(Path(path))
    return f"; did you mean {as_text(near)}?" if near else ""


def nearest(path: Path) -> Path | None:
    """What may be meant by a path at which there is nothing: of a near name, or in a folder of a near name."""
    folder = path.parent
    try:
        if not folder.is_dir():
            near = nearest(folder)
            return near / path.name if near and (near / path.name).exists() else None
        names = get_close_matches(path.name, sorted(os.listdir(folder)), n=1)  # noqa: PTH208 - names alone
    except (OSError, ValueError):  # the latter is of a zero byte
        return None
    return folder / names[0] if names else None


def check_choice(what: str, value: str, names: Collection[str]) -> str:
    """Make sure that a name is among those that there are.

    Raises:
        UsageError: it is not; the message names the near one.

    """
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
        raise UsageError(f"`{name}` is {value}; it must be {wanted}")


def check_seed(seed: int) -> None:
    """Make sure that a seed is one that every generator of random numbers takes.

    Raises:
        UsageError: it is negative, or has more than 63 bits.

    """
    if not 0 <= seed < 2**63:
        raise UsageError(f"`seed` is {seed}; it must be from 0 to {2**63 - 1}")


def number_from_environment(name: str, default: int, least: int, most: int) -> int:
    """A whole number from an environment variable; what is not set, or empty, is the default.

    Raises:
        UsageError: it is no such number.

    """
    text = os.environ.get(name)
    if not text:
        return default
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not (digits and least <= int(text) <= most):
        raise UsageError(
            f"{name} is {printable(repr(text), 40)}; it must be a whole number from {least} to {most}"
        )
    return int(text)


def lack_of_memory(error: BaseException) -> VerydeepError | None:
    """What to raise for an error that says, in the words of one library or another, that memory has run out."""
    libraries = isinstance(error, (RuntimeError, ImportError)) and _NO_MEMORY.search(str(error))
    if not (libraries or isinstance(error, MemoryError)):
        return None
    reason = libraries[0] if libraries else printable(error, 120) or "an allocation failed"
    return VerydeepError(
        f"there is not enough memory ({reason}); free some, raise its limit (ulimit -v), or use a smaller model, "
        "smaller images or fewer at once"
    )


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
