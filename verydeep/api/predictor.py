"""`verydeep.Predictor`: one callable for engines that map a function over batches of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.arguments import checked
from verydeep.chunks.plan import Blocks, Chunk
from verydeep.chunks.run import Rescaled, at_scales, run_chunks
from verydeep.errors import UsageError, check_least, few
from verydeep.evaluation.evaluate import score
from verydeep.evaluation.ranking import ranked
from verydeep.extraction.extract import Extraction, Rows, extract
from verydeep.images.given import column_images
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.inference import Engine, EngineName, PrecisionName, open_engine
from verydeep.model import Model, load
from verydeep.weights.source import absolute, with_network

REASON = "reason"  # the last column
KEPT = 2  # models that a process keeps open


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a predictor: all that is sent to another process."""

    model: str
    top: int
    column: str
    outputs: tuple[str, ...]
    pool: Literal["mean", "max", "gram"]
    scales: tuple[int, ...]
    network: bool
    engine: EngineName
    precision: PrecisionName
    device: str
    threads: int | None


class Predictor:
    """A model as a function of batches, for Ray Data, Spark, Hugging Face datasets and pools of processes.

    It takes a dictionary of columns, one of which holds images. It gives a dictionary of arrays, a row for each
    image. An image is the bytes of a file, a path, an array of uint8, a Pillow image, or a dictionary with `bytes`
    or `path`. One that cannot be read gets an empty row and a reason, and the others are not affected.

        predictor = verydeep.Predictor("cifar10", top=2)
        rows = predictor({"bytes": [Path("cat.jpg").read_bytes(), b"no image"]})
        rows["classes"]        # two lists: ["cat", "dog"], ["", ""]
        rows["probabilities"]  # (2, 2), float32: [[0.89, 0.09], [nan, nan]]
        rows["reason"]         # (2,): ["", "the image: not a readable image: ..."]

    It can be pickled. Only its arguments are sent, and each process opens the model once. So the model has to be
    there under the same path or name. The other columns of a batch are given back as they are, and so are paths of
    images.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        top: number of classes to name.
        column: of the images.
        outputs: layers, such as relu7. Their outputs are given instead of classes: a column each, float32.
        pool: what is kept of a layer's output: its mean or max over space, or its gram matrix.
        scales: Q, the smaller side of the rescaled image, one or several (default: S, or the middle of its range).
        network: answer by the network's own classes, even if a classifier lies beside the model.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Raises:
        UsageError: an argument does not fit, or there is no such layer.
        ModelError: there is no such model, or it cannot be used.

    """

    @checked
    def __init__(
        self,
        model: str | PathLike[str],
        *,
        top: int = 5,
        column: str = "bytes",
        outputs: Sequence[str] | None = None,
        pool: Literal["mean", "max", "gram"] = "mean",
        scales: tuple[int, ...] = (),
        network: bool = False,
        tensors: str | None = None,
        engine: EngineName = "auto",
        precision: PrecisionName = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        check_least("top", top, 1)
        if outputs is not None and not outputs:
            raise UsageError("`outputs` is empty; name a layer, or leave it out for classes")
        self._arguments = _Arguments(
            absolute(with_network(model, tensors)),
            top,
            column,
            tuple(outputs or ()),
            pool,
            scales,
            network,
            engine,
            precision,
            device,
            threads,
        )
        _open(self._arguments)  # so that what is wrong is told here

    def __repr__(self) -> str:
        given = {name: value for name, value in asdict(self._arguments).items() if value or name == "top"}
        return f"<verydeep.Predictor {', '.join(f'{name}: {value}' for name, value in given.items())}>"

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Answer for a batch.

        Args:
            batch: columns of one length, as arrays or lists.

        Returns:
            The other columns, paths of images among them. And a row for each image: `classes`, a list of `top`
            names, the best first; `probabilities`, of shape (rows, top) and type float32. Or the layers, of shape
            (rows, channels), or (rows, channels, channels) of gram matrices. Last comes `reason`, which is empty
            where the image could be read.

        Raises:
            UsageError: there is no column of images.
            ModelError: the network gives scores or features that are not finite.

        """
        column = self._arguments.column
        if column not in batch:
            raise UsageError(
                f"the batch has no column {column!r}, only {few(list(batch))}; set `column` to that of images"
            )
        images, lost = column_images(batch[column]), list[Unreadable]()
        answer = _open(self._arguments).rows(images, lost)
        reasons = [""] * len(images)
        for image in lost:
            assert image.number is not None
            reasons[image.number] = image.reason
        are_paths = len(images) > 0 and all(isinstance(one, (str, PathLike)) for one in batch[column])
        kept = set(batch) - (set() if are_paths else {column})
        return {
            **{name: batch[name] for name in batch if name in kept},
            **answer,
            REASON: np.array(reasons, object),
        }


@dataclass(frozen=True)
class _Classes:
    """What names classes."""

    model: Model
    arguments: _Arguments

    def rows(self, images: ImageSet, lost: list[Unreadable]) -> dict[str, NDArray[Any]]:
        """The most probable classes of images; `lost` gets those that cannot be read."""
        scales, names = self.arguments.scales, self.model.class_names
        protocol = replace(self.model.protocol, scales=scales) if scales else None
        posteriors = score(self.model.scoring(protocol), images, unreadable=lost.append)
        top = min(self.arguments.top, len(names))
        classes = np.empty(len(images), object)  # of lists: an array of strings is no column for Arrow
        classes[:] = [[""] * top for _ in images.names]
        probabilities = np.full((len(images), top), np.nan, np.float32)
        for number in set(range(len(images))) - {image.number for image in lost}:
            ranking = ranked(posteriors[number], names, top)
            classes[number] = [one.class_name for one in ranking]
            probabilities[number] = [one.probability for one in ranking]
        return {"classes": classes, "probabilities": probabilities}


@dataclass(frozen=True)
class _Layers:
    """What gives outputs of layers."""

    engine: Engine
    extraction: Extraction

    def rows(self, images: ImageSet, lost: list[Unreadable]) -> dict[str, NDArray[Any]]:
        """What is kept of the layers for images; `lost` gets those that cannot be read."""
        wanted = self.extraction
        shapes = wanted.shapes(self.engine.config.architecture)

        def work(chunk: Chunk, rescaled: dict[int, Rescaled]) -> Rows:
            shown = [image[wanted.scale] for image in rescaled.values()]
            return extract(self.engine, shown, wanted.layers, wanted.summary)

        found = {name: np.full((len(images), *shape), np.nan, np.float32) for name, shape in shapes.items()}
        for numbers, rows in run_chunks(
            images,
            Blocks(images, max(1, len(images))),
            at_scales(images, [wanted.scale]),
            work,
            groups=lambda chunk: wanted.groups(images, chunk.images, shapes),
            unreadable=lost.append,
        ):
            for name, kept in rows.items():
                found[name][numbers] = kept
        return found


@lru_cache(maxsize=KEPT)
def _open(arguments: _Arguments) -> _Classes | _Layers:
    """Open the model; a process does so once, however often a predictor is sent to it."""
    options: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("engine", "precision", "device", "threads")
    }
    scales = arguments.scales
    if not arguments.outputs:
        model = load(arguments.model, network=arguments.network, **options)
        if scales:
            model.scoring(replace(model.protocol, scales=scales))
        return _Classes(model, arguments)
    if len(scales) > 1:
        raise UsageError(f"`scales` is {' '.join(map(str, scales))}; outputs of layers use one scale")
    engine = open_engine(arguments.model, arguments.outputs, **options)
    scale = scales[0] if scales else engine.config.trained_on.test_scale
    extraction = Extraction(arguments.outputs, scale, None, arguments.pool)
    extraction.check(engine.config.architecture)
    return _Layers(engine, extraction)
