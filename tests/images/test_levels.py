"""Levels of every type and range, against tifffile, torchvision, imagecodecs and numpy."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_images import png, png_of_16_bits, save, smooth
from torchvision.io import decode_image

from verydeep.errors import ImageError
from verydeep.images.decode import Encoded, read, upright_rgb

RED = [255, 0, 0]
RNG = np.random.default_rng(0)


def pixels_of(content: bytes, name: str = "a") -> np.ndarray:
    image = read(Encoded(name, content))
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read(Encoded("a.tif", content))
    said = str(caught.value)
    assert "damaged" not in said
    assert "\n" not in said
    return said


def tiff(levels: np.ndarray, photometric: str = "minisblack", **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, levels, photometric=photometric, **options)
    return file.getvalue()


def stored(content: bytes) -> np.ndarray:
    """The samples of a TIFF, by another library."""
    return tifffile.imread(io.BytesIO(content))


def shown(levels: np.ndarray, white: float) -> np.ndarray:
    """What levels look like: shape (height, width, 3) of 0 to 255, in float64."""
    levels = np.floor(levels.astype(np.float64) / white * 255 + 0.5)
    return np.repeat(levels[..., None], 3, 2) if levels.ndim == 2 else levels[..., :3]


def random_levels(dtype: str, white: int, shape: tuple[int, ...] = (6, 9), seed: int = 0) -> np.ndarray:
    """Levels of 0 to white, both of which occur."""
    levels = np.random.default_rng(seed).integers(0, white, shape, endpoint=True).astype(dtype)
    levels[0, 0], levels[-1, -1] = 0, white
    return levels


# TIFF


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_unsigned_tiffs_of_8_and_16_bits(data):
    white = data.draw(st.sampled_from([255, 65535]))
    channels = data.draw(st.sampled_from([1, 3, 4]))
    planes = channels == 3 and data.draw(st.booleans())
    photometric = data.draw(st.sampled_from(["minisblack", "miniswhite"])) if channels == 1 else "rgb"
    big_endian = photometric != "miniswhite" and data.draw(st.booleans())  # Pillow reads no such TIFF
    shape = {1: (6, 9), 3: (6, 9, 3), 4: (6, 9, 4)}[channels]
    levels = random_levels("uint8" if white == 255 else "uint16", white, shape, data.draw(st.integers(0, 99)))
    content = tiff(
        np.moveaxis(levels, -1, 0) if planes else levels,
        photometric,
        planarconfig="separate" if planes else None,
        byteorder=">" if big_endian else "<",
        compression=data.draw(st.sampled_from([None, "zlib", "lzw"])),
        extrasamples=["unspecified"] if channels == 4 else None,
    )
    assert (stored(content) == (np.moveaxis(levels, -1, 0) if planes else levels)).all()
    expected = white - levels if photometric == "miniswhite" else levels
    # Of compressed planes Pillow gives the higher bytes alone.
    assert np.abs(pixels_of(content) - shown(expected, white)).max() <= (planes and white == 65535)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_uncompressed_channels_are_read_whole(compression, byteorder):
    levels = random_levels("uint16", 65535, (6, 9, 3))
    for options in ({"planarconfig": "separate"}, {"compression": compression}, {"tile": (16, 16)}):
        samples = np.moveaxis(levels, -1, 0) if "planarconfig" in options else levels
        content = tiff(samples, "rgb", byteorder=byteorder, **options)
        np.testing.assert_array_equal(pixels_of(content), shown(levels, 65535))


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_tiffs_of_few_and_of_12_bits(bits):
    white = 2**bits - 1
    levels = random_levels("uint16" if bits > 8 else "uint8", white)
    content = tiff(levels, bitspersample=bits)
    np.testing.assert_array_equal(pixels_of(content), shown(levels, white))
    if bits < 8:
        content = tiff(levels, "miniswhite", bitspersample=bits)
        np.testing.assert_array_equal(pixels_of(content), shown(white - levels, white))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "uint32"])
def test_a_tiff_may_declare_its_white(bits, dtype):
    white = 2**bits - 1
    levels = random_levels(dtype, white // 2)
    declared = [(281, 3, 1, white, True)]  # MaxSampleValue
    content = tiff(levels, extratags=declared)
    np.testing.assert_array_equal(pixels_of(content), shown(levels, white))
    inverted = tiff(levels.astype("uint16"), "miniswhite", extratags=declared)
    np.testing.assert_array_equal(pixels_of(inverted), shown(white - levels, white))


def test_colour_may_declare_its_white_too():
    levels = random_levels("uint16", 4095, (6, 9, 3))
    content = tiff(levels, "rgb", extratags=[(281, 3, 3, (4095,) * 3, True)])
    np.testing.assert_array_equal(pixels_of(content), shown(levels, 4095))


@pytest.mark.parametrize("tags", [(281, 341), (341, 281)])
@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_one_of_two_tags_may_be_the_largest_level_of_the_image(tags, dtype):
    declared, statistic = tags
    levels = random_levels(dtype, 4032)
    content = tiff(levels, extratags=[(declared, "H", 1, 4095, True), (statistic, "H", 1, 4032, True)])
    np.testing.assert_array_equal(pixels_of(content), shown(levels, 4095))


@pytest.mark.parametrize("declared", [(4095,), (4095,) * 4, (4095, 4095, 4095, 65535), (4095, 4095, 4095, 255)])
def test_the_declared_white_is_of_alpha_too(declared):
    opaque = declared[-1]
    levels = random_levels("uint16", 4095, (6, 9, 4))
    levels[..., 3] = np.random.default_rng(1).integers(0, opaque, (6, 9), endpoint=True)
    content = tiff(
        levels, "rgb", extrasamples=["unassalpha"], extratags=[(281, "H", len(declared), declared, True)]
    )
    alpha = levels[..., 3:] / opaque
    expected = 255 * (levels[..., :3] / 4095 * alpha + 1 - alpha)
    assert np.abs(pixels_of(content) - expected).max() <= 1.6


def test_alpha_beyond_the_declared_white_is_refused():
    levels = np.full((6, 9, 4), 4095, "uint16")
    levels[0, 0, 3] = 5000
    content = tiff(levels, "rgb", extrasamples=["unassalpha"], extratags=[(281, "H", 1, 4095, True)])
    assert "its samples are 4095 to 5000, not 0 to 4095" in refusal(content)


@pytest.mark.parametrize(
    ("photometric", "extra", "compression"),
    [("rgb", ["assocalpha"], None), ("separated", None, None), ("separated", None, "zlib")],
)
def test_a_declared_white_of_what_is_read_by_its_higher_bytes_is_refused(photometric, extra, compression):
    levels = random_levels("uint16", 4095, (6, 9, 4))
    options = {"extrasamples": extra, "compression": compression, "extratags": [(281, "H", 1, 4095, True)]}
    content = tiff(levels, photometric, planarconfig="contig", **options)
    assert "have 4095 as white, of which the higher bytes alone are read" in refusal(content)


def test_the_largest_level_of_one_image_is_not_its_white():
    """Some programs write it as MaxSampleValue: two images of a data set must not differ by it."""
    levels = random_levels("uint16", 40_000)
    content = tiff(levels, extratags=[(281, 3, 1, 40_000, True)])
    np.testing.assert_array_equal(pixels_of(content), shown(levels, 65535))


def test_levels_beyond_the_declared_white_are_refused():
    content = tiff(random_levels("uint16", 5000), extratags=[(281, 3, 1, 4095, True)])
    assert "its samples are 0 to 5000, not 0 to 4095; rescale" in refusal(content)


@pytest.mark.parametrize(
    ("dtype", "white", "reason"),
    [
        ("int32", 255, "32-bit signed integers, whose white level is not known"),
        ("int32", 65535, "32-bit signed integers"),
        ("uint32", 255, "32-bit integers, whose white level"),
        ("int16", 255, "16-bit signed integers"),
        ("int8", 127, "signed integers"),
        (
            "uint64",
            255,
            "a TIFF with 1 channel of 64 bits (unsigned integers), which cannot be read; save it as PNG",
        ),
        ("float64", 1, "a TIFF with 1 channel of 64 bits (floats), which cannot be read; save it as PNG"),
    ],
)
def test_samples_whose_white_is_not_known_are_refused(dtype, white, reason):
    assert reason in refusal(tiff(random_levels(dtype, white)))


@pytest.mark.parametrize("bigtiff", [False, True])
def test_colour_of_floats_is_refused(bigtiff):
    content = tiff(RNG.random((6, 9, 3)).astype("float32"), "rgb", bigtiff=bigtiff)
    assert "a TIFF with 3 channels of 32 bits (floats), which cannot be read" in refusal(content)


def test_a_compression_that_is_not_read_is_named():
    content = tiff(random_levels("uint8", 255, (6, 9, 3)), "rgb", compression="jpeg2000")
    assert "8 bits (unsigned integers, compressed by method 34712), which cannot be read; save" in refusal(content)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_floats_are_shares_of_1(photometric):
    shares = RNG.random((6, 9)).astype("float32")
    shares[0, :2] = 0, 1 + 1e-6  # a rounding error
    expected = np.clip(1 - shares if photometric == "miniswhite" else shares, 0, 1)
    assert np.abs(pixels_of(tiff(shares, photometric)) - shown(expected, 1)).max() <= 1


@pytest.mark.parametrize("greatest", [2.5, 255, 1e6])
def test_floats_beyond_1_are_refused(greatest):
    levels = np.linspace(0, greatest, 54, dtype="float32").reshape(6, 9)
    assert f"its samples are 0 to {greatest:g}, not 0 to 1; rescale" in refusal(tiff(levels))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite_are_refused(value):
    levels = np.full((6, 9), 0.5, "float32")
    levels[3, 4] = value
    assert "not finite" in refusal(tiff(levels))


def test_negative_floats_are_refused():
    assert "its samples are -1 to 1, not 0 to 1" in refusal(tiff(np.linspace(-1, 1, 54, dtype="f4").reshape(6, 9)))


@pytest.mark.parametrize("factor", [257, 1], ids=["of 16 bits", "of 8 bits, as some programs write it"])
def test_a_tiffs_palette(factor):
    colors = random_levels("uint16", 255, (3, 256)) * factor
    indices = random_levels("uint8", 255)
    content = tiff(indices, "palette", colormap=colors)
    np.testing.assert_array_equal(pixels_of(content), np.moveaxis(colors[:, indices] // factor, 0, -1))


def test_premultiplied_grey():
    grey, alpha = np.full((6, 9), 40, "uint8"), np.full((6, 9), 128, "uint8")
    options = {"planarconfig": "contig", "extrasamples": ["assocalpha"]}
    content = tiff(np.stack([grey, alpha], -1), **options)
    assert np.abs(pixels_of(content).astype(int) - (40 + 255 - 128)).max() <= 1


@pytest.mark.parametrize("alpha", [0, 0x5555, 65535])
def test_sixteen_bits_with_alpha_are_laid_on_white(alpha):
    levels = np.full((6, 9, 4), 0x2828, "uint16")
    levels[..., 3] = alpha
    pixels = pixels_of(tiff(levels, "rgb", extrasamples=["unassalpha"]))
    assert np.abs(pixels.astype(int) - (255 + (40 - 255) * alpha / 65535)).max() <= 1


PLANES: dict[str, tuple[np.ndarray, dict]] = {
    "ink of 16 bits": (random_levels("uint16", 65535, (4, 6, 9)), {"photometric": "separated"}),
    "a declared white, compressed": (
        random_levels("uint16", 4095, (3, 6, 9)),
        {"photometric": "rgb", "compression": "zlib", "extratags": [(281, 3, 3, (4095,) * 3, True)]},
    ),
    **{
        f"grey and {alpha}, {compression}": (
            random_levels("uint8", 255, (2, 6, 9)),
            {"photometric": "minisblack", "extrasamples": [alpha], "compression": compression},
        )
        for alpha in ("unassalpha", "assocalpha")
        for compression in (None, "zlib", "lzw", "packbits")
    },
    "premultiplied RGB": (
        random_levels("uint8", 255, (4, 6, 9)),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
    ),
    "YCbCr": (random_levels("uint8", 255, (3, 6, 9)), {"photometric": "ycbcr"}),
    "Lab": (random_levels("uint8", 255, (3, 6, 9)), {"photometric": "cielab"}),
}

READ_PLANES = {
    "RGB and alpha": (4, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "CMYK": (4, {"photometric": "separated"}),
    "RGB": (3, {"photometric": "rgb"}),
}


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("case", READ_PLANES)
def test_planes_of_8_bits_are_what_the_same_samples_are_together(case, compression):
    channels, options = READ_PLANES[case]
    options = options | {"compression": compression}
    levels = random_levels("uint8", 255, (6, 9, channels))
    planes = tiff(np.moveaxis(levels, -1, 0), planarconfig="separate", **options)
    together = tiff(levels, planarconfig="contig", **options)
    np.testing.assert_array_equal(pixels_of(planes), pixels_of(together))


@pytest.mark.parametrize("case", PLANES)
def test_planes_that_pillow_would_misread_are_refused(case):
    levels, options = PLANES[case]
    content = tiff(levels, planarconfig="separate", **options)
    assert "stored one after the other; save it with PlanarConfiguration 1" in refusal(content)


@pytest.mark.parametrize("bits", [1, 4, 16])
def test_one_channel_that_calls_itself_planes_is_never_misread(bits):
    levels = random_levels("uint16" if bits > 8 else "uint8", 2**bits - 1)
    content = tiff(levels, "miniswhite", bitspersample=bits if bits < 16 else None, metadata=None)
    tag = struct.pack("<HHI", 284, 3, 1)
    at = content.find(tag)
    if at < 0:  # it is the default and left out: put it in place of another that does not matter
        at = content.index(struct.pack("<HH", 305, 2))
    content = content[:at] + tag + struct.pack("<I", 2) + content[at + 12 :]
    with pytest.raises(ImageError, match="stored one after the other"):
        read(Encoded("a.tif", content))


def test_ink_of_16_bits():
    inks = random_levels("uint16", 65535, (6, 9, 4))
    eight = Image.fromarray((inks >> 8).astype("uint8"), "CMYK").convert("RGB")
    np.testing.assert_array_equal(pixels_of(tiff(inks, "separated")), np.asarray(eight))


# The PNM family


@settings(max_examples=60, deadline=None)
@given(
    white=st.sampled_from([1, 3, 15, 100, 254, 255, 256, 1023, 4095, 65534, 65535]) | st.integers(1, 65535),
    plain=st.booleans(),
    color=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pnm_of_every_maxval(white, plain, color, seed):
    levels = random_levels("uint16", white, (6, 9, 3) if color else (6, 9), seed)
    magic = {(False, False): 5, (True, False): 2, (False, True): 6, (True, True): 3}[plain, color]
    header = f"P{magic}\n# a comment\n9 6\n{white}\n".encode()
    raw = levels.astype(">u2" if white > 255 else "u1").tobytes()
    content = header + (" ".join(map(str, levels.ravel())).encode() if plain else raw)
    exact = np.broadcast_to(levels[..., None] if levels.ndim == 2 else levels, (6, 9, 3)) / white * 255
    assert np.abs(pixels_of(content) - exact).max() <= 0.51  # with a white above 255, rounded twice


@pytest.mark.parametrize("plain", [False, True])
def test_bitmaps_have_black_as_1(plain):
    bits = RNG.random((6, 9)) < 0.5
    body = " ".join(map(str, bits.ravel().astype(int))).encode() if plain else np.packbits(bits, 1).tobytes()
    content = f"P{1 if plain else 4} 9 6\n".encode() + body
    np.testing.assert_array_equal(pixels_of(content), shown(~bits, 1))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pfm(order):
    shares = RNG.random((6, 9)).astype("f4")
    content = f"Pf\n9 6\n{'-' if order == '<' else ''}1.0\n".encode() + shares[::-1].astype(f"{order}f4").tobytes()
    assert np.abs(pixels_of(content) - shown(shares, 1)).max() <= 1
    assert "its scale is 255, not 1" in refusal(content.replace(b"1.0", b"255.0"))
    assert "a PFM image in colour; convert it" in refusal(content.replace(b"Pf", b"PF"))


# PNG


def png_of(levels: np.ndarray, bits: int, color_type: int, *, key: bytes = b"") -> bytes:
    """A PNG of levels of shape (height, width, channels), and a transparent level."""
    rows = levels.reshape(len(levels), -1)
    if bits < 8:
        each = 8 // bits
        rows = np.pad(rows, [(0, 0), (0, -rows.shape[1] % each)]).reshape(len(rows), -1, each)
        rows = (rows << np.arange(8 - bits, -1, -bits)).sum(2)
    packed = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in rows)
    content = png(levels.shape[1], levels.shape[0], bits, zlib.compress(packed), color_type)
    if key:
        chunk = struct.pack(">I", len(key)) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
        at = content.index(b"IDAT") - 4
        content = content[:at] + chunk + content[at:]
    return content


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(
        [(1, 0, 1), (2, 0, 1), (4, 0, 1), (8, 0, 1), (16, 0, 1), (8, 2, 3), (16, 2, 3), (16, 4, 2), (16, 6, 4)]
    ),
    seed=st.integers(0, 99),
)
def test_png_of_every_depth(kind, seed):
    bits, color_type, channels = kind
    levels = random_levels("uint16", 2**bits - 1, (6, 9, channels), seed)
    if channels in (2, 4):
        levels[..., -1] = 65535
    content = png_of(levels, bits, color_type)
    theirs = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8)).permute(1, 2, 0).numpy()
    white = 65535 if theirs.dtype == np.uint16 else 255
    expected = shown(theirs[..., :1] if channels < 3 else theirs, white)
    np.testing.assert_array_equal(pixels_of(content), np.broadcast_to(expected, (6, 9, 3)))


@pytest.mark.parametrize(("bits", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_the_transparent_level_of_a_png(bits, channels):
    white = 2**bits - 1
    levels = random_levels("uint16", white, (6, 9, channels))
    levels[2, 3:5] = min(1, white) if bits < 16 else 0x0201
    levels[2, 5] = 0x0202 if bits == 16 else 0  # Pillow's upper byte is that of the one above
    key = b"".join(int(level).to_bytes(2, "big") for level in levels[2, 3])
    expected = shown(np.broadcast_to(levels, (6, 9, 3)), white)
    expected[(levels == levels[2, 3]).all(-1)] = 255
    np.testing.assert_array_equal(pixels_of(png_of(levels, bits, 0 if channels == 1 else 2, key=key)), expected)


def test_an_interlaced_png_of_16_bits():
    levels = random_levels("uint16", 65535, (11, 13, 3))
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [levels[y::dy, x::dx] for y, x, dy, dx in starts]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes for row in part)
    content = bytearray(png(13, 11, 16, zlib.compress(rows)))
    content[28] = 1  # interlaced
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    np.testing.assert_array_equal(pixels_of(bytes(content)), shown(levels, 65535))


# JPEG 2000 and AVIF


@pytest.mark.parametrize("bits", [2, 4, 7, 8, 10, 12, 16])
@pytest.mark.parametrize("codec", ["jp2", "j2k"])
def test_jpeg_2000_of_every_depth(bits, codec):
    levels = random_levels("uint16" if bits > 8 else "uint8", 2**bits - 1, (32, 40))
    options = {"level": 0, "reversible": True, "bitspersample": bits, "codecformat": codec}
    content = imagecodecs.jpeg2k_encode(levels, **options)
    assert (imagecodecs.jpeg2k_decode(content) == levels).all()
    np.testing.assert_array_equal(pixels_of(content), shown(levels, 2**bits - 1))
    color = np.stack([levels, levels[::-1], levels[:, ::-1]], -1)
    content = imagecodecs.jpeg2k_encode(color, **options)
    if bits > 8:  # Pillow turns white to black in these
        assert f"with {bits}, {bits}, {bits} bits a sample; convert it to 8 bits" in refusal(content)
    else:
        np.testing.assert_array_equal(pixels_of(content), shown(color, 2**bits - 1))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_signed_jpeg_2000_is_refused(dtype):
    levels = np.linspace(-100, 100, 32 * 40).reshape(32, 40).astype(dtype)
    assert "signed" in refusal(imagecodecs.jpeg2k_encode(levels, level=0, reversible=True))


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_every_depth(bits):
    levels = np.full((16, 16, 3), (2**bits - 1) // 3, "uint8" if bits == 8 else "uint16")
    content = imagecodecs.avif_encode(levels, level=100, bitspersample=bits)
    assert np.abs(pixels_of(content).astype(int) - 85).max() <= 1


# Other formats


@pytest.mark.parametrize(("bits", "expected"), [(0, RED), (8, [255, 255, 255])])
def test_a_tgas_alpha_is_what_its_header_declares(bits, expected):
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 3, 2, 32, bits)
    content = header + bytes([0, 0, 255, 0]) * 6
    assert pixels_of(content, "a.tga").reshape(-1, 3).tolist() == [expected] * 6


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_tga(mode, compression):
    image = Image.fromarray(smooth(30, 20)).convert(mode)
    file = io.BytesIO()
    image.save(file, "TGA", compression=compression)
    np.testing.assert_array_equal(pixels_of(file.getvalue()), np.asarray(image.convert("RGB")))


def test_the_largest_image_of_an_icon(tmp_path):
    pixels = smooth(48, 48)
    path = save(tmp_path / "a.ico", pixels, sizes=[(16, 16), (48, 48)])
    np.testing.assert_array_equal(np.asarray(read(path)), pixels)


# Images from Python


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "PA", "La", "RGBa"]
)
def test_every_8_bit_mode_of_pillow(mode):
    source = Image.fromarray(smooth(30, 20))
    image = source.convert("RGBA" if mode == "RGBa" else "LA" if mode == "La" else mode).convert(mode)
    expected = source.convert(
        "L" if mode in ("L", "LA", "La") else mode if mode in ("1", "P", "PA", "HSV") else "RGB"
    )
    difference = np.asarray(upright_rgb(image)).astype(int) - np.asarray(expected.convert("RGB"))
    assert np.abs(difference).max() <= (3 if mode == "YCbCr" else 0)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_every_16_bit_mode_of_pillow(mode):
    levels = random_levels("uint16", 65535)
    order = ">" if mode == "I;16B" else "<" if mode != "I;16N" else "="
    image = Image.frombytes(mode, (9, 6), levels.astype(f"{order}u2").tobytes())
    np.testing.assert_array_equal(np.asarray(upright_rgb(image)), shown(levels, 65535))


def test_modes_without_a_range_are_refused():
    with pytest.raises(ImageError, match="32-bit integers, whose white level is not known"):
        upright_rgb(Image.new("I", (3, 2), 200))
    with pytest.raises(ImageError, match="its samples are 200 to 200, not 0 to 1"):
        upright_rgb(Image.new("F", (3, 2), 200))
    assert upright_rgb(Image.new("F", (3, 2), 0.2)).getpixel((0, 0)) == (51, 51, 51)


# Dark images

DARK = """
import sys
from pathlib import Path
from verydeep.images.decode import read
for path in sys.argv[1:]:
    read(Path(path))
