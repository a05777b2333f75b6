"""Results and their pictures -> examples worth looking at: mistakes, score maps, one pass over a row of pictures.

Section 3.2 in pictures: the network runs over a whole picture and answers at every window of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, PictureError
from verydeep.evaluation.results import Evaluation, Facts
from verydeep.evaluation.score_map import ScoreMap, score_map
from verydeep.images.pictures import Pictures
from verydeep.images.sources import open_data
from verydeep.images.views import rescale
from verydeep.inference import Engine
from verydeep.reports.pictures import Embedded, class_rows, embed, overlay, shown_pixels, thumbnail

MOST_MISTAKES = 24
NUM_MAPS = 6
NUM_IN_ROW = 8
MAP_SCALE = 1.25  # of Q: large enough for several windows, near enough to the scale that the network knows
SMALL_WINDOW = 64  # up to it a row of pictures is small enough for one pass
MOST_ROW_CLASSES = 12  # beyond, only the classes of the pictures in the row are shown
SURE = 0.5


@dataclass(frozen=True)
class Example:
    """A picture, what it shows and what was said.

    Attributes:
        name: of the picture.
        right: its class.
        said: the class of the greatest posterior.
        probability: of `said`.
        right_probability: of `right`.
        picture: None where it is no longer there.
        overlay: the score map of `said` laid over it, where it was made.

    """

    name: str
    right: str
    said: str
    probability: float
    right_probability: float
    picture: Embedded | None
    overlay: Embedded | None = None


@dataclass(frozen=True)
class Segment:
    """Neighbouring windows of a row of pictures in which the same class is the most probable.

    Attributes:
        class_name: of that class.
        left: where it begins, in % of the row's windows.
        width: likewise.
        sure: whether its posterior reaches one half somewhere.

    """

    class_name: str
    left: float
    width: float
    sure: bool


@dataclass(frozen=True)
class PictureRow:
    """One pass over a row of pictures.

    Attributes:
        picture: the row.
        truth: the class of each picture.
        heat: posteriors, a row for each class and a column for each window.
        class_names: of the rows.
        left: the first column's left edge, in % of the row's width: windows answer for their centres.
        width: of all columns, likewise.
        segments: what is most probable where.
        num_windows: number of columns.
        stride: distance between windows in pixels.

    """

    picture: Embedded
    truth: tuple[str, ...]
    heat: Embedded
    class_names: tuple[str, ...]
    left: float
    width: float
    segments: tuple[Segment, ...]
    num_windows: int
    stride: int


class Album:
    """The pictures of a data set, found by their names."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._numbers = {name: number for number, name in enumerate(pictures.names)}

    @staticmethod
    def open(facts: Facts) -> Album:
        """Open the data set that a result was made on.

        Raises:
            DataError: it is no longer there.

        """
        return Album(open_data(facts.data).all)

    def find(self, name: str) -> Image.Image | None:
        """Read a picture; None where it is not there or cannot be read."""
        if name not in self._numbers:
            return None
        try:
            picture = self._pictures.source.read(self._numbers[name])
        except (PictureError, OSError):
            return None
        return Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture


def mistakes(result: Evaluation, album: Album | None) -> list[Example]:
    """Choose the wrong answers that were given with the greatest confidence, the most confident first."""
    said = result.posteriors.argmax(1)
    wrong = np.flatnonzero(said != result.labels)
    order = wrong[np.argsort(-result.posteriors[wrong, said[wrong]], kind="stable")][:MOST_MISTAKES]
    return [_example(result, int(number), album.find(result.names[number]) if album else None) for number in order]


def score_maps(result: Evaluation, album: Album, engine: Engine) -> list[Example]:
    """Lay score maps over the surest right answers, one for each of a few classes.

    Raises:
        DataError: none of these pictures is there any more.

    """
    examples = []
    for number, picture in _found(result, album, _surest(result, NUM_MAPS)):
        mapped = _mapped(engine, picture, max(result.facts.first.scales))
        laid = thumbnail(overlay(mapped, int(result.labels[number])))
        examples.append(_example(result, number, shown_pixels(mapped), laid))
    return examples


