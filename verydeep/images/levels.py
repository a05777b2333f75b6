"""Samples as a file stores them -> levels of 0 to 255, by what the file says about their range.

White is the largest value of the sample type for unsigned integers of up to 16 bits, 1.0 for floats, and what
the file declares where it does. Whatever leaves its range open is refused. No image is scaled by its content, so
that all images of a data set are scaled alike. `docs/images.md` has the table.
"""

from __future__ import annotations

import atexit
import multiprocessing
import re
import sys
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import PictureError
from verydeep.images import jpeg2000
from verydeep.notes import note

_BITS, _PHOTOMETRIC, _ORIENTATION, _PLANES, _COLORMAP, _SAMPLE_FORMAT = (
    258,
    262,
    274,
    284,
    320,
    339,
)  # tags of TIFF
_MISREAD_PLANES = ("LA", "La", "LAB")
_MAX_SAMPLE, _SMAX_SAMPLE = 281, 341
_SIGNED, _WHITE_IS_ZERO = 2, 0
_HALF_A_LEVEL = 0.5 / 255  # what is beyond 0 to 1 by less is a rounding error
_RESCALE = "rescale it to 8 bits, or to 16 bits with 65535 as white"
_MOST_NAMES = 100_000  # that are remembered, to count images and not their repetitions
BY_FILE = ("PNG", "TIFF", "JPEG2000", "TGA")
"""Formats of which Pillow's image does not say all that its file says about samples."""
DARK = 16383  # the largest level of 14 bits: an image of 16 bits without a higher one may have fewer


def eight_bits(image: Image.Image, name: str = "an image", file: BinaryIO | None = None) -> Image.Image:
    """Load an image, its samples brought to 0 to 255.

    Args:
        image: of any mode; not loaded yet if `file` is given.
        name: what notes call it.
        file: that it was opened from. With it the samples of 16-bit colour are read whole; Pillow keeps their
            higher bytes alone.

    Returns:
        An image of one of Pillow's 8-bit modes; the image itself where it was one.

    Raises:
        PictureError: the file leaves open what its samples stand for.

    """
    rawmodes = [_rawmode(tile) for tile in getattr(image, "tile", ())]
    if image.format == "TIFF" and rawmodes:
        _check_planes(image, rawmodes)
    deep = _deep_rawmodes(image, rawmodes) if file else None
    if file and deep:
        return _from_sixteen_bits(image, _sixteen_bits(image, file, *deep), name)
    image.load()
    if image.mode.startswith("I"):
        return _from_integers(image, name, file)
    if image.mode == "F":
        return _from_floats(image)
    if file and image.format == "JPEG2000":
        return jpeg2000.full_range(image, file)
    if image.format == "TIFF":
        _check_tiff(image)
    if file and image.format == "TGA" and image.mode == "RGBA":
        return _with_declared_alpha(image, file)
    if image.format == "PNG" and rawmodes and rawmodes[0] in ("L;2", "L;4"):
        _scale_transparent_level(image, 85 if rawmodes[0] == "L;2" else 17)
    return image.convert("LA") if image.mode == "La" else image


def check_loaded(image: Image.Image) -> None:
    """Refuse an image whose samples Pillow may have read wrongly, if it is loaded: its file is needed then.

    Raises:
        PictureError: it is such an image.

    """
    if image.format not in BY_FILE or getattr(image, "tile", None):
        return
    key, has_planes = image.info.get("transparency"), _tag(image, _PLANES) == 2
    unknown = {
        "how many bits it has": image.format == "JPEG2000",
        "whether it has alpha": image.format == "TGA"
        and image.mode == "RGBA"
        and image.getextrema()[-1] != (255, 255),
        "how many bits its transparent level has": image.format == "PNG" and image.mode in ("L", "RGB") and key,
        "how its channels are stored": has_planes and (_tag(image, _BITS) != 8 or image.mode in _MISREAD_PLANES),
        "how it is turned": _is_mapped_sideways(image),
    }
    for what, is_unknown in unknown.items():
        if is_unknown:
            raise PictureError(
                f"a {image.format} image that is loaded already does not say {what}; give its path, or the image "
                "before it is loaded"
            )


def _is_mapped_sideways(image: Any) -> bool:
    """Whether Pillow has mapped a TIFF that is turned by 90 degrees into memory, with its sides exchanged."""
    if image.format != "TIFF" or not image.readonly:
        return False
    try:
        with Image.open(image.filename, formats=["TIFF"]) as again:
            return _tag(again, _ORIENTATION) in (5, 6, 7, 8)
    except (OSError, ValueError):
        return True


# One channel of more than 8 bits


def _from_integers(image: Image.Image, name: str, file: BinaryIO | None) -> Image.Image:
    levels = np.asarray(image)
    white = jpeg2000.white(file) if file and image.format == "JPEG2000" else _white(image)
    _check_range(levels, white)
    if white == 65535:
        _note_if_dark(levels, name)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = white - levels
    scaled = _scaled(levels, white)
    if isinstance(key := image.info.get("transparency"), int):
        scaled[levels == key] = 255
    return Image.fromarray(scaled)


