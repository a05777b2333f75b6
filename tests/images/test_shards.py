"""Shards are the folder that they were made of: the same names, labels, split, pixels and batches; any tar reads
them. What is damaged or unfinished is one sentence.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sample_images import class_folders, cut, save, smooth

import verydeep
from verydeep import array_files, remote
from verydeep.cli import main
from verydeep.errors import DataError, ImageError, UsageError, VerydeepError
from verydeep.images import decode, shard_writing, storage
from verydeep.images.batches import TrainingBatches, feed
from verydeep.images.data import Data
from verydeep.images.image_set import ImageSet
from verydeep.images.in_memory import keep_in_memory
from verydeep.images.shard_index import FORMAT, IMAGES, LABELS, MANIFEST, NAMES, RECORD, open_index
from verydeep.images.shard_writing import write_index, write_manifest
from verydeep.images.shards import Shards
from verydeep.images.sources import open_data
from verydeep.images.statistics import measure_images
from verydeep.images.views import TrainingView, rescale

ORIENTATION = 0x0112
JITTERED = TrainingView((40, 60), 32)


def varied(root: Path) -> Path:
    """Two classes of images of several kinds, sizes and orientations, with difficult names."""
    class_folders(root, {"grüner Apfel": 7, "dog v1.2": 6})
    sideways = Image.Exif()
    sideways[ORIENTATION] = 6
    save(root / "grüner Apfel" / "deep/er" / "a.b c.jpg", smooth(90, 70), exif=sideways)
    save(root / "grüner Apfel" / "ねこ.png", smooth(64, 50))
    save(root / "dog v1.2" / "x.webp", smooth(44, 61), lossless=True)
    save(root / "dog v1.2" / "a png.JPEG", smooth(50, 44), format="PNG")
    return root


def shard(folder: Path | str, out: Path, *options: object) -> Path:
    main(["shard", str(folder), "--out", str(out), *map(str, options)])
    return out


@pytest.fixture
def folder(tmp_path) -> Path:
    return varied(tmp_path / "folder")


@pytest.fixture
def shards(tmp_path, folder) -> Path:
    """The folder's images, four in a tar."""
    return shard(folder, tmp_path / "shards", "--images-per-shard", 4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "verydeep"


def assert_same_images(one: ImageSet, other: ImageSet) -> None:
    assert tuple(one.names) == tuple(other.names)
    assert one.labels.dtype == other.labels.dtype
    assert one.labels.tolist() == other.labels.tolist()
    assert one.class_names == other.class_names
    assert one.fingerprint == other.fingerprint
    for number in range(len(one)):
        assert one.source.size(number) == other.source.size(number)
        first, second = one.source.read(number), other.source.read(number)
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def assert_same(one: Data, other: Data) -> None:
    assert one.split == other.split
    assert one.class_names == other.class_names
    for part in ("train", "held_out", "all"):
        assert_same_images(getattr(one, part), getattr(other, part))


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


# The same data


def test_shards_of_class_folders_are_the_folder(folder, shards):
    assert_same(open_data(str(folder)), open_data(str(shards)))
    assert isinstance(open_data(str(shards)).train.source, Shards)


def test_shards_keep_images_of_every_format(tmp_path):
    root = class_folders(tmp_path / "data", {"cat": 3, "dog": 3})
    for name in ("a.avif", "b.jp2", "c.tga", "d.ico", "e.ppm"):
        save(root / "cat" / name, smooth(44, 36))
    tga = root / "cat" / "c.tga"
    tga.write_bytes(tga.read_bytes()[:-26])  # without its footer it is known by its name alone
    assert_same(open_data(str(root)), open_data(str(shard(root, tmp_path / "shards"))))


def test_shards_of_parts_are_the_folder(tmp_path):
    root = tmp_path / "data"
    class_folders(root / "train", {"cat": 3, "dog": 2})
    class_folders(root / "val", {"dog": 2})
    out = shard(root, tmp_path / "out", "--images-per-shard", 2)
    assert_same(open_data(str(root)), open_data(str(out)))
    assert sorted(path.name for path in out.glob("*.tar")) == [
        *("train-000000.tar", "train-000001.tar", "train-000002.tar", "val-000000.tar")
    ]


def test_shards_of_imagenets_layout_are_the_folder(tmp_path):
    root = tmp_path / "data"
    class_folders(root / "train", {"n01": 2, "n02": 2})
    for number in range(3):
        save(root / "val" / f"ILSVRC2012_val_{number}.JPEG", smooth(50, 40, seed=number))
    (root / "val.txt").write_text("".join(f"ILSVRC2012_val_{n}.JPEG {n % 2}\n" for n in range(3)))
    assert_same(open_data(str(root)), open_data(str(shard(root, tmp_path / "out"))))


def test_images_of_one_size_are_told_by_their_content(tmp_path, monkeypatch):
    """Their places in the tars are the same; what is kept of one set of images is not taken for another's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    means = []
    for name, share in (("bright", 1.0), ("dark", 0.25)):
        for kind in ("cat", "dog"):
            for number in range(4):
                pixels = (share * smooth(32, 32, seed=number)).astype(np.uint8)
                save(tmp_path / name / kind / f"{number}.bmp", pixels)
        shards = shard(tmp_path / name, tmp_path / f"{name}-shards")
        means.append(measure_images(open_data(str(shards)).train).mean)
        wanted = measure_images(open_data(str(tmp_path / name)).train).mean
        np.testing.assert_allclose(means[-1], wanted)
    assert means[0].min() > 2 * means[1].max()


def test_the_digits_come_back(tmp_path):
    data, again = open_data("digits"), open_data(str(shard("digits", tmp_path / "out")))
    assert_same(data, again)
    assert (len(again.train), len(again.held_out)) == (1438, 359)


def test_shards_of_shards_are_the_folder(tmp_path, folder, shards):
    again = shard(shards, tmp_path / "again", "--images-per-shard", 5)
    assert_same(open_data(str(folder)), open_data(str(again)))


def test_training_batches_are_the_folders(folder, shards):
    one = TrainingBatches(open_data(str(folder)).train, JITTERED, 4, seed=5)
    other = TrainingBatches(open_data(str(shards)).train, JITTERED, 4, seed=5)
    assert one.steps_per_epoch == other.steps_per_epoch == 3
    for step in range(7):
        np.testing.assert_array_equal(one[step].pixels, other[step].pixels)
        np.testing.assert_array_equal(one[step].labels, other[step].labels)


def test_kept_in_memory_they_are_the_folders(folder, shards):
    one, lost = keep_in_memory(open_data(str(folder)).train, 48)
    other, lost_too = keep_in_memory(open_data(str(shards)).train, 48)
    assert lost == lost_too == []
    assert_same_images(one, other)


def test_a_choice_of_images(folder, shards):
    one, other = open_data(str(folder)).all, open_data(str(shards)).all
    numbers = [14, 3, 3, 0]
    assert_same_images(one.select(numbers), other.select(numbers))
    assert_same_images(one.select(numbers).select([2, 0]), other.select(numbers).select([2, 0]))
    assert tuple(other.names[-3:]) == tuple(one.names[-3:])
    assert other.names[-1] == one.names[-1]
    assert one.names[2] in other.names
    renamed = ("dog v1.2", "new", "grüner Apfel")
    assert_same_images(one.relabel(renamed), other.relabel(renamed))
    for wrong in (len(other), -len(other) - 1):
        with pytest.raises(IndexError):
            other.names[wrong]
        with pytest.raises(IndexError):
            other.source.read(wrong)
    with pytest.raises(IndexError):  # not the first image of the other part, which is the next in the index
        open_data(str(shards)).train.select([len(open_data(str(shards)).train)])


def test_images_that_a_training_held_out_stay_so(folder, shards):
    """A run may have begun on the folder when other images lay in it."""
    names = open_data(str(folder)).all.names
    for held_out in (
        frozenset(names[:3]),
        frozenset({"other/1.jpg"}),
        frozenset(open_data(str(folder)).held_out.names),
    ):
        assert_same(open_data(str(folder), held_out), open_data(str(shards), held_out))


def test_a_validation_part_is_not_touched_by_names_held_out(tmp_path):
    root = tmp_path / "data"
    class_folders(root / "train", {"cat": 3, "dog": 2})
    class_folders(root / "val", {"cat": 1, "dog": 2})
    out = shard(root, tmp_path / "out")
    assert_same(open_data(str(root)), open_data(str(out), frozenset({"train/cat/0.jpg"})))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=12))
def test_names_of_any_kind(tmp_path_factory, names):
    out = tmp_path_factory.mktemp("index")
    write_index(out, np.zeros(2 * len(names), RECORD), np.zeros(2 * len(names), np.int64), names * 2)
    parts = {part: (len(names), "") for part in ("train", "val")}
    write_manifest(out, parts, [], class_names=["a"], split="made up")
    data = open_data(str(out))
    assert list(data.train.names) == list(data.held_out.names) == names
    assert list(data.all.names) == names * 2


# The tars


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as file:
        return {member.name: file.extractfile(member).read() for member in file}


def test_any_tar_finds_the_bytes_and_the_label(folder, shards):
    data = open_data(str(folder))
    found: dict[str, bytes] = {}
    for tar in sorted(shards.glob("train-*.tar")):
        inside = members(tar)
        assert len(inside) <= 8
        assert found.keys().isdisjoint(inside)
        found |= inside
    assert len(found) == 2 * len(data.train)
    kinds = set()
    for number, name in enumerate(data.train.names):
        assert int(found.pop(f"{number:09d}.cls")) == data.train.labels[number]
        image = next(key for key in found if key.startswith(f"{number:09d}."))
        assert found.pop(image) == (folder / name).read_bytes()
        kinds.add((Path(name).suffix, image.partition(".")[2]))
    assert found == {}
    everything = {(".jpg", "jpg"), (".png", "png"), (".webp", "webp"), (".JPEG", "png")}
    assert kinds <= everything
    assert len(kinds) > 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves the tars to the collector
def test_the_webdataset_library_reads_them(folder, shards):
    webdataset = pytest.importorskip("webdataset")
    data = open_data(str(folder))
    for part, images in (("train", data.train), ("val", data.held_out)):
        tars = [str(tar) for tar in sorted(shards.glob(f"{part}-*.tar"))]
        samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8"))
        assert sorted(int(sample["__key__"]) for sample in samples) == list(range(len(images)))
        for sample in samples:
            number = int(sample["__key__"])
            assert sample["cls"] == images.labels[number]
            pixels = next((sample[kind] for kind in ("jpg", "png") if kind in sample), None)
            if pixels is not None and "er/" not in images.names[number]:  # that one it does not turn upright
                np.testing.assert_array_equal(pixels, np.asarray(images.source.read(number)))
    gc.collect()


def test_training_tars_mix_the_classes_and_validations_do_not(tmp_path):
    out = shard(class_folders(tmp_path / "data", {"cat": 40, "dog": 40}), tmp_path / "out")
    mixed, sorted_ = (
        [int(content) for name, content in members(out / f"{part}-000000.tar").items() if name.endswith("cls")]
        for part in ("train", "val")
    )
    assert mixed != sorted(mixed)
    assert 12 < sum(mixed[:32]) < 20
    assert sorted_ == sorted(sorted_) == [0] * 8 + [1] * 8


def test_larger_images_are_made_smaller_once(tmp_path, folder):
    out = shard(folder, tmp_path / "out", "--rescale", 45)
    one, other = open_data(str(folder)).all, open_data(str(out)).all
    assert one.fingerprint == other.fingerprint
    changed = 0
    for number in range(len(one)):
        original, image = one.source.read(number), other.source.read(number)
        content = other.source.encoded(number)
        if min(original.size) <= 45:  # never enlarged, and nothing lost
            assert content.content == (folder / one.names[number]).read_bytes()
            continue
        changed += 1
        assert decode.extension(content) == "jpg"
        wanted = rescale(original, 45)
        assert image.size == other.source.size(number) == wanted.size
        difference = np.asarray(image).astype(float) - np.asarray(wanted)
        assert np.abs(difference).mean() < 1.5
    assert changed == 2  # of which one is stored on its side
    assert {(50, 64), (70, 90)} & {one.source.size(number)[::-1] for number in range(len(one))}


# Interrupted


class StopError(Exception):
    pass


def interrupt(monkeypatch, after: int) -> None:
    """Let encoding end like Ctrl-C after some images."""
    encode, lock, count = shard_writing._encode, threading.Lock(), [0]

    def encode_some(*arguments):
        with lock:
            count[0] += 1
            if count[0] > after:
                raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(shard_writing, "_encode", encode_some)


def test_an_interrupted_packing_goes_on(tmp_path, folder, shards, monkeypatch, capsys):
    out = tmp_path / "out"
    monkeypatch.setattr(shard_writing, "AHEAD", 1)
    with monkeypatch.context() as patch:
        interrupt(patch, 10)
        with pytest.raises(SystemExit) as ended:
            shard(folder, out, "--images-per-shard", 4)
    assert ended.value.code == 130
    assert "repeat the command to resume" in capsys.readouterr().err
    assert not (out / MANIFEST).exists()
    with pytest.raises(
        DataError, match=r"an unfinished result of `verydeep shard`; repeat the same command to resume it"
    ):
        open_data(str(out))
    done = {path.name: path.stat() for path in out.glob("*.tar")}
    assert len(done) == 2
    (out / ".train-000002.tar.abc.part").write_bytes(b"cut off")  # as SIGKILL leaves it
    shard(folder, out, "--images-per-shard", 4)
    for name, stat in done.items():
        assert (out / name).stat().st_ino == stat.st_ino
        assert (out / name).stat().st_mtime_ns == stat.st_mtime_ns
    # Bit for bit the uninterrupted one's.
    assert contents(out) == contents(shards)


@pytest.mark.parametrize("when", [IMAGES, LABELS, NAMES, MANIFEST])
def test_an_interruption_while_the_index_is_written(tmp_path, folder, shards, monkeypatch, when):
    def until(write: Callable[..., None]) -> Callable[..., None]:
        def write_unless(path: Path, content: object) -> None:
            if path == out / when:
                raise StopError
            write(path, content)

        return write_unless

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(array_files, "write_whole", until(array_files.write_whole))
        patch.setattr(shard_writing, "write_json", until(shard_writing.write_json))
        with pytest.raises(StopError):
            shard(folder, out, "--images-per-shard", 4)
    with pytest.raises(DataError, match="unfinished"):
        open_data(str(out))
    shard(folder, out, "--images-per-shard", 4)
    assert contents(out) == contents(shards)


def test_a_finished_tar_that_was_cut_is_written_again(tmp_path, folder, shards, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(shard_writing, "AHEAD", 1)
    with monkeypatch.context() as patch:
        interrupt(patch, 10)
        with pytest.raises(SystemExit):
            shard(folder, out, "--images-per-shard", 4)
    cut(out / "train-000000.tar")
    cut(out / ".unfinished" / "train-000001.tar.npy")
    shard(folder, out, "--images-per-shard", 4)
    assert contents(out) == contents(shards)


def refused(arguments: list[object], capsys, code: int = 2) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == code
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_a_packing_that_was_ended_before_its_plan_begins_anew(tmp_path, folder, shards):
    out = tmp_path / "out"
    (out / ".unfinished").mkdir(parents=True)
    (out / ".unfinished" / ".plan.json.1.part").write_text("{")
    shard(folder, out)
    assert list(open_data(str(out)).all.names) == list(open_data(str(shards)).all.names)


def test_going_on_in_another_way_is_refused(tmp_path, folder, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt(patch, 0)
        with pytest.raises(SystemExit):
            shard(folder, out)
    before = contents(out)
    assert "begun with other --rescale;" in refused(["shard", folder, "--out", out, "--rescale", 40], capsys)
    assert "other --images-per-shard;" in refused(["shard", folder, "--out", out, "--images-per-shard", 3], capsys)
    save(folder / "grüner Apfel" / "new.jpg")
    assert "begun with other images; repeat the original command" in refused(
        ["shard", folder, "--out", out], capsys
    )
    assert contents(out) == before
    cut(out / ".unfinished" / "plan.json")
    assert "plan.json is damaged; remove" in refused(["shard", folder, "--out", out], capsys)


def test_a_folder_that_is_something_else_is_refused(tmp_path, folder, shards, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    assert "is not empty, and not an interrupted" in refused(
        ["shard", folder, "--out", tmp_path / "thesis"], capsys
    )
    assert "file is a file; choose another name" in refused(["shard", folder, "--out", tmp_path / "file"], capsys)
    assert "already has complete shards" in refused(["shard", folder, "--out", shards], capsys)
    assert "lies in" in refused(["shard", folder, "--out", folder / "shards"], capsys)
    assert "lies in" in refused(["shard", folder, "--out", folder], capsys)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
    assert not (folder / "shards").exists()
    assert_same(open_data(str(folder)), open_data(str(shard(folder, tmp_path / "empty"))))


# What cannot be read


def test_an_unreadable_image_is_named_and_then_left_out(tmp_path, folder, shards, capsys):
    train = open_data(str(folder)).train
    damaged, out = folder / train.names[4], tmp_path / "out"
    whole = damaged.read_bytes()
    cut(damaged)
    said = refused(["shard", folder, "--out", out, "--images-per-shard", 4], capsys, code=1)
    assert f"1 image cannot be read, the first is {damaged}: damaged" in said
    assert "--max-unreadable 1" in said
    assert not (out / MANIFEST).exists()
    inodes = {path.name: path.stat().st_ino for path in out.glob("*.tar")}
    again = tmp_path / "again"
    shutil.copytree(out, again)
    shard(folder, out, "--images-per-shard", 4, "--max-unreadable", 1)
    changed = [name for name, inode in inodes.items() if (out / name).stat().st_ino != inode]
    assert len(changed) == 1
    left = open_data(str(out))
    assert_same_images(train.select([n for n in range(len(train)) if n != 4]), left.train)
    assert_same_images(open_data(str(folder)).held_out, left.held_out)
    (listed,) = json.loads((out / MANIFEST).read_text())["unreadable"]
    assert listed["name"] == train.names[4]
    assert "damaged" in listed["reason"]
    # Repaired instead, it is there again.
    damaged.write_bytes(whole)
    shard(folder, again, "--images-per-shard", 4)
    assert contents(again) == contents(shards)


def test_a_part_without_a_readable_image_is_refused(tmp_path, folder, capsys):
    held_out = open_data(str(folder)).held_out.names
    for name in held_out:
        (folder / name).write_bytes(b"")
    options = ["--max-unreadable", len(held_out)]
    said = refused(["shard", folder, "--out", tmp_path / "out", *options], capsys, code=1)
    assert f"none of the {len(held_out)} images of val can be read" in said


# Other processes, threads, places


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("most_open", [256, 1, 0])
def test_worker_processes_and_threads_feed_the_folders_batches(folder, shards, monkeypatch, most_open):
    monkeypatch.setattr(storage, "MOST_OPEN", most_open)
    wanted = TrainingBatches(open_data(str(folder)).train, JITTERED, 4, seed=5)
    batches = TrainingBatches(open_data(str(shards)).train, JITTERED, 4, seed=5)
    assert batches[0].labels.tolist() == wanted[0].labels.tolist()  # a descriptor is open before the fork
    for num_workers in (0, 2):
        for step, batch in enumerate(feed(batches, 0, 6, num_workers)):
            np.testing.assert_array_equal(batch.pixels, wanted[step].pixels)
    with ThreadPoolExecutor(8) as pool:
        for step, batch in enumerate(pool.map(batches.__getitem__, range(24))):
            np.testing.assert_array_equal(batch.pixels, wanted[step].pixels)


def test_descriptors_are_few_and_closed(shards, monkeypatch):
    monkeypatch.setattr(storage, "MOST_OPEN", 2)

    def tars_open() -> int:
        links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.startswith(str(shards)) and link.endswith(".tar") for link in links)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("descriptors cannot be listed here")
    data = open_data(str(shards))
    everything = data.all
    for number in range(len(everything)):
        everything.source.read(number)
    assert tars_open() == 2
    del data, everything
    assert tars_open() == 0


def first_pixels(images: ImageSet) -> tuple[str, bytes]:
    return images.names[3], images.source.read(3).tobytes()


def test_another_process_opens_them_itself(shards):
    """Where processes are not forked, images travel as the path of their shards, not as their index."""
    images = open_data(str(shards)).train
    assert len(pickle.dumps(images.source)) < 300
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(first_pixels, (images,)) == first_pixels(images)


@pytest.fixture
def memory() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    filesystem = fsspec.filesystem("memory")
    yield "memory://bucket/set"
    filesystem.store.clear()


def upload(folder: Path, url: str) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    for name, content in contents(folder).items():
        filesystem.pipe_file(f"{url}/{name}", content)


def test_behind_a_url_they_are_the_folder(folder, shards, memory, cache):
    upload(shards, memory)
    shutil.rmtree(shards)
    assert_same(open_data(str(folder)), open_data(memory))
    assert_same(open_data(str(folder)), open_data(memory + "/"))
    fetched = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert sorted(path.name for path in fetched) == ["hashes.npy", "labels.npy", "names.npy", "pictures.npy"]
    open_data(memory)  # the index is not fetched again, unless it was damaged
    assert fetched == {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    cut(next(path for path in fetched if path.name == "names.npy"))
    assert_same(open_data(str(folder)), open_data(memory))


def test_other_shards_behind_the_same_url_have_an_index_of_their_own(tmp_path, folder, shards, memory):
    upload(shards, memory)
    before = open_data(memory)
    class_folders(tmp_path / "other", {"cat": 8, "dog": 8})
    upload(shard(tmp_path / "other", tmp_path / "out"), memory)
    assert_same(open_data(str(tmp_path / "other")), open_data(memory))
    with pytest.raises(ImageError, match="tar"):
        for number in range(len(before.train)):
            before.train.source.read(number)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_shards_that_were_packed_anew_behind_the_same_url(tmp_path, serve, monkeypatch):
    """One image of another size; the manifest's names, labels and lengths may be the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    class_folders(tmp_path / "photos", {"cat": 5, "dog": 5})
    shards = shard(tmp_path / "photos", tmp_path / "shards")
    url = serve(shards)
    before = len(open_data(url).all)
    save(next((tmp_path / "photos" / "cat").iterdir()), smooth(50, 60, seed=77))
    again = shard(tmp_path / "photos", tmp_path / "again")
    shutil.rmtree(shards)
    again.rename(shards)
    remote_data, local = open_data(url).all, open_data(str(shards)).all
    assert len(remote_data) == before
    for number in range(before):
        assert (np.asarray(remote_data.source.read(number)) == np.asarray(local.source.read(number))).all()
    shutil.rmtree(tmp_path / "cache")
    path = shards / IMAGES
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match=r"is not the file that .* was packed with; upload all of the folder anew"):
        open_data(url)


