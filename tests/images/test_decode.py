"""Every kind of image comes out upright RGB, and whatever is no image is one sentence that names the file."""

from __future__ import annotations

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from sample_images import bomb, cut, png_of_16_bits, save, smooth
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import v2

from verydeep.errors import ImageError
from verydeep.images.decode import Encoded, read, size
from verydeep.images.views import rescale

RED, WHITE = (255, 0, 0), (255, 255, 255)
ORIENTATION = 0x0112

# How stored pixels are to be seen, by the EXIF standard's table.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def photograph_files(photographs, folder) -> list[Path]:
    """The two photographs as JPEGs, as a camera would keep them."""
    return [save(folder / f"photo{n}.jpg", pixels, quality=90) for n, pixels in enumerate(photographs)]


def pixels_of(path: Path, **options) -> np.ndarray:
    image = read(path, **options)
    assert image.mode == "RGB"
    assert size(path) == image.size or options
    return np.asarray(image)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


# Kinds


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.webp", {"lossless": True}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("a.tiff", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.jpg", {"format": "PNG"}),  # its first bytes decide, not its name
    ],
)
def test_lossless_kinds_keep_every_pixel(tmp_path, name, options):
    pixels = smooth(30, 20)
    np.testing.assert_array_equal(pixels_of(save(tmp_path / name, pixels, **options)), pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_jpeg_comes_near_and_is_what_pillow_decodes(tmp_path, options):
    path = save(tmp_path / "a.jpeg", smooth(61, 43), quality=95, **options)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels_of(path), np.asarray(image))
    assert difference(pixels_of(path), smooth(61, 43)) < 2


def test_images_of_two_frames_as_cameras_make_them(tmp_path):
    first, second = Image.fromarray(smooth(40, 30)), Image.fromarray(smooth(40, 30, seed=1))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    assert difference(pixels_of(tmp_path / "a.jpg"), smooth(40, 30)) < 2


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation(tmp_path, kind):
    frames = [Image.new("RGB", (12, 8), color) for color in (RED, (0, 0, 255))]
    path = tmp_path / f"a.{kind.lower()}"
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert difference(pixels_of(path), np.full((8, 12, 3), RED)) < 1


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff"])
def test_greyscale_has_three_equal_channels(tmp_path, name):
    grey = smooth(30, 20)[..., 0]
    pixels = pixels_of(save(tmp_path / name, grey))
    assert (pixels == pixels[..., :1]).all()
    assert difference(pixels[..., 0], grey) < 1


def test_one_bit(tmp_path):
    bits = np.random.default_rng(0).random((20, 30)) < 0.5
    pixels = pixels_of(save(tmp_path / "a.png", bits))
    np.testing.assert_array_equal(pixels, np.repeat(bits[..., None] * np.uint8(255), 3, 2))


def test_cmyk_jpeg_as_adobe_writes_it(tmp_path):
    Image.new("RGB", (32, 24), (200, 30, 90)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()  # such files store the inverse of their inks
    assert difference(pixels_of(tmp_path / "a.jpg"), np.full((24, 32, 3), (200, 30, 90))) < 2


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize(("alpha", "share"), [(0, 0), (51, 0.2), (255, 1)])
def test_transparency_is_laid_on_white(tmp_path, mode, alpha, share):
    color = (40, alpha) if mode == "LA" else (40, 40, 40, alpha)
    Image.new(mode, (5, 4), color).save(tmp_path / "a.png")
    assert pixels_of(tmp_path / "a.png").reshape(-1, 3).tolist() == [[round(255 + (40 - 255) * share)] * 3] * 20


def test_a_palette(tmp_path):
    image = Image.fromarray(smooth(30, 20)).quantize(16)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one colour", "an alpha for each colour"])
def test_a_palette_with_transparency_is_laid_on_white(tmp_path, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, *RED])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=transparency)
    assert pixels_of(tmp_path / "a.png").tolist() == [[list(WHITE), list(RED)]]


