"""Damaged copies of photographs among good ones: named and left out as asked, the run the same to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from damage import KINDS, write_damaged
from PIL import Image
from sample_images import class_folders

from verydeep.cli import main
from verydeep.images import in_memory
from verydeep.run_folder import LAST_WEIGHTS, SKIPPED

BATCH = 6
TINY = [
    *("--recipe", "photos", "--config", "A", "--width", "0.03", "--window", "32"),
    *("--train-scale", "36:48", "--epochs", "2", "--batch-size", str(BATCH)),
]
ALL = "1000"

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class Damaged(NamedTuple):
    folder: Path
    lost: set[str]  # names of the images that cannot be read
    lost_held_out: set[str]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, photographs) -> Damaged:
    """Crops of two photographs in two classes, and among them a copy damaged in each of the ways."""
    folder = tmp_path_factory.mktemp("damaged")
    random = np.random.default_rng(0)
    lost: dict[str, set[str]] = {"train": set(), "val": set()}
    for part in lost:
        for label, photograph in enumerate(photographs):
            place = folder / part / f"class {label}"
            place.mkdir(parents=True)
            for number in range(len(KINDS) + 3):
                top, left = random.integers(0, 300), random.integers(0, 500)
                crop = Image.fromarray(photograph[top : top + 100, left : left + 120])
                crop.save(place / f"good {number}.jpg")
                if number < len(KINDS):
                    path, readable = write_damaged(place, crop, number, random)
                    if not readable:
                        lost[part].add(path.relative_to(folder).as_posix())
    assert sum(1 for _ in (folder / "train").rglob("*.*")) % BATCH == 0  # so that an epoch shows each image
    return Damaged(folder, lost["train"] | lost["val"], lost["val"])


@pytest.fixture
def from_disk(monkeypatch) -> None:
    """Images are read when their turn comes, as they are where they would not fit in memory."""
    monkeypatch.setattr(in_memory, "KEEP_BYTES", 0)


def left_out(run: Path) -> dict[str, str]:
    records = [json.loads(line) for line in (run / SKIPPED).read_text().splitlines()]
    assert len({record["name"] for record in records}) == len(records)
    return {record["name"]: record["reason"] for record in records}


def refused(capfd, *words: object) -> str:
    """The last line of what is said by a command that fails."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 1
    said = capfd.readouterr()
    assert "Traceback" not in said.err
    assert said.err.count("verydeep: ") == 1
    return said.err.splitlines()[-1]