def test_worker_processes_read_behind_a_url(folder, shards, memory):
    upload(shards, memory)
    wanted = TrainingBatches(open_data(str(folder)).train, JITTERED, 4, seed=5)
    batches = TrainingBatches(open_data(memory).train, JITTERED, 4, seed=5)
    for step, batch in enumerate(feed(batches, 0, 4, num_workers=2)):
        np.testing.assert_array_equal(batch.pixels, wanted[step].pixels)


class Server(BaseHTTPRequestHandler):
    """A web server that serves byte ranges; or, as simple ones do, whole files only."""

    def __init__(self, root: Path, ranges: bool, *arguments) -> None:
        self.root, self.ranges = root, ranges
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.root / self.path.removeprefix("/")
        if not path.is_file():
            self.send_error(404)
            return
        content, asked = path.read_bytes(), self.headers.get("Range")
        partial_ = asked is not None and self.ranges
        if partial_:
            first, last = asked.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1]
        self.send_response(206 if partial_ else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    pytest.importorskip("aiohttp")
    servers = []

    def start(root: Path, ranges: bool = True) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, root, ranges))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_behind_a_web_server_they_are_the_folder(folder, shards, serve):
    assert_same(open_data(str(folder)), open_data(serve(shards.parent) + "/shards"))


def test_a_web_server_without_ranges_is_one_sentence(shards, serve, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", ())
    data = open_data(serve(shards, ranges=False))
    with pytest.raises(VerydeepError, match="ignores byte ranges and sends whole files"):
        data.train.source.read(0)


def test_a_file_url_is_the_folder(folder, shards):
    assert_same(open_data(str(folder)), open_data(shards.as_uri()))
    assert_same(open_data(str(folder)), open_data(folder.as_uri()))


def test_urls_that_cannot_be_opened(memory, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", (0.0,))
    with pytest.raises(DataError, match=r"memory://bucket/set has no shards\.json"):
        open_data(memory)
    with pytest.raises(DataError, match=r"nonsense://x cannot be opened: .*nonsense"):
        open_data("nonsense://x")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/x/shards\.json cannot be read, after 2 attempts: "):
        open_data("http://127.0.0.1:1/x")


def test_an_index_that_was_not_uploaded(shards, memory):
    (shards / LABELS).unlink()
    upload(shards, memory)
    with pytest.raises(DataError, match=r"memory://bucket/set/index/labels\.npy is missing; copy the folder"):
        open_data(memory)


def test_a_tar_that_was_not_uploaded(shards, memory):
    (shards / "val-000000.tar").unlink()
    upload(shards, memory)
    with pytest.raises(DataError, match=r"memory://bucket/set/val-000000\.tar is not there; upload it"):
        open_data(memory).held_out.source.read(0)


def test_without_fsspec_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(VerydeepError, match=r"s3://x needs fsspec, .*verydeep\[remote\]"):
        open_data("s3://x")


def test_a_network_that_fails_now_and_then(folder, shards, memory, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))
    upload(shards, memory)
    filesystem, failures = fsspec.filesystem("memory"), [0]
    cat_file = filesystem.cat_file

    def sometimes(*arguments, **options):
        failures[0] += 1
        if failures[0] % 3:
            raise OSError("connection reset")
        return cat_file(*arguments, **options)

    monkeypatch.setattr(filesystem, "cat_file", sometimes)
    assert_same(open_data(str(folder)), open_data(memory))
    data = open_data(memory)
    monkeypatch.setattr(remote, "WAITS", (0.0,))
    with pytest.raises(DataError, match=r"\.tar cannot be read, after 2 attempts: connection reset"):
        data.train.source.read(0)


# Damaged


def damage_manifest(out: Path, **fields: object) -> None:
    manifest = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps({**manifest, **fields}))


