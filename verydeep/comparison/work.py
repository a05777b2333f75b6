"""Pairs of images, chunk by chunk -> their distances. Each image's vector is computed as seldom as memory allows.

A chunk's rows have the numbers of two images and their distance each. Pairs that share no images are compared as
they are read. Consecutive images leave the last vector for the next chunk. Where each is compared with each, a
block of images stays in memory, and the others pass by, a chunk at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import read_array, write_array
from verydeep.chunks.parts import Parts, Worked
from verydeep.chunks.plan import CHUNK_BYTES, Chunk, chunk_of
from verydeep.comparison.metrics import Map, Metric, Vectors
from verydeep.comparison.pairs import Pairs, Sizes
from verydeep.errors import ImageError
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.images.views import Pixels, as_image

CHUNK_IMAGES = 16  # few, so that progress is seen and little is lost by an interruption
FRAMES = 4  # consecutive images whose vectors are in memory at once

Rows = NDArray[np.float64]  # (pairs, 3): the numbers of two images, and their distance
Draw = Callable[[int, int, Pixels, Pixels, float, Map], None]
"""Is called with the numbers of two images, their pixels, their distance, and their distance at each pixel."""


def reader(images: ImageSet, sizes: Sizes, *, grey: bool) -> Callable[[int], Pixels]:
    """Read an image by its number, at the size at which it is compared.

    Args:
        images: all.
        sizes: likewise.
        grey: whether grey images are taken.

    """

    def read(number: int) -> Pixels:
        image, size = images.source.read(number), sizes.wanted[number]
        if size is not None and size != as_image(image).size:
            from PIL import Image

            image = as_image(image).resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        if not grey and (pixels == pixels[..., :1]).all():
            raise ImageError(f"{images.names[number]} is grey; `grey=repeat` takes its channel three times")
        return pixels

    return read


class Work(ABC):
    """What is done with the chunks of a plan.

    Args:
        pairs: that are compared.
        sizes: of their images.
        metric: that compares them.
        read: as `reader` gives it.

    """

    def __init__(self, pairs: Pairs, sizes: Sizes, metric: Metric, read: Callable[[int], Pixels]) -> None:
        self.pairs = pairs
        self.sizes = sizes
        self.metric = metric
        self.read = read

    @abstractmethod
    def plan(self) -> list[Chunk]:
        """Cut the work into chunks."""

    @abstractmethod
    def rows(self, chunk: Chunk, images: dict[int, Pixels]) -> Rows:
        """Compare the images of a chunk that could be read."""

    def length(self, number: int) -> int:
        """How many images of this one's size a chunk has."""
        width, height = self.sizes.of(number) or (1, 1)
        return max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (3 * width * height)))

    def vectors_of(self, images: Mapping[int, Pixels]) -> dict[int, NDArray[np.float32]]:
        """Vectors of images, by number."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, image in images.items():
            by_shape[image.shape].append(number)
        found: dict[int, NDArray[np.float32]] = {}
        for numbers in by_shape.values():
            vectors = self.metric.vectors(np.stack([images[number] for number in numbers]))
            found |= dict(zip(numbers, vectors, strict=True))
        return {number: found[number] for number in images}

    def read_some(self, numbers: Iterable[int]) -> dict[int, Pixels]:
        """Read images that are not of the chunk itself; its own chunk says of one why it cannot be read."""
        found = {}
        for number in numbers:
            try:
                found[number] = self.read(number)
            except ImageError:
                continue
        return found


class MatchedWork(Work):
    """Pairs that share no images. Those of one size are compared together.

    Args:
        draw: what draws maps of the distance; None draws none.

    """

    def __init__(
        self,
        pairs: Pairs,
        sizes: Sizes,
        metric: Metric,
        read: Callable[[int], Pixels],
        draw: Draw | None = None,
    ) -> None:
        super().__init__(pairs, sizes, metric, read)
        self.draw = draw

    def plan(self) -> list[Chunk]:
        """As `Work` says; a chunk has pairs of one size."""
        groups: dict[object, list[int]] = defaultdict(list)
        for place in range(len(self.pairs)):
            if place not in self.pairs.reasons:
                size = self.sizes.of(int(self.pairs.first[place])) or (0, 0)
                groups[size].append(place)
        chunks: list[Chunk] = []
        for _, places in sorted(groups.items()):
            length = self.length(int(self.pairs.first[places[0]]))
            for start in range(0, len(places), length):
                part = places[start : start + length]
                numbers = np.stack([self.pairs.first[part], self.pairs.second[part]], 1).ravel().tolist()
                chunks.append(chunk_of(len(chunks), self.pairs.images, numbers))
        return chunks

    def rows(self, chunk: Chunk, images: dict[int, Pixels]) -> Rows:
        """As `Work` says."""
        by_shape: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
        for pair in zip(chunk.images[::2], chunk.images[1::2], strict=True):
            shapes = {images[number].shape for number in pair if number in images}
            if all(number in images for number in pair) and len(shapes) == 1:
                by_shape[shapes.pop()].append(pair)
        rows: list[tuple[int, int, float]] = []
        for pairs in by_shape.values():
            first, second = (np.stack([images[pair[side]] for pair in pairs]) for side in (0, 1))
            distances, maps = self.metric.pairs(first, second, maps=self.draw is not None)
            rows += [(*pair, distance) for pair, distance in zip(pairs, distances.tolist(), strict=True)]
            if self.draw:
                for pair, one, other, distance, drawn in zip(pairs, first, second, distances, maps, strict=True):
                    self.draw(*pair, one, other, float(distance), drawn)
        return _as_rows(rows)


class ConsecutiveWork(MatchedWork):
    """Each image and the next one."""

    _last: tuple[int, Pixels, NDArray[np.float32]] | None = None  # number, pixels and vector of the last image

    def plan(self) -> list[Chunk]:
        """As `Work` says."""
        chunks: list[Chunk] = []
        start, count = 0, len(self.pairs.images)
        while start < count:
            end = min(count, start + self.length(start))
            beside = [start - 1] * (start > 0)
            chunks.append(chunk_of(len(chunks), self.pairs.images, range(start, end), beside))
            start = end
        return chunks

    def rows(self, chunk: Chunk, images: dict[int, Pixels]) -> Rows:
        """As `Work` says."""
        before = chunk.images[0] - 1
        if self._last is None or self._last[0] != before:
            self._last = None
            images = {**self.read_some([before] * (before >= 0)), **images}
        rows: list[tuple[int, int, float]] = []
        usable = [number for number in images if self._is_compared(number)]
        for start in range(0, len(usable), FRAMES):
            some = {number: images[number] for number in usable[start : start + FRAMES]}
            for number, vector in self.vectors_of(some).items():
                rows += self._compare(number, images[number], vector)
                self._last = number, images[number], vector
        return _as_rows(rows)

    def _compare(self, number: int, image: Pixels, vector: NDArray[np.float32]) -> list[tuple[int, int, float]]:
        """Compare an image with the last one, if that is the one before it in its folder."""
        if self._last is None or self._last[0] != number - 1 or self._last[1].shape != image.shape:
            return []
        if number - 1 not in self._places:
            return []
        _, before, vector_before = self._last
        distance = float(self.metric.between(vector_before[None], vector[None], *image.shape[:2])[0, 0])
        if self.draw:
            _, maps = self.metric.pairs(before[None], image[None], maps=True)
            self.draw(number - 1, number, before, image, distance, maps[0])
        return [(number - 1, number, distance)]

    def _is_compared(self, number: int) -> bool:
        """Whether a pair with this image is compared."""
        places = [self._places[first] for first in (number - 1, number) if first in self._places]
        return any(place not in self.pairs.reasons for place in places)

    @cached_property
    def _places(self) -> dict[int, int]:
        """Place of each pair, by the number of its first image."""
        return {first: place for place, first in enumerate(self.pairs.first.tolist())}


class AllWork(Work):
    """Each image with each. A block of images is in memory while all that come behind it pass by.

    Args:
        cache: bytes of vectors that may be in memory.

    """

    def __init__(
        self, pairs: Pairs, sizes: Sizes, metric: Metric, read: Callable[[int], Pixels], cache: int
    ) -> None:
        super().__init__(pairs, sizes, metric, read)
        width, height = next(filter(None, map(sizes.of, range(len(pairs.images)))), (1, 1))
        self.height, self.width = height, width
        self.vector_size = metric.vector_size(height, width)
        places = max(2, cache // max(1, 4 * self.vector_size))  # 0 where no image can be read
        self.passing = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // (3 * width * height), places // 4))
        self.block_length = places - self.passing
        self._blocks: list[range] = []  # of each chunk
        self._block = range(0)
        self._kept: dict[int, int] = {}  # where the vector of an image of the block is
        self._lost: set[int] = set()  # images of the block that cannot be read
        self._vectors: Vectors = np.empty((0, self.vector_size), np.float32)

    def plan(self) -> list[Chunk]:
        """As `Work` says; the chunks of a block follow one another."""
        count, total = self.pairs.count, len(self.pairs.images)
        chunks: list[Chunk] = []
        for start in range(0, count, self.block_length):
            block = range(start, min(start + self.block_length, count))
            others = range(count, total) if self.pairs.two_sets else range(block.stop, total)
            for numbers in (block, others):
                for at in range(numbers.start, numbers.stop, self.passing):
                    part = numbers[at - numbers.start :][: self.passing]
                    beside = [number for number in block if number not in part and self._needed(number, part)]
                    chunks.append(chunk_of(len(chunks), self.pairs.images, part, beside))
                    self._blocks.append(block)
        return chunks

    def _needed(self, number: int, part: range) -> bool:
        """Whether an image of the block is compared with some of a chunk."""
        return number < part[-1] and (not self.pairs.two_sets or part[-1] >= self.pairs.count)

    def rows(self, chunk: Chunk, images: dict[int, Pixels]) -> Rows:
        """As `Work` says."""
        images = self._of_the_size(images)
        block, part = self._blocks[chunk.number], range(chunk.images[0], chunk.images[-1] + 1)
        self._begin(block)
        self._keep({number: image for number, image in images.items() if number in block})
        needed = [number for number in block if self._needed(number, part)]
        for start in range(0, len(needed), self.passing):
            some = needed[start : start + self.passing]
            absent = [n for n in some if n not in self._kept and n not in self._lost and n not in part]
            self._keep(self._of_the_size(self.read_some(absent)))
            self._lost.update(number for number in absent if number not in self._kept)
        passing = self.vectors_of({number: image for number, image in images.items() if number not in block})
        firsts = [number for number in needed if number in self._kept]
        seconds = [number for number in images if number in passing or number in self._kept]
        if self.pairs.two_sets:
            seconds = [number for number in seconds if number >= self.pairs.count]
        if not firsts or not seconds:
            return _as_rows([])
        others = np.stack([passing[n] if n in passing else self._vectors[self._kept[n]] for n in seconds])
        held = self._vectors[: len(self._kept)]
        distances = self.metric.between(held, others, self.height, self.width)
        first = np.repeat(np.array(firsts), len(seconds))
        second = np.tile(np.array(seconds), len(firsts))
        values = distances[[self._kept[number] for number in firsts]].ravel()
        rows = np.stack([first, second, values], 1)
        return rows[first < second]

    def _of_the_size(self, images: dict[int, Pixels]) -> dict[int, Pixels]:
        """Without those whose file has changed since their size was looked up."""
        size = self.height, self.width
        return {number: image for number, image in images.items() if image.shape[:2] == size}

    def _begin(self, block: range) -> None:
        if block != self._block:
            self._block, self._kept, self._lost = block, {}, set()
            if len(self._vectors) < len(block):
                self._vectors = np.empty((len(block), self.vector_size), np.float32)

    def _keep(self, images: Mapping[int, Pixels]) -> None:
        """Keep vectors of images of the block."""
        for number, vector in self.vectors_of(images).items():
            if number not in self._kept:
                self._kept[number] = len(self._kept)
                self._vectors[self._kept[number]] = vector


def _as_rows(rows: Sequence[tuple[int, int, float]]) -> Rows:
    return np.array(rows, np.float64).reshape(-1, 3)


class PairParts(Parts[Rows]):
    """Finished chunks of a comparison: each an array of its rows."""

    noun = "comparison"

    def read(self, chunk: Chunk) -> Rows | None:
        """Rows of a chunk."""
        try:
            rows = read_array(self.file(chunk), ("f", 2))
        except (OSError, ValueError):
            return None
        return rows if rows.shape[1] == 3 and np.isfinite(rows).all() else None

    def write(self, chunk: Chunk, worked: Worked[Rows], lost: Sequence[Unreadable]) -> None:
        """Keep them, unless an image is missing: it is to be named again."""
        if not lost:
            write_array(self.file(chunk), np.concatenate([rows for _, rows in worked]))
