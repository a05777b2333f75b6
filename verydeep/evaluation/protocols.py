"""What is shown to the network in testing. A protocol is data: it only says which views."""

from __future__ import annotations

from dataclasses import dataclass

from verydeep.errors import UsageError


@dataclass(frozen=True)
class Dense:
    """The whole picture at each scale, and its mirror image (Section 3.2).

    Attributes:
        scales: Q, the smaller sides of the rescaled picture.
        mirror: whether the mirror image is shown too.

    """

    scales: tuple[int, ...]
    mirror: bool = True

    @property
    def views(self) -> str:
        """Name of the protocol, as on the command line."""
        return "dense"

    def check(self, window: int) -> None:
        """Make sure that every view holds a window of the network.

        Raises:
            UsageError: a scale is too small, or there is none.

        """
        if not self.scales:
            raise UsageError("a test needs at least one scale")
        for scale in self.scales:
            if scale < window:
                raise UsageError(
                    f"scale {scale} is smaller than the network's window of {window} pixels; "
                    f"use --scales {window} or more"
                )
