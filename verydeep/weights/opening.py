"""A path or a name -> a model. Ours is read as it is; another library's goes through `weights.importing`."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.notes import note
from verydeep.run_folder import CONFIG, LAST_WEIGHTS, WEIGHTS, ModelConfig, fingerprint, read_config, read_model
from verydeep.safetensors_file import read_header
from verydeep.weights.formats import MODEL_FILES
from verydeep.weights.metadata import Metadata
from verydeep.weights.source import SEPARATOR, Source, absolute, locate, read_card, with_network

if TYPE_CHECKING:
    from verydeep.weights.class_names import ClassNames

Tensors = dict[str, NDArray[Any]]
FIRST_WEIGHT = "conv1_1.weight"  # of every network of ours


def open_source(
    source: str | PathLike[str],
    preprocessing: Preprocessing | str | None = None,
    class_names: ClassNames | None = None,
    tensors: str | None = None,
) -> tuple[ModelConfig, Tensors]:
    """Open a model, whoever made it.

    Args:
        source: a run folder, a file of weights of any library, a folder of the Hub, or a name.
        preprocessing: of the weights, where they do not come with it: a `Preprocessing`, or `torchvision`,
            `oxford`, `matconvnet` or `amdegroot`.
        class_names: likewise: the names in the order of the scores, `imagenet`, `numbers`, or a file.
        tensors: which network to take from a checkpoint that holds several.

    Returns:
        As `read_model`: its configuration, and its weights by our names.

    Raises:
        ModelError: there is no such file, it is damaged, or no VGG network's; or what belongs to it is not known.
        UsageError: what is given belongs to weights that come with it, or does not fit them.
        VerydeepError: a library that reads it is not installed.

    """
    where = locate(with_network(source, tensors))
    if is_ours(where.path):
        check_ours(where, preprocessing, class_names)
        return read_model(where.path)
    from verydeep.weights import importing, published  # not above: a model of ours is sooner opened without them

    given = Metadata(published.preprocessing_of(preprocessing))
    found = importing.import_weights(where, given, class_names)
    for warning in found.warnings:
        note(f"{where.name}: {warning}")
    return importing.config_of(found), found.tensors


@dataclass(frozen=True)
class Reopening:
    """Where the weights of an open model are, so that another process can read the same ones.

    Attributes:
        source: as `absolute` gives it.
        preprocessing: that was given.
        class_names: that were given.
        fingerprint: of the weights.

    """

    source: str
    preprocessing: Preprocessing | str | None
    class_names: tuple[str, ...] | None
    fingerprint: int

    def check_there(self) -> None:
        """Make sure that a file is still there; what a name means is not looked up.

        Raises:
            ModelError: it has gone.

        """
        path = Path(self.source.rpartition(SEPARATOR)[0] or self.source)
        if path.is_absolute() and not path.exists():
            raise ModelError(
                f"{path} is gone, and another process would read this model's weights from it; put it back, "
                'or load the model with `engine="torch"`, which sends its weights'
            )

    def read(self) -> Tensors:
        """Read the weights again.

        Raises:
            ModelError: they are not there, or others.

        """
        tensors = open_source(self.source, self.preprocessing, self.class_names)[1]
        if fingerprint(tensors) != self.fingerprint:
            raise ModelError(f"{self.source} has other weights than when the model was opened; load it again")
        return tensors


def reopening(
    source: str | PathLike[str],
    config: ModelConfig,
    weights: Tensors,
    preprocessing: Preprocessing | str | None = None,
    class_names: ClassNames | None = None,
    tensors: str | None = None,
) -> Reopening:
    """How to read a model's weights again; the other arguments are those that `open_source` was given."""
    names = None if class_names is None else config.class_names
    return Reopening(absolute(with_network(source, tensors)), preprocessing, names, fingerprint(weights))


def open_config(source: str | PathLike[str]) -> ModelConfig:
    """What stands beside the weights of a model, whoever made it; weights of ours are not read.

    Raises:
        ModelError, VerydeepError: as `open_source`.

    """
    where = locate(source)
    if is_ours(where.path):
        return read_config(where.path)
    return open_source(source)[0]


def open_architecture(source: str | PathLike[str]) -> Architecture:
    """The network of a model, whoever made it; nothing else needs to be known of it.

    Raises:
        ModelError, VerydeepError: as `open_source`.

    """
    where = locate(source)
    if is_ours(where.path):
        return read_config(where.path).architecture
    from verydeep.weights.importing import import_weights

    return import_weights(where).architecture


def check_ours(source: Source, *given: object) -> None:
    """Make sure that nothing is said about a model of ours, which holds one network and what belongs to it.

    Args:
        source: the model.
        given: what a user may have said about it; None where nothing.

    Raises:
        UsageError: something is.

    """
    if source.network is not None:
        raise UsageError(
            f"{source.path} is a verydeep model with one network; leave out the name {source.network}"
        )
    if any(one is not None for one in given):
        raise UsageError(f"{source.name} is a verydeep model, which includes this already; leave it out")


def is_ours(path: Path) -> bool:
    """Whether a path is a run folder, or weights in one: by its config.json, else by the names of its weights."""
    folder, weights = (path, path / WEIGHTS) if path.is_dir() else (path.parent, path)
    card, has_card = read_card(folder), (folder / CONFIG).is_file()
    if card and "pretrained_cfg" in card:  # timm's
        return False
    if weights == path and (path.suffix != ".safetensors" or not has_card):
        return False
    if (card and "format" in card) or (card is None and has_card and weights.name in (WEIGHTS, LAST_WEIGHTS)):
        return True  # or damaged, as reading it says
    try:
        return FIRST_WEIGHT in read_header(weights).entries
    except (OSError, ModelError):
        return card is None and weights != path and not (path / MODEL_FILES[1]).is_file()
