"""Images as a program has them: paths, bytes, open files, Pillow's images and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOBase
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import ImageError, UsageError, as_text
from verydeep.images import decode
from verydeep.images.image_set import Arrays, Files, ImageSet, ImageSource
from verydeep.images.views import Pixels, as_image

ImageLike = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[np.uint8]
Item = Path | decode.Encoded | Pixels | ImageError

KINDS = "a path, bytes, an open binary file, a Pillow image, or an array of uint8"
OF_TENSORS = "; of a tensor x of (3, height, width) from 0 to 1: (255 * x).byte().permute(1, 2, 0).cpu().numpy()"
THE_IMAGE, IN_A_LIST = "the image", "images[{}]"  # what messages call one, and one of several


@dataclass(frozen=True)
class Given(ImageSource):
    """Images of which some are decoded already. The others are decoded when they are read.

    In the place of an image may be the reason why it is none. It is raised when the image is read.
    """

    items: tuple[Item, ...]

    def __len__(self) -> int:
        return len(self.items)

    def encoded(self, number: int) -> decode.Encoded:
        """The file's bytes; those of an array as PNG."""
        item = self._item(number)
        if isinstance(item, Path):
            return Files((item,)).encoded(0)
        return item if isinstance(item, decode.Encoded) else Arrays((item,)).encoded(0)

    def _item(self, number: int) -> Path | decode.Encoded | Pixels:
        item = self.items[number]
        if isinstance(item, ImageError):
            raise item
        return item

    def select(self, numbers: Sequence[int]) -> Self:
        """Keep these items."""
        return type(self)(tuple(self.items[number] for number in numbers))

    def join(self, other: Self) -> Self:
        """These items, and then the others."""
        return type(self)(self.items + other.items)

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image | Pixels:
        """Decode the file, or give the array itself."""
        item = self._item(number)
        return item if isinstance(item, np.ndarray) else decode.read(item, smallest_side=smallest_side)

    def size(self, number: int) -> tuple[int, int]:
        """Read it from the file's header, or from the array's shape."""
        item = self._item(number)
        return Arrays((item,)).size(0) if isinstance(item, np.ndarray) else decode.size(item)

    def stamp(self, number: int) -> str:
        """Nothing: they are not compared with those of another time."""
        return ""


def given_images(images: Iterable[ImageLike]) -> ImageSet:
    """Several images, without labels.

    Raises:
        UsageError: this is one image, and no list of them.
        ImageError: one of them is no image, or has been opened and cannot be read. Files are not read yet.

    """
    if not are_several(images):
        raise UsageError(f"images are a {type(images).__name__}; give a list, with one image in it if need be")
    names, items = [], []
    for number, image in enumerate(images):
        name = _name(image, IN_A_LIST.format(number))
        names.append(name)
        items.append(_item(image, name))
    return ImageSet.unlabelled(Given(tuple(items)), tuple(names))


def column_images(values: Iterable[Any]) -> ImageSet:
    """Images of a column of a table. A value that is no image is one that cannot be read.

    Args:
        values: images; or dictionaries with the `bytes` or the `path` of one, as data sets of Hugging Face have.

    """
    names: list[str] = []
    items: list[Item] = []
    for value in values:
        name = THE_IMAGE
        try:
            image = _of_column(value)
            name = _name(image, THE_IMAGE)
            items.append(_item(image, name))
        except ImageError as error:
            items.append(error)
        names.append(name)
    return ImageSet.unlabelled(Given(tuple(items)), tuple(names))


def _name(image: Any, otherwise: str) -> str:
    """What messages call an image: its path, if it has one."""
    return as_text(fsdecode(image)) if isinstance(image, (str, PathLike)) else otherwise


def _of_column(value: Any) -> Any:
    """The image of a value of a column."""
    if isinstance(value, Mapping):
        content = value.get("bytes")
        value = value.get("path") if content is None else content
    if value is None:
        raise ImageError(f"{THE_IMAGE} is missing: the value is empty")
    return value


def given_image(image: ImageLike) -> ImageSet:
    """One image, without a label, decoded.

    Raises:
        ImageError: it cannot be read, or is no image.

    """
    pixels = np.asarray(open_image(image))
    return ImageSet((THE_IMAGE,), np.array([-1]), (), Arrays((pixels,)))


def are_several(images: Any) -> TypeGuard[Iterable[Any]]:
    """Whether these are several images: a list or another iterable, or an array of a whole batch."""
    if isinstance(images, np.ndarray):
        return images.ndim == 4
    one = isinstance(images, (str, bytes, bytearray, memoryview, Image.Image)) or hasattr(images, "read")
    one = one or is_tensor(images)
    return isinstance(images, Iterable) and not one


def is_tensor(images: Any) -> bool:
    """Whether this is a tensor of torch's, which does not say what its values mean."""
    return hasattr(images, "permute") and hasattr(images, "numpy")


def open_image(image: ImageLike) -> Image.Image:
    """Turn anything that is an image into upright RGB.

    Raises:
        ImageError: it cannot be read, or is no image.

    """
    item = _item(image, THE_IMAGE)
    return as_image(item) if isinstance(item, np.ndarray) else decode.read(item)


def _item(image: ImageLike, name: str) -> Path | decode.Encoded | Pixels:
    """The image as it is kept: a path, a file's bytes, or pixels."""
    if isinstance(image, (str, PathLike)):
        return Path(fsdecode(image))
    if isinstance(image, Image.Image):
        return np.asarray(decode.read_opened(image, name))
    if isinstance(image, np.ndarray):
        return _pixels(image, name)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode.Encoded(name, bytes(image))
    if hasattr(image, "read"):
        return decode.Encoded(name, _content(image, name))
    raise ImageError(f"{name} is a {type(image).__name__}; give {KINDS}{OF_TENSORS * is_tensor(image)}")


def _pixels(array: NDArray[np.uint8], name: str) -> Pixels:
    """RGB of an array: as it is, or grey three times."""
    grey = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if array.dtype != np.uint8 or 0 in array.shape or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(
            f"{name} is an array of shape {array.shape} and type {array.dtype}; it must be uint8 with levels of "
            "0 to 255, of shape (height, width, 3), or (height, width) for grey"
        )
    return np.repeat(array.reshape(*array.shape[:2], 1), 3, 2) if grey else array


def _content(file: BinaryIO, name: str) -> bytes:
    """What is left to read of an open file."""
    if isinstance(file, TextIOBase):
        raise ImageError(f'{name} is a file opened as text; open it with mode "rb"')
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # the latter is of a closed file
        raise ImageError(f"{name} cannot be read: {error}") from None
    if not content:
        raise ImageError(f"{name} is a file that has been read to its end; rewind it with `file.seek(0)`")
    return content
