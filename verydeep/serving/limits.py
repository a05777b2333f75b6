"""What a server takes at most, and the answers to what it does not take."""

from __future__ import annotations

from dataclasses import dataclass

from verydeep.arguments import check_fields
from verydeep.errors import check_least

MOST_SHOWN = 16_000_000  # pixels: 150 crops of 224x224 are half of it
MOST_WAITING = 8 * MOST_SHOWN  # pixels that wait for the engine: at most 400 MB of rescaled images
MOST_VALUES = 16_000_000  # numbers of an answer: 64 MB as float32
MOST_WRITTEN = 1_000_000  # numbers of an answer in JSON
MOST_OUTPUTS = 128_000_000  # numbers that the engine holds of an image: 512 MB
MOST_PARTS = 2_000_000  # values and lists of a body in JSON, which take fifty bytes of memory each
MOST_LISTED = 100  # words of a parameter
MOST_HEADERS = 16_384  # bytes


@dataclass(frozen=True)
class Limits:
    """What a server takes at most.

    Attributes:
        queue: images that are in work or waiting. What comes then is answered 503.
        max_bytes: of a request's body.
        max_pixels: of an image, before it is rescaled.
        max_images: of a request.
        timeout: seconds until a request is answered, and until its body has arrived.

    Raises:
        UsageError: one is less than 1.

    """

    queue: int = 64
    max_bytes: int = 32_000_000
    max_pixels: int = 50_000_000
    max_images: int = 64
    timeout: int = 60

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in vars(self).items():
            check_least(name, value, 1)


class Refusal(Exception):  # noqa: N818 - an answer, no mistake of the program's
    """A request that is not answered as it wishes.

    Args:
        status: of HTTP.
        reason: one sentence for people.
        retry_after: seconds after which it may be sent again.

    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
