"""Every layout of a data set, the split where there is none, and a sentence for whatever is no data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_images import class_folders, cut, save, smooth
from sklearn.datasets import load_digits

from verydeep.errors import DataError, ImageError
from verydeep.images import digits
from verydeep.images.decode import read
from verydeep.images.find import unlabelled
from verydeep.images.image_set import Arrays, Files, ImageSet
from verydeep.images.in_memory import keep_in_memory
from verydeep.images.sources import open_data
from verydeep.images.views import rescale


def empty_files(root: Path, counts: dict[str, int]) -> Path:
    """Class folders for tests that never look into an image."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03}.jpg").touch()
    return root


def classes_of(images: ImageSet) -> dict[str, str]:
    """Each image's name with its class's."""
    return {name: images.class_names[label] for name, label in zip(images.names, images.labels, strict=True)}


# Class folders alone


def test_class_folders_are_parted_by_class(tmp_path):
    data = open_data(str(empty_files(tmp_path, {"cat": 20, "dog": 10, "eel": 2})))
    assert data.class_names == data.train.class_names == ("cat", "dog", "eel")
    assert np.bincount(data.held_out.labels).tolist() == [4, 2, 1]
    assert np.bincount(data.train.labels).tolist() == [16, 8, 1]
    assert set(data.train.names).isdisjoint(data.held_out.names)
    assert all(name.split("/")[0] == kind for name, kind in classes_of(data.all).items())
    assert len(data.all) == 32
    assert "a fifth of each class" in data.split


def test_the_images_are_the_ones_that_are_named(tmp_path):
    data = open_data(str(class_folders(tmp_path, {"cat": 3, "dog": 4})))
    for images in (data.train, data.held_out, data.all):
        for number, name in enumerate(images.names):
            assert images.source.read(number) == read(tmp_path / name)
            assert images.source.size(number) == (40, 36)


@settings(max_examples=20)
@given(counts=st.lists(st.integers(2, 30), min_size=1, max_size=4))
def test_each_side_has_every_class_and_no_image_is_lost(tmp_path_factory, counts):
    root = empty_files(tmp_path_factory.mktemp("data"), {f"class {n}": count for n, count in enumerate(counts)})
    data = open_data(str(root))
    held_out = np.bincount(data.held_out.labels, minlength=len(counts))
    assert (held_out + np.bincount(data.train.labels, minlength=len(counts))).tolist() == counts
    assert held_out.tolist() == [max(1, round(count / 5)) for count in counts]
    assert len(set(data.all.names)) == sum(counts)


def test_the_split_is_the_same_every_time_and_everywhere(tmp_path):
    first, second = (open_data(str(empty_files(tmp_path / name, {"cat": 20, "dog": 9}))) for name in "ab")
    assert first.held_out.names == second.held_out.names
    assert first.held_out.names != tuple(sorted(first.all.names)[: len(first.held_out)])  # and is drawn


def test_another_class_does_not_change_a_classs_split(tmp_path):
    before = classes_of(open_data(str(empty_files(tmp_path, {"cat": 20, "dog": 9}))).held_out)
    empty_files(tmp_path, {"ant": 15, "cow": 4})
    after = classes_of(open_data(str(tmp_path)).held_out)
    assert {name: kind for name, kind in after.items() if kind in ("cat", "dog")} == before


def test_what_was_held_out_stays_so_and_new_images_go_to_training(tmp_path):
    before = open_data(str(empty_files(tmp_path, {"cat": 10, "dog": 10})))
    for number in range(900, 930):
        (tmp_path / "cat" / f"{number}.jpg").touch()
    again = open_data(str(tmp_path), held_out=frozenset(before.held_out.names))
    assert set(again.held_out.names) == set(before.held_out.names)
    assert len(again.train) == len(before.train) + 30
    # A fresh split of the grown folder would have been another one.
    assert set(open_data(str(tmp_path)).held_out.names) != set(before.held_out.names)


def test_held_out_names_of_another_folder_mean_nothing(tmp_path):
    root = str(empty_files(tmp_path, {"cat": 10, "dog": 10}))
    other = open_data(root, held_out=frozenset({"bird/000.jpg"}))
    assert other.held_out.names == open_data(root).held_out.names