"""


def notes(*paths: Path) -> list[str]:
    command = [sys.executable, "-c", DARK, *map(str, paths)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    assert outcome.stdout == ""
    return outcome.stderr.splitlines()


def test_dark_images_of_16_bits_are_noted_once_and_counted(tmp_path):
    grey, color = tmp_path / "grey.tif", tmp_path / "color.png"
    grey.write_bytes(tiff(random_levels("uint16", 4095)))
    color.write_bytes(png_of_16_bits(random_levels("uint16", 16383, (6, 9, 3))))
    first, last = notes(grey, color, grey)
    assert first.startswith(
        f"note: {grey}: no 16-bit sample exceeds 4095; with 65535 as white it is a dark image."
    )
    assert last == "note: 2 images of 16 bits have no sample above 16383 and were read as dark images"


def test_other_images_are_not_noted(tmp_path):
    contents = {
        "bright.tif": tiff(random_levels("uint16", 65535)),
        "declared.tif": tiff(random_levels("uint16", 4095), extratags=[(281, 3, 1, 4095, True)]),
        "twelve.tif": tiff(random_levels("uint16", 4095), bitspersample=12),
        "twelve.jp2": imagecodecs.jpeg2k_encode(
            random_levels("uint16", 900, (32, 40)), bitspersample=12, level=0, reversible=True
        ),
        "dark.png": png_of(random_levels("uint16", 9, (6, 9, 3)), 8, 2),
        "black.png": png_of_16_bits(np.zeros((6, 9, 3), "uint16")),
        "declared.pgm": b"P5 9 6 4095\n" + random_levels(">u2", 4095).tobytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert notes(*(tmp_path / name for name in contents)) == []
