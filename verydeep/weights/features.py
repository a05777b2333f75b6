"""The convolutions of a model, whoever made it. Another library's file is converted once, and kept in a cache.

A `.pth` file of VGG-16 takes seconds to read, most of them for FC layers that features have no use for. The cache
is `features` in the folder of `verydeep.images.storage.cache_folder`: for each file a run folder, of 59 MB for
VGG-16.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path

from verydeep.errors import DiskError, ModelError
from verydeep.files import json_text
from verydeep.images.color import Preprocessing
from verydeep.images.storage import cache_folder
from verydeep.notes import note
from verydeep.run_folder import CONFIG, ModelConfig, read_model, write_model
from verydeep.weights import importing
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import Tensors, check_ours, is_ours
from verydeep.weights.published import preprocessing_of
from verydeep.weights.source import Source, absolute, locate, weights_path

BY_NAME = ("torchvision:", "keras:")
"""What a name that begins so means never changes: a published file with a checksum."""
VERSION = 1  # of what is kept


def open_features(
    model: str | PathLike[str], preprocessing: Preprocessing | str | None = None
) -> tuple[ModelConfig, Tensors]:
    """Open a model for its features; its classes need not be known.

    Args:
        model: as of `open_source`.
        preprocessing: of the weights, where they do not come with it: a `Preprocessing`, or `torchvision`,
            `oxford`, `matconvnet` or `amdegroot`.

    Returns:
        As `read_model`: its configuration, and its weights by our names. Another library's have no FC layers.

    Raises:
        ModelError, UsageError, VerydeepError: as `open_source`.

    """
    source = _source(model)
    if source and is_ours(source.path):
        check_ours(source, preprocessing)
        return read_model(source.path)
    kept = cache_folder() / "features" / features_key(model, preprocessing)
    if kept.is_dir():
        try:
            return read_model(kept)
        except ModelError:  # damaged: it is converted again
            shutil.rmtree(kept, ignore_errors=True)
    source = source or locate(model)
    given = Metadata(preprocessing_of(preprocessing), features_only=True)
    found = importing.import_weights(source, given)
    for warning in found.warnings:
        note(f"{source.name}: {warning}")
    config, tensors = importing.config_of(found), found.tensors
    _keep(kept, config, tensors)
    return config, tensors


def _source(model: str | PathLike[str]) -> Source | None:
    """Where a model is; None for a name whose meaning need not be looked up."""
    named = fspath(model).startswith(BY_NAME) and not Path(model).exists()
    return None if named else locate(model)


def features_key(model: str | PathLike[str], preprocessing: Preprocessing | str | None = None) -> str:
    """What tells one model from another, in letters and digits: its files and when they were changed, or the name.

    Raises:
        ModelError: there is no such file.

    """
    told = asdict(preprocessing) if isinstance(preprocessing, Preprocessing) else preprocessing
    facts: list[object] = [VERSION, absolute(model), told]
    if source := _source(model):
        path = weights_path(source.path)
        for file in (path, path.with_name(CONFIG)):  # timm's lies beside the weights, and says how images are fed
            if file.is_file():
                stat = file.stat()
                facts += [stat.st_size, stat.st_mtime_ns]
    return sha256(json_text(facts).encode()).hexdigest()[:24]


def _keep(folder: Path, config: ModelConfig, tensors: Tensors) -> None:
    """Keep a conversion; it appears whole. Where it cannot be kept, the next call converts again."""
    aside = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}.part")
    try:
        write_model(aside, config, tensors)
        aside.replace(folder)
    except (DiskError, OSError):
        shutil.rmtree(aside, ignore_errors=True)
