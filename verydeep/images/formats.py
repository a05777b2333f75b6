"""What a file is, by its first bytes: a format that is read as an image, or a reason why not.

The list of formats is closed. Pillow is only ever asked to open a file as the one format that its bytes
announce, so that no decoder that starts another program (EPS starts Ghostscript) can be reached.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

HEAD = 512  # bytes from the start that decide
TAIL = 26  # bytes from the end that decide for TGA, which has no first bytes of its own

EXTENSIONS = frozenset(
    f".{ending}"
    for endings in (
        "jpg jpeg jpe jfif mpo png apng webp bmp gif tif tiff",
        "pbm pgm ppm pnm pfm avif jp2 j2k jpx jpc ico tga heic heif",
    )
    for ending in endings.split()
)
"""Usual file name extensions of the formats; the content decides what a file is."""


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes:
        name: a noun to count files by: `JPEG`, `HTML page`.
        reader: Pillow's name of the format to open it as; empty where it cannot be read as an image.
        advice: what to do about a file that cannot be read.

    """

    name: str
    reader: str = ""
    advice: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it is read as an image."""
        return bool(self.reader)

    @property
    def reason(self) -> str:
        """Why it is not read, and what to do: the end of an error's sentence. Empty for what is read."""
        return "" if self.reader else f"{_article(self.name)} {self.name}; {self.advice}"


def _article(name: str) -> str:
    spelled = ("HTML", "SVG", "XML", "MP4", "MPEG", "HDF5", "xz")  # said letter by letter
    return "an" if name.startswith(spelled) or name[0] in "aeioAEIO" else "a"


# What can be read

JPEG = Kind("JPEG", "JPEG")  # its reader reads the MPO files of cameras too
PNG = Kind("PNG", "PNG")
GIF = Kind("GIF", "GIF")
BMP = Kind("BMP", "BMP")
TIFF = Kind("TIFF", "TIFF")
PPM = Kind("PPM", "PPM")  # and PBM, PGM, PFM
ICO = Kind("ICO", "ICO")
TGA = Kind("TGA", "TGA")
WEBP = Kind("WebP", "WEBP")
AVIF = Kind("AVIF", "AVIF")
JPEG_2000 = Kind("JPEG 2000", "JPEG2000")
HEIC = Kind("HEIC", "HEIF")

READABLE = (JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF, JPEG_2000, ICO, TGA, HEIC)

_CODECS = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}  # parts that a Pillow may be built without

# What cannot

_CONVERT = "convert it to PNG or JPEG"
_FRAMES = "save its frames as images"
_UNPACK = "unpack it first"
_AGAIN = "download or copy it again"
_REMOVE = "remove it, or put the image in its place"

EMPTY = Kind("empty file", advice=_AGAIN)
ZEROS = Kind("file of zero bytes only", advice=f"it is incomplete; {_AGAIN}")
HTML = Kind("HTML page", advice="the download of the image failed; download it again")
LFS = Kind("Git LFS pointer", advice="the image itself is not here; fetch it: git lfs pull")
SVG = Kind("SVG drawing", advice=_CONVERT)
XML = Kind("XML file", advice=_REMOVE)
JSON = Kind("JSON file", advice=_REMOVE)
TEXT = Kind("text file", advice=_REMOVE)
RAW = Kind("RAW camera file", advice="develop it to JPEG or TIFF")
CURSOR = Kind("Windows cursor", advice=_CONVERT)
VIDEO = Kind("MP4 or MOV video", advice=_FRAMES)
PFM_COLOR = Kind("PFM image in colour", advice="convert it to PNG, TIFF or PPM")
UNKNOWN = Kind(
    "file of unknown kind", advice=f"the formats that are read are {', '.join(kind.name for kind in READABLE)}"
)


def _other(name: str, advice: str) -> Kind:
    return Kind(name, advice=advice)