@pytest.mark.parametrize(("mode", "key", "other"), [("L", 7, 76), ("RGB", (1, 2, 3), (76, 76, 76))])
def test_one_transparent_level_is_laid_on_white(tmp_path, mode, key, other):
    image = Image.new(mode, (2, 1), other)
    image.putpixel((0, 0), key)
    image.save(tmp_path / "a.png", transparency=key)
    assert pixels_of(tmp_path / "a.png").tolist() == [[list(WHITE), [76, 76, 76]]]


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_of_grey(tmp_path, name):
    levels = np.arange(256, dtype=np.uint16).reshape(8, 32)
    path = save(tmp_path / name, levels * 257)
    with Image.open(path) as image:
        assert image.mode == "I;16"
    np.testing.assert_array_equal(pixels_of(path), np.repeat(levels[..., None], 3, 2))


def test_sixteen_bits_of_rgb(tmp_path):
    pixels = smooth(30, 20)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(pixels.astype(np.uint16) * 257))
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), pixels)


# Orientation


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff"])
def test_every_orientation_comes_out_upright(tmp_path, name, orientation):
    stored = smooth(30, 20)
    tags = {"tiffinfo": {ORIENTATION: orientation}} if name == "a.tiff" else {"exif": exif(orientation)}
    path = save(tmp_path / name, stored, quality=100, lossless=True, **tags)
    upright = UPRIGHT[orientation](stored)
    assert size(path) == (upright.shape[1], upright.shape[0])
    assert difference(pixels_of(path), upright) < (1.5 if name == "a.jpg" else 1e-9)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_smaller_decoding_is_upright_too(tmp_path, orientation):
    path = save(tmp_path / "a.jpg", smooth(400, 240), quality=95, exif=exif(orientation))
    whole, smaller = read(path), read(path, smallest_side=60)
    assert min(smaller.size) == 60
    assert difference(np.asarray(smaller), np.asarray(whole.resize(smaller.size))) < 2


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_changes_nothing(tmp_path, orientation):
    path = save(tmp_path / "a.png", smooth(30, 20), exif=exif(orientation))
    np.testing.assert_array_equal(pixels_of(path), smooth(30, 20))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_orientation_behind_the_pixels_of_a_png_counts_too(tmp_path, orientation):
    content = encoded("PNG", exif=exif(orientation))
    at = content.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(content[at : at + 4], "big")
    moved = content[:at] + content[end:-12] + content[at:end] + content[-12:]
    (tmp_path / "a.png").write_bytes(moved)
    assert size(tmp_path / "a.png") == read(tmp_path / "a.png").size == read(Encoded("a.png", content)).size