def test_names_with_spaces_and_unicode(tmp_path):
    names = {"grüner Apfel": 3, "ねこ": 2, "white shark, man-eater": 2, "$x; rm -rf": 2}
    data = open_data(str(class_folders(tmp_path / "my images ✓", names)))
    assert set(data.class_names) == set(names)
    assert sorted(classes_of(data.all).values()) == sorted(
        kind for kind, count in names.items() for _ in range(count)
    )
    assert data.train.source.size(0) == (40, 36)


def test_what_is_no_image_or_hidden_is_passed_by(tmp_path):
    empty_files(tmp_path, {"cat": 5, "dog": 5, ".hidden": 5})
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "README.txt").touch()
    (tmp_path / "stray.jpg").touch()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.jpg", "notes.txt", "000.jpg.part"):
        (tmp_path / "cat" / name).touch()
    (tmp_path / "dog" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "dog" / ".ipynb_checkpoints" / "000-checkpoint.jpg").touch()
    data = open_data(str(tmp_path))
    assert data.class_names == ("cat", "dog")
    assert sorted(data.all.names) == [f"{kind}/{number:03}.jpg" for kind in ("cat", "dog") for number in range(5)]


def test_endings_in_any_case_and_folders_within_a_class(tmp_path):
    empty_files(tmp_path, {"cat": 0, "cat/persian": 2, "dog": 2})
    for name in ("a.JPG", "b.Jpeg", "c.PNG", "d.webp", "e.TIF", "f.gif", "g.bmp", "h.ppm"):
        (tmp_path / "cat" / name).touch()
    assert list(classes_of(open_data(str(tmp_path)).all).values()).count("cat") == 10


def test_a_class_may_be_called_train(tmp_path):
    data = open_data(str(empty_files(tmp_path, {"train": 3, "plane": 3})))
    assert data.class_names == ("plane", "train")


# train/ and val/


def test_train_and_val(tmp_path):
    empty_files(tmp_path, {"train/cat": 3, "train/dog": 2, "train/eel": 1, "val/dog": 2, "val/cat": 1})
    data = open_data(str(tmp_path))
    assert data.class_names == ("cat", "dog", "eel")  # a class that val lacks keeps its number
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert data.held_out.labels.tolist() == [0, 1, 1]
    assert data.held_out.names == ("val/cat/000.jpg", "val/dog/000.jpg", "val/dog/001.jpg")
    assert "train/ and val/" in data.split


def test_held_out_names_do_not_touch_a_validation_part(tmp_path):
    empty_files(tmp_path, {"train/cat": 3, "train/dog": 2, "val/dog": 2, "val/cat": 1})
    data = open_data(str(tmp_path), held_out=frozenset({"train/cat/000.jpg"}))
    assert len(data.train) == 5


@pytest.fixture
def imagenet(tmp_path) -> Path:
    """ImageNet's training part and its flat validation part, with no list of labels."""
    parted = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    empty_files(parted, {"train/n01440764": 2, "train/n01443537": 1, "train/n02094433": 1, "val": 0, "test": 3})
    for number in (1, 2, 3):
        (parted / "val" / f"ILSVRC2012_val_0000000{number}.JPEG").touch()
    (parted / "val" / "._ILSVRC2012_val_00000001.JPEG").touch()  # as macOS leaves them
    return tmp_path


KAGGLE = """ImageId,PredictionString
ILSVRC2012_val_00000003,n01443537 10 20 30 40
ILSVRC2012_val_00000001,n02094433 85 1 499 272 n02094433 131 0 499 254
ILSVRC2012_val_00000002,n01440764 1 2 3 4
"""


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_imagenet_with_kaggles_list(imagenet, mark):
    (imagenet / "LOC_val_solution.csv").write_text(mark + KAGGLE, encoding="utf-8")
    data = open_data(str(imagenet))
    assert data.class_names == ("n01440764", "n01443537", "n02094433")
    assert data.train.labels.tolist() == [0, 0, 1, 2]
    assert data.held_out.labels.tolist() == [2, 0, 1]
    assert data.held_out.names[0] == "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"
    assert "ImageNet" in data.split


def test_imagenet_with_numbered_classes(imagenet):
    lines = [f"ILSVRC2012_val_0000000{number}.JPEG {label}\n" for number, label in ((1, 2), (2, 0), (3, 1))]
    (imagenet / "val.txt").write_text("".join(lines))
    assert open_data(str(imagenet)).held_out.labels.tolist() == [2, 0, 1]


