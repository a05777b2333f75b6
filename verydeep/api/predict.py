"""`verydeep.predict`: model + images -> what they show, and where."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

from verydeep.arguments import checked
from verydeep.chunks.part_files import (
    PartFiles,
    PartFormat,
    PartOptions,
    PartRows,
    part_options,
    refuse_part_options,
)
from verydeep.chunks.plan import Chunk
from verydeep.chunks.run import Rescaled, at_scales, run_chunks
from verydeep.distributed import World
from verydeep.errors import ImageError, UsageError, check_least, escaped
from verydeep.evaluation.ranking import Ranking, ranked
from verydeep.files import check_folder, digest_of, free_name, name_part, names_of_others
from verydeep.images.encode import write_drawing
from verydeep.images.find import Words, find_images
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.inference import EngineName, PrecisionName
from verydeep.linear.classifier import classifier_file
from verydeep.lock import writing_folder
from verydeep.model import Model, TransferModel, load
from verydeep.notes import progress, say
from verydeep.plan import check_scale
from verydeep.processes import check_processes, shared
from verydeep.results import Result
from verydeep.weights.source import locate, weights_path, with_network


class Options(TypedDict, total=False):
    """Arguments of `predict` that its two forms have in common."""

    top: int
    scales: tuple[int, ...]
    format: PartFormat | None
    images_per_part: int | None
    network: bool
    tensors: str | None
    processes: int
    max_unreadable: int | None
    engine: EngineName
    precision: PrecisionName
    device: str
    threads: int | None


@dataclass(frozen=True, repr=False)
class Predictions(Result):
    """What images show.

    Attributes:
        images: for each that can be read, its name and its most probable classes, the best first.
        unreadable: images that cannot be read, and why.

    """

    images: tuple[tuple[str, Ranking], ...]
    unreadable: tuple[Unreadable, ...] = ()

    def __iter__(self) -> Iterator[tuple[str, Ranking]]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def records(self) -> Iterator[dict[str, Any]]:
        """An object for each image, in their order; one that cannot be read has the reason and no classes."""
        lost, read = {one.number: one for one in self.unreadable}, iter(self.images)
        for number in range(len(self.images) + len(lost)):
            if one := lost.get(number):
                yield {"image": one.name, "predictions": [], "reason": one.reason}
            else:
                name, ranking = next(read)
                yield {"image": name, "predictions": classes_of(ranking)}

    def to_dict(self) -> dict[str, Any]:
        """The records, and what cannot be read."""
        lost = [{"image": one.name, "reason": one.reason} for one in self.unreadable]
        return {"predictions": [row for row in self.records() if "reason" not in row], "unreadable": lost}

    def failure(self) -> ImageError | None:
        """How many images could not be read; its notes are the reasons."""
        lost = len(self.unreadable)
        error = ImageError(f"{lost} of {len(self.images) + lost} images could not be read")
        for image in self.unreadable:
            error.add_note(image.reason)
        return error if lost else None

    def __str__(self) -> str:
        """One image as a table of bars; several as CSV, a line an image."""
        if len(self.images) + len(self.unreadable) == 1:
            return "\n".join(repr(ranking) for _, ranking in self.images)
        return self._csv(escaped)

    def exact(self) -> str:
        """The same; the names in CSV are as they are."""
        several = len(self.images) + len(self.unreadable) > 1
        return self._csv(str) if several else str(self)

    def _csv(self, shown: Callable[[str], str]) -> str:
        if not self.images:
            return ""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        numbers = range(1, len(self.images[0][1]) + 1)
        writer.writerow(["image", *(f"{what}_{n}" for n in numbers for what in ("class", "probability"))])
        for name, ranking in self.images:
            cells = (cell for p in ranking for cell in (shown(p.class_name), f"{p.probability:.6f}"))
            writer.writerow([shown(name), *cells])
        return table.getvalue().removesuffix("\n")


@overload
def predict(
    model: str | PathLike[str], images: Words, *, out: str | PathLike[str], **options: Unpack[Options]
) -> PartFiles | None: ...


@overload
def predict(
    model: str | PathLike[str],
    images: Words,
    *,
    out: None = ...,
    maps: str | PathLike[str] | None = ...,
    map_scale: int | None = ...,
    **options: Unpack[Options],
) -> Predictions | None: ...


@checked
def predict(
    model: str | PathLike[str],
    images: Words,
    *,
    top: int = 5,
    scales: tuple[int, ...] = (),
    out: str | PathLike[str] | None = None,
    format: PartFormat | None = None,
    images_per_part: int | None = None,
    maps: str | PathLike[str] | None = None,
    map_scale: int | None = None,
    network: bool = False,
    tensors: str | None = None,
    processes: int = 1,
    max_unreadable: int | None = None,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Predictions | PartFiles | None:
    """Classify images.

    If `verydeep.transfer` saved a classifier beside the model, it is used. One image gives a table.
    Several give CSV: a line for each image, with its classes and their probabilities.

    For millions of images, `out` is a folder of part files with a row for each image. An interrupted command
    resumes when it is repeated. With `processes`, or under torchrun, several processes share the images.

    Images that cannot be read are listed, or have rows that say why. Any number of them may be, unless
    `max_unreadable` says how many.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        images: images, folders of images, patterns such as 'holiday/*.jpg', shards by their folder or URL, or
            lists such as @list.txt, a text file with a path a line.
        top: number of classes to name.
        scales: Q, the smaller side of the rescaled image, one or several (default: S, or the middle of its range).
        out: folder for part files. An image that cannot be read has a row that says why.
        format: of part files: jsonl (JSON lines, the default) or parquet.
        images_per_part: images of a part file (default: 1000). An interruption loses no finished part.
        maps: folder for images with their class score maps laid over them.
        map_scale: smaller side of an image for its score map (default: two windows of the network).
        network: answer by the network's own classes, even if a classifier lies beside the model.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        processes: processes of this machine that share the images.
        max_unreadable: continue if up to this many images cannot be read; they are listed.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Returns:
        The predictions, or the folder of part files; None on all processes but the first, under torchrun.

    Raises:
        UsageError: an argument does not fit.
        ImageError: there is no such image; one that is there and cannot be read is in the answer.
        DataError: more images cannot be read than `max_unreadable` allows.
        ModelError: there is no such model, or it cannot be used.
        DiskError: a file cannot be written.

    """
    check_least("top", top, 1)
    if max_unreadable is not None:
        check_least("max_unreadable", max_unreadable, 0)
    if maps is not None and out is not None:
        raise UsageError("`maps` draws each image, and `out` is for millions of them; choose one")
    if maps is not None:
        check_folder(Path(maps))
    elif map_scale is not None:
        raise UsageError("`map_scale` is of score maps; name a folder for them, as `maps`, too")
    options = None
    if out is None:
        refuse_part_options(format, images_per_part)
    else:
        options = part_options(Path(out), format, images_per_part)
    opening = {"device": device, "precision": precision, "engine": engine, "threads": threads}
    job = _Job(
        model,
        images,
        top,
        scales,
        options,
        max_unreadable,
        {**opening, "network": network, "tensors": tensors},
    )
    check_processes(processes)
    found = find_images(images)
    most = -(-len(found) // (options.num_images if options else 1))
    folder = options.folder if options else None
    check = partial(_check, scales=scales, maps=maps, map_scale=map_scale)
    with shared(processes, job.run, folder, most, writing=writing_folder) as here:
        loaded, rankings, lost, parts = job.run(here, found=found, check=check)
        if not here.first:
            return None
        if parts:
            return parts.count()
    if maps is not None:
        _draw_maps(loaded, rankings, found, Path(maps), map_scale)
    return Predictions(tuple((found.names[number], one) for number, one in rankings.items()), tuple(lost))


@dataclass(frozen=True)
class _Job:
    """The arguments of a prediction, for every process."""

    model: str | PathLike[str]
    images: Words
    top: int
    scales: tuple[int, ...]
    part_options: PartOptions | None
    max_unreadable: int | None
    opening: dict[str, Any]

    def run(
        self,
        here: World,
        found: ImageSet | None = None,
        check: Callable[[Model], None] = lambda model: None,
    ) -> tuple[Model, dict[int, Ranking], list[Unreadable], RankingFiles | None]:
        """Classify this process's share; the images are those that have been found, or are looked for."""
        loaded = load(self.model, **self.opening)
        check(loaded)
        images = find_images(self.images) if found is None else found
        scoring = loaded.scoring(replace(loaded.protocol, scales=self.scales) if self.scales else None)

        def work(chunk: Chunk, rescaled: dict[int, Rescaled]) -> list[Ranking]:
            return [ranked(posterior, loaded.class_names, self.top) for posterior in scoring.rows(chunk, rescaled)]

        parts = None
        if self.part_options:
            parts = RankingFiles(self.part_options, self._key(loaded, images), images)
        lost: list[Unreadable] = []
        with progress("predicting", here.num_counted(len(images))) as advance:
            done = run_chunks(
                images,
                parts.plan if parts else scoring.plan(images),
                at_scales(images, scoring.scales),
                work,
                groups=lambda chunk: scoring.groups(images, chunk.images) if parts else [chunk.images],
                world=here,
                parts=parts,
                gather=parts is None,
                max_unreadable=self.max_unreadable,
                unreadable=None if parts else lost.append,
                advance=advance,
            )
        rankings = {number: row for numbers, rows in done for number, row in zip(numbers, rows, strict=True)}
        return loaded, dict(sorted(rankings.items())), sorted(lost, key=lambda one: one.number or 0), parts

    def _key(self, model: Model, images: ImageSet) -> dict[str, Any]:
        """What decides the part files, so that those of other work are not taken for them."""
        path = locate(with_network(self.model, self.opening["tensors"])).path
        files = [weights_path(path), *([classifier_file(path)] if isinstance(model, TransferModel) else [])]
        protocol = model.protocol
        return {
            "model": with_network(self.model, self.opening["tensors"]),
            "weights": [digest_of(file)[:16] for file in files],
            "pictures": images.fingerprint,  # the name that `extract` and `evaluate` have for it
            "classes": list(model.class_names),
            "top": self.top,
            "scales": list(self.scales or protocol.scales),
            "mirror": protocol.mirror,
            "preprocessing": asdict(model.config.preprocessing),
            **{name: self.opening[name] for name in ("engine", "precision", "device")},
        }