def test_the_size_of_a_png_is_told_without_decoding_it(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", smooth(30, 20))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: pytest.fail("decoded"))
    assert size(path) == (30, 20)


def test_sixteen_bits_are_turned_too(tmp_path):
    levels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    path = save(tmp_path / "a.png", levels * 257, exif=exif(6))
    np.testing.assert_array_equal(pixels_of(path)[..., 0], np.rot90(levels, -1))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


# Decoding at a fraction of the size


@settings(max_examples=40)
@given(width=st.integers(1, 300), height=st.integers(1, 300), smallest_side=st.integers(1, 300))
def test_a_smaller_decoding_is_never_smaller_than_asked(folder, width, height, smallest_side):
    path = save(folder / "sized.jpg", np.zeros((height, width, 3), np.uint8))
    smaller = read(path, smallest_side=smallest_side).size
    assert min(smaller) >= min(smallest_side, width, height)
    assert smaller[0] <= width
    assert smaller[1] <= height


@pytest.mark.parametrize("side", [40, 53, 100, 128, 200, 213])
def test_a_smaller_decoding_differs_little_once_rescaled(photograph_files, side):
    for path in photograph_files:
        smaller, whole = read(path, smallest_side=side), rescale(read(path), side)
        assert min(smaller.size) <= 427 / 2 + 1  # it was decoded at a fraction: there was something to gain
        # A fraction of an odd side is rounded up, which may take a pixel off the longer side afterwards.
        assert rescale(smaller, side).width - whole.width in (-1, 0)
        resized = smaller.resize(whole.size, Image.Resampling.BILINEAR)
        assert difference(np.asarray(resized), np.asarray(whole)) < 6


@pytest.mark.parametrize("side", [214, 256, 427, 1000])
def test_an_image_less_than_twice_as_large_is_decoded_whole(photograph_files, side):
    for path in photograph_files:
        np.testing.assert_array_equal(pixels_of(path, smallest_side=side), pixels_of(path))


@pytest.mark.parametrize("side", [64, 224, 256, 384, 512])
def test_decoding_and_rescaling_are_torchvisions(photograph_files, side):
    for path in photograph_files:
        expected = v2.functional.resize(pil_loader(path), [side], antialias=True)
        np.testing.assert_array_equal(np.asarray(rescale(read(path), side)), np.asarray(expected))


# What is no image


def refusal(path: Path, function=read) -> str:
    with pytest.raises(ImageError) as caught:
        function(path)
    return checked(path, caught.value)


def checked(path: Path, error: ImageError) -> str:
    """The sentence, which is one line and names the file once, at its start."""
    said = str(error)
    assert said.startswith(f"{path}: ")
    assert said.count(str(path)) == 1
    assert "\n" not in said
    assert len(said) > len(f"{path}: ()")
    return said


@pytest.mark.parametrize("function", [read, size])
def test_files_that_are_no_images(tmp_path, function):
    (tmp_path / "text.jpg").write_text("It was a dark and stormy night; the rain fell in torrents.\n")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    assert "not a readable image: a text file" in refusal(tmp_path / "text.jpg", function)
    assert "not a readable image: an empty file" in refusal(tmp_path / "empty.jpg", function)
    assert "a folder" in refusal(tmp_path / "folder.jpg", function)
    assert "no such file" in refusal(tmp_path / "missing.jpg", function)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.bmp", "a.tiff"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_short(tmp_path, name, share):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = save(tmp_path / name, pixels)
    assert read(path).size == (50, 40)
    assert "damaged" in refusal(cut(path, share)) or name in ("a.gif", "a.webp", "a.tiff")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_tiff_without_its_tags_is_cut_short(tmp_path, share):
    """They are at its end; the defaults of missing tags are 1 bit in 1 channel."""
    said = refusal(cut(save(tmp_path / "cut.tif", smooth(80, 60), compression="tiff_lzw"), share))
    assert "bits" not in said and "damaged" in said


def test_an_error_of_the_system_is_not_called_damage(tmp_path):
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    save(tmp_path / "file.png", smooth(8, 8))
    for path, said in (("round.jpg", "Too many levels"), ("file.png/x.jpg", "Not a directory")):
        assert f"cannot be read: {said}" in refusal(tmp_path / path)


@pytest.mark.parametrize("function", [read, size])
def test_a_decompression_bomb(tmp_path, function):
    path = bomb(tmp_path / "bomb.png")
    assert path.stat().st_size < 100
    assert "178,000,000 pixels; make it smaller" in refusal(path, function)


@pytest.mark.parametrize("function", [read, size])
def test_an_image_of_a_little_more_than_the_bound(tmp_path, function):
    # Pillow itself refuses from 178,956,971 pixels on.
    assert "13370x13370 is more than the 178,000,000" in refusal(bomb(tmp_path / "a.png", 13_370), function)


def test_half_the_bound_is_read_without_a_warning(tmp_path):
    path = tmp_path / "a.gif"
    Image.new("P", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[6:10] = (10_000).to_bytes(2, "little") * 2  # the logical screen's width and height
    path.write_bytes(content + bytes(30_000))  # so many could hold them
    assert size(path) == (10_000, 10_000)


@pytest.mark.parametrize("function", [read, size])
def test_a_claim_that_so_few_bytes_cannot_keep(tmp_path, function):
    path = bomb(tmp_path / "a.png", 13_000)
    assert f"{path.stat().st_size} bytes cannot hold the 13000x13000 pixels" in refusal(path, function)
    assert "bytes cannot hold" in refusal(Encoded("a.png", path.read_bytes()), function)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "1", {"compress_level": 9}),
        ("a.png", "RGB", {"compress_level": 9}),
        ("a.gif", "P", {}),
        ("a.jpg", "L", {"quality": 1, "progressive": True, "optimize": True}),
        ("a.jpg", "RGB", {"quality": 1, "optimize": True}),
        ("a.webp", "RGB", {"lossless": True}),
        ("a.tiff", "1", {"compression": "group4"}),
    ],
)
def test_the_plainest_of_large_images_is_believed(tmp_path, name, mode, options):
    """The bounds on what a byte holds, against what encoders make of nothing at all."""
    Image.new(mode, (4200, 4000)).save(tmp_path / name, **options)
    assert read(tmp_path / name).size == (4200, 4000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name here")
@pytest.mark.parametrize("function", [read, size])
def test_a_pipe_is_not_waited_for(tmp_path, function):
    os.mkfifo(tmp_path / "a.jpg")
    assert "a pipe, not an image" in refusal(tmp_path / "a.jpg", function)


def test_damaged_exif_data_does_not_matter(tmp_path):
    directory_without_entries = b"Exif\0\0II*\0\x08\0\0\0\x05\0"
    path = save(tmp_path / "a.jpg", smooth(30, 20), exif=directory_without_entries)
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(path) as image:
        image.getexif()
    assert pixels_of(path).shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("ending", "options"), [("jpg", {}), ("jpg", {"dpi": (72, 72)}), ("png", {}), ("webp", {"lossless": True})]
)
def test_exif_data_that_are_none_at_all_do_not_matter(tmp_path, ending, options):
    """With a density, Pillow reads them only when it is asked for the orientation."""
    path = save(tmp_path / f"a.{ending}", smooth(30, 20), exif=b"Exif\0\0junkjunkjunkjunk", **options)
    assert size(path) == (30, 20)
    assert pixels_of(path).shape == (20, 30, 3)


