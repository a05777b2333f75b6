"""What a file is, by its content: images of every format, and what people have in its place."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features
from sample_images import smooth

from verydeep.errors import ImageError
from verydeep.images import decode, formats
from verydeep.images.decode import Encoded, read, size
from verydeep.images.formats import EXTENSIONS, HEAD, kind_of, sniff


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth(30, 20)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def with_tga_footer(content: bytes) -> bytes:
    return content + struct.pack("<II", 0, 0) + b"TRUEVISION-XFILE.\0"


IMAGES: dict[str, tuple[str, bytes]] = {
    "JPEG": ("JPEG", encoded("JPEG", quality=95)),
    "MPO": ("JPEG", encoded("MPO", save_all=True, append_images=[Image.new("RGB", (30, 20))], quality=95)),
    "PNG": ("PNG", encoded("PNG")),
    "WebP": ("WebP", encoded("WEBP", lossless=True)),
    "BMP": ("BMP", encoded("BMP")),
    "BMP of a palette": ("BMP", encoded("BMP", "P")),
    "GIF": ("GIF", encoded("GIF")),
    "TIFF": ("TIFF", encoded("TIFF")),
    "BigTIFF": ("TIFF", encoded("TIFF", big_tiff=True)),
    "PBM": ("PPM", encoded("PPM", "1")),
    "PGM": ("PPM", encoded("PPM", "L")),
    "PPM": ("PPM", encoded("PPM")),
    "AVIF": ("AVIF", encoded("AVIF", quality=95)),
    "JPEG 2000": ("JPEG 2000", encoded("JPEG2000")),
    "codestream of JPEG 2000": (
        "JPEG 2000",
        imagecodecs.jpeg2k_encode(smooth(30, 20), codecformat="j2k", level=0),
    ),
    "ICO": ("ICO", encoded("ICO", sizes=[(30, 20)])),
    "ICO of a bitmap": ("ICO", encoded("ICO", sizes=[(30, 20)], bitmap_format="bmp")),
    "TGA": ("TGA", encoded("TGA")),
    "TGA of runs": ("TGA", encoded("TGA", compression="tga_rle")),
}


@pytest.mark.parametrize("case", IMAGES)
@pytest.mark.parametrize("name", ["a", "a.jpg", "a.png", "a.nothing"])
def test_images_are_recognised_and_read_whatever_their_name(tmp_path, case, name):
    kind, content = IMAGES[case]
    path = tmp_path / name
    path.write_bytes(content)
    assert sniff(path).name == kind
    assert sniff(path).is_image
    assert not sniff(path).reason
    assert size(path) == (30, 20)
    with Image.open(path) as image:
        image.seek(0)
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(read(path)), expected)


def test_a_tga_without_its_footer_is_known_by_its_name(tmp_path):
    content = IMAGES["TGA"][1][:-26]
    for name in ("a.tga", "B.TGA", "c.vda"):
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path / name).size == (30, 20)
    (tmp_path / "a.jpg").write_bytes(content)
    assert sniff(tmp_path / "a.jpg").name == "file of unknown kind"
    (tmp_path / "text.tga").write_text("A dark and stormy night. " * 20)
    assert sniff(tmp_path / "text.tga").name == "text file"


GREY_12 = np.arange(256, dtype="u2").reshape(16, 16) * 16
UNREAD_JPEGS = {
    "12 bits a sample": imagecodecs.jpeg_encode(GREY_12, bitspersample=12),
    "12 bits a sample of colour": imagecodecs.jpeg_encode(np.stack([GREY_12] * 3, 2), bitspersample=12),
    "12 bits a sample, lossless": imagecodecs.jpeg_encode(GREY_12, bitspersample=12, lossless=True),
    "16 bits a sample": imagecodecs.jpeg_encode(GREY_12, bitspersample=16, lossless=True),
    "the compression JPEG-LS": imagecodecs.jpegls_encode((GREY_12 // 16).astype("u1")),
    "the compression JPEG-LS of 16 bits": imagecodecs.jpegls_encode(GREY_12),
}


@pytest.mark.parametrize("what", UNREAD_JPEGS)
def test_whole_jpegs_that_are_not_read_are_not_called_damaged(what):
    said = what.partition(",")[0].partition(" of ")[0]
    with pytest.raises(ImageError, match=rf"a\.jpg: a JPEG with {said}, which cannot be read; save it as PNG"):
        read(Encoded("a.jpg", UNREAD_JPEGS[what]))


@pytest.mark.parametrize("kept", [2, 3, 4, 5, 20, 150, 170])
def test_the_beginning_of_a_jpeg_is_damaged(kept):
    with pytest.raises(ImageError, match=r"damaged|file of unknown kind"):
        read(Encoded("a.jpg", IMAGES["JPEG"][1][:kept]))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_behind_a_jpegs_first_end_in_a_sentence(content):
    with pytest.raises(ImageError):
        read(Encoded("a.jpg", b"\xff\xd8\xff" + content))


def test_lossless_jpegs_of_8_bits_are_read():
    levels = (GREY_12 // 16).astype("u1")
    pixels = np.asarray(read(Encoded("a.jpg", imagecodecs.jpeg_encode(levels, lossless=True))))
    np.testing.assert_array_equal(pixels[..., 0], levels)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", IMAGES["JPEG"][1])
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    return file.getvalue()


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def boxes(brand: bytes, *compatible: bytes) -> bytes:
    return (
        struct.pack(">I", 16 + 4 * len(compatible)) + b"ftyp" + brand + bytes(4) + b"".join(compatible) + bytes(99)
    )


OTHERS: dict[str, tuple[str, str, bytes]] = {  # what it is called, what is advised, its bytes
    "empty": ("empty file", "download or copy it again", b""),
    "zeros": ("file of zero bytes only", "it is incomplete", bytes(5000)),
    "page": (
        "HTML page",
        "download of the image failed",
        b"<!DOCTYPE html><html><title>404 Not Found</title></html>",
    ),
    "page after spaces": ("HTML page", "download", b"\xef\xbb\xbf\r\n  <HTML><body>Sign in"),
    "XHTML": ("HTML page", "download", b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">'),
    "pointer": (
        "Git LFS pointer",
        "git lfs pull",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 132735\n",
    ),
    "SVG": ("SVG drawing", "convert it", b'<?xml version="1.0"?>\n<!-- x -->\n<svg width="9" height="9"/>'),
    "error of a bucket": ("XML file", "remove", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
    "annotation": ("JSON file", "remove", json.dumps({"image": "a.jpg"}).encode()),
    "text": ("text file", "remove", "Früh am Morgen ".encode() * 100),
    "text like PPM": ("text file", "remove", b"P3 is the third model"),
    "text like BMP": ("text file", "remove", b"BMW is a maker of cars and engines"),
    "PDF": ("PDF document", "save its pages", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3"),
    "PostScript": ("PostScript file", "convert it", encoded("EPS")),
    "Photoshop": ("Photoshop document", "convert it", b"8BPS\0\1" + bytes(20)),
    "zip": ("zip archive", "unpack", zipped()),
    "gzip": ("gzip archive", "unpack", gzip.compress(IMAGES["PNG"][1])),
    "tar": ("tar archive", "unpack", tarred()),
    "array": ("NumPy array", "save it as images", saved(smooth(30, 20))),
    "MP4": ("MP4 or MOV video", "frames", boxes(b"isom", b"isom", b"iso2", b"avc1", b"mp41")),
    "MOV": ("MP4 or MOV video", "frames", boxes(b"qt  ", b"qt  ")),
    "old MOV": ("MP4 or MOV video", "frames", b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(99)),
    "AVI": ("AVI video", "frames", b"RIFF\xff\xff\0\0AVI LIST"),
    "WebM": ("WebM or Matroska video", "frames", b"\x1aE\xdf\xa3\x9fB\x86\x81\1webm"),
    "CR3": ("RAW camera file", "develop", boxes(b"crx ", b"isom")),
    "CR2": ("RAW camera file", "develop", b"II*\0\x10\0\0\0CR\2\0" + bytes(99)),
    "RAF": ("RAW camera file", "develop", b"FUJIFILMCCD-RAW 0201FF"),
    "HEIC": ("HEIC image", "pip install 'verydeep[heic]'", boxes(b"heic", b"mif1", b"heic")),
    "HEIC of many": ("HEIC image", "pip install 'verydeep[heic]'", boxes(b"mif1", b"heic", b"miaf")),
    "JPEG XL": ("JPEG XL image", "convert it", imagecodecs.jpegxl_encode(smooth(30, 20))),
    "codestream of JPEG XL": ("JPEG XL image", "convert it", b"\xff\x0a\x10\x20\x30"),
    "DICOM": ("DICOM file", "PNG or TIFF", bytes(128) + b"DICM" + bytes(20)),
    "Radiance": ("Radiance HDR image", "convert it", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"),
    "OpenEXR": ("OpenEXR image", "convert it", b"v/1\1\2\0\0\0channels"),
    "QOI": ("QOI image", "convert it", imagecodecs.qoi_encode(smooth(30, 20))),
    "cursor": ("Windows cursor", "convert it", b"\0\0\2\0" + IMAGES["ICO"][1][4:]),
    "PFM in colour": ("PFM image in colour", "convert it", b"PF\n2 1\n-1.0\n" + bytes(24)),
    "PAM": ("PAM image", "convert it", b"P7\nWIDTH 2\nHEIGHT 1\n"),
    "resource fork": ("macOS metadata file", "remove", b"\0\5\x16\7\0\2\0\0Mac OS X"),
    "thumbnails": ("Office document or Thumbs.db", "remove", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "noise": ("file of unknown kind", "formats that are read are JPEG, PNG,", bytes(range(1, 256))),
    "start of a JPEG": ("file of unknown kind", "formats that are read are", b"\xff\xd8\0\0"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_whatever_else_there_is_says_what_it_is(tmp_path, case, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)  # no pillow_heif
    formats._missing.cache_clear()
    name, advice, content = OTHERS[case]
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    kind = sniff(path)
    assert kind.name == name
    assert not kind.is_image
    for function in (read, size):
        with pytest.raises(ImageError) as caught:
            function(path)
        said = str(caught.value)
        assert said.startswith(f"{path}: not a readable image: a")
        assert f" {name}; " in said
        assert advice in said
    formats._missing.cache_clear()


@pytest.mark.parametrize("name", ["DSC_1.NEF", "a.dng", "a.arw"])
def test_raw_camera_files_that_begin_like_a_tiff(tmp_path, name):
    (tmp_path / name).write_bytes(IMAGES["TIFF"][1])  # what Pillow would read of one: its thumbnail
    assert sniff(tmp_path / name).name == "RAW camera file"


@pytest.mark.parametrize("case", ["JPEG", "PNG", "TIFF", "AVIF", "JPEG 2000", "ICO", "PPM", "GIF"])
def test_a_damaged_image_is_called_so(case):
    content = IMAGES[case][1][:16] + bytes(200)
    with pytest.raises(ImageError, match=r"a\.jpg: (damaged \(|a TIFF with|.*no pixels)"):
        read(Encoded("a.jpg", content))


def test_a_missing_decoder_is_named(monkeypatch):
    supported = [name for name in features.get_supported() if name != "avif"]
    monkeypatch.setattr(features, "get_supported", lambda: supported)
    formats._missing.cache_clear()
    with pytest.raises(ImageError, match="an AVIF image; convert it to PNG or JPEG, or install a newer Pillow"):
        read(Encoded("a.avif", IMAGES["AVIF"][1]))
    formats._missing.cache_clear()


def test_heic_is_read_where_its_plugin_is_installed(tmp_path):
    plugin = pytest.importorskip("pillow_heif")
    pixels = smooth(64, 48)
    plugin.from_pillow(Image.fromarray(pixels)).save(tmp_path / "a.heic", quality=95)
    content = (tmp_path / "a.heic").read_bytes()
    assert kind_of(content[:HEAD]).name == "HEIC"
    assert decode.extension(Encoded("a.jpg", content)) == "heic"
    assert size(Encoded("a.jpg", content)) == (64, 48)
    assert np.abs(np.asarray(read(Encoded("a.jpg", content))).astype(int) - pixels).mean() < 3


def test_no_decoder_that_starts_a_program_is_reached(monkeypatch):
    from PIL import EpsImagePlugin

    def start(*arguments: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    for name in ("a.jpg", "a.eps"):
        with pytest.raises(ImageError, match="a PostScript file"):
            read(Encoded(name, OTHERS["PostScript"][2]))


@settings(max_examples=300)
@given(content=st.binary(max_size=HEAD), name=st.sampled_from(["a", "a.jpg", "a.tga", "a.nef"]))
def test_any_bytes_are_of_some_kind(content, name):
    kind = kind_of(content, name, lambda: content[-26:])
    assert kind.name
    assert kind.is_image != bool(kind.reason)


@settings(max_examples=100)
@given(case=st.sampled_from(sorted(IMAGES)), data=st.data())
def test_an_image_of_a_format_is_never_opened_as_another(case, data):
    kind, content = IMAGES[case]
    length = data.draw(st.integers(0, len(content)))
    found = kind_of(content[:length][:HEAD], "a.jpg", lambda: content[-26:])
    assert found.name in (
        kind,
        "empty file",
        "file of unknown kind",
        "text file",
        "file of zero bytes only",
        "MP4 or MOV video",
    )


def test_a_comment_of_many_signs_is_read_quickly():
    assert kind_of(b"P1 " + b"# " * 254).name == "text file"


def test_only_the_start_and_the_end_are_read(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(IMAGES["JPEG"][1] + bytes(10**6))
    with path.open("rb", buffering=0) as file:
        asked = []
        original = file.read
        reader = type(
            "Reader", (), {"read": lambda self, n=-1: asked.append(n) or original(n), "seek": file.seek}
        )()
        formats.sniff_file(reader, path.name)
    assert asked == [HEAD]


# Endings and bounds


def test_the_usual_endings_are_those_of_pillows_formats():
    readers = {kind.reader for kind in formats.READABLE} | {"MPO"}
    registered = Image.registered_extensions()
    assert {registered[ending] for ending in EXTENSIONS & registered.keys()} <= readers
    assert {".jpg", ".pgm", ".avif", ".jp2", ".ico", ".tga", ".heic"} <= EXTENSIONS


@pytest.mark.parametrize(
    ("case", "ending"),
    [
        ("JPEG", "jpg"),
        ("MPO", "jpg"),
        ("TIFF", "tif"),
        ("JPEG 2000", "jp2"),
        ("AVIF", "avif"),
        ("ICO", "ico"),
        ("TGA", "tga"),
    ],
)
def test_endings_by_content(case, ending):
    assert decode.extension(Encoded("a.x", IMAGES[case][1])) == ending


def jpeg_2000_claiming(side: int) -> bytes:
    content = bytearray(IMAGES["codestream of JPEG 2000"][1])
    content[8:16] = struct.pack(">II", side, side)
    return bytes(content)


def icon_claiming(side: int) -> bytes:
    content = bytearray(IMAGES["ICO"][1])
    at = content.index(b"IHDR") + 4
    content[at : at + 8] = struct.pack(">II", side, side)
    return bytes(content)


def tga_claiming(side: int) -> bytes:
    content = bytearray(IMAGES["TGA of runs"][1])
    content[12:16] = struct.pack("<HH", side, side)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (jpeg_2000_claiming(13_000), "13000x13000 is more than the 44,500,000 pixels"),
        (icon_claiming(13_000), "an icon of 13000x13000 pixels; make it smaller"),
        (tga_claiming(13_000), "bytes cannot hold the 13000x13000 pixels"),
        (b"P6 60000 60000 255\n", "60000x60000 is more than the 178,000,000 pixels|more than 178,000,000 pixels"),
    ],
)
def test_small_files_that_claim_to_be_large(content, said):
    for function in (read, size):
        with pytest.raises(ImageError, match=said):
            function(Encoded("a", content))


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG2000", {}), ("AVIF", {"speed": 10}), ("TGA", {"compression": "tga_rle"})]
)
def test_the_plainest_of_large_images_is_believed(kind, options):
    file = io.BytesIO()
    Image.new("L" if kind == "TGA" else "RGB", (4200, 4000)).save(file, kind, **options)
    assert size(Encoded("a", file.getvalue())) == (4200, 4000)