def test_flat_validation_images_directly_below(tmp_path):
    empty_files(tmp_path, {"train/cat": 2, "train/dog": 2, "val": 3})
    (tmp_path / "val.txt").write_text("000.jpg 1\nval/001.jpg 0\n002.jpg 1\n")
    assert open_data(str(tmp_path)).held_out.labels.tolist() == [1, 0, 1]


# The digits


def test_digits_are_scikit_learns():
    data, digits = open_data("digits"), load_digits()
    assert (len(data.all), len(data.train), len(data.held_out)) == (1797, 1438, 359)
    assert data.class_names == tuple("0123456789")
    for number in (0, 100, 358):
        original = int(data.held_out.names[number].removeprefix("digits/"))
        pixels = data.held_out.source.read(number)
        assert data.held_out.labels[number] == digits.target[original]
        assert pixels.shape == (8, 8, 3)
        np.testing.assert_allclose(pixels[..., 1], digits.images[original] * 255 / 16, atol=0.5)


def test_digits_are_the_same_where_their_file_is_not_found(monkeypatch):
    rows = digits._rows()
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    np.testing.assert_array_equal(digits._rows(), rows)


def test_all_of_the_digits_keeps_labels_with_pixels():
    everything, digits = open_data("digits").all, load_digits()
    order = [int(name.removeprefix("digits/")) for name in everything.names]
    assert sorted(order) == list(range(1797))
    np.testing.assert_array_equal(everything.labels, digits.target[order])
    np.testing.assert_array_equal(everything.source.read(1796)[..., 0] > 127, digits.images[order[1796]] > 7.99)


# What is no data set