@pytest.mark.parametrize(("reason", "said"), [("one\nand  two", "(one and two)"), ("", "(ValueError)")])
def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch, reason, said):
    def fail(*arguments: object, **options: object) -> None:
        raise ValueError(reason)

    save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "open", fail)
    assert refusal(tmp_path / "a.jpg").endswith(f"damaged {said}")


def test_threads_that_read_leave_the_warning_filters_as_they_were(tmp_path):
    path = save(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(read, [path] * 500))) == 500
    assert warnings.filters == before


# Fuzzing


def image_or_sentence(path: Path) -> None:
    for function in (read, size):
        try:
            function(path)
        except ImageError as error:
            checked(path, error)


SIGNATURES = (
    b"",
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x20\0\0\0WEBPVP8 ",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x18ftypavif",
    b"\0\0\1\0\1\0",
    b"Pf 3 3 -1\n",
)


@given(signature=st.sampled_from([*SIGNATURES, b"P6 3 3 255\n"]), content=st.binary(max_size=300))
def test_random_bytes(folder, signature, content):
    path = folder / "random.jpg"
    path.write_bytes(signature + content)
    image_or_sentence(path)


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth(24, 17)).save(file, kind, **options)
    return file.getvalue()


REAL = {
    "JPEG": encoded("JPEG", exif=exif(6)),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "PNG": encoded("PNG", exif=exif(6)),
    "WebP": encoded("WEBP"),
    "GIF": encoded("GIF"),
    "TIFF": encoded("TIFF", tiffinfo={ORIENTATION: 6}),
    "JPEG 2000": encoded("JPEG2000"),
    "AVIF": encoded("AVIF"),
    "ICO": encoded("ICO", sizes=[(16, 16)]),
    "TGA": encoded("TGA", compression="tga_rle"),
    "PPM": encoded("PPM"),
}


@pytest.mark.parametrize("kind", REAL)
@settings(max_examples=60)
@given(data=st.data())
def test_flipped_bits(folder, kind, data):
    content = bytearray(REAL[kind])
    for place in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=8)):
        content[place // 8] ^= 1 << place % 8
    path = folder / "flipped.jpg"
    path.write_bytes(content)
    image_or_sentence(path)


@pytest.mark.parametrize("kind", REAL)
def test_cut_anywhere(folder, kind):
    path = folder / "cut.jpg"
    for length in range(0, len(REAL[kind]), 3):
        path.write_bytes(REAL[kind][:length])
        image_or_sentence(path)


@pytest.mark.parametrize("kind", REAL)
def test_a_piece_left_out_anywhere(folder, kind):
    path = folder / "gap.jpg"
    for start in range(0, len(REAL[kind]), 7):
        path.write_bytes(REAL[kind][:start] + REAL[kind][start + 5 :])
        image_or_sentence(path)
