"""Images that Pillow has opened give the pixels of their files; once they are loaded, or nothing."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_levels import png_of, random_levels, shown, tiff

from verydeep.errors import ImageError
from verydeep.images.decode import read
from verydeep.images.given import open_image

SHAPE = (6, 9)
GREY, COLOR = random_levels("uint8", 255), random_levels("uint8", 255, (*SHAPE, 3))
GREY_16, COLOR_16 = random_levels("uint16", 65535), random_levels("uint16", 65535, (*SHAPE, 3))


def jpeg2000(levels: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(levels, codecformat="jp2", reversible=True, bitspersample=bits)


def tga(levels: np.ndarray, alpha: int, bits_of_alpha: int) -> bytes:
    """A TGA of 32 bits a pixel, upper row first."""
    pixels = np.concatenate([levels[..., ::-1], np.full((*SHAPE, 1), alpha, "u1")], 2)
    sides = SHAPE[1].to_bytes(2, "little") + SHAPE[0].to_bytes(2, "little")
    return b"\0\0\2" + bytes(9) + sides + bytes([32, 0x20 | bits_of_alpha]) + pixels.tobytes()


def turned(levels: np.ndarray, orientation: int, compression: str | None = None) -> bytes:
    return tiff(levels, compression=compression, metadata=None, extratags=[(274, "H", 1, orientation, True)])


def opaque_key(levels: np.ndarray) -> bytes:
    return b"".join(int(level).to_bytes(2, "big") for level in np.atleast_1d(levels[2, 3]))


def where_key_is_white(levels: np.ndarray, white: int) -> np.ndarray:
    is_key = (levels == levels[2, 3]) if levels.ndim == 2 else (levels == levels[2, 3]).all(2)
    return np.where(is_key[..., None], 255, shown(levels, white))


FEW = random_levels("uint8", 15)
CASES: dict[str, tuple[str, bytes, np.ndarray]] = {  # name of the file, its bytes, pixels
    "TGA without alpha bits": ("a.tga", tga(COLOR, 0, 0), COLOR),
    "TIFF planes of 16 bits": (
        "a.tif",
        tiff(np.moveaxis(COLOR_16, 2, 0), "rgb", planarconfig="separate"),
        shown(COLOR_16, 65535),
    ),
    "PNG, transparent level of 16 bits": (
        "a.png",
        png_of(COLOR_16, 16, 2, key=opaque_key(COLOR_16)),
        where_key_is_white(COLOR_16, 65535),
    ),
    "PNG, transparent level of 4 bits": (
        "a.png",
        png_of(FEW[..., None], 4, 0, key=opaque_key(FEW)),
        where_key_is_white(FEW, 15),
    ),
    "JPEG 2000 of 4 bits": ("a.jp2", jpeg2000(FEW, 4), shown(FEW, 15)),
    "JPEG 2000 of 1 bit": ("a.jp2", jpeg2000(FEW // 8, 1), shown(FEW // 8, 1)),
    **{f"grey TIFF turned to {n}": ("a.tif", turned(GREY, n), GREY) for n in (5, 6, 7, 8)},
    "16-bit TIFF turned": ("a.tif", turned(GREY_16, 6), shown(GREY_16, 65535)),
}
UPRIGHT = {
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a),
}


def expected(case: str) -> np.ndarray:
    pixels = CASES[case][2]
    if "turned" in case:
        pixels = UPRIGHT[int(case[-1]) if case[-1].isdigit() else 6](pixels)
    return np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels


def written(case: str, folder: Path) -> Path:
    name, content, _ = CASES[case]
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", CASES)
def test_an_image_that_is_not_loaded_is_its_file(case, tmp_path):
    path, pixels = written(case, tmp_path), expected(case)
    np.testing.assert_array_equal(np.asarray(read(path)), pixels)
    with Image.open(path) as by_path, path.open("rb") as file, Image.open(file) as by_file:
        for image in (by_path, by_file, Image.open(io.BytesIO(path.read_bytes()))):
            for _ in range(2):  # it stays as it is
                np.testing.assert_array_equal(np.asarray(open_image(image)), pixels)


@pytest.mark.parametrize("case", CASES)
def test_once_it_is_loaded_it_is_refused(case, tmp_path):
    path = written(case, tmp_path)
    with Image.open(path) as image:
        image.load()
        with pytest.raises(
            ImageError, match=r"loaded already does not say .*; give its path, or the image before"
        ):
            open_image(image)


@pytest.mark.parametrize("case", CASES)
def test_an_image_can_be_used_after_it_was_read(case, tmp_path):
    path = written(case, tmp_path)
    with Image.open(path) as image, Image.open(path) as untouched:
        open_image(image)
        assert (len(image.tile), image.size) == (len(untouched.tile), untouched.size)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(untouched))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colour_of_jpeg_2000_above_8_bits_is_refused_as_its_file_is(bits, tmp_path):
    levels = random_levels("uint16", 2**bits - 1, (*SHAPE, 3))
    (tmp_path / "a.jp2").write_bytes(jpeg2000(levels, bits))
    with (
        Image.open(tmp_path / "a.jp2") as image,
        pytest.raises(ImageError, match=f"a JPEG 2000 image of mode RGB with {bits}, {bits}, {bits} bits"),
    ):
        open_image(image)


ALIKE = {
    "a.png": {"PNG": COLOR},
    "a.tif": {"TIFF": COLOR},
    "grey.tif": {"TIFF": GREY},
    "a.tga": {"TGA": COLOR},
    "a.jpg": {"JPEG": COLOR},
    "a.webp": {"WEBP": COLOR},
    "a.bmp": {"BMP": COLOR},
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_common_images_are_taken_loaded_or_not(name, is_loaded, tmp_path):
    ((kind, pixels),) = ALIKE[name].items()
    Image.fromarray(pixels).save(tmp_path / name, kind)
    with Image.open(tmp_path / name) as image:
        if is_loaded:
            image.load()
        np.testing.assert_array_equal(np.asarray(open_image(image)), np.asarray(read(tmp_path / name)))


@pytest.mark.parametrize("compression", ["zlib", "lzw"])
def test_what_pillow_turns_rightly_is_taken_loaded(compression, tmp_path):
    (tmp_path / "a.tif").write_bytes(turned(GREY, 6, compression))
    with Image.open(tmp_path / "a.tif") as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(open_image(image))[..., 0], UPRIGHT[6](GREY))


@pytest.mark.parametrize("page", [0, 1, 2])
def test_the_page_that_is_shown_is_read(page, tmp_path):
    pages = [random_levels("uint16", 65535, (*SHAPE, 3), seed) for seed in range(3)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for levels in pages:
            file.write(levels, photometric="rgb")
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(page)
        np.testing.assert_array_equal(np.asarray(open_image(image)), shown(pages[page], 65535))


def test_damage_is_a_sentence(tmp_path):
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:90])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(ImageError, match=r"a\.png: damaged"):
        open_image(image)
