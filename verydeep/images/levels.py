"""Samples as a file stores them -> levels of 0 to 255, by what the file says about their range.

White is the largest value of the sample type for unsigned integers of up to 16 bits, 1.0 for floats, and what
the file declares where it does. Whatever leaves its range open is refused. No image is scaled by its content, so
that all images of a data set are scaled alike. `docs/reference/images.md` has the table.
"""

from __future__ import annotations

import atexit
import multiprocessing
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import ImageError
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
STRIP = 1 << 16  # pixels that are converted at once
DARK = 16383  # the largest level of 14 bits: an image of 16 bits without a higher one may have fewer


Convert = Callable[[Image.Image], Image.Image]


def strips(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """A loaded image's rows, some at a time: where they lie in it, and a copy of them."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def eight_bits(image: Image.Image, name: str = "an image", file: BinaryIO | None = None) -> Convert:
    """Load an image, and find what its samples stand for.

    Args:
        image: of any mode; not loaded yet if `file` is given.
        name: what notes call it.
        file: that it was opened from. With it the samples of 16-bit colour are read whole; Pillow keeps their
            higher bytes alone. The image becomes one of 8 bits then.

    Returns:
        What brings the samples of a strip of it to 0 to 255: an image of one of Pillow's 8-bit modes; it is
        `unchanged` where the image is one. Strip by strip, as a whole image would take several times its memory.

    Raises:
        ImageError: the file leaves open what its samples stand for.

    """
    rawmodes = [_rawmode(tile) for tile in getattr(image, "tile", ())]
    if image.format == "TIFF" and rawmodes:
        _check_planes(image, rawmodes)
    deep = _deep_rawmodes(image, rawmodes) if file else None
    if file and deep:
        _reduce_sixteen_bits(image, file, *deep, name)
        return _without_info
    image.load()
    if image.mode.startswith("I"):
        return _from_integers(image, name, file)
    if image.mode == "F":
        return _from_floats(image)
    if file and image.format == "JPEG2000":
        table = jpeg2000.full_range(image, file)
        return (lambda strip: strip.point(table)) if table else unchanged
    if image.format == "TIFF":
        _check_tiff(image)
    if file and image.format == "TGA" and image.mode == "RGBA" and not _declares_alpha(file):
        return lambda strip: strip.convert("RGB")
    if image.format == "PNG" and rawmodes and rawmodes[0] in ("L;2", "L;4"):
        _scale_transparent_level(image, 85 if rawmodes[0] == "L;2" else 17)
    return (lambda strip: strip.convert("LA")) if image.mode == "La" else unchanged


def unchanged(strip: Image.Image) -> Image.Image:
    """A strip of an image that has 8-bit samples of 0 to 255."""
    return strip


def check_loaded(image: Image.Image) -> None:
    """Refuse an image whose samples Pillow may have read wrongly, if it is loaded: its file is needed then.

    Raises:
        ImageError: it is such an image.

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
            raise ImageError(
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


def _from_integers(image: Image.Image, name: str, file: BinaryIO | None) -> Convert:
    white = jpeg2000.white(file) if file and image.format == "JPEG2000" else _white(image)
    least, greatest = _extremes(np.asarray(strip) for _, strip in strips(image))
    _check_range(least, greatest, white)
    if white == 65535:
        _note_if_dark(greatest, name)
    inverted, key, scaled = (
        _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO,
        image.info.get("transparency"),
        _scaling(white),
    )

    def convert(strip: Image.Image) -> Image.Image:
        levels = np.asarray(strip)
        if inverted:
            levels = white - levels
        reduced = scaled(levels)
        if isinstance(key, int):
            reduced[levels == key] = 255
        return Image.fromarray(reduced)

    return convert


def _from_floats(image: Image.Image) -> Convert:
    if image.info.get("scale", 1) != 1:  # of a PFM
        raise ImageError(
            f"its scale is {image.info['scale']:g}, not 1, so its white level is not known; {_RESCALE}"
        )
    white = _declared(image) or 1
    if not all(np.isfinite(np.asarray(strip)).all() for _, strip in strips(image)):
        raise ImageError("some of its samples are not finite (NaN or infinite); replace them first")
    _check_range(*_extremes(np.asarray(strip) for _, strip in strips(image)), white)
    inverted = _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO

    def convert(strip: Image.Image) -> Image.Image:
        levels = np.asarray(strip)
        if inverted:
            levels = white - levels
        return Image.fromarray((np.clip(levels / white, 0, 1) * 255).round().astype(np.uint8))

    return convert


def _white(image: Image.Image) -> int:
    """The level of white in an image of integers."""
    if declared := _declared(image):
        return declared
    by_mode = 16 if image.mode != "I" or image.format in ("PNG", "PPM") else 32
    bits = int(_tag(image, _BITS) or by_mode)
    signed = _tag(image, _SAMPLE_FORMAT) == _SIGNED
    if signed or bits > 16:
        what = f"{bits}-bit {'signed ' if signed else ''}integers"
        declare = ", or declare the level of white in the tag MaxSampleValue" if image.format == "TIFF" else ""
        raise ImageError(f"its samples are {what}, whose white level is not known; {_RESCALE}{declare}")
    return (1 << bits) - 1


def _declared(image: Image.Image, sample: int = 0) -> int | None:
    """What a TIFF declares to be white, or opaque: the largest level of a number of bits from 8 on.

    Any other MaxSampleValue or SMaxSampleValue is the largest level of this one image, which some programs write.
    """
    levels = {2**bits - 1 for bits in range(8, 32)}
    values = (_tag(image, number, sample) for number in (_SMAX_SAMPLE, _MAX_SAMPLE))
    return next((int(value) for value in values if value in levels), None)


def _extremes(parts: Iterable[NDArray[Any]]) -> tuple[Any, Any]:
    """The least and the greatest level."""
    least, greatest = zip(*((part.min(), part.max()) for part in parts), strict=True)
    return min(least), max(greatest)


def _check_range(least: Any, greatest: Any, white: int) -> None:
    """Refuse levels beyond 0 to white; floats may exceed it by a rounding error."""
    slack = white * _HALF_A_LEVEL if least.dtype.kind == "f" else 0
    if least < -slack or greatest > white + slack:
        raise ImageError(f"its samples are {least:g} to {greatest:g}, not 0 to {white}; {_RESCALE}")


def _scaling(white: int) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """What gives round(255 level / white); it is looked up."""
    if white > 65535:
        return lambda levels: (levels * (255 / white)).round().astype(np.uint8)
    table = ((np.arange(white + 1) * 510 + white) // (2 * white)).astype(np.uint8)
    return lambda levels: table[levels]


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


def _reduce_sixteen_bits(image: Image.Image, file: BinaryIO, high: list[str], low: list[str], name: str) -> None:
    """Bring 16-bit colour to 0 to 255, in place: beside it, there is memory for its lower bytes alone."""
    _unpack(image, high)
    lower = None if high == low else _lower_bytes(image, file, low)

    def levels() -> Iterator[tuple[tuple[int, int, int, int], NDArray[np.uint16], NDArray[np.uint16] | None]]:
        for box, strip in strips(image):
            bytes_ = np.asarray(strip)
            if lower is None:  # of grey and alpha both bytes are there
                both = bytes_[..., ::2] * np.uint16(256) + bytes_[..., 1::2]
            else:
                both = bytes_ * np.uint16(256) + np.asarray(lower.crop(box))
            has_alpha = both.shape[2] in (2, 4)
            yield box, both[..., :-1] if has_alpha else both, both[..., -1:] if has_alpha else None

    white = _declared(image) or 65535
    opaque = _declared(image, -1) or white
    least, greatest = _extremes(colors for _, colors, _ in levels())
    _check_range(least, greatest, white)
    if white == 65535:
        _note_if_dark(greatest, name)
    if alphas := [_extremes([alpha]) for _, _, alpha in levels() if alpha is not None]:
        _check_range(min(least for least, _ in alphas), max(greatest for _, greatest in alphas), opaque)
    key, scaled, scaled_alpha = image.info.get("transparency"), _scaling(white), _scaling(opaque)
    for box, colors, alpha in levels():
        channels = [scaled(colors)] * (3 if colors.shape[2] == 1 else 1)
        if alpha is not None:
            channels.append(scaled_alpha(alpha))
        elif isinstance(key, tuple):
            channels[0][(colors == key).all(axis=2)] = 255
        content = np.concatenate(channels, axis=2)
        image.paste(Image.frombytes(image.mode, content.shape[1::-1], content.tobytes()), box)


def _lower_bytes(image: Image.Image, file: BinaryIO, rawmodes: list[str]) -> Image.Image:
    """The same image once more, of the lower bytes of its samples."""
    file.seek(0)
    with Image.open(file, formats=[image.format or ""]) as again:
        again.seek(image.tell())
        _unpack(again, rawmodes)
        return again


def _unpack(image: Any, rawmodes: list[str]) -> None:
    image.tile = [_with_rawmode(tile, rawmode) for tile, rawmode in zip(image.tile, rawmodes, strict=True)]
    image.load()


def _with_rawmode(tile: Any, rawmode: str) -> Any:
    codec, extents, offset, args = tile
    make = getattr(type(tile), "_make", tuple)  # Pillow 10 has plain tuples
    return make((codec, extents, offset, rawmode if isinstance(args, str) else (rawmode, *args[1:])))


def _without_info(strip: Image.Image) -> Image.Image:
    """A strip of what was 16-bit colour: four channels have alpha, and no colour is transparent any more."""
    return Image.fromarray(np.asarray(strip))


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
        raise ImageError("its channels are stored one after the other; save it with PlanarConfiguration 1")


def _declares_alpha(file: BinaryIO) -> bool:
    """Whether a TGA's header declares bits of alpha; Pillow takes a fourth byte for alpha in any case."""
    file.seek(17)
    return bool(file.read(1)[0] & 15)


def _check_tiff(image: Image.Image) -> None:
    """What Pillow takes for common 8-bit samples or colours in a TIFF, though its tags say otherwise."""
    if _tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise ImageError(f"its samples are signed integers, whose white level is not known; {_RESCALE}")
    white = _declared(image)
    if _tag(image, _BITS) == 16 and white not in (None, 65535):
        raise ImageError(
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


def _note_if_dark(greatest: int, name: str) -> None:
    """Say once, and count, which images of 16 bits may be of fewer: all their levels are in the lowest quarter.

    Cameras and microscopes store 10, 12 or 14 bits in 16 and seldom say so; a dark photograph looks the same.
    """
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
