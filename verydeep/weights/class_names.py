"""Names of classes: ImageNet's come with the package, others from a file or a list, or they are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from verydeep.errors import UsageError, printable
from verydeep.images import imagenet
from verydeep.weights.class_list import names_in

ClassNames = str | PathLike[str] | Sequence[str]


def class_names(given: ClassNames, num_classes: int) -> tuple[str, ...]:
    """Names of classes as an argument gives them.

    Args:
        given: the names; or `imagenet`, `numbers`, or a file, as `class_list` reads it.
        num_classes: how many there have to be.

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
        names = _read(Path(given)) if isinstance(given, str | PathLike) else tuple(map(str, given))
    if len(names) != num_classes:
        what, one = (f"`class_names={given}`", "line") if isinstance(given, str) else ("`class_names`", "name")
        raise UsageError(
            f"{what} names {len(names)} classes, the weights have {num_classes}; give a {one} for each class, in "
            "the order of the scores"
        )
    return names


def _read(path: Path) -> tuple[str, ...]:
    try:
        return names_in(path.read_bytes(), path.suffix.lower() == ".json")
    except FileNotFoundError:
        reason = ": there is no such file; give imagenet, numbers, or a file with a line for each class"
    except OSError as error:
        reason = f" cannot be read: {error.strerror or error}"
    except (ValueError, RecursionError) as error:
        reason = f" cannot be read: {printable(error)}"
    raise UsageError(f"`class_names={path}`{reason}")