@pytest.fixture(scope="module")
def trained(damaged, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "in memory"
    main(["train", str(damaged.folder), str(run), *TINY, "--max-unreadable", ALL])
    return run


def test_all_are_named_with_a_reason(damaged, trained):
    reasons = left_out(trained)
    assert reasons.keys() == damaged.lost
    for name, reason in reasons.items():
        assert reason.startswith(f"{damaged.folder / name}: ")
        assert len(reason.splitlines()) == 1


@pytest.mark.heavy
@pytest.mark.usefixtures("from_disk")
def test_the_run_is_the_same_whoever_reads(damaged, tmp_path):
    runs = [tmp_path / workers for workers in ("0", "1", "3")]
    for run in runs:
        words = [damaged.folder, run, *TINY, "--workers", run.name, "--max-unreadable", ALL]
        main(["train", *map(str, words)])
    assert left_out(runs[0]).keys() == damaged.lost
    for run in runs[1:]:
        for name in (LAST_WEIGHTS, SKIPPED):
            assert (run / name).read_bytes() == (runs[0] / name).read_bytes()


def test_none_is_left_out_unasked(damaged, tmp_path, capfd):
    said = refused(capfd, "train", damaged.folder, tmp_path / "run", *TINY)
    assert said.startswith(f"verydeep: {len(damaged.lost)} images cannot be read, the first is {damaged.folder}")
    assert said.endswith(f"skip them with --max-unreadable {len(damaged.lost)}")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("from_disk")
@pytest.mark.parametrize("most", [0, 3])
def test_no_more_are_left_out_than_asked(damaged, tmp_path, capfd, most):
    words = ["train", damaged.folder, tmp_path / "run", *TINY, "--max-unreadable", most]
    said = refused(capfd, *words)
    assert said.startswith(f"verydeep: {most + 1} image{'s' * (most > 0)} cannot be read, the last is ")
    assert len(left_out(tmp_path / "run")) == most + 1


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of eight images, one of which cannot be read."""
    folder = class_folders(tmp_path / "photos", {"cat": 8, "dog": 8})
    image = sorted((folder / "cat").iterdir())[3]
    (tmp_path / "whole").write_bytes(image.read_bytes())
    image.write_bytes(image.read_bytes()[:100])
    return folder


@pytest.mark.parametrize("kept", [0, 2 << 30], ids=["from disk", "in memory"])
def test_a_run_that_is_resumed_leaves_out_no_more_than_it_may(photos, tmp_path, capfd, monkeypatch, kept):
    monkeypatch.setattr(in_memory, "KEEP_BYTES", kept)
    words = ["train", photos, tmp_path / "run", *TINY]
    main([*map(str, words), "--max-unreadable", "1"])
    said = refused(capfd, *words, "--resume", "--epochs", 4)
    assert said.startswith("verydeep: 1 image cannot be read")


def test_a_run_goes_on_though_an_image_was_repaired_and_another_damaged(photos, tmp_path, capfd, monkeypatch):
    """In memory or read on demand, the images keep their places."""
    words = ["train", str(photos), str(tmp_path / "run"), *TINY, "--max-unreadable", "1"]
    main(words)
    assert left_out(tmp_path / "run").keys() == {"cat/3.jpg"}
    capfd.readouterr()
    cats, dogs = (sorted((photos / name).iterdir()) for name in ("cat", "dog"))
    cats[3].write_bytes((tmp_path / "whole").read_bytes())
    dogs[2].write_bytes(b"")
    monkeypatch.setattr(in_memory, "KEEP_BYTES", 0)
    main([*words, "--resume", "--epochs", "3"])
    assert left_out(tmp_path / "run").keys() == {"cat/3.jpg", "dog/2.jpg"}
    assert "skipped 1 image" in capfd.readouterr().err


def test_a_class_of_which_nothing_can_be_read_is_named(photos, tmp_path, capfd):
    for image in (photos / "dog").iterdir():
        image.write_bytes(b"")
    main(["train", str(photos), str(tmp_path / "run"), *TINY, "--max-unreadable", ALL])
    assert "note: of 'dog' no training image can be read" in capfd.readouterr().err


@pytest.mark.heavy
@pytest.mark.usefixtures("from_disk")
def test_held_out_images_count_too(damaged, tmp_path, capfd):
    """As many as training leaves out are allowed, and one more is held out."""
    most = len(damaged.lost) - 1
    said = refused(capfd, "train", damaged.folder, tmp_path / "run", *TINY, "--max-unreadable", most)
    assert said.startswith(f"verydeep: {most + 1} images cannot be read, the last is {damaged.folder}/val/")


def test_testing_leaves_out_what_it_may(damaged, trained, tmp_path, capfd):
    count = len(damaged.lost_held_out)
    words = ["evaluate", trained, damaged.folder, "--out", tmp_path / "a.npz", "--json"]
    assert "cannot be read, the last is" in refused(capfd, *words)
    assert f"{count} images cannot be read" in refused(capfd, *words, "--max-unreadable", count - 1)
    capfd.readouterr()
    main([*map(str, words), "--max-unreadable", str(count)])
    said = capfd.readouterr()
    assert {line.split(": ")[1] for line in said.err.splitlines() if line.startswith("skipped: ")} == {
        str(damaged.folder / name) for name in damaged.lost_held_out
    }
    summary = json.loads(said.out)
    assert summary["num_unreadable"] == count
    assert summary["num_images"] == 2 * (2 * len(KINDS) + 3) - count
    with np.load(tmp_path / "a.npz") as result:
        assert np.isfinite(result["posteriors"]).all()
        assert set(result["names"]).isdisjoint(damaged.lost_held_out)


def test_predicting_names_them_after_the_others(damaged, trained, capfd):
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(trained), str(damaged.folder / "val")])
    assert ended.value.code == 1
    said = capfd.readouterr()
    count = len(damaged.lost_held_out)
    total = 2 * (2 * len(KINDS) + 3)
    assert len(said.out.splitlines()) == 1 + total - count
    assert len(said.err.splitlines()) == count + 1
    assert said.err.splitlines()[-1] == f"verydeep: {count} of {total} images could not be read"
