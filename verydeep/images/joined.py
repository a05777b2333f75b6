"""Images of several sources, one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from typing import Self

from PIL import Image

from verydeep.images import decode
from verydeep.images.image_set import ImageSet, ImageSource
from verydeep.images.views import Pixels


@dataclass(frozen=True, eq=False)
class Joined(ImageSource):
    """Images of several sources: folders, lists and shards that are given together.

    Attributes:
        sets: of any sources, in their order.

    """

    sets: tuple[ImageSet, ...]

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Number of the first image of each set, and of all images."""
        return tuple(accumulate(map(len, self.sets), initial=0))

    def _set_of(self, number: int) -> tuple[ImageSet, int]:
        """The set of image `number`, and its number there."""
        place = bisect_right(self._starts, number) - 1
        return self.sets[place], number - self._starts[place]

    def _of(self, number: int) -> tuple[ImageSource, int]:
        """The same with the source of the set."""
        images, there = self._set_of(number)
        return images.source, there

    def __len__(self) -> int:
        return self._starts[-1]

    def name(self, number: int) -> str:
        """As its set has it."""
        images, there = self._set_of(number)
        name: str = images.names[there]
        return name

    def encoded(self, number: int) -> decode.Encoded:
        """Its bytes."""
        source, there = self._of(number)
        return source.encoded(there)

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image | Pixels:
        """Decode it."""
        source, there = self._of(number)
        return source.read(there, smallest_side)

    def size(self, number: int) -> tuple[int, int]:
        """Width and height."""
        source, there = self._of(number)
        return source.size(there)

    def stamp(self, number: int) -> str:
        """As its source has it."""
        source, there = self._of(number)
        return source.stamp(there)

    def select(self, numbers: Sequence[int]) -> Self:
        """Keep these images, in this order."""
        places = [self._set_of(number) for number in numbers]
        return type(self)(tuple(images.select([there]) for images, there in places))

    def join(self, other: Self) -> Self:
        """These sets, and then the others."""
        return type(self)(self.sets + other.sets)

    def fingerprint(self) -> str:
        """A digest of those of the sets."""
        return sha256("\n".join(images.fingerprint for images in self.sets).encode()).hexdigest()[:16]
