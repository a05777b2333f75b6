"""What decoders say of a damaged image is in its reason, and never on the terminal; what others say still is."""

from __future__ import annotations

import logging
import struct
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import class_folders, smooth

from verydeep.errors import ImageError
from verydeep.images import decode
from verydeep.images.batches import TrainingBatches, feed
from verydeep.images.decode import Encoded
from verydeep.images.sources import open_data
from verydeep.images.views import TrainingView


def tiff(compression: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(smooth(50, 40)).save(buffer, "TIFF", compression=compression)
    return buffer.getvalue()


def with_large_tag(content: bytes, tag: int) -> bytes:
    """A TIFF whose tag claims 5,000 values."""
    at = struct.unpack("<I", content[4:8])[0]
    changed = bytearray(content)
    for entry in range(at + 2, at + 2 + 12 * struct.unpack("<H", content[at : at + 2])[0], 12):
        if struct.unpack("<H", content[entry : entry + 2])[0] == tag:
            changed[entry + 4 : entry + 8] = struct.pack("<I", 5000)
    return bytes(changed)


def scrambled(content: bytes) -> bytes:
    return content[:30] + b"\x55" * 60 + content[90:]


DEFLATE = tiff("tiff_adobe_deflate")
DAMAGED = {
    "data": (scrambled(DEFLATE), "ZIPDecode: Decoding error at scanline 0"),
    "lzw data": (scrambled(tiff("tiff_lzw")), "not yet in table|LZWDecode"),
    "jpeg data": (scrambled(tiff("jpeg")), "JPEGLib: "),
    "rows": (with_large_tag(DEFLATE, 278), 'TIFFFetchNormalTag: Incorrect count for "RowsPerStrip"'),
    "places": (
        with_large_tag(DEFLATE, 273),
        "Skipping tag 273; .*Inconsistent directory",
    ),
    "cut": (tiff("jpeg")[:-30], "Truncated File Read; JPEGLib"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_the_reason_tells_it_and_the_terminal_nothing(kind, capfd):
    content, told = DAMAGED[kind]
    with pytest.raises(ImageError, match=rf"a\.tif: damaged \(.*({told})") as caught:
        decode.read(Encoded("a.tif", content))
    assert len(str(caught.value)) < 300
    print("ours", file=sys.stderr)
    assert capfd.readouterr() == ("", "ours\n")


def test_threads_keep_their_own_apart(capfd):
    cases = [*DAMAGED.values(), (tiff("tiff_lzw"), "")] * 8

    def reason(case: tuple[bytes, str]) -> str:
        try:
            decode.read(Encoded("a", case[0]))
        except ImageError as error:
            return str(error)
        return ""

    alone = [reason(case) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(reason, cases)) == alone
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_are_quiet_too(tmp_path, capfd):
    data = class_folders(tmp_path, {"cat": 5, "dog": 5})
    for number, (content, _) in enumerate(DAMAGED.values()):
        (data / "cat" / f"damaged{number}.tif").write_bytes(content)
    images = open_data(str(data)).train
    batches = TrainingBatches(images, TrainingView((40, 60), 32), 4, seed=5)
    for num_workers in (0, 2):
        lost = [one for batch in feed(batches, 0, 6, num_workers=num_workers) for one in batch.unreadable]
        assert any("decoder error -2; " in one.reason for one in lost)
    assert capfd.readouterr().err == ""


def test_pillow_in_other_hands_says_what_it_said(capfd, caplog):
    with Image.open(BytesIO(DAMAGED["data"][0])) as image, pytest.raises(OSError, match="decoder error"):
        image.load()
    assert "ZIPDecode" in capfd.readouterr().err
    logging.getLogger("PIL.TiffImagePlugin").error("of another")
    assert "of another" in caplog.text
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_an_image_is_read_in_spite_of_messages(capfd, tmp_path):
    path = Path(tmp_path / "a.jpg")
    buffer = BytesIO()
    Image.fromarray(smooth(50, 40)).save(buffer, "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + bytes(14)  # five tags, of which one is there
    path.write_bytes(
        buffer.getvalue()[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + buffer.getvalue()[2:]
    )
    assert np.asarray(decode.read(path)).shape == (40, 50, 3)
    assert capfd.readouterr().err == ""
