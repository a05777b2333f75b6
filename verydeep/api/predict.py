"""`verydeep.predict`: model + images -> what they show, and where."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.errors import ImageError, UsageError, escaped
from verydeep.evaluation.ranking import Ranking, ranked
from verydeep.files import MARK, free_name, name_part, write_whole
from verydeep.images.find import Words, find_images
from verydeep.images.image_set import ImageSet, Unreadable, readable
from verydeep.inference import EngineName, PrecisionName
from verydeep.model import Model, TransferModel, load
from verydeep.notes import progress, say
from verydeep.results import Result


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
        """An object for each image."""
        for name, ranking in self.images:
            classes = [{"class": p.class_name, "probability": p.probability} for p in ranking]
            yield {"image": name, "predictions": classes}

    def to_dict(self) -> dict[str, Any]:
        """The records, and what cannot be read."""
        lost = [{"image": one.name, "reason": one.reason} for one in self.unreadable]
        return {"predictions": list(self.records()), "unreadable": lost}

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


def predict(
    model: str | PathLike[str],
    images: Words,
    *,
    top: int = 5,
    scales: tuple[int, ...] = (),
    maps: str | PathLike[str] | None = None,
    map_scale: int | None = None,
    network: bool = False,
    tensors: str | None = None,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Predictions:
    """Classify images.

    If `verydeep.transfer` saved a classifier beside the model, it is used. One image gives a table.
    Several give CSV: a line for each image, with its classes and their probabilities.

    Args:
        model: a run folder or weights in one; `cifar10`, which is bundled; or another library's weights, a file or
            a name such as torchvision:vgg16.
        images: images, folders of images, or patterns such as 'holiday/*.jpg'.
        top: number of classes to name.
        scales: Q, the smaller side of the rescaled image, one or several (default: S, or the middle of its range).
        maps: folder for images with their class score maps laid over them.
        map_scale: smaller side of an image for its score map (default: two windows of the network).
        network: answer by the network's own classes, even if a classifier lies beside the model.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Raises:
        UsageError: an argument does not fit.
        ImageError: there is no such image; one that is there and cannot be read is in the answer.
        ModelError: there is no such model, or it cannot be used.

    """
    if top < 1:
        raise UsageError(f"`top` is {top}; name at least 1 class")
    found = find_images(images)
    loaded = load(model, device, precision, engine, threads=threads, network=network, tensors=tensors)
    _check(loaded, scales, maps, map_scale)
    protocol = replace(loaded.protocol, scales=scales) if scales else None
    lost: list[Unreadable] = []
    with progress("predicting", len(found)) as advance:
        posteriors = loaded.posteriors_of(found, protocol, advance=advance, unreadable=lost.append)
    rankings = {
        number: ranked(posteriors[number], loaded.class_names, top)
        for number in readable(len(found), lost).tolist()
    }
    if maps is not None:
        _draw_maps(loaded, rankings, found, Path(maps), map_scale)
    return Predictions(tuple((found.names[number], one) for number, one in rankings.items()), tuple(lost))


def _check(model: Model, scales: tuple[int, ...], maps: object, map_scale: int | None) -> None:
    asked = [name for name, value in (("scales", scales), ("maps", maps)) if value]
    if asked and isinstance(model, TransferModel):
        raise UsageError(
            f"`{asked[0]}` is of the network; the classifier of `verydeep transfer` beside it answers here, which "
            "has scales of its own and no score maps: add `network`"
        )
    window = model.config.architecture.window
    if map_scale is not None and map_scale < window:
        raise UsageError(
            f"`map_scale` {map_scale} is smaller than the network's window of {window} pixels; use {window} or "
            "more"
        )


def _draw_maps(
    model: Model, rankings: dict[int, Ranking], images: ImageSet, folder: Path, scale: int | None
) -> None:
    """Draw each image with the map of its best class into `folder`, as `<image>-<class>.png`."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text(*MARK)
    taken = {name_part(Path(name).stem).casefold() for name in images.names}  # so that no image is replaced
    with progress("drawing", len(rankings)) as advance:
        for number, (best, *_) in rankings.items():
            label = model.class_names.index(best.class_name)
            score_map = model.score_map(images.source.read(number), scale)
            sheet = score_map.draw(label, f"{best.class_name}  {best.probability:.1%}")
            words = f"{name_part(Path(images.names[number]).stem)}-{name_part(best.class_name)}"
            path = folder / f"{free_name(words, taken)}.png"
            write_whole(path, partial(sheet.save, format="PNG", pnginfo=mark))
            advance(1)
    say(f"{len(rankings)} score map{'s' * (len(rankings) != 1)} in {folder}")
