"""Outputs of layers for a long list of images, summarized and kept chunk by chunk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import read_arrays, write_arrays
from verydeep.chunks.part_files import PartOptions, PartRows
from verydeep.chunks.parts import Parts, Worked, beside
from verydeep.chunks.plan import Chunk, in_order, neighbours, size_of
from verydeep.configurations import Architecture
from verydeep.errors import UsageError
from verydeep.evaluation.posterior import check_finite
from verydeep.extraction.summaries import Summary, summarize, summary_shape
from verydeep.images.geometry import centre_offset, rescaled_size
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.images.views import Pixels
from verydeep.inference.engine import Engine
from verydeep.inference.strips import MOST_PIXELS
from verydeep.plan import check_scale, check_size, nodes_to, output_shapes, refuse_too_large

BATCH_BYTES = 64 << 20  # of the outputs for images that are shown at once
BATCH_IMAGES = 64

Rows = dict[str, NDArray[np.float32]]  # of each layer, a row an image
Shapes = dict[str, tuple[int, ...]]  # of each layer's row


@dataclass(frozen=True)
class Extraction:
    """What is extracted of each image.

    Attributes:
        layers: whose outputs are kept.
        scale: smaller side that images are rescaled to.
        window: side of the middle part that is shown alone; None for the whole image.
        summary: what is kept of each output.

    """

    layers: tuple[str, ...]
    scale: int
    window: int | None = None
    summary: Summary = "mean"

    def check(self, architecture: Architecture) -> None:
        """Make sure that every image is large enough for the deepest layer.

        Raises:
            UsageError: the scale is too small or too large, or does not hold the window.

        """
        refuse_too_large("scales", self.scale)
        if self.window:
            check_scale("scales", self.scale, architecture)
        check_size(architecture, nodes_to(architecture, self.layers), self.scale, self.scale)

    def shapes(self, architecture: Architecture) -> Shapes:
        """The shape of what is kept of an image, by layer, where it does not depend on the image's size.

        Raises:
            UsageError: it does.

        """
        if self.summary == "none" and not self.window:
            raise UsageError(
                "whole maps of different shapes do not fit in one column; use `crop` for the same shape, or "
                "`pool=mean`"
            )
        side = self.window or self.scale
        outputs = output_shapes(nodes_to(architecture, self.layers), side, side)
        return {name: summary_shape(outputs[name], self.summary) for name in self.layers}

    def groups(self, images: ImageSet, numbers: Sequence[int], kept: Shapes) -> Iterator[list[int]]:
        """Group images that are in memory together; `kept` is of `shapes`."""
        num_bytes = 4 * sum(map(prod, kept.values()))

        def bytes_of(number: int) -> int:
            if self.window:
                return num_bytes + 3 * self.window**2
            size = size_of(images, number)
            return num_bytes + (3 * prod(rescaled_size(*size, self.scale)) if size else 0)

        return neighbours(numbers, bytes_of)

    def plan(self, images: ImageSet, architecture: Architecture) -> tuple[list[Chunk], Shapes]:
        """Cut a list of images into chunks, and tell the shape of what is kept of each, by layer.

        Raises:
            UsageError: whole outputs of images of different shapes are asked for, which no array holds.

        """
        nodes = nodes_to(architecture, self.layers)
        kept: Shapes = {}

        @cache  # images of one size are many
        def shapes_at(height: int, width: int) -> Shapes:
            outputs = output_shapes(nodes, height, width)
            return {name: summary_shape(outputs[name], self.summary) for name in self.layers}

        def bytes_of(number: int) -> int:
            nonlocal kept
            size = size_of(images, number)
            if size is None:
                return 4 * sum(map(prod, kept.values()))
            width, height = (self.window, self.window) if self.window else rescaled_size(*size, self.scale)
            shapes = shapes_at(height, width)
            if kept and shapes != kept:
                raise UsageError(
                    f"{images.names[number]} has {width}x{height} pixels when rescaled, others differ; maps of "
                    "different shapes do not fit in one array; use `crop` for the same shape, or `pool=mean`"
                )
            kept = shapes
            return 3 * width * height + 4 * sum(map(prod, kept.values()))

        return in_order(images, bytes_of), kept

    def cut(self, image: Pixels) -> Pixels:
        """The part of a rescaled image that is shown."""
        if self.window is None:
            return image
        top, left = (centre_offset(side, self.window) for side in image.shape[:2])
        return image[top : top + self.window, left : left + self.window]


def extract(engine: Engine, images: Sequence[Pixels], layers: Sequence[str], summary: Summary) -> Rows:
    """What is kept of images, layer by layer, a row an image; those of one shape are shown together.

    Args:
        engine: with a model.
        images: of shape (height, width, 3) each.
        layers: whose outputs are summarized.
        summary: what is kept; whole outputs want images of one shape.

    Raises:
        ModelError: what is kept of a layer is not finite.

    """
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        by_shape[image.shape].append(number)
    rows: dict[str, dict[int, NDArray[np.float32]]] = {name: {} for name in layers}
    for (height, width, _), numbers in by_shape.items():
        size = _batch_size(engine, layers, height, width)
        for first in range(0, len(numbers), size):
            batch = numbers[first : first + size]
            outputs = engine.run(np.stack([images[number] for number in batch]), layers)
            for name, maps in outputs.items():
                with np.errstate(over="ignore", invalid="ignore"):  # of which the check tells
                    kept = summarize(maps, summary)
                check_finite(kept, f"the network's features of {name}")
                rows[name] |= dict(zip(batch, kept, strict=True))
    return {name: np.stack([of[number] for number in range(len(images))]) for name, of in rows.items()}


def _batch_size(engine: Engine, layers: Sequence[str], height: int, width: int) -> int:
    """Images that are shown at once: neither their outputs nor the maps on the way to them fill the memory."""
    shapes = output_shapes(nodes_to(engine.config.architecture, layers), height, width)
    by_outputs = BATCH_BYTES // (4 * sum(prod(shapes[name]) for name in layers))
    return max(1, min(BATCH_IMAGES, by_outputs, MOST_PIXELS // (height * width)))


class FeatureParts(Parts[Rows]):
    """Finished chunks of an extraction: each an archive of what is kept of its images, layer by layer.

    Args:
        result: path of the file of features, beside which they lie.
        key: as of `Parts`.
        shapes: of what is kept of an image, by layer.

    """

    def __init__(self, result: Path, key: dict[str, Any], shapes: Shapes) -> None:
        super().__init__(beside(result), key)
        self._shapes = shapes

    noun = "extraction"
    suffix = ".npz"

    def read(self, chunk: Chunk) -> Rows | None:
        """Whether a chunk is there with all of its images, and whole; its rows stay on disk."""
        if not np.array_equal(self.kept(chunk), chunk.images):
            return None
        try:
            for layer in self._shapes:
                self.rows(chunk, layer)
        except (OSError, ValueError):
            return None
        return {}

    def kept(self, chunk: Chunk) -> NDArray[np.int64]:
        """Numbers of the images of a chunk that could be read."""
        try:
            return read_arrays(self.file(chunk), {"kept": (np.dtype("<i8"), 1)})["kept"]
        except (OSError, ValueError):
            return np.empty(0, np.int64)

    def rows(self, chunk: Chunk, layer: str) -> NDArray[np.float32]:
        """What is kept of a layer, a row an image.

        Raises:
            OSError: the chunk is not there.
            ValueError: it is damaged, or of another shape.

        """
        shape = self._shapes[layer]
        rows = read_arrays(self.file(chunk), {layer: (np.dtype("<f4"), 1 + len(shape))})[layer]
        if rows.shape[1:] != shape or len(rows) != len(self.kept(chunk)):
            raise ValueError(f"{layer} has shape {rows.shape}")
        return rows

    def write(self, chunk: Chunk, worked: Worked[Rows], lost: Sequence[Unreadable]) -> None:
        """Keep a chunk of which an image could be read; it appears whole."""
        if not worked:
            return
        ((numbers, rows),) = worked
        write_arrays(self.file(chunk), {"kept": np.array(numbers, np.int64), **rows})


class FeatureFiles(PartRows[Rows]):
    """Part files of features: a list of numbers for each layer, whose shape is in `_verydeep.json`.

    Args:
        options, key, images: as of `PartRows`.
        shapes: of what is kept of an image, by layer.

    """

    noun = "extract"
    name_column = "name"

    def __init__(self, options: PartOptions, key: dict[str, Any], images: ImageSet, shapes: Shapes) -> None:
        super().__init__(options, {**key, "shapes": shapes}, images)
        self._shapes = shapes

    def columns(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """What is kept of each layer of an image."""
        for number in range(len(next(iter(rows.values())))):
            yield {layer: kept[number].reshape(-1) for layer, kept in rows.items()}

    def empty(self) -> dict[str, Any]:
        """Nothing of any layer."""
        return dict.fromkeys(self._shapes)

    def schema(self) -> Any:
        """Name, layers and reason."""
        import pyarrow

        layers = [(layer, pyarrow.list_(pyarrow.float32(), prod(shape))) for layer, shape in self._shapes.items()]
        return pyarrow.schema([("name", pyarrow.string()), *layers, ("reason", pyarrow.string())])