def damage_array(out: Path, file: str, change: Callable[[np.ndarray], object]) -> None:
    array = np.load(out / file)
    change(array)
    np.save(out / file, array)


DAMAGED = {
    "a tar cut short": (
        lambda out: cut(out / "train-000001.tar"),
        "train-000001.tar has 10240 bytes; 20480 are",
    ),
    "a tar missing": (lambda out: (out / "val-000000.tar").unlink(), "val-000000.tar is missing"),
    "an index missing": (lambda out: (out / LABELS).unlink(), "labels.npy is missing"),
    "an index cut short": (lambda out: cut(out / IMAGES), "pictures.npy has 434 bytes; 868 are expected"),
    "an index that is none": (
        lambda out: (out / NAMES).write_bytes(b"x" * (out / NAMES).stat().st_size),
        "names.npy is not the expected array",
    ),
    "an index of objects": (
        lambda out: (out / LABELS).write_bytes(pickle.dumps([1]).ljust((out / LABELS).stat().st_size)),
        "labels.npy is not the expected array",
    ),
    "an index of other length": (
        lambda out: damage_manifest(out, val={"pictures": 5, "fingerprint": "x"}),
        "; 18 are expected",
    ),
    "labels of another type": (
        lambda out: np.save(out / LABELS, np.load(out / LABELS).astype("<f8")),
        "it holds '<f8' and not int64",
    ),
    "a label too high": (
        lambda out: damage_array(out, LABELS, lambda labels: labels.__setitem__(0, 2)),
        "labels from 0 to 2 for 2 classes",
    ),
    "a label too low": (
        lambda out: damage_array(out, LABELS, lambda labels: labels.__setitem__(0, -1)),
        "labels from -1 to 1 for 2 classes",
    ),
    "no JSON": (lambda out: (out / MANIFEST).write_text("{"), "is not what `verydeep shard` writes"),
    "other JSON": (lambda out: (out / MANIFEST).write_text("[]"), "is not what `verydeep shard` writes"),
    "a field missing": (lambda out: (out / MANIFEST).write_text(json.dumps({"format": FORMAT})), "it lacks"),
    "another version": (lambda out: damage_manifest(out, format="verydeep shards 2"), "make the shards again"),
    "no images": (lambda out: damage_manifest(out, val={"pictures": 0, "fingerprint": "x"}), "has no images"),
    "a tar elsewhere": (
        lambda out: damage_manifest(out, shards=[["../secret.tar", 512]]),
        "not the name of a shard",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damage_that_is_seen_when_they_are_opened(shards, damage, capsys):
    change, said = DAMAGED[damage]
    change(shards)
    with pytest.raises(DataError) as caught:
        open_data(str(shards))
    assert said in str(caught.value)
    assert str(shards) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "verydeep shard" in str(caught.value)
    assert said in refused(["train", shards, shards.parent / "run"], capsys, code=1)


def set_first(field: str, value: int) -> Callable[[Path], None]:
    return lambda out: damage_array(out, IMAGES, lambda records: records[field].__setitem__(0, value))


DAMAGED_IMAGES = {
    "beyond the tar": (set_first("offset", 20_000), "of 20480; it is damaged"),
    "far beyond the tar": (set_first("offset", 2**64 - 1), "of 20480; it is damaged"),
    "before the tar": (set_first("offset", 0), "the index has it at bytes 0 to "),
    "a length beyond the tar": (set_first("length", 2**32 - 1), "of 20480; it is damaged"),
    "another place in the tar": (set_first("offset", 1024), "something else lies there"),
    "another length": (set_first("length", 5), "something else lies there"),
    "another key": (set_first("key", 5), "something else lies there"),
    "no such shard": (set_first("shard", 99), "in shard 99 of 5"),
    "another size": (set_first("width", 41), "another size of it"),
}


@pytest.mark.parametrize("damage", DAMAGED_IMAGES)
def test_damage_that_is_seen_when_an_image_is_read(shards, damage):
    change, said = DAMAGED_IMAGES[damage]
    change(shards)
    data = open_data(str(shards))
    with pytest.raises(ImageError) as caught:
        data.train.source.read(0)
    assert said in str(caught.value)
    assert str(caught.value).startswith(data.train.names[0])
    assert "\n" not in str(caught.value)
    data.train.source.read(1)  # the others are as they were


def test_a_size_of_nothing(shards):
    set_first("height", 0)(shards)
    with pytest.raises(ImageError, match=r"\.jpg in .*: the index has 40x0 as its size; it is damaged"):
        open_data(str(shards)).train.source.size(0)


@pytest.mark.parametrize("end", [0, 2**63, 2**64 - 1])
def test_a_name_beyond_the_names(shards, end):
    damage_array(shards, IMAGES, lambda records: records["name_end"].__setitem__(1, end))
    with pytest.raises(DataError, match="has no name for image 1; it is damaged"):
        open_data(str(shards)).train.names[1]


def test_a_tar_that_is_cut_or_removed_while_it_is_used(shards):
    data = open_data(str(shards))
    source, number = data.train.source, 0
    name = source.encoded(number).name.rpartition("/")[2]
    os.truncate(shards / name, 700)
    with pytest.raises(ImageError, match=r"bytes could be read of \d+; the tar is cut short"):
        source.read(number)
    shutil.rmtree(shards)
    with pytest.raises(DataError, match=r"val-000000\.tar cannot be read: No such file"):
        data.held_out.source.read(0)


def test_damaged_pixels_are_an_image_that_cannot_be_read(shards):
    data = open_data(str(shards))
    index = data.train.source.index
    tar = shards / index.manifest.shards[int(index.images["shard"][0])][0]
    content = bytearray(tar.read_bytes())
    first = int(index.images["offset"][0])
    content[first : first + 40] = bytes(40)
    tar.write_bytes(content)
    with pytest.raises(ImageError, match=r"\.tar: not a readable image"):
        data.train.source.read(0)
    batch = TrainingBatches(data.train, JITTERED, len(data.train), seed=0)[0]
    assert [image.name for image in batch.unreadable] == [data.train.names[0]]


@pytest.mark.parametrize("where", [".", "train"])
def test_shards_of_others_are_told_apart(shards, where, tmp_path):
    others = tmp_path / "others"
    for part in {".": ["."], "train": ["train", "val"]}[where]:
        (others / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(shards / "train-000000.tar", others / part)
    with pytest.raises(
        DataError, match=r"has tar files without shards\.json, .*unpack them into a folder for each"
    ):
        open_data(str(others))


def test_an_index_of_nothing(tmp_path):
    with pytest.raises(DataError, match=r"has no shards\.json, which `verydeep shard` writes last"):
        open_index(str(tmp_path))


# The function, and the command line


def test_the_function_answers_what_was_packed(tmp_path, folder, shards):
    out = tmp_path / "out"
    packed = verydeep.shard(folder, out=out, images_per_shard=4)
    assert contents(out) == contents(shards)
    num_bytes = sum(path.stat().st_size for path in out.glob("*.tar"))
    assert packed.to_dict() == {
        "out": str(out),
        "images": 17,
        "unreadable": 0,
        "shards": 5,
        "num_bytes": num_bytes,
        "split": open_data(str(folder)).split,
    }
    assert str(packed).startswith(f"{out}: 17 images in 5 shards, {num_bytes / 1e6:.1f} MB (a fifth of each class")


def test_errors_of_the_function_name_its_arguments(tmp_path, folder):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"^`rescale` is 0; it must be at least 1 pixel$"):
        verydeep.shard(folder, out=out, rescale=0)
    with pytest.raises(UsageError, match=r"^`max_unreadable` is -1; it must be 0 or more$"):
        verydeep.shard(folder, out=out, max_unreadable=-1)
    cut(folder / open_data(str(folder)).train.names[0])
    with pytest.raises(DataError, match=r"remove it, or skip it with `max_unreadable=1`$"):
        verydeep.shard(folder, out=out)
    with pytest.raises(UsageError, match="was begun with other `rescale`;"):
        verydeep.shard(folder, out=out, rescale=40)


def test_colors_of_shards_are_measured_once(folder, shards, monkeypatch):
    train = open_data(str(shards)).train
    first = measure_images(train)
    np.testing.assert_array_equal(first.mean, measure_images(open_data(str(folder)).train).mean)
    monkeypatch.setattr(Shards, "read", lambda self, *rest: pytest.fail("read again"))
    np.testing.assert_array_equal(measure_images(open_data(str(shards)).train).covariance, first.covariance)


def test_train_and_evaluate_read_shards(tmp_path, folder, shards, capsys):
    tiny = [
        *("--config", "A", "--width", "0.05", "--window", "32", "--train-scale", "36"),
        *("--epochs", "1", "--batch-size", "4"),
    ]
    rates = []
    for data in (folder, shards):
        run, result = tmp_path / f"run of {data.name}", tmp_path / f"{data.name}.npz"
        main(["train", str(data), str(run), *tiny])
        capsys.readouterr()
        main(["evaluate", str(run), str(data), "--json", "--out", str(result)])
        rates.append(json.loads(capsys.readouterr().out))
        with np.load(result) as archive:
            rates[-1] = archive["names"].tolist(), archive["posteriors"].tolist()
    assert rates[0] == rates[1]
    # A model of the folder is tested on the shards, and the two are fused as of one data set.
    main(["evaluate", str(tmp_path / "run of folder"), str(shards), "--out", str(tmp_path / "crossed.npz")])
    main(["fuse", str(tmp_path / "folder.npz"), str(tmp_path / "crossed.npz")])
    # And a run that began on the folder goes on with the shards.
    main(["train", str(shards), str(tmp_path / "run of folder"), "--resume"])
    splits = [
        json.loads((tmp_path / f"run of {name}" / "split.json").read_text()) for name in ("folder", "shards")
    ]
    assert splits[0] == splits[1]
