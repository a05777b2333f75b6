"""`benchmarks/prepare_data.py`: small archives of each maker's form become folders of images."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import prepare_data


def tar_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def run(monkeypatch):
    def run(data: str, *words: object, wanted: tuple[int, int]) -> None:
        read = prepare_data.READERS[data][0]
        monkeypatch.setitem(prepare_data.READERS, data, (read, *wanted))
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", data, *map(str, words)])
        prepare_data.main()

    return run


def names_in(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


@pytest.fixture
def cifar(tmp_path) -> tuple[Path, np.ndarray]:
    """Two batches of two images and a test batch of one; labels 1 0, 1 1, 0."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    records = [
        bytes([label]) + image.transpose(2, 0, 1).tobytes()
        for label, image in zip((1, 0, 1, 1, 0), pixels, strict=True)
    ]
    files = {
        "batches.meta.txt": b"cat\ndog\n\n",
        "test_batch.bin": records[4],
        "data_batch_2.bin": records[2] + records[3],
        "data_batch_1.bin": records[0] + records[1],
    }
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(tar_of({f"cifar-10-batches-bin/{name}": content for name, content in files.items()}))
    return archive, pixels


def test_cifar10_is_numbered_within_its_classes(run, tmp_path, cifar):
    archive, pixels = cifar
    run("cifar10", archive, tmp_path / "out", "--png", wanted=(4, 1))
    names = ["train/cat/0000", "train/dog/0000", "train/dog/0001", "train/dog/0002", "val/cat/0000"]
    assert names_in(tmp_path / "out") == [f"{name}.png" for name in names]
    for name, number in zip(names, (1, 0, 2, 3, 4), strict=True):
        assert (np.asarray(Image.open(tmp_path / f"out/{name}.png")) == pixels[number]).all()
    run("cifar10", archive, tmp_path / "small", wanted=(4, 1))
    with Image.open(tmp_path / "small/train/dog/0002.jpg") as image:
        assert image.quantization[0][:4] == [8, 6, 5, 8]  # quality 75
        assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # colours at half the resolution


def test_tiny_imagenet_leaves_the_boxes_out(run, tmp_path):
    archive = zip_of(
        tmp_path / "tiny-imagenet-200.zip",
        {
            "tiny-imagenet-200/train/n1/images/n1_0.JPEG": b"one",
            "tiny-imagenet-200/train/n1/n1_boxes.txt": b"n1_0.JPEG\t0\t1\t2\t3\n",
            "tiny-imagenet-200/val/images/val_0.JPEG": b"two",
            "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn1\t0\t1\t2\t3\n",
            "tiny-imagenet-200/test/images/test_0.JPEG": b"three",
        },
    )
    run("tiny-imagenet", archive, tmp_path / "out", wanted=(1, 1))
    assert names_in(tmp_path / "out") == ["train/n1/n1_0.JPEG", "val/n1/val_0.JPEG"]
    assert (tmp_path / "out/val/n1/val_0.JPEG").read_bytes() == b"two"


@pytest.mark.parametrize("within_zip", [False, True])
def test_caltech_has_the_photographs_of_the_list(run, tmp_path, within_zip):
    files = {
        "101_ObjectCategories/Faces/image_0001.jpg": b"not in the list",
        "101_ObjectCategories/Faces/image_0002.jpg": b"one",
        "101_ObjectCategories/Faces/image_0025.jpg": b"two",
        "101_ObjectCategories/accordion/image_0002.jpg": b"not one of the 50",
    }
    archive = tmp_path / "archive"
    if within_zip:
        zip_of(archive, {"caltech-101/101_ObjectCategories.tar.gz": tar_of(files), "caltech-101/show.m": b""})
    else:
        archive.write_bytes(tar_of(files))
    run("caltech50", archive, tmp_path / "out", wanted=(1, 1))
    assert names_in(tmp_path / "out") == ["train/Faces/image_0002.jpg", "val/Faces/image_0025.jpg"]


def test_the_list_of_caltech():
    parts = json.loads(prepare_data.CALTECH.read_text())
    assert len(parts) == 50
    for part, wanted in zip(("train", "val"), prepare_data.READERS["caltech50"][1:], strict=True):
        assert sum(len(set(kind[part])) for kind in parts.values()) == wanted
    assert not any(set(kind["train"]) & set(kind["val"]) for kind in parts.values())


def test_what_is_not_the_archive_is_told_and_leaves_nothing(run, tmp_path, cifar):
    archive, _ = cifar
    with pytest.raises(SystemExit, match=r"it has 4 training and 1 test images, not 50,000 and 10,000"):
        run("cifar10", archive, tmp_path / "out", wanted=(50_000, 10_000))
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(SystemExit, match="it is no archive, or damaged"):
        run("caltech50", tmp_path / "text", tmp_path / "out", wanted=(1, 1))
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(SystemExit, match="it is no archive, or damaged"):
        run("cifar10", archive, tmp_path / "out", wanted=(4, 1))
    archive.write_bytes(tar_of({"test_batch.bin": bytes(100), "batches.meta.txt": b"cat"}))
    with pytest.raises(SystemExit, match="test_batch has no records of 3073 bytes"):
        run("cifar10", archive, tmp_path / "out", wanted=(4, 1))
    archive.write_bytes(tar_of({"test_batch.bin": b"\x07" + bytes(3072), "batches.meta.txt": b"cat"}))
    with pytest.raises(SystemExit, match=r"test_batch has a label that batches\.meta\.txt does not name"):
        run("cifar10", archive, tmp_path / "out", wanted=(4, 1))
    with pytest.raises(SystemExit, match="No such file"):
        run("cifar10", tmp_path / "none", tmp_path / "out", wanted=(4, 1))
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "text"}
