"""What is shown to the network in testing. A protocol is data: it only says which views. Sections 3.2 and 4.

Every test is one act, a mean of posteriors: over the views of a protocol, then over protocols, then over networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from verydeep.errors import UsageError
from verydeep.images.geometry import Offset, centre_offset, grid_offsets

ViewsName = Literal["dense", "crops", "both", "centre", "ten"]
VIEWS: tuple[str, ...] = get_args(ViewsName)


@dataclass(frozen=True)
class Dense:
    """The whole picture, and its mirror image: the network runs over all of it (Section 3.2).

    Attributes:
        scales: Q, the smaller sides of the rescaled picture.
        mirror: whether mirror images are shown too.

    """

    scales: tuple[int, ...]
    mirror: bool = True

    def offsets(self, width: int, height: int, window: int) -> None:
        """There are no crops: the picture is shown whole."""


@dataclass(frozen=True)
class MultiCrop:
    """A regular grid of crops and their mirror images: 50 a scale in the paper (Section 3.2).

    Attributes:
        scales: as for `Dense`.
        mirror: likewise.
        grid: crops along each side.

    """

    scales: tuple[int, ...]
    mirror: bool = True
    grid: int = 5

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """Left and top of each crop, row by row; the outermost touch the picture's edges."""
        lefts, tops = grid_offsets(width, window, self.grid), grid_offsets(height, window, self.grid)
        return [(left, top) for top in tops for left in lefts]


@dataclass(frozen=True)
class CentreCrop:
    """The crop in the middle: how most published weights are tested, not the paper's way.

    Attributes:
        scales: as for `Dense`.
        mirror: likewise.

    """

    scales: tuple[int, ...]
    mirror: bool = False

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """The one crop's left and top."""
        return [(centre_offset(width, window), centre_offset(height, window))]


@dataclass(frozen=True)
class TenCrop:
    """The four corners, the centre and their mirror images: AlexNet's test.

    Attributes:
        scales: as for `Dense`.
        mirror: likewise; without it there are five.

    """

    scales: tuple[int, ...]
    mirror: bool = True

    def offsets(self, width: int, height: int, window: int) -> list[Offset]:
        """Left and top of the corners, row by row, and of the centre."""
        corners = [(left, top) for top in (0, height - window) for left in (0, width - window)]
        return [*corners, (centre_offset(width, window), centre_offset(height, window))]


Protocol = Dense | MultiCrop | CentreCrop | TenCrop


def named(views: str, scales: tuple[int, ...], mirror: bool, grid: int = 5) -> tuple[Protocol, ...]:
    """Turn the command line's words into protocols; `both` is the paper's multi-crop and dense.

    Args:
        views: one of `VIEWS`.
        scales: Q, one or several.
        mirror: whether mirror images are shown too; of `centre` they never are.
        grid: crops along each side of multi-crop.

    Raises:
        UsageError: there are no such views, no scale, or no crop.

    """
    if not scales:
        raise UsageError("a test needs at least one scale")
    if len(set(scales)) < len(scales):
        raise UsageError(f"--scales names a scale twice: {' '.join(map(str, scales))}")
    if grid < 1:
        raise UsageError(f"--grid is {grid}; it has to be at least 1, 5 in the paper")
    protocols: dict[str, tuple[Protocol, ...]] = {
        "dense": (Dense(scales, mirror),),
        "crops": (MultiCrop(scales, mirror, grid),),
        "both": (Dense(scales, mirror), MultiCrop(scales, mirror, grid)),
        "centre": (CentreCrop(scales),),
        "ten": (TenCrop(scales, mirror),),
    }
    if views not in protocols:
        raise UsageError(f"no views are called {views!r}; there are {', '.join(VIEWS)}")
    return protocols[views]


def check(protocol: Protocol, window: int) -> None:
    """Make sure that every scale holds a window of the network.

    Raises:
        UsageError: a scale is too small.

    """
    for scale in protocol.scales:
        if scale < window:
            raise UsageError(
                f"scale {scale} is smaller than the network's window of {window} pixels; "
                f"use --scales {window} or more"
            )
