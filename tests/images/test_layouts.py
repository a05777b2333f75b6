"""Which folders are parts, which are classes, and which data is refused as it can be read in two ways."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_images import class_folders, save

from verydeep import run_folder
from verydeep.chunks import part_files
from verydeep.cli import main
from verydeep.errors import DataError, UsageError
from verydeep.images.class_folders import SPELLINGS
from verydeep.images.listing import MADE_HERE
from verydeep.images.shard_index import MANIFEST
from verydeep.images.sources import open_data
from verydeep.studies import state


def folders(root: Path, *names: str, count: int = 5) -> Path:
    """`count` images in each of some folders. Their content does not matter here."""
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + f"{name}/{number}".encode())
    return root


def parts(root: Path, *names: str, count: int = 5) -> Path:
    return folders(root, *(f"{name}/{kind}" for name in names for kind in ("cat", "dog")), count=count)


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_data(str(root))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(root), "DATA")


# Parts


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (("train", "valid"), ("train", "val")),  # Roboflow, fastai
        (("train", "valid", "test"), ("train", "val", "test")),
        (("train", "validation"), ("train", "val")),  # Keras's tutorials
        (("training", "testing"), ("train", "test")),
        (("Train", "Val"), ("train", "val")),
        (("TRAIN", "Test"), ("train", "test")),
        (("train", "dev", "test"), ("train", "val", "test")),
        (("training_set", "test_set"), ("train", "test")),  # Kaggle's cats and dogs
        (("train-data", "validation images"), ("train", "val")),
    ],
)
def test_parts_in_usual_spellings(tmp_path, names, kinds):
    data = open_data(str(parts(tmp_path, *names)))
    assert data.class_names == ("cat", "dog")
    assert tuple(data.parts) == kinds
    for name, kind in zip(names, kinds, strict=True):
        assert {path.split("/")[0] for path in data.parts[kind].names} == {name}


@settings(max_examples=30)
@given(
    chosen=st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=3, unique_by=SPELLINGS.__getitem__),
    capitals=st.sampled_from([str.lower, str.upper, str.title]),
)
def test_any_parts_in_any_case(tmp_path_factory, chosen, capitals):
    root = parts(tmp_path_factory.mktemp("data"), *map(capitals, chosen), count=2)
    data = open_data(str(root))
    assert set(data.parts) == {SPELLINGS[name] for name in chosen}
    assert len(data.all) == 4 * len(chosen)


def test_validation_is_on_the_validation_part_and_never_on_the_test_part(tmp_path):
    parts(tmp_path, "train", "valid", "test")
    data = open_data(str(tmp_path))
    assert {name.split("/")[0] for name in data.train.names} == {"train"}
    assert {name.split("/")[0] for name in data.held_out.names} == {"valid"}


def test_without_a_validation_part_a_fifth_of_the_training_part_is_held_out(tmp_path):
    data = open_data(str(parts(tmp_path, "train", "test", count=10)))
    assert (len(data.train), len(data.held_out), len(data.part("test"))) == (16, 4, 20)
    assert all(name.startswith("train/") for name in (*data.train.names, *data.held_out.names))
    assert data.part("val").names == data.held_out.names


def test_a_test_part_without_labels_is_named_and_not_used(tmp_path):
    parts(tmp_path, "train", "val")
    folders(tmp_path, "test", count=3)
    data = open_data(str(tmp_path))
    assert tuple(data.parts) == ("train", "val")
    assert data.skipped == "3 unlabelled images of test/ (0.jpg, 1.jpg, 2.jpg)"
    with pytest.raises(
        UsageError, match="the data has no test part, only its own train/ and val/; choose another part"
    ):
        data.part("test")


def test_classes_are_numbered_alike_in_all_parts(tmp_path):
    folders(tmp_path, "train/ant", "train/bee", "train/cat", "val/cat", "test/bee")
    data = open_data(str(tmp_path))
    assert set(data.part("val").labels.tolist()) == {2}
    assert set(data.part("test").labels.tolist()) == {1}


def test_classes_are_the_same_in_either_unicode_form(tmp_path):
    folders(tmp_path, "train/caf\u00e9", "train/tea", "val/cafe\u0301")  # the Mac writes the second form
    assert set(open_data(str(tmp_path)).part("val").labels.tolist()) == {0}


def test_two_classes_that_look_the_same_are_refused(tmp_path):
    assert "has two classes called" in refusal(folders(tmp_path, "caf\u00e9", "cafe\u0301"))


def test_folders_without_images_beside_parts_are_named(tmp_path):
    parts(tmp_path, "train", "val")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.xml").write_text("<a/>")
    data = open_data(str(tmp_path))
    assert tuple(data.parts) == ("train", "val")
    assert "1 folder without images (annotations)" in data.skipped


# Classes that are called like parts


@pytest.mark.parametrize("names", [("train", "plane"), ("test", "quiz", "exam"), ("dev", "ops"), ("val", "var")])
def test_a_class_may_be_called_like_a_part(tmp_path, names):
    data = open_data(str(folders(tmp_path, *names)))
    assert data.class_names == tuple(sorted(names))
    assert data.undivided


def test_a_class_called_train_may_hold_a_folder(tmp_path):
    data = open_data(str(folders(tmp_path, "train/steam", "plane/jet", "plane/prop", "car")))
    assert data.class_names == ("car", "plane", "train")


# What can be read in two ways


@pytest.mark.parametrize(
    "names", [("one", "two"), ("2019", "2020", "2021"), ("fold1", "fold2"), ("train1", "train2")]
)
def test_folders_that_all_hold_the_same_folders(tmp_path, names):
    said = refusal(parts(tmp_path, *names))
    assert said.startswith("DATA has the folders ")
    assert "which all hold the folders 'cat', 'dog': probably 'cat', 'dog' are the classes" in said
    assert "put their images directly into them" in said


def test_one_level_more_within_each_part(tmp_path):
    said = refusal(parts(tmp_path, "training_set/training_set", "test_set/test_set"))  # as Kaggle's zip unpacks
    assert said == (
        "DATA/training_set has the one folder 'training_set', which holds the folders 'cat', 'dog': probably "
        "these are the classes; move them up into DATA/training_set"
    )


def test_classes_within_the_parts_are_looked_at_too(tmp_path):
    root = parts(tmp_path, "train/left", "train/right", "val/left", "val/right")
    assert refusal(root).startswith("DATA/train has the folders 'left', 'right', which all hold")


def test_classes_with_one_folder_each_are_classes(tmp_path):
    data = open_data(str(folders(tmp_path, "n01/images", "n02/images")))  # Tiny ImageNet's own layout
    assert data.class_names == ("n01", "n02")


def test_classes_with_images_beside_the_same_folders_are_classes(tmp_path):
    root = parts(tmp_path, "one", "two")
    folders(tmp_path / "one", "x")
    assert open_data(str(root)).class_names == ("one", "two")


def test_parts_beside_another_folder_of_images(tmp_path):
    parts(tmp_path, "train", "val")
    folders(tmp_path, "extra")
    said = refusal(tmp_path)
    assert said.startswith("DATA has train/ and val/ with class folders, and beside them extra/: keep one")


def test_two_folders_of_one_part(tmp_path):
    said = refusal(parts(tmp_path, "train", "Train"))
    assert said.startswith("DATA has Train/ and train/ with class folders, and beside them another part of the")


@pytest.mark.parametrize(
    "names",
    [
        ("train/cat", "train/dog", "test1"),  # Kaggle's dogs and cats
        ("train/cat", "train/dog", "val/cat", "unlabeled"),
        ("train/cat", "train/dog", "test", "sample"),
        ("train/cat", "train/dog", "test/dog", "extra/cat"),
        ("train/cat", "train/dog", "eval/cat"),
    ],
)
def test_a_part_with_classes_beside_what_is_no_part(tmp_path, names):
    assert "with class folders, and beside them" in refusal(folders(tmp_path, *names))


@pytest.mark.parametrize(
    "names", [("train2017", "val2017"), ("fold1", "fold2"), ("split_1", "split_2"), ("a", "eval")]
)
def test_parts_of_other_names_may_lack_classes(tmp_path, names):
    root = folders(tmp_path, *(f"{names[0]}/{kind}" for kind in ("cat", "dog", "eel")), f"{names[1]}/cat")
    assert "which all hold the folders 'cat', 'dog', 'eel'" in refusal(root)


def test_images_beside_the_parts_are_named(tmp_path):
    root = parts(tmp_path, "train", "val")
    (root / "stray.jpg").touch()
    assert open_data(str(root)).skipped == "1 image beside the parts (stray.jpg)"


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val"), ("training", "validation", "test")])
def test_parts_without_class_folders_have_no_labels(tmp_path, names):
    said = refusal(folders(tmp_path, *names))
    assert "no class folders in them, so the classes are unknown" in said


def test_a_training_part_without_class_folders_is_not_left_out(tmp_path):
    """Be it that the classes are called train and val, and one of them has a folder in it."""
    said = refusal(folders(tmp_path, "train", "val", "val/deeper"))
    assert said.startswith("DATA has train/ with images and no class folders in them")


def test_an_empty_part(tmp_path):
    parts(tmp_path, "train")
    (tmp_path / "valid").mkdir()
    assert refusal(tmp_path) == "DATA/valid holds no images; fill it or remove it"


# Links


def test_links_to_folders_are_followed(tmp_path):
    root = folders(tmp_path / "data", "cat", "dog")
    folders(tmp_path / "real", "more", "bird")
    (root / "cat" / "more").symlink_to(tmp_path / "real" / "more")
    (root / "bird").symlink_to(tmp_path / "real" / "bird")
    data = open_data(str(root))
    assert data.class_names == ("bird", "cat", "dog")
    assert [data.all.labels.tolist().count(label) for label in range(3)] == [5, 10, 5]
    assert "cat/more/0.jpg" in data.all.names


def test_parts_may_be_links(tmp_path):
    real = parts(tmp_path / "real", "a", "b")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(real / "a")
    (tmp_path / "data" / "val").symlink_to(real / "b")
    assert tuple(open_data(str(tmp_path / "data")).parts) == ("train", "val")


@pytest.mark.parametrize("target", [".", "..", "../dog"])
def test_links_that_lead_round_in_a_circle_end(tmp_path, target):
    root = folders(tmp_path, "cat", "dog")
    (root / "cat" / "again").symlink_to(target)
    data = open_data(str(root))
    assert sorted(data.all.names) == [f"{kind}/{number}.jpg" for kind in ("cat", "dog") for number in range(5)]
    assert data.skipped == "1 link to a folder that is listed already (again)"


def test_no_image_is_listed_twice_by_links(tmp_path):
    """Above the data itself, beside one another, or one within the other: each folder has one class."""
    root = class_folders(tmp_path / "data", {"cat": 3, "dog": 3})
    (root / "cat" / "up").symlink_to(tmp_path)
    data = open_data(str(root))
    assert len(data.all) == 6 and len(set(data.all.names)) == 6
    assert "1 folder behind a link that is listed elsewhere (data)" in data.skipped
    (root / "cat" / "up").unlink()
    class_folders(tmp_path / "animals", {"emu": 3, "fox": 3})
    (root / "a_fox").symlink_to(tmp_path / "animals" / "fox")
    (root / "other").symlink_to(tmp_path / "animals")
    data = open_data(str(root))
    assert dict(zip(*np.unique(data.all.labels, return_counts=True), strict=True)) == {0: 3, 1: 3, 2: 3, 3: 3}
    (root / "a_fox").rename(root / "zorro")  # its link comes last, and keeps its images
    data = open_data(str(root))
    assert data.class_names == ("cat", "dog", "other", "zorro")
    assert sorted(name for name in data.all.names if "zorro" in name or "other" in name)[-1].startswith("zorro")
    assert "1 folder behind a link that is listed elsewhere (fox)" in data.skipped


def test_a_link_to_itself_and_a_link_to_nothing(tmp_path):
    root = folders(tmp_path, "cat", "dog")
    (root / "cat" / "round").symlink_to("round")
    (root / "cat" / "gone.txt").symlink_to("nowhere")
    (root / "dog" / "gone.jpg").symlink_to("nowhere")  # an image that is missing is an error, not skipped
    data = open_data(str(root))
    assert data.skipped == "2 broken links (gone.txt, round)"
    assert "dog/gone.jpg" in data.all.names


@pytest.mark.parametrize("name", ["pipe", "pipe.png", "pipe.jpg"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    root = folders(tmp_path, "cat", "dog")
    os.mkfifo(root / "cat" / name)
    data = open_data(str(root))
    assert data.skipped == f"1 special file ({name})"
    assert len(data.all.source.hashes(lambda count: None)) == 10


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    root = folders(tmp_path, "cat", "dog", "cat/secret")
    scan = os.scandir

    def refuse(path):  # root may read everything, so permissions alone would test nothing
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    denied = "permission denied; change its permissions or run as its owner"
    assert refusal(root) == f"DATA/cat/secret cannot be listed: {denied}"


# What lies among the images


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "@__thumb", ".thumbnails"])
def test_system_folders_are_skipped_at_any_depth(tmp_path, name):
    root = folders(tmp_path, "cat", "dog", f"cat/{name}/a.jpg", f"dog/deep/{name}", name)
    data = open_data(str(root))
    assert data.class_names == ("cat", "dog")
    assert len(data.all) == 10
    assert name in data.skipped


def test_a_folder_called_like_an_image_is_a_folder(tmp_path):
    data = open_data(str(folders(tmp_path, "cat", "dog", "cat/album.jpg")))
    assert "cat/album.jpg/0.jpg" in data.all.names
    assert len(data.all) == 15


def test_images_are_known_by_content(tmp_path):
    root = folders(tmp_path, "cat", "dog")
    save(root / "cat" / "no ending", format="PNG")
    save(root / "cat" / "photo.jpg_large", format="JPEG")
    save(root / "cat" / "photo.jfif", format="JPEG")
    save(root / "cat" / "scan.bin", format="TIFF")
    assert len(open_data(str(root)).all) == 14


def test_everything_skipped_is_counted_and_named_in_one_line(tmp_path):
    root = folders(tmp_path, "cat", "dog")
    for number in range(4):
        (root / "cat" / f"{number}.txt").write_text("a cat, asleep")
    (root / "dog" / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2")
    (root / "dog" / "page.htm").write_text("<!DOCTYPE html><html></html>")
    (root / "dog" / ".DS_Store").touch()
    (root / "stray.jpg").touch()
    (root / "lost").symlink_to("nowhere")
    skipped = open_data(str(root)).skipped
    assert "\n" not in skipped
    assert "(0.txt, 1.txt, 2.txt, ...)" in skipped
    for name in ("clip.mp4", "page.htm", ".DS_Store", "stray.jpg", "lost"):
        assert name in skipped


# What our own commands leave


def test_the_files_that_make_a_folder_ours_are_the_ones_that_are_written():
    assert {name for _, names in MADE_HERE for name in names} == {
        *(run_folder.CONFIG, run_folder.WEIGHTS, run_folder.JOURNAL),
        *(state.DESCRIPTION, state.RECORDS, MANIFEST, part_files.FACTS),
    }


def test_what_our_own_commands_leave_in_a_data_folder_is_skipped(tmp_path, capsys):
    root = class_folders(tmp_path / "data", {"bird": 3, "cat": 3})
    before = open_data(str(root)).all.names
    main(["new", "A", str(root / "run"), "--width", "0.02", "--num-classes", "2", "--window", "32"])
    save(root / "run" / "drawing.jpg")
    main(["predict", "cifar10", str(root / "bird"), "--maps", str(root / "maps")])
    main(["predict", "cifar10", str(root / "cat"), "--maps", str(root / "cat")])  # beside the images themselves
    main(["shard", str(root), "--out", str(tmp_path / "shards")])
    shutil.move(tmp_path / "shards", root / "shards")
    save(root / "shards" / "0.jpg")
    save(root / "result.npz.parts" / "0.jpg")
    (root / "result.npz.parts" / "test.json").write_text("{}")
    data = open_data(str(root))
    assert data.all.names == before
    assert data.class_names == ("bird", "cat")
    for words in (
        "1 run folder of verydeep (run)",
        "6 images drawn by verydeep",
        "1 folder of shards of verydeep",
    ):
        assert words in data.skipped
    capsys.readouterr()
    main(["predict", "cifar10", str(root / "cat"), "--top", "1"])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err.startswith(f"skipped in {root / 'cat'}: 3 images drawn by verydeep (0-")


def test_nothing_skipped_says_nothing(tmp_path):
    assert open_data(str(folders(tmp_path, "cat", "dog"))).skipped == ""
