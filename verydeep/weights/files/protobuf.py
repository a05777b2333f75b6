"""The wire format of protocol buffers, as far as weights need it: fields of a message, one after the other.

Nothing is copied but small numbers, nothing is nested without a description of it, and a message that claims what
it does not hold is an error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_FIELDS = 1_000_000


class WireError(ValueError):
    """The bytes are not a message."""


class Message:
    """The fields of one message, in their order.

    Args:
        content: its bytes.

    Raises:
        WireError: they are no message.

    """

    def __init__(self, content: memoryview) -> None:
        self._fields = list(_fields(content))

    def all(self, number: int) -> list[int | memoryview]:
        """Every value of a field."""
        return [value for field, value in self._fields if field == number]

    def messages(self, number: int) -> Iterator[Message]:
        """Every value of a field that holds messages."""
        return (Message(_bytes(value)) for value in self.all(number))

    def contents(self, number: int) -> list[memoryview]:
        """Every value of a field that holds bytes."""
        return [_bytes(value) for value in self.all(number)]

    def text(self, number: int) -> str:
        """A field that holds text; of several the last, as protobuf has it."""
        values = self.all(number)
        return bytes(_bytes(values[-1])).decode("utf-8", "replace") if values else ""

    def integer(self, number: int) -> int:
        """A field that holds a whole number; 0 where it is not there."""
        values = self.all(number)
        if values and not isinstance(values[-1], int):
            raise WireError(f"field {number} is not a number")
        return int(values[-1]) if values else 0

    def integers(self, number: int) -> list[int]:
        """A field that holds several whole numbers, packed or not."""
        numbers: list[int] = []
        for value in self.all(number):
            if isinstance(value, int):
                numbers.append(value)
                continue
            at = 0
            while at < len(value):
                one, at = _varint(value, at)
                numbers.append(one)
                if len(numbers) > MOST_FIELDS:
                    raise WireError("too many numbers")
        return numbers

    def floats(self, number: int, dtype: str) -> NDArray[np.float32] | NDArray[np.float64]:
        """A field that holds many floating-point numbers; packed ones are not copied."""
        pieces = []
        itemsize = np.dtype(dtype).itemsize
        for value in self.all(number):
            if isinstance(value, int):
                if value >= 1 << 8 * itemsize:
                    raise WireError(f"field {number} is a number of more than {itemsize} bytes")
                pieces.append(np.frombuffer(value.to_bytes(itemsize, "little"), dtype))
            elif len(value) % itemsize:
                raise WireError(f"field {number} does not hold whole numbers")
            else:
                pieces.append(np.frombuffer(value, dtype))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0, dtype)])


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = count = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == VARINT:
            value, at = _varint(content, at)
        elif wire == BYTES:
            length, at = _varint(content, at)
            value, at = _take(content, at, length)
        elif wire in (FIXED32, FIXED64):
            piece, at = _take(content, at, 4 if wire == FIXED32 else 8)
            value = int.from_bytes(piece, "little")
        else:
            raise WireError(f"a field of kind {wire}")
        count += 1
        if number == 0 or count > MOST_FIELDS:
            raise WireError("field 0" if number == 0 else "too many fields")
        yield number, value


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 70:
        if at >= len(content):
            raise WireError("it ends within a number")
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise WireError("a number of more than ten bytes")


def _take(content: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    if length > len(content) - at:
        raise WireError(f"a field of {length} bytes where {len(content) - at} are left")
    return content[at : at + length], at + length


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number where bytes belong")
    return value
