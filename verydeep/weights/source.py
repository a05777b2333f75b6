"""Where weights come from: a path or a name, the file here that it means, and what is known about that file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from verydeep.errors import ModelError
from verydeep.files import read_json
from verydeep.run_folder import CONFIG
from verydeep.weights.formats import MODEL_FILES
from verydeep.weights.metadata import UNKNOWN, Metadata

EMBEDDED = {name: Path(__file__).parent / "bundled" / name for name in ("cifar10", "tiny-imagenet")}
"""Models that come with the package, by their names."""

SEPARATOR = "::"  # between a file and the network in it


@dataclass(frozen=True)
class Source:
    """Weights here, on disk.

    Attributes:
        path: a file, or a folder with one.
        name: what the user called them; messages and provenance say it.
        metadata: what is known because of where they come from, an enumeration of a library's.
        network: which of the networks in a checkpoint is meant, by the name that it has there.

    """

    path: Path
    name: str
    metadata: Metadata = UNKNOWN
    network: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether they come with the package, where nothing is to be written."""
        return self.path in EMBEDDED.values()


def locate(source: str | PathLike[str]) -> Source:
    """Find the file here that a MODEL or SOURCE argument means.

    A path that exists is taken as it is; anything else is a name: of a model that comes with the package, or as
    `verydeep.weights.by_name` knows them. A folder of data may be called as such a model is. Behind either,
    `::NAME` says which of the networks in a checkpoint is meant.

    Raises:
        ModelError: there is no such file, and no such name.

    """
    path = Path(source)
    file, separator, network = fspath(source).rpartition(SEPARATOR)
    if separator and not path.exists():
        return replace(locate(file), name=fspath(source), network=network)
    if embedded := _embedded(source):
        return Source(embedded, fspath(source))
    if path.exists():
        return Source(path, fspath(source))
    from verydeep.weights.by_name import find  # not above: most models are here

    found, metadata = find(fspath(source), EMBEDDED)
    return Source(found, fspath(source), metadata)


def names_weights(word: str) -> bool:
    """Whether a word means weights, by its looks: a path that exists, or a name as `locate` knows them."""
    return Path(word).exists() or word in EMBEDDED or ":" in word


def absolute(source: str | PathLike[str]) -> str:
    """A MODEL argument that means the same from every folder: of a path from the root; a name stays a name."""
    path = Path(source)
    file, separator, network = fspath(source).rpartition(SEPARATOR)
    if separator and not path.exists():
        return with_network(absolute(file), network)
    return str(path.absolute()) if path.exists() and not _embedded(source) else fspath(source)


def _embedded(source: str | PathLike[str]) -> Path | None:
    """The model of that name that comes with the package, unless the name is a model's path."""
    path = Path(source)
    is_model = path.is_file() or (path / CONFIG).is_file()
    return None if is_model else EMBEDDED.get(fspath(source))


def with_network(source: str | PathLike[str], network: str | None) -> str:
    """A MODEL argument that means one of the networks in a checkpoint; the same where none is named."""
    return fspath(source) if network is None else f"{fspath(source)}{SEPARATOR}{network}"


def weights_path(path: Path) -> Path:
    """The file of weights in a folder, or the file itself.

    Raises:
        ModelError: there is none.

    """
    if not path.is_dir():
        return path
    for name in MODEL_FILES:
        if (path / name).is_file():
            return path / name
    raise ModelError(f"{path} has no {' and no '.join(MODEL_FILES)}; give the file of weights itself")


def read_card(folder: Path) -> dict[str, Any] | None:
    """A folder's config.json; None if there is none that is a JSON object."""
    try:
        card = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None