def _mapped(engine: Engine, picture: Image.Image, scale: int) -> ScoreMap:
    """Map a picture a little larger than it is tested; where windows are small, with a margin around it."""
    window = engine.config.architecture.window
    if window > SMALL_WINDOW:
        return score_map(engine, picture, max(round(MAP_SCALE * scale), window))
    framed = _with_margin(rescale(picture, scale), window // 2)
    return score_map(engine, framed, min(framed.size))


def _with_margin(picture: Image.Image, margin: int) -> Image.Image:
    """Set a picture in the middle of a sheet that has the colour of its border."""
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(level) for level in np.median(border, axis=0))
    sheet = Image.new("RGB", (picture.width + 2 * margin, picture.height + 2 * margin), (red, green, blue))
    sheet.paste(picture, (margin, margin))
    return sheet


def picture_row(result: Evaluation, album: Album, engine: Engine) -> PictureRow | None:
    """Set right pictures of several classes side by side and run the network over them once.

    Returns:
        None where the network's window is too large for that.

    Raises:
        DataError: none of these pictures is there any more.

    """
    if engine.config.architecture.window > SMALL_WINDOW:
        return None
    scale = min(result.facts.first.scales)
    found = list(_found(result, album, _first_right(result, NUM_IN_ROW)))
    row = np.concatenate([_square(picture, scale) for _, picture in found], axis=1)
    mapped = score_map(engine, Image.fromarray(row), scale)
    labels = [int(result.labels[number]) for number, _ in found]
    return _picture_row(mapped, labels)


def _picture_row(mapped: ScoreMap, labels: Sequence[int]) -> PictureRow:
    names = mapped.class_names
    posteriors = mapped.posteriors.mean(1)
    shown = list(range(len(names))) if len(names) <= MOST_ROW_CLASSES else list(dict.fromkeys(labels))
    num_windows, width = posteriors.shape[1], mapped.pixels.shape[1]
    return PictureRow(
        embed(mapped.pixels),
        tuple(names[label] for label in labels),
        class_rows(posteriors[shown]),
        tuple(names[label] for label in shown),
        100 * (mapped.window - mapped.stride) / 2 / width,
        100 * num_windows * mapped.stride / width,
        _segments(posteriors, names),
        num_windows,
        mapped.stride,
    )


def _segments(posteriors: NDArray[np.float64], names: Sequence[str]) -> tuple[Segment, ...]:
    said, surest = posteriors.argmax(0), posteriors.max(0)
    segments, begin, each = [], 0, 100 / len(said)
    for label, members in groupby(said.tolist()):
        end = begin + len(list(members))
        sure = bool(surest[begin:end].max() >= SURE)
        segments.append(Segment(names[label], begin * each, (end - begin) * each, sure))
        begin = end
    return tuple(segments)


def _square(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """Cut the central square of the rescaled picture."""
    scaled = rescale(picture, side)
    left, top = (scaled.width - side) // 2, (scaled.height - side) // 2
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


def _found(result: Evaluation, album: Album, numbers: Sequence[int]) -> Iterator[tuple[int, Image.Image]]:
    found = 0
    for number in numbers:
        picture = album.find(result.names[number])
        if picture is not None:
            found += 1
            yield number, picture
    if not found:
        raise DataError(f"none of the pictures wanted is in {result.facts.data} any more, or none was named right")


def _surest(result: Evaluation, most: int) -> list[int]:
    """Number of the surest right picture of each of at most `most` classes, spread over all of them."""
    return [
        max(members, key=lambda number: float(result.posteriors[number].max())) for members in _right(result, most)
    ]


def _first_right(result: Evaluation, most: int) -> list[int]:
    """Number of the first right picture of each of at most `most` classes, spread over all of them."""
    return [members[0] for members in _right(result, most)]


def _right(result: Evaluation, most: int) -> list[list[int]]:
    said = result.posteriors.argmax(1)
    right = [
        np.flatnonzero((said == label) & (result.labels == label)).tolist()
        for label in range(len(result.facts.class_names))
    ]
    filled = [members for members in right if members]
    chosen = np.unique(np.linspace(0, len(filled) - 1, min(most, len(filled))).round().astype(int))
    return [filled[number] for number in chosen]


def _example(
    result: Evaluation, number: int, picture: Image.Image | None, laid: Embedded | None = None
) -> Example:
    posterior, label = result.posteriors[number], int(result.labels[number])
    said, names = int(posterior.argmax()), result.facts.class_names
    return Example(
        result.names[number],
        names[label],
        names[said],
        float(posterior[said]),
        float(posterior[label]),
        thumbnail(picture) if picture else None,
        laid,
    )
