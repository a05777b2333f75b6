"""Names of classes: ImageNet's come with the package, others from a file, or they are numbers."""

from __future__ import annotations

from pathlib import Path

from verydeep.errors import UsageError, printable
from verydeep.images import imagenet
from verydeep.weights.class_list import names_in


def class_names(word: str, num_classes: int) -> tuple[str, ...]:
    """Names of classes as an option tells them.

    Args:
        word: `imagenet`, `numbers`, or a file, as `class_list` reads it.
        num_classes: how many there have to be.

    Raises:
        UsageError: there is no such file, it is not certain which class it calls what, or it names another number
            of classes; or there are no classes to name.

    """
    if not num_classes:
        raise UsageError("--class-names: these weights are features only, without classes; leave it out")
    if word == "imagenet":
        names = imagenet.class_names()
    elif word == "numbers":
        names = tuple(map(str, range(num_classes)))
    else:
        names = _read(Path(word))
    if len(names) != num_classes:
        raise UsageError(
            f"--class-names {word} names {len(names)} classes, the weights have {num_classes}; give a "
            "line for each class, in the order of the scores"
        )
    return names


def _read(path: Path) -> tuple[str, ...]:
    try:
        return names_in(path.read_bytes(), path.suffix.lower() == ".json")
    except FileNotFoundError:
        raise UsageError(
            f"--class-names {path}: there is no such file; give imagenet, numbers, or a file with a line for each"
        ) from None
    except OSError as error:
        raise UsageError(f"--class-names {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--class-names {path} cannot be read: {printable(error)}") from None