def refusal(root: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        open_data(str(root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_folder_and_a_file(tmp_path):
    (tmp_path / "a.zip").touch()
    assert refusal(tmp_path / "none").startswith(f"data folder {tmp_path / 'none'} does not exist; give a folder")
    assert refusal(tmp_path / "a.zip").startswith(f"data folder {tmp_path / 'a.zip'} is a file; give a folder")


def test_no_class_folders(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert refusal(tmp_path).startswith(f"{tmp_path} has no class folders; put each class's images in a folder")


def test_a_class_without_images(tmp_path):
    empty_files(tmp_path, {"cat": 3, "dog": 0})
    (tmp_path / "dog" / "notes.txt").touch()
    said = refusal(tmp_path)
    assert said == f"class folder {tmp_path / 'dog'} holds no images; fill it or remove it"


def test_a_class_of_one_image(tmp_path):
    data = open_data(str(empty_files(tmp_path, {"cat": 3, "dog": 1})))
    assert len(data.all) == 4  # nothing is split unless it is asked for
    with pytest.raises(DataError, match="class 'dog' has one image; it needs two"):
        _ = data.train


def test_a_training_part_alone_is_undivided_data(tmp_path):
    data = open_data(str(empty_files(tmp_path, {"train/cat": 10, "train/dog": 10})))
    assert data.undivided
    assert (data.class_names, len(data.train), len(data.held_out)) == (("cat", "dog"), 16, 4)


@pytest.mark.parametrize("there", ["val", "test"])
def test_without_a_training_part_there_is_nothing_to_train_on(tmp_path, there):
    data = open_data(str(empty_files(tmp_path, {f"{there}/cat": 2})))
    assert len(data.part(there)) == 2
    with pytest.raises(DataError, match=f"the data has no training part, only its own {there}/; add train/"):
        _ = data.train


def test_a_validation_class_that_is_not_trained(tmp_path):
    empty_files(tmp_path, {"train/cat": 2, "train/dog": 2, "val/cat": 1, **{f"val/new {n}": 1 for n in range(7)}})
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / 'val'} has classes that the training part lacks: 'new 0', 'new 1', ")
    assert said.endswith("'new 4' and 2 more")


def test_validation_images_without_labels(imagenet):
    assert "no list of labels lies beside it" in refusal(imagenet)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "LOC_val_solution.csv",
            KAGGLE.replace("val_00000002", "val_00000009"),
            "no class for ILSVRC2012_val_00000002",
        ),
        ("LOC_val_solution.csv", KAGGLE.replace("n01440764", "n09999999"), "is of the class n09999999, which"),
        ("LOC_val_solution.csv", KAGGLE + "ILSVRC2012_val_00000002,n01443537 1", "has two classes for ILSVRC"),
        ("LOC_val_solution.csv", KAGGLE + '"' + "x" * 200_000, "wants the columns ImageId and PredictionString"),
        ("LOC_val_solution.csv", "name,class\na,b\n", "wants the columns ImageId and PredictionString"),
        ("LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000001,\n", "wants the columns"),
        ("LOC_val_solution.csv", "ImageId,PredictionString\nILSVRC2012_val_00000001\n", "wants the columns"),
        ("LOC_val_solution.csv", b"\xff\xfe\x00PK", "wants the columns"),
        ("val.txt", "ILSVRC2012_val_00000001.JPEG 3\n", "has the class number 3, and the training part has 3"),
        ("val.txt", "a.JPEG ²\n", "has the line 'a.JPEG ²'"),
        ("val.txt", "a.JPEG 0\n\na.png 1\n", "has two classes for a; keep one"),
        ("val.txt", "ILSVRC2012_val_00000001.JPEG -1\n", "each wants a file name and a class number"),
        ("val.txt", "ILSVRC2012_val_00000001.JPEG n01440764\n", "each wants a file name and a class number"),
        ("val.txt", b"\xff\xfe\x00PK", "each wants a file name and a class number"),
    ],
)
def test_a_list_of_labels_that_does_not_fit(imagenet, name, content, said):
    (imagenet / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in refusal(imagenet)


def test_no_validation_images(imagenet):
    (imagenet / "LOC_val_solution.csv").write_text(KAGGLE)
    shutil.rmtree(imagenet / "ILSVRC/Data/CLS-LOC/val")
    (imagenet / "ILSVRC/Data/CLS-LOC/val").mkdir()
    assert refusal(imagenet).endswith("val holds no images; fill it or remove it")


# Labels


def test_relabel_goes_by_name(tmp_path):
    images = open_data(str(empty_files(tmp_path, {"cat": 2, "dog": 2}))).all
    relabelled = images.relabel(("dog", "eel", "cat"))
    assert relabelled.class_names == ("dog", "eel", "cat")
    assert classes_of(relabelled) == classes_of(images)
    assert sorted(relabelled.labels.tolist()) == [0, 0, 2, 2]


def test_relabel_refuses_a_class_that_the_model_lacks(tmp_path):
    images = open_data(str(empty_files(tmp_path, {"cat": 2, "dog": 2}))).all
    with pytest.raises(
        DataError, match="the data has 1 of 2 classes that the model lacks: 'dog'; the model's are 'cat'"
    ):
        images.relabel(("cat", "eel"))


def test_the_fingerprint_changes_with_names_and_labels_alone(tmp_path):
    images = open_data(str(class_folders(tmp_path, {"cat": 3, "dog": 3}))).all
    same = [
        open_data(str(tmp_path)).all,
        keep_in_memory(images)[0],
        images.select(range(len(images))),
    ]
    others = [
        images.select([0, 1, 2, 3, 4]),
        images.select([1, 0, 2, 3, 4, 5]),
        images.relabel(("dog", "cat")),
        images.relabel(("cat", "dog", "eel")),
        ImageSet(images.names, 1 - images.labels, images.class_names, images.source),
        ImageSet(("x", *images.names[1:]), images.labels, images.class_names, images.source),
    ]
    assert {images.fingerprint} == {one.fingerprint for one in same}
    assert len({images.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_the_fingerprint_is_what_earlier_versions_wrote():
    images = ImageSet(("a/1.jpg", "b/1.jpg"), np.array([0, 1]), ("a", "b"), Files((Path("x"), Path("y"))))
    assert images.fingerprint == "0a97daa9c009452d"


# In memory


@pytest.fixture
def some(tmp_path) -> ImageSet:
    """Four images of different sizes."""
    for number, (width, height) in enumerate([(40, 36), (36, 50), (90, 80), (37, 37)]):
        save(tmp_path / f"{'cat' if number < 2 else 'dog'}" / f"{number}.jpg", smooth(width, height, number))
    return open_data(str(tmp_path)).all


def test_kept_images_have_the_pixels_of_reading(some):
    kept, lost = keep_in_memory(some)
    assert lost == []
    assert isinstance(kept.source, Arrays)
    assert (kept.names, kept.labels.tolist(), kept.class_names) == (
        some.names,
        some.labels.tolist(),
        some.class_names,
    )
    for number in range(len(some)):
        assert kept.source.size(number) == some.source.size(number)
        np.testing.assert_array_equal(kept.source.read(number), np.asarray(some.source.read(number)))


def test_kept_images_are_rescaled(some):
    kept, _ = keep_in_memory(some, smaller_side=36)
    for number in range(len(some)):
        expected = rescale(some.source.read(number), 36)
        assert min(kept.source.size(number)) == 36
        np.testing.assert_array_equal(kept.source.read(number), np.asarray(expected))


def test_arrays_are_kept_as_they_are_or_rescaled():
    digits = open_data("digits").held_out.select(range(3))
    assert keep_in_memory(digits)[0] is digits
    kept, _ = keep_in_memory(digits, smaller_side=36)
    np.testing.assert_array_equal(
        kept.source.read(2), np.asarray(rescale(Image.fromarray(digits.source.read(2)), 36))
    )


@pytest.mark.parametrize("smaller_side", [None, 36])
def test_the_limit_counts_what_would_be_kept(some, smaller_side):
    kept, _ = keep_in_memory(some, smaller_side)
    num_bytes = sum(array.nbytes for array in kept.source.arrays)
    assert isinstance(keep_in_memory(some, smaller_side, limit=num_bytes)[0].source, Arrays)
    over, lost = keep_in_memory(some, smaller_side, limit=num_bytes - 1)
    assert over is some
    assert lost == []


def test_no_more_is_kept_than_the_limit_where_the_sizes_looked_at_were_mistaken(tmp_path):
    folder = class_folders(tmp_path, {"cat": 65, "dog": 65})
    images = open_data(str(folder)).all
    looked_at = set(np.linspace(0, 129, 64).astype(int).tolist())
    large = [number for number in range(130) if number not in looked_at]
    for number in large:
        save(images.source.paths[number], smooth(200, 200))
    read: list[int] = []
    over, lost = keep_in_memory(images, limit=1_000_000, advance=read.append)
    assert over is images
    assert lost == []
    assert len(read) < 40  # it has not read them all to find out


def test_what_cannot_be_read_is_listed_and_keeps_its_place(some):
    damaged = cut(some.source.paths[1])
    kept, lost = keep_in_memory(some)
    assert kept.names == some.names
    np.testing.assert_array_equal(kept.labels, some.labels)
    np.testing.assert_array_equal(kept.source.read(2), np.asarray(some.source.read(2)))
    for fails in (kept.source.read, kept.source.size, kept.source.encoded):
        with pytest.raises(ImageError, match="damaged"):
            fails(1)
    assert kept.source.hash(1) == 0
    assert [image.name for image in lost] == [some.names[1]]
    assert lost[0].reason.startswith(f"{damaged}: damaged")


def test_nothing_can_be_read(some):
    for path in some.source.paths:
        path.write_bytes(b"")
    kept, lost = keep_in_memory(some)
    assert len(kept) == 4
    assert [image.name for image in lost] == list(some.names)


def test_an_image_too_long_to_be_rescaled_is_listed(some):
    save(some.source.paths[3], np.zeros((1, 60_000, 3), np.uint8))
    kept, lost = keep_in_memory(some, smaller_side=256, limit=1 << 50)
    assert len(kept) == 4
    assert lost[0].name == some.names[3]
    assert lost[0].reason.startswith(f"{some.names[3]}: 60000x1 pixels would be 15360000x256")


# Images to predict


def test_unlabelled_images_are_files_and_whole_folders(tmp_path):
    empty_files(tmp_path, {"b": 2, "b/deeper": 1, "b/.hidden": 1})
    single = save(tmp_path / "an image", format="PNG")
    images = unlabelled([single, tmp_path / "b"])
    inside = [tmp_path / "b" / name for name in ("000.jpg", "001.jpg", "deeper/000.jpg")]
    assert tuple(images.names) == tuple(map(str, [single, *inside]))
    assert images.labels.tolist() == [-1] * 4
    assert images.source.size(0) == (40, 36)


def test_unlabelled_refuses_what_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"empty: no images in this folder"):
        unlabelled([tmp_path / "empty"])
    with pytest.raises(ImageError, match=r"none\.jpg: no such file"):
        unlabelled([tmp_path / "none.jpg"])
