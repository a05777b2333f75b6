"""What is shown to the network in testing. A protocol is data: it only says which views. Sections 3.2 and 4.

Every test is one act, a mean of posteriors: over the views of a protocol, then over protocols, then over networks.
A new protocol is a class like these, and an entry in `PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from verydeep.arguments import check_fields
from verydeep.errors import UsageError, check_choice
from verydeep.images.geometry import Offset, centre_offset, grid_offsets
from verydeep.plan import check_scales

GRID = 5  # crops along each side, in the paper


@dataclass(frozen=True)
class Protocol:
    """What all protocols have.

    Attributes:
        scales: Q, the smaller sides of the rescaled image.
        mirror: whether mirror images are shown too.

    """

    scales: tuple[int, ...]
    mirror: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        check_scales(self.scales)

    whole: ClassVar[bool] = False
    """Whether images are shown whole, without crops."""

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """Left and top of each crop of a rescaled image; none where it is shown whole."""
        return []


@dataclass(frozen=True)
class Dense(Protocol):
    """The whole image, and its mirror image: the network runs over all of it (Section 3.2).

    Attributes:
        scales: Q, the smaller sides of the rescaled image.
        mirror: whether mirror images are shown too.

    """

    whole: ClassVar[bool] = True


@dataclass(frozen=True)
class MultiCrop(Protocol):
    """A regular grid of crops and their mirror images: 50 a scale in the paper (Section 3.2).

    Attributes:
        scales: as for `Dense`.
        mirror: likewise.
        grid: crops along each side.

    """

    grid: int = GRID

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """Left and top of each crop, row by row; the outermost touch the image's edges."""
        lefts, tops = grid_offsets(width, window, self.grid), grid_offsets(height, window, self.grid)
        return [(left, top) for top in tops for left in lefts]


@dataclass(frozen=True)
class CentreCrop(Protocol):
    """The crop in the middle: how most published weights are tested, not the paper's way.

    Attributes:
        scales: as for `Dense`.
        mirror: likewise.

    """

    mirror: bool = False

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """The one crop's left and top."""
        return [(centre_offset(width, window), centre_offset(height, window))]


@dataclass(frozen=True)
class TenCrop(Protocol):
    """The four corners, the centre and their mirror images: AlexNet's test.

    Attributes:
        scales: as for `Dense`.
        mirror: likewise; without it there are five.

    """

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """Left and top of the corners, row by row, and of the centre."""
        corners = [(left, top) for top in (0, height - window) for left in (0, width - window)]
        return [*corners, (centre_offset(width, window), centre_offset(height, window))]


@dataclass(frozen=True)
class Views:
    """A test protocol by the name that commands and results call it.

    Attributes:
        words: what people call it, in every table, page and message.
        make: scales, mirror, grid -> protocols, whose posteriors are averaged.

    """

    words: str
    make: Callable[[tuple[int, ...], bool, int], tuple[Protocol, ...]]


PROTOCOLS: dict[str, Views] = {
    "dense": Views("dense", lambda scales, mirror, grid: (Dense(scales, mirror),)),
    "crops": Views("multi-crop", lambda scales, mirror, grid: (MultiCrop(scales, mirror, grid),)),
    "both": Views(
        "multi-crop & dense", lambda scales, mirror, grid: (Dense(scales, mirror), MultiCrop(scales, mirror, grid))
    ),
    "centre": Views("centre crop", lambda scales, mirror, grid: (CentreCrop(scales),)),
    "ten": Views("ten crops", lambda scales, mirror, grid: (TenCrop(scales, mirror),)),
}


def protocol_name(views: Iterable[str]) -> str:
    """What a mean of tests is called for people: of `dense` and `crops` as `both` is.

    Args:
        views: names of `PROTOCOLS`.

    """
    names = dict.fromkeys(views)
    if set(names) == {"dense", "crops"}:
        return PROTOCOLS["both"].words
    return " & ".join(PROTOCOLS[name].words for name in names)


def protocols_of(views: str, scales: tuple[int, ...], mirror: bool, grid: int = GRID) -> tuple[Protocol, ...]:
    """Make the protocols of a name; `both` is the paper's multi-crop & dense.

    Args:
        views: a name of `PROTOCOLS`.
        scales: Q, one or several.
        mirror: whether mirror images are shown too; of `centre` they never are.
        grid: crops along each side of multi-crop.

    Raises:
        UsageError: there are no such views, no scale, or no crop.

    """
    if grid < 1:
        raise UsageError(f"`grid` is {grid}; it must be at least 1, 5 in the paper")
    return PROTOCOLS[check_choice("test protocol", views, PROTOCOLS)].make(scales, mirror, grid)
