"""A path or a name -> a model. Ours is read as it is; another library's goes through `weights.foreign`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from verydeep.errors import UsageError
from verydeep.notes import note
from verydeep.run_folder import CONFIG, LAST_WEIGHTS, WEIGHTS, ModelConfig, read_config, read_model
from verydeep.weights.source import FOLDER_FILES, UNKNOWN, Known, Source, locate, read_card

Tensors = dict[str, NDArray[Any]]


def open_source(source: str | PathLike[str], told: Known = UNKNOWN) -> tuple[ModelConfig, Tensors]:
    """Open a model, whoever made it.

    Args:
        source: a run folder, a file of weights of any library, a folder of the Hub, or a name.
        told: what the user says about it; it goes before anything that is known otherwise.

    Returns:
        As `read_model`: its configuration, and its weights by our names.

    Raises:
        ModelError: there is no such file, it is damaged, or no VGG network's; or what belongs to it is not known.
        VerydeepError: a library that reads it is not installed.

    """
    where = locate(source)
    if is_ours(where.path):
        check_alone(where)
        return read_model(where.path)
    from verydeep.weights import foreign  # not above: a model of ours is sooner opened without it

    found = foreign.examine(where, told)
    for said in filter(None, [found.chosen, *found.doubts]):
        note(f"{where.name}: {said}")
    return foreign.config_of(found), found.tensors


def open_config(source: str | PathLike[str]) -> ModelConfig:
    """What stands beside the weights of a model, whoever made it; weights of ours are not read.

    Raises:
        ModelError, VerydeepError: as `open_source`.

    """
    where = locate(source)
    if is_ours(where.path):
        return read_config(where.path)
    from verydeep.weights import foreign  # as above

    return foreign.config_of(foreign.examine(where))


def check_alone(source: Source) -> None:
    """Make sure that no network is chosen in a model of ours, which holds one.

    Raises:
        UsageError: one is.

    """
    if source.network is not None:
        raise UsageError(
            f"{source.path} is a model of ours and holds one network; leave out the name {source.network}"
        )


def is_ours(path: Path) -> bool:
    """Whether a path is a run folder, or weights in one."""
    if path.is_dir():
        other = (path / FOLDER_FILES[1]).is_file() and not (path / CONFIG).is_file()
        return not other and "pretrained_cfg" not in (read_card(path) or {})
    if path.suffix != ".safetensors" or not (path.parent / CONFIG).is_file():
        return False
    card = read_card(path.parent)
    if path.name in (WEIGHTS, LAST_WEIGHTS):  # whatever its config.json is: reading it says what is wrong
        return "pretrained_cfg" not in (card or {})
    return "format" in (card or {})
