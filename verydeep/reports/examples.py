"""Results and their images -> examples worth looking at: mistakes, score maps, one pass over a row of images.

Section 3.2 in images: the network runs over a whole image and answers at every window of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from verydeep.errors import DataError, ImageError
from verydeep.evaluation.results import Evaluation
from verydeep.evaluation.score_map import ScoreMap, score_map
from verydeep.images.drawing import heat_colors
from verydeep.images.sources import open_data
from verydeep.images.views import rescale
from verydeep.inference import Engine
from verydeep.reports.embedded import Embedded, embed, overlay, shown_image, thumbnail

MOST_MISTAKES = 24
NUM_MAPS = 6
NUM_IN_ROW = 8
MAP_SCALE = 1.25  # of Q: large enough for several windows, near enough to the scale that the network knows
MOST_SCALE = 2048  # that images are shown at, whatever a result says
SMALL_WINDOW = 64  # up to it a row of images is small enough for one pass
MOST_ROW_CLASSES = 12  # beyond, only the classes of the images in the row are shown
SURE = 0.5


@dataclass(frozen=True)
class Example:
    """An image, what it shows and what was said.

    Attributes:
        name: of the image.
        right: its class.
        said: the class of the greatest posterior.
        probability: of `said`.
        right_probability: of `right`.
        image: None where it is no longer there.
        overlay: the score map of `said` laid over it, where it was made.

    """

    name: str
    right: str
    said: str
    probability: float
    right_probability: float
    image: Embedded | None
    overlay: Embedded | None = None


class Album:
    """The images of a data set, found by their names.

    Args:
        data: name or path of the data set, as the user says; None where nothing is opened.

    Raises:
        DataError: it is not named, or not there.

    """

    def __init__(self, data: str | None) -> None:
        if data is None:
            raise DataError("no data was named")
        self._images = open_data(data).all
        self._numbers = {name: number for number, name in enumerate(self._images.names)}

    def find(self, name: str) -> Image.Image | None:
        """Read an image; None where it is not there or cannot be read."""
        try:
            image = self._images.source.read(self._numbers[name])
        except (KeyError, ImageError, OSError):
            return None
        return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def mistakes(result: Evaluation, album: Album | None) -> list[Example]:
    """Choose the wrong answers that were given with the greatest confidence, the most confident first."""
    said = result.posteriors.argmax(1)
    wrong = np.flatnonzero(said != result.labels)
    order = wrong[np.argsort(-result.posteriors[wrong, said[wrong]], kind="stable")][:MOST_MISTAKES]
    return [_example(result, int(number), album.find(result.names[number]) if album else None) for number in order]


def score_maps(result: Evaluation, album: Album, engine: Engine) -> list[Example]:
    """Lay score maps over the surest right answers, one for each of a few classes.

    Raises:
        DataError: none of these images is there any more.

    """
    examples = []
    for number, image in _right_of_each_class(result, album, NUM_MAPS, surest=True):
        mapped = _mapped(engine, image, min(max(result.facts.first.scales), MOST_SCALE))
        laid = thumbnail(overlay(mapped, int(result.labels[number])))
        examples.append(_example(result, number, shown_image(mapped), laid))
    return examples


def _mapped(engine: Engine, image: Image.Image, scale: int) -> ScoreMap:
    """Map an image a little larger than it is tested; where windows are small, with a margin around it."""
    window = engine.config.architecture.window
    if window > SMALL_WINDOW:
        return score_map(engine, image, max(round(MAP_SCALE * scale), window))
    framed = _with_margin(rescale(image, scale), window // 2)
    return score_map(engine, framed, min(framed.size))


def _with_margin(image: Image.Image, margin: int) -> Image.Image:
    """Set an image in the middle of a sheet that has the colour of its border."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return ImageOps.expand(image, margin, tuple(int(level) for level in np.median(border, axis=0)))


def image_row(result: Evaluation, album: Album, engine: Engine) -> dict[str, Any] | None:
    """Set right images of several classes side by side and run the network over them once, for the page.

    Returns:
        None where the network's window is too large for that.

    Raises:
        DataError: none of these images is there any more.

    """
    if engine.config.architecture.window > SMALL_WINDOW:
        return None
    scale = min(*result.facts.first.scales, MOST_SCALE)
    found = _right_of_each_class(result, album, NUM_IN_ROW)
    row = np.concatenate([_square(image, scale) for _, image in found], axis=1)
    mapped = score_map(engine, Image.fromarray(row), scale)
    names, labels = mapped.class_names, [int(result.labels[number]) for number, _ in found]
    posteriors = mapped.posteriors.mean(1)
    shown = list(range(len(names))) if len(names) <= MOST_ROW_CLASSES else list(dict.fromkeys(labels))
    num_windows, width = posteriors.shape[1], mapped.pixels.shape[1]
    return {
        "image": embed(mapped.pixels),
        "truth": [names[label] for label in labels],
        "heat": embed(heat_colors(posteriors[shown])),
        "class_names": [names[label] for label in shown],
        "left": 100
        * (mapped.window - mapped.stride)
        / 2
        / width,  # in % of the row: windows answer for their centres
        "width": 100 * num_windows * mapped.stride / width,
        "segments": _segments(posteriors, names),
        "num_windows": num_windows,
        "stride": mapped.stride,
    }


def _segments(posteriors: NDArray[np.float64], names: Sequence[str]) -> list[dict[str, Any]]:
    """Neighbouring windows in which the same class is the most probable; places are in % of all windows.

    A class is sure where its posterior reaches one half somewhere.
    """
    windows = list(enumerate(zip(posteriors.argmax(0).tolist(), posteriors.max(0).tolist(), strict=True)))
    segments, each = [], 100 / len(windows)
    for label, members in groupby(windows, key=lambda window: window[1][0]):
        places, surest = zip(*((place, probability) for place, (_, probability) in members), strict=True)
        sides = {"left": places[0] * each, "width": len(places) * each}
        segments.append({"class_name": names[label], "sure": max(surest) >= SURE, **sides})
    return segments


def _square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Cut the central square of the rescaled image."""
    scaled = rescale(image, side)
    left, top = (scaled.width - side) // 2, (scaled.height - side) // 2
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


def _right_of_each_class(
    result: Evaluation, album: Album, most: int, *, surest: bool = False
) -> list[tuple[int, Image.Image]]:
    """The first right image of each of at most `most` classes, spread over all of them; or the surest one."""
    said = result.posteriors.argmax(1)
    right = np.flatnonzero(said == result.labels)
    if surest:
        right = right[np.argsort(-result.posteriors[right, said[right]], kind="stable")]
    labels, first = np.unique(said[right], return_index=True)
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).round().astype(int))
    images = ((number, album.find(result.names[number])) for number in right[first[chosen]].tolist())
    found = [(number, image) for number, image in images if image]
    if not found:
        raise DataError(
            f"none of the needed images is in {result.facts.data} any more, or none was classified correctly"
        )
    return found


def _example(result: Evaluation, number: int, image: Image.Image | None, laid: Embedded | None = None) -> Example:
    posterior, label = result.posteriors[number], int(result.labels[number])
    said, names = int(posterior.argmax()), result.facts.class_names
    return Example(
        result.names[number],
        names[label],
        names[said],
        float(posterior[said]),
        float(posterior[label]),
        thumbnail(image) if image else None,
        laid,
    )
