"""Names of classes: ImageNet's come with the package, others from a file, or they are numbers."""

from __future__ import annotations

import json
from pathlib import Path

from verydeep.errors import UsageError
from verydeep.images import imagenet


def class_names(word: str, num_classes: int) -> tuple[str, ...]:
    """Names of classes as an option tells them.

    Args:
        word: `imagenet`, `numbers`, or a file: a line for each class, or a JSON list.
        num_classes: how many there have to be.

    Raises:
        UsageError: there is no such file, or it names another number of classes; or there are no classes to name.

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
        raise UsageError(f"--class-names {word} names {len(names)} classes, the weights have {num_classes}")
    return names


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            names = json.loads(text)
            if not isinstance(names, list):
                raise ValueError("it is not a list")
            return tuple(map(str, names))
    except FileNotFoundError:
        raise UsageError(
            f"--class-names {path}: there is no such file; give imagenet, numbers, or a file with a line for each"
        ) from None
    except OSError as error:
        raise UsageError(f"--class-names {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--class-names {path} cannot be read: {error}") from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())