class RankingFiles(PartRows[list[Ranking]]):
    """Part files of predictions, with the records that `Predictions` has."""

    noun = "predict"
    name_column = "image"

    def columns(self, rows: list[Ranking]) -> Iterator[dict[str, Any]]:
        """The most probable classes of each image, the best first."""
        return ({"predictions": classes_of(ranking)} for ranking in rows)

    def empty(self) -> dict[str, Any]:
        """No classes."""
        return {"predictions": []}

    def schema(self) -> Any:
        """Name, predictions and reason."""
        import pyarrow

        prediction = pyarrow.struct([("class", pyarrow.string()), ("probability", pyarrow.float64())])
        predictions = ("predictions", pyarrow.list_(prediction))
        return pyarrow.schema([("image", pyarrow.string()), predictions, ("reason", pyarrow.string())])


def classes_of(ranking: Ranking) -> list[dict[str, Any]]:
    """The classes of a ranking as plain data."""
    return [{"class": one.class_name, "probability": one.probability} for one in ranking]


def _check(model: Model, scales: tuple[int, ...], maps: object, map_scale: int | None) -> None:
    asked = [name for name, value in (("scales", scales), ("maps", maps)) if value]
    if asked and isinstance(model, TransferModel):
        raise UsageError(
            f"`{asked[0]}` is of the network; the classifier of `verydeep transfer` beside it answers here, which "
            "has scales of its own and no score maps: add `network`"
        )
    if map_scale is not None:
        check_scale("map_scale", map_scale, model.config.architecture)


def _draw_maps(
    model: Model, rankings: dict[int, Ranking], images: ImageSet, folder: Path, scale: int | None
) -> None:
    """Draw each image with the map of its best class into `folder`, as `<image>-<class>.png`.

    No image that is there is replaced, but for earlier maps. One that is too narrow for a map, or has gone
    meanwhile, is named.
    """
    taken = names_of_others(folder)
    drawn = 0
    with progress("drawing", len(rankings)) as advance:
        for number, (best, *_) in rankings.items():
            name = images.names[number]
            label = model.class_names.index(best.class_name)
            try:
                score_map = model.score_map(images.source.read(number), scale)
                sheet = score_map.draw(label, f"{best.class_name}  {best.probability:.1%}")
            except ImageError as error:  # the answers are worth more than the map
                reason = str(error) if name in str(error) else f"{name}: {error}"
                say(f"no score map of {reason}")
            else:
                words = f"{name_part(Path(name).stem)}-{name_part(best.class_name)}"
                path = folder / f"{free_name(words, taken)}.png"
                write_drawing(path, sheet)
                drawn += 1
            advance(1)
    say(f"{drawn} score map{'s' * (drawn != 1)} in {folder}")