def _from_floats(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    if image.info.get("scale", 1) != 1:  # of a PFM
        raise PictureError(f"its scale is {image.info['scale']:g}, not 1, so its white is not known; {_RESCALE}")
    white = _declared(image) or 1
    if not np.isfinite(levels).all():
        raise PictureError("some of its samples are not finite (NaN or infinite); replace them first")
    _check_range(levels, white)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = white - levels
    return Image.fromarray((np.clip(levels / white, 0, 1) * 255).round().astype(np.uint8))


def _white(image: Image.Image) -> int:
    """The level of white in an image of integers."""
    if declared := _declared(image):
        return declared
    by_mode = 16 if image.mode != "I" or image.format in ("PNG", "PPM") else 32
    bits = int(_tag(image, _BITS) or by_mode)
    signed = _tag(image, _SAMPLE_FORMAT) == _SIGNED
    if signed or bits > 16:
        what = f"{bits}-bit {'signed ' if signed else ''}integers"
        declare = ", or declare the level of white in its tag MaxSampleValue" if image.format == "TIFF" else ""
        raise PictureError(f"its samples are {what}, which do not say what level is white; {_RESCALE}{declare}")
    return (1 << bits) - 1


def _declared(image: Image.Image, sample: int = 0) -> int | None:
    """What a TIFF declares to be white, or opaque: the largest level of a number of bits from 8 on.

    Any other MaxSampleValue or SMaxSampleValue is the largest level of this one image, which some programs write.
    """
    levels = {2**bits - 1 for bits in range(8, 32)}
    values = (_tag(image, number, sample) for number in (_SMAX_SAMPLE, _MAX_SAMPLE))
    return next((int(value) for value in values if value in levels), None)


def _check_range(levels: NDArray[Any], white: int) -> None:
    """Refuse levels beyond 0 to white; floats may exceed it by a rounding error."""
    least, greatest = levels.min(), levels.max()
    slack = white * _HALF_A_LEVEL if levels.dtype.kind == "f" else 0
    if least < -slack or greatest > white + slack:
        raise PictureError(f"its samples are {least:g} to {greatest:g}, not 0 to {white}; {_RESCALE}")


def _scaled(levels: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """round(255 level / white), looked up."""
    if white > 65535:
        return (levels * (255 / white)).round().astype(np.uint8)
    table = (np.arange(white + 1) * 510 + white) // (2 * white)
    looked_up: NDArray[np.uint8] = table.astype(np.uint8)[levels]
    return looked_up


# Several channels of 16 bits: the bytes in either order give the higher and the lower halves of their samples


def _rawmode(tile: Any) -> str:
    args = tile[3]
    return str(args if isinstance(args, str) or not args else args[0])


def _deep_rawmodes(image: Image.Image, rawmodes: list[str]) -> tuple[list[str], list[str]] | None:
    """How Pillow is to unpack an image's tiles for the higher bytes, and how for the lower; None for 8 bits."""
    if rawmodes == ["LA;16B"]:
        return ["RGBA"], ["RGBA"]  # two bytes for grey, two for alpha
    if (
        rawmodes and set(rawmodes) <= set("RGBA") and _tag(image, _BITS) == 16
    ):  # planes, which Pillow takes for 8 bits
        order = "L" if image.tag_v2.prefix == b"II" else "B"  # type: ignore[attr-defined]
        rawmodes = [f"{band};16{order}" for band in rawmodes]
    if rawmodes and all(re.fullmatch(r"(RGB[XA]?|[RGBA]);16[LBN]", rawmode) for rawmode in rawmodes):
        return rawmodes, [rawmode[:-1] + _OTHER_ORDER[rawmode[-1]] for rawmode in rawmodes]
    return None


_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def _sixteen_bits(image: Image.Image, file: BinaryIO, high: list[str], low: list[str]) -> NDArray[np.uint16]:
    """Levels of shape (height, width, channels); two channels are grey and alpha."""
    first = _unpacked(image, high)
    if high == low:
        return first[..., ::2] * np.uint16(256) + first[..., 1::2]
    file.seek(0)
    with Image.open(file, formats=[image.format or ""]) as again:
        again.seek(image.tell())
        return first * np.uint16(256) + _unpacked(again, low)


def _unpacked(image: Any, rawmodes: list[str]) -> NDArray[np.uint8]:
    image.tile = [_with_rawmode(tile, rawmode) for tile, rawmode in zip(image.tile, rawmodes, strict=True)]
    image.load()
    return np.asarray(image)


def _with_rawmode(tile: Any, rawmode: str) -> Any:
    codec, extents, offset, args = tile
    make = getattr(type(tile), "_make", tuple)  # Pillow 10 has plain tuples
    return make((codec, extents, offset, rawmode if isinstance(args, str) else (rawmode, *args[1:])))


def _from_sixteen_bits(image: Image.Image, levels: NDArray[np.uint16], name: str) -> Image.Image:
    has_alpha = levels.shape[2] in (2, 4)
    colors = levels[..., :-1] if has_alpha else levels
    white = _declared(image) or 65535
    _check_range(colors, white)
    if white == 65535:
        _note_if_dark(colors, name)
    scaled = _scaled(colors, white)
    if has_alpha:
        alpha, opaque = levels[..., -1:], _declared(image, -1) or white
        _check_range(alpha, opaque)
        scaled = np.concatenate([scaled, _scaled(alpha, opaque)], axis=2)
    elif isinstance(key := image.info.get("transparency"), tuple):
        scaled[(levels == key).all(axis=2)] = 255
    return Image.fromarray(scaled)


# Eight bits and fewer


def _check_planes(image: Image.Image, rawmodes: list[str]) -> None:
    """Refuse planes that Pillow would misread.

    It unpacks an uncompressed plane by one letter of what it should be, which `_deep_rawmodes` mends for RGB of 16
    bits. Of compressed planes it gives the higher bytes alone, too few for a white below 65535. Planes of grey and
    alpha and of Lab it always misreads.
    """
    if _tag(image, _PLANES) != 2:
        return
    bits = _tag(image, _BITS)
    if image.mode in _MISREAD_PLANES:
        misread = True
    elif all(len(rawmode) == 1 for rawmode in rawmodes):
        common = bits == 8 and _tag(image, _PHOTOMETRIC) != _WHITE_IS_ZERO and "".join(rawmodes) == image.mode
        misread = not common and not (bits == 16 and set(rawmodes) <= set("RGBA"))
    else:
        misread = len(image.getbands()) > 1 and bits == 16 and _declared(image) is not None
    if misread:
        raise PictureError("its channels are stored one after the other; save it with PlanarConfiguration 1")


def _with_declared_alpha(image: Image.Image, file: BinaryIO) -> Image.Image:
    """A TGA without the byte that Pillow takes for alpha where its header declares no bits of alpha."""
    file.seek(17)
    return image if file.read(1)[0] & 15 else image.convert("RGB")


def _check_tiff(image: Image.Image) -> None:
    """What Pillow takes for common 8-bit samples or colours in a TIFF, though its tags say otherwise."""
    if _tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise PictureError(f"its samples are signed integers, which do not say what level is white; {_RESCALE}")
    white = _declared(image)
    if _tag(image, _BITS) == 16 and white not in (None, 65535):
        raise PictureError(
            f"its samples of 16 bits have {white} as white, of which the higher bytes alone are read; {_RESCALE}"
        )
    colors = np.asarray(image.tag_v2.get(_COLORMAP, ()))  # type: ignore[attr-defined]
    if image.mode in ("P", "PA") and colors.size and colors.max() < 256:  # they should be of 16 bits
        image.putpalette(colors.reshape(3, -1).T.astype(np.uint8).tobytes())


def _scale_transparent_level(image: Image.Image, factor: int) -> None:
    """Pillow scales the levels of 2 and 4 bits to 255, and not the one that is transparent."""
    if isinstance(key := image.info.get("transparency"), int):
        image.info["transparency"] = key * factor


def _tag(image: Image.Image, number: int, sample: int = 0) -> Any:
    """A TIFF's tag, one of its values; None for other files and where it is missing."""
    value = image.tag_v2.get(number) if image.format == "TIFF" and hasattr(image, "tag_v2") else None
    return (value[sample] if value else None) if isinstance(value, tuple) else value


_dark_names: set[str] = set()
_DARK_LOCK = Lock()


def _note_if_dark(levels: NDArray[Any], name: str) -> None:
    """Say once, and count, which images of 16 bits may be of fewer: all their levels are in the lowest quarter.

    Cameras and microscopes store 10, 12 or 14 bits in 16 and seldom say so; a dark photograph looks the same.
    """
    greatest = int(levels.max())
    if not 0 < greatest <= DARK:
        return
    with _DARK_LOCK:
        is_first = not _dark_names
        if len(_dark_names) < _MOST_NAMES:
            _dark_names.add(name)
    if is_first:
        note(
            f"{name}: no 16-bit sample exceeds {greatest}; with 65535 as white it is a dark image. If "
            "white is lower, rescale it or declare white in TIFF's tag MaxSampleValue (4095 for 12 bits)"
        )
        if multiprocessing.parent_process() is None:
            atexit.register(_count_dark)


def _count_dark() -> None:
    if (count := len(_dark_names)) > 1:
        number = f"{count} or more" if count == _MOST_NAMES else str(count)
        note(f"{number} images of 16 bits have no sample above {DARK} and were read as dark images")
