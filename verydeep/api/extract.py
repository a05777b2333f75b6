"""`verydeep.extract`: model + images -> outputs of layers, in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

from verydeep.arguments import checked
from verydeep.chunks.plan import Chunk
from verydeep.chunks.run import Rescaled, at_scales, run_chunks
from verydeep.distributed import World
from verydeep.errors import DataError, UsageError, check_least, escaped
from verydeep.extraction.archive import check_features_out, write_features
from verydeep.extraction.extract import Extraction, FeatureParts, Rows, Shapes
from verydeep.extraction.extract import extract as rows_of
from verydeep.extraction.summaries import Summary
from verydeep.images.find import Words, find_images
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.inference import EngineName, PrecisionName, open_engine
from verydeep.notes import progress, say
from verydeep.processes import check_processes, shared
from verydeep.results import Result
from verydeep.run_folder import ModelConfig
from verydeep.weights.source import locate, weights_path, with_network


@dataclass(frozen=True, repr=False)
class Extracted(Result):
    """A file of features.

    Attributes:
        path: of the file.
        num_images: rows of each layer's array.
        shapes: of what is kept of an image, by layer.

    """

    path: str
    num_images: int
    shapes: Shapes

    def to_dict(self) -> dict[str, Any]:
        """The attributes by their names."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"path": self.path, "num_images": self.num_images, "shapes": shapes}

    def __str__(self) -> str:
        kept = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in self.shapes.items())
        return f"{escaped(self.path)}: {self.num_images:,} images, {kept}"


@checked
def extract(
    model: str | PathLike[str],
    images: Words,
    *,
    layers: Sequence[str],
    out: str | PathLike[str],
    pool: Summary = "mean",
    scales: tuple[int, ...] = (),
    crop: bool = False,
    pooling: Literal["max", "average"] = "max",
    tensors: str | None = None,
    processes: int = 1,
    max_unreadable: int = 0,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Extracted | None:
    """Save the outputs of a network's layers for images, for retrieval, clustering or another classifier.

    Images are rescaled so that the smaller side is Q, and shown whole. Memory use does not grow with the number
    of images. An interrupted extraction resumes when the command is repeated. With `processes`, or under
    torchrun, several processes share the images.

    Args:
        model: a run folder or weights in one; `cifar10`, which is bundled; or another library's weights, a file or
            a name such as torchvision:vgg16.
        images: images, folders of images, patterns such as 'holiday/*.jpg', or shards.
        layers: names such as conv4_3 (before its ReLU), relu4_3 (after it), pool5, fc7, relu7.
        out: file to write: .npz (NumPy) or .parquet.
        pool: what is kept of a layer's output: its mean or max over space, its gram matrix, or all of it (none).
        scales: Q, the smaller side of the rescaled image, one (default: S, or the middle of its range).
        crop: show only the middle window of the network, so that all images have one shape.
        pooling: of the network itself: average replaces every max-pooling.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        processes: processes of this machine that share the images; the result is the same.
        max_unreadable: continue if up to this many images cannot be read; they are listed.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Returns:
        What was written; None on all processes but the first, under torchrun.

    Raises:
        UsageError: an argument does not fit, or there is no such layer.
        DataError: more images cannot be read than may be left out.
        ModelError: the model cannot be used, or gives features that are not finite.
        DiskError: the file cannot be written.

    """
    path = Path(out)
    check_features_out(path)
    check_least("max_unreadable", max_unreadable, 0)
    if len(scales) > 1:
        raise UsageError(f"`scales` is {' '.join(map(str, scales))}; features use one scale")
    options = {"engine": engine, "precision": precision, "device": device}
    job = _Job(
        Path(with_network(model, tensors)),
        images,
        tuple(layers),
        path,
        pool,
        scales,
        crop,
        pooling,
        options,
        threads,
    )
    run = partial(job.run, max_unreadable=max_unreadable)
    check_processes(processes)
    images_here = find_images(images)
    with shared(processes, run, path, len(images_here)) as here:
        parts, plan, found, shapes, facts = run(here, found=images_here)
        if not here.first:
            return None
        count = write_features(path, parts, plan, found, shapes, facts)
        parts.remove()
    return Extracted(fspath(out), count, shapes)


@dataclass(frozen=True)
class _Job:
    """The arguments of an extraction, for every process."""

    model: Path
    images: Words
    layers: tuple[str, ...]
    out: Path
    pool: Summary
    scales: tuple[int, ...]
    crop: bool
    pooling: Literal["max", "average"]
    options: dict[str, Any]
    threads: int | None

    def run(
        self, here: World, max_unreadable: int, found: ImageSet | None = None
    ) -> tuple[FeatureParts, list[Chunk], ImageSet, Shapes, dict[str, Any]]:
        """Extract this process's share; the images are those that have been found, or are looked for."""
        engine = open_engine(self.model, self.layers, pooling=self.pooling, threads=self.threads, **self.options)
        config = engine.config
        wanted = Extraction(
            self.layers,
            self.scales[0] if self.scales else config.trained_on.test_scale,
            config.architecture.window if self.crop else None,
            self.pool,
        )
        wanted.check(config.architecture)
        images = find_images(self.images) if found is None else found
        plan, shapes = wanted.plan(images, config.architecture)
        facts = self._facts(config, wanted)
        parts = FeatureParts(self.out, self._key(facts, wanted, images), shapes)

        def work(chunk: Chunk, rescaled: dict[int, Rescaled]) -> Rows:
            shown = [wanted.cut(image[wanted.scale]) for image in rescaled.values()]
            return rows_of(engine, shown, self.layers, self.pool)

        lost: list[Unreadable] = []
        with progress("extracting", here.num_counted(len(images))) as advance:
            run_chunks(
                images,
                plan,
                at_scales(images, [wanted.scale]),
                work,
                world=here,
                parts=parts,
                gather=False,
                max_unreadable=max_unreadable,
                unreadable=lost.append,
                advance=advance,
            )
        for image in lost:
            say(f"skipped: {image.reason}")
        if here.first and len(lost) == len(images):
            raise DataError(f"none of the {len(images)} images can be read")
        return parts, plan, images, shapes, facts

    def _facts(self, config: ModelConfig, wanted: Extraction) -> dict[str, Any]:
        """What the file says of how it came about."""
        precision = self.options["precision"]
        return {
            "model": str(self.model),
            "configuration": config.architecture.configuration,
            "layers": list(self.layers),
            "pool": self.pool,
            "scale": wanted.scale,
            "crop": self.crop,
            "pooling": self.pooling,
            "precision": "float32" if precision == "auto" else precision,
        }

    def _key(self, facts: dict[str, Any], wanted: Extraction, images: ImageSet) -> dict[str, Any]:
        """What decides the file, so that another's finished chunks are not taken."""
        stat = weights_path(locate(self.model).path).stat()
        return {
            **facts,
            "weights": [stat.st_size, stat.st_mtime_ns],
            "pictures": images.fingerprint,  # the key of parts that earlier versions began
            "window": wanted.window,
            "device": self.options["device"],
            "engine": self.options["engine"],
        }