# (first byte's place, bytes, what it is); the first that fits counts.
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (8, b"CR\x02\0", RAW),  # Canon's CR2, which begins like a TIFF
    (0, b"II*\0", TIFF),
    (0, b"MM\0*", TIFF),
    (0, b"II+\0", TIFF),  # BigTIFF
    (0, b"MM\0+", TIFF),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (0, b"\xff\x4f\xff\x51", JPEG_2000),
    (0, b"version https://git-lfs", LFS),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"IIU\0", RAW),
    (0, b"FOVb", RAW),
    (6, b"HEAPCCDR", RAW),
    (0, b"\0MRM", RAW),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", _other("JPEG XL image", _CONVERT)),
    (0, b"\xff\x0a", _other("JPEG XL image", _CONVERT)),
    (0, b"II\xbc\x01", _other("JPEG XR image", _CONVERT)),
    (0, b"8BPS", _other("Photoshop document", _CONVERT)),
    (0, b"gimp xcf", _other("GIMP image", _CONVERT)),
    (0, b"%PDF-", _other("PDF document", "save its pages as images")),
    (0, b"%!PS", _other("PostScript file", _CONVERT)),
    (0, b"\xc5\xd0\xd3\xc6", _other("PostScript file", _CONVERT)),
    (128, b"DICM", _other("DICOM file", "save it as PNG or TIFF with the window that it is to be seen in")),
    (0, b"v/1\x01", _other("OpenEXR image", _CONVERT)),
    (0, b"#?RADIANCE", _other("Radiance HDR image", _CONVERT)),
    (0, b"#?RGBE", _other("Radiance HDR image", _CONVERT)),
    (0, b"SIMPLE  =", _other("FITS file", _CONVERT)),
    (344, b"n+1\0", _other("NIfTI file", "save its slices as images")),
    (0, b"DDS ", _other("DDS texture", _CONVERT)),
    (0, b"qoif", _other("QOI image", _CONVERT)),
    (0, b"icns", _other("macOS icon", _CONVERT)),
    (0, b"AT&TFORM", _other("DjVu document", "save its pages as images")),
    (0, b"P7\n", _other("PAM image", _CONVERT)),
    (0, b"\x1aE\xdf\xa3", _other("WebM or Matroska video", _FRAMES)),
    (0, b"\0\0\1\xba", _other("MPEG video", _FRAMES)),
    (0, b"\0\0\1\xb3", _other("MPEG video", _FRAMES)),
    (0, b"FLV\1", _other("Flash video", _FRAMES)),
    (0, b"0&\xb2u\x8ef\xcf\x11", _other("Windows Media video", _FRAMES)),
    (0, b"OggS", _other("Ogg file", _REMOVE)),
    (0, b"PK\3\4", _other("zip archive", _UNPACK)),
    (0, b"PK\5\6", _other("zip archive", _UNPACK)),
    (0, b"\x1f\x8b", _other("gzip archive", _UNPACK)),
    (0, b"BZh", _other("bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ\0", _other("xz archive", _UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", _other("zstd archive", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", _other("7-Zip archive", _UNPACK)),
    (0, b"Rar!", _other("RAR archive", _UNPACK)),
    (257, b"ustar", _other("tar archive", _UNPACK)),
    (0, b"\x93NUMPY", _other("NumPy array", "save it as images")),
    (0, b"\x89HDF\r\n\x1a\n", _other("HDF5 file", "save its arrays as images")),
    (0, b"PAR1", _other("Parquet file", "save its images as files")),
    (0, b"SQLite format 3\0", _other("SQLite database", _REMOVE)),
    (0, b"\0\5\x16\7", _other("macOS metadata file", _REMOVE)),
    (0, b"\0\0\0\1Bud1", _other("macOS metadata file", _REMOVE)),
    (0, b"\xd0\xcf\x11\xe0", _other("Office document or Thumbs.db", _REMOVE)),
)

_RIFF = {
    b"WEBP": WEBP,
    b"AVI ": _other("AVI video", _FRAMES),
    b"WAVE": _other("WAV sound", _REMOVE),
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_QUICKTIME = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # first boxes of a MOV without `ftyp`
_RAW_SUFFIXES = frozenset(
    f".{ending}" for ending in ("nef", "nrw", "arw", "srf", "sr2", "dng", "pef", "srw", "3fr", "erf", "kdc", "dcr")
) | {".iiq", ".rwl"}
_TGA_SUFFIXES = frozenset({".tga", ".vda", ".icb", ".vst"})
_PNM = re.compile(rb"P[1-6]\s+(#[^\r\n]*[\r\n]\s*)*\d|Pf\s+\d")
_DIB_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(path: Path) -> Kind:
    """What a file on disk is, from its first 512 bytes, and its last 26 where they may be a TGA's.

    Raises:
        OSError: it cannot be read.

    """
    with path.open("rb") as file:
        return sniff_file(file, path.name)


def sniff_file(file: BinaryIO, name: str) -> Kind:
    """What an open file is; it is left at its start."""
    head = file.read(HEAD)

    def tail() -> bytes:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        return file.read()

    kind = kind_of(head, name, tail)
    file.seek(0)
    return kind


def kind_of(head: bytes, name: str = "", tail: Callable[[], bytes] = bytes) -> Kind:
    """What a file is.

    Args:
        head: its first bytes, 512 or all.
        name: its name, which decides for TGA and RAW camera files alone.
        tail: gives its last 26 bytes; called only where the first could be those of a TGA.

    """
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    kind = _by_magic(head) or _by_structure(head)
    if kind is TIFF and suffix in _RAW_SUFFIXES:
        return RAW  # its first page is a thumbnail
    if kind is None and _like_tga(head) and (suffix in _TGA_SUFFIXES or tail().startswith(b"TRUEVISION-XFILE", 8)):
        kind = TGA
    return _if_decoded(kind or _without_format(head))


def _by_magic(head: bytes) -> Kind | None:
    return next((kind for at, magic, kind in _MAGIC if head.startswith(magic, at)), None)


def _by_structure(head: bytes) -> Kind | None:
    """Formats whose first bytes are too few to tell them from text or chance."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _DIB_HEADERS:
        return BMP
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[4:8] in _QUICKTIME:
        return VIDEO
    if head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and any(head[4:6]) and head[9:10] == b"\0":
        return ICO if head[2] == 1 else CURSOR  # a TGA of colours has zeros from here on
    if _PNM.match(head):
        return PPM
    return PFM_COLOR if re.match(rb"PF\s+\d", head) else None


def _by_brand(head: bytes) -> Kind:
    """A file of ISO boxes, by the brands that its first box lists."""
    major, end = head[8:12], int.from_bytes(head[:4], "big")
    brands = {major, *(head[at : at + 4] for at in range(16, min(end, len(head)) - 3, 4))}
    if major == b"crx ":
        return RAW
    if brands & {b"avif", b"avis"}:
        return AVIF
    return HEIC if brands & _HEIC_BRANDS or major in (b"mif1", b"msf1") else VIDEO


def _like_tga(head: bytes) -> bool:
    """Whether a header makes sense as a TGA's, which has no first bytes of its own."""
    if len(head) < 18 or head[1] > 1 or head[2] not in (1, 2, 3, 9, 10, 11):
        return False
    sized = any(head[12:14]) and any(head[14:16])
    return sized and head[16] in (8, 16, 24, 32) and head[1] == (head[2] in (1, 9))


def _without_format(head: bytes) -> Kind:
    if not head:
        return EMPTY
    if not any(head):
        return ZEROS
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return HTML
    if text.startswith(b"<"):
        return SVG if b"<svg" in text else HTML if b"<html" in text else XML
    if not _is_text(head):
        return UNKNOWN
    return JSON if text.startswith((b"{", b"[")) else TEXT


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in head):
        return False
    try:
        head[:-3].decode() if len(head) == HEAD else head.decode()  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return True


def _if_decoded(kind: Kind) -> Kind:
    """The kind, or a reason where the decoder that it takes is not installed."""
    advice = _missing(kind.reader)
    return Kind(f"{kind.name} image", advice=advice) if advice else kind


@cache
def _missing(reader: str) -> str:
    """What to do for a format's decoder; empty where it is there."""
    if reader == "HEIF" and find_spec("pillow_heif") is None:
        return f"{_CONVERT}, or run: pip install 'verydeep[heic]'"
    if reader in _CODECS:
        from PIL import features

        if _CODECS[reader] not in features.get_supported():
            return f"{_CONVERT}, or install a newer Pillow"
    return ""
