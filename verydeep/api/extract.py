"""`verydeep.extract`: model + images -> outputs of layers, in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, NamedTuple

from verydeep.arguments import checked
from verydeep.chunks.part_files import (
    PartFiles,
    PartFormat,
    PartOptions,
    part_options,
    refuse_part_options,
)
from verydeep.chunks.plan import Chunk
from verydeep.chunks.run import at_scales, run_chunks
from verydeep.distributed import World
from verydeep.errors import UsageError, check_least, escaped
from verydeep.extraction.archive import check_features_out, is_archive, write_features
from verydeep.extraction.extract import Extraction, FeatureFiles, FeatureParts, Rows, Shapes
from verydeep.extraction.extract import extract as rows_of
from verydeep.extraction.summaries import Summary
from verydeep.files import digest_of
from verydeep.images.find import Words, find_images
from verydeep.images.image_set import ImageSet, Unreadable, tell_skipped
from verydeep.images.views import Pixels
from verydeep.inference import EngineName, PrecisionName, open_engine
from verydeep.lock import writing_file, writing_folder
from verydeep.notes import progress
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
        return f"{escaped(self.path)}: {self.num_images:,} image{'s' * (self.num_images != 1)}, {kept}"


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
    format: PartFormat | None = None,
    images_per_part: int | None = None,
    tensors: str | None = None,
    processes: int = 1,
    max_unreadable: int | None = None,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Extracted | PartFiles | None:
    """Save the outputs of a network's layers for images, for retrieval, clustering or another classifier.

    Images are rescaled so that the smaller side is Q, and shown whole. Memory use does not grow with the number
    of images. An interrupted extraction resumes when the command is repeated. With `processes`, or under
    torchrun, several processes share the images. For millions of images, `out` is a folder of part files with a
    row for each image. Any number of them may be unreadable there, unless `max_unreadable` says how many; for one
    file the default is 0.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        images: images, folders of images, patterns such as 'holiday/*.jpg', shards by their folder or URL, or
            lists such as @list.txt, a text file with a path a line.
        layers: names such as conv4_3 (before its ReLU), relu4_3 (after it), pool5, fc7, relu7.
        out: file to write: .npz (NumPy) or .parquet; or a folder for part files. There, an image that cannot be
            read has a row that says why.
        pool: what is kept of a layer's output: its mean or max over space, its gram matrix, or all of it (none).
        scales: Q, the smaller side of the rescaled image, one (default: S, or the middle of its range).
        crop: show only the middle window of the network, so that all images have one shape.
        pooling: of the network itself: average replaces every max-pooling.
        format: of part files: jsonl (JSON lines, the default) or parquet.
        images_per_part: images of a part file (default: 1000). An interruption loses no finished part.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        processes: processes of this machine that share the images.
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
    path, options = Path(out), None
    if is_archive(path):
        refuse_part_options(format, images_per_part)
        check_features_out(path)
    else:
        options = part_options(path, format, images_per_part)
    if max_unreadable is not None:
        check_least("max_unreadable", max_unreadable, 0)
    if len(scales) > 1:
        raise UsageError(f"`scales` is {' '.join(map(str, scales))}; features use one scale")
    job = _Job(
        Path(with_network(model, tensors)),
        images,
        tuple(layers),
        path,
        options,
        pool,
        scales,
        crop,
        pooling,
        0 if max_unreadable is None and not options else max_unreadable,
        {"engine": engine, "precision": precision, "device": device},
        threads,
    )
    check_processes(processes)
    found = find_images(images)
    most = -(-len(found) // (options.num_images if options else 1))
    writing = writing_folder if options else writing_file
    with shared(processes, job.run, path, most, writing=writing) as here:
        work = job.run(here, found=found)
        if not here.first:
            return None
        if isinstance(work.parts, FeatureFiles):
            return work.parts.count()
        count = write_features(path, work.parts, work.plan, found, work.shapes, work.facts)
        work.parts.remove()
    return Extracted(fspath(out), count, work.shapes)


class _Work(NamedTuple):
    """What is extracted, and where it is."""

    parts: FeatureParts | FeatureFiles
    plan: Sequence[Chunk]
    shapes: Shapes
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    """The arguments of an extraction, for every process."""

    model: Path
    images: Words
    layers: tuple[str, ...]
    out: Path
    part_options: PartOptions | None
    pool: Summary
    scales: tuple[int, ...]
    crop: bool
    pooling: Literal["max", "average"]
    max_unreadable: int | None
    options: dict[str, Any]
    threads: int | None

    def run(self, here: World, found: ImageSet | None = None) -> _Work:
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
        facts = self._facts(config, wanted)
        key = self._key(facts, config, wanted, images)
        parts: FeatureParts | FeatureFiles
        plan: Sequence[Chunk]
        if self.part_options:
            shapes = wanted.shapes(config.architecture)
            key["weights"] = digest_of(weights_path(locate(self.model).path))[:16]
            parts = FeatureFiles(self.part_options, key, images, shapes)
            plan = parts.plan
        else:
            plan, shapes = wanted.plan(images, config.architecture)
            parts = FeatureParts(self.out, key, shapes)

        whole = at_scales(images, [wanted.scale])

        def read(number: int) -> Pixels:
            image = whole(number)[wanted.scale]
            return wanted.cut(image).copy() if wanted.window else image  # the rest of it is not kept in memory

        def work(chunk: Chunk, shown: dict[int, Pixels]) -> Rows:
            return rows_of(engine, list(shown.values()), self.layers, self.pool)

        lost: list[Unreadable] = []
        with progress("extracting", here.num_counted(len(images))) as advance:
            run_chunks(
                images,
                plan,
                read,
                work,
                groups=lambda chunk: (
                    wanted.groups(images, chunk.images, shapes) if self.part_options else [chunk.images]
                ),
                world=here,
                parts=parts,
                gather=False,
                max_unreadable=self.max_unreadable,
                unreadable=None if self.part_options else lost.append,
                advance=advance,
            )
        if here.first:
            tell_skipped(lost, len(images))
        return _Work(parts, plan, shapes, facts)

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

    def _key(
        self, facts: dict[str, Any], config: ModelConfig, wanted: Extraction, images: ImageSet
    ) -> dict[str, Any]:
        """What decides the file, so that another's finished chunks are not taken."""
        stat = weights_path(locate(self.model).path).stat()
        return {
            **facts,
            "weights": [stat.st_size, stat.st_mtime_ns],
            "pictures": images.fingerprint,  # the name that earlier versions gave it
            "window": wanted.window,
            "preprocessing": asdict(config.preprocessing),
            "device": self.options["device"],
            "engine": self.options["engine"],
        }
