"""What is tested: new images whole, without those that the model was trained on."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import class_folders, cut, save, smooth

import verydeep
from verydeep.cli import main
from verydeep.errors import DataError, UsageError
from verydeep.evaluation.results import read_result
from verydeep.evaluation.test_set import Training, choose, split_again, trained_on
from verydeep.images.image_set import content_hash
from verydeep.images.sources import open_data
from verydeep.linear import svm
from verydeep.run_folder import SPLIT, TRAINING_IMAGES, read_training_images

TRAIN = (
    "--recipe photos --config A --width 0.02 --window 32 --train-scale 36:36 --epochs 1 --batch-size 8 --workers 0"
)


def train(data: Path, run: Path, *more: str) -> Path:
    main(["train", str(data), str(run), *TRAIN.split(), *more])
    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return class_folders(tmp_path_factory.mktemp("photos"), {"cat": 10, "dog": 10})


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Path:
    return train(photos, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def old_run(run, tmp_path_factory) -> Path:
    """As a run was before it kept its training images."""
    old = tmp_path_factory.mktemp("runs") / "old"
    shutil.copytree(run, old)
    (old / TRAINING_IMAGES).unlink()
    return old


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """Images that nobody was trained on, under names that the run held out or trained on."""
    root = tmp_path_factory.mktemp("fresh")
    for kind in ("cat", "dog"):
        for number in range(10):
            save(root / kind / f"{number}.jpg", smooth(44, 40, seed=1000 + number + 100 * (kind == "dog")))
    return root


def evaluate(capsys, *words: object) -> dict:
    capsys.readouterr()
    main(["evaluate", *map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, words)])
    assert ended.value.code in (1, 2)
    return capsys.readouterr().err


def test_a_run_keeps_the_hashes_of_its_training_images(run, photos):
    train_part = open_data(str(photos)).train
    expected = {content_hash((photos / name).read_bytes()) for name in train_part.names}
    assert set(read_training_images(run).tolist()) == expected
    assert len(expected) == 16


def test_the_folder_that_it_was_trained_on_gives_what_was_held_out(run, photos, capsys, tmp_path):
    result = evaluate(capsys, run, photos, "--out", tmp_path / "a.npz")
    assert (result["num_images"], result["num_trained_on"], result["part"]) == (4, 16, "held-out")
    assert set(read_result(tmp_path / "a.npz").names) == set(json.loads((run / SPLIT).read_text())["held_out"])


@pytest.mark.parametrize("processes", [1, 2])
def test_what_does_not_fit_is_refused_before_images_are_compared(run, photos, tmp_path, monkeypatch, processes):
    """Which takes a look at the content of each image, and so minutes where there are many."""
    monkeypatch.setattr("verydeep.api.evaluate.choose", lambda *_: pytest.fail("images are compared"))
    other = tmp_path / "other"
    verydeep.new("A", other, width=0.02, num_classes=3, window=32)
    foreign = class_folders(tmp_path / "foreign", {"cat": 2, "horse": 2})
    for models, data, more, said in (
        (run, photos, {"views": "sideways"}, "sideways"),
        (run, photos, {"scales": (20,)}, "smaller than the network's window"),
        ([run, other], photos, {}, "the networks have other classes"),
        (run, foreign, {}, "classes that the model lacks: 'horse'"),
    ):
        with pytest.raises((UsageError, DataError), match=said):
            verydeep.evaluate(models, data, processes=processes, **more)


def test_a_new_test_set_is_tested_whole(run, fresh, capsys):
    result = evaluate(capsys, run, fresh)
    assert (result["num_images"], result["num_trained_on"], result["part"]) == (20, 0, "all")


def test_training_images_under_other_names_are_left_out(run, photos, fresh, tmp_path, capsys):
    shutil.copytree(fresh, tmp_path / "mixed")
    for name in open_data(str(photos)).train.names[:3]:
        shutil.copy(photos / name, tmp_path / "mixed" / "dog" / f"copy of {Path(name).name}")
    result = evaluate(capsys, run, tmp_path / "mixed")
    assert (result["num_images"], result["num_trained_on"]) == (20, 3)
    main(["evaluate", str(run), str(tmp_path / "mixed")])
    first = capsys.readouterr().out.splitlines()[0]
    assert "20 images (3 training images left out)" in first
    assert str(tmp_path / "mixed") in first


@pytest.mark.parametrize("part", ["val", "test"])
def test_training_images_in_the_datas_own_parts_are_left_out(run, photos, fresh, tmp_path, capsys, part):
    shutil.copytree(fresh, tmp_path / "data" / part)
    shutil.copy(photos / open_data(str(photos)).train.names[0], tmp_path / "data" / part / "cat" / "leaked.jpg")
    result = evaluate(capsys, run, tmp_path / "data")
    assert (result["num_images"], result["num_trained_on"], result["part"]) == (20, 1, part)


@pytest.mark.parametrize(("part", "count"), [("all", 20), ("train", 16), ("val", 4)])
def test_a_part_by_name(run, photos, capsys, part, count):
    result = evaluate(capsys, run, photos, "--part", part)
    assert (result["num_images"], result["num_trained_on"], result["part"]) == (count, 0, part)


def test_a_bar_comes_to_its_end_where_nothing_can_be_compared(photos):
    images, counts = open_data(str(photos)).all, []
    trained = trained_on(images, [Training(None, frozenset())], counts.append, by_name=False)
    assert not trained.any()
    assert sum(counts) == len(images)


def test_training_says_what_its_validation_part_hides(photos, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(photos, data / "train")
    save(data / "val" / "dog" / "new.jpg", smooth(44, 40, seed=7))
    train(data, tmp_path / "first")
    told = capsys.readouterr().err
    assert "there are no images to validate on of 'cat'\n" in told
    assert "copies" not in told
    shutil.copy(data / "train" / "cat" / "3.jpg", data / "val" / "dog" / "copy.jpg")
    train(data, tmp_path / "second")
    which = "1 of the 2 images to validate on, or on copies of them ('val/dog/copy.jpg')"
    assert (
        f"note: the network is trained on {which}, so the validation error is too low" in capsys.readouterr().err
    )
    cut(data / "val" / "dog" / "new.jpg")
    train(data, tmp_path / "fourth", "--max-unreadable", "1")
    assert "trained on 1 of the 1 images to validate on" in capsys.readouterr().err
    train(photos, tmp_path / "third")
    assert "to validate on of" not in capsys.readouterr().err


def test_the_test_part_goes_before_the_validation_part(run, fresh, tmp_path, capsys):
    for part, count in (("Train", 4), ("Valid", 3), ("Testing", 2)):
        for kind in ("cat", "dog"):
            for number in range(count):
                path = tmp_path / part / kind / f"{number}.jpg"
                save(path, smooth(40, 40, seed=hash_of(part, kind, number)))
    assert evaluate(capsys, run, tmp_path)["num_images"] == 4
    assert evaluate(capsys, run, tmp_path, "--part", "val")["num_images"] == 6
    assert evaluate(capsys, run, tmp_path, "--part", "all")["num_images"] == 18


def hash_of(*words: object) -> int:
    return content_hash(repr(words).encode()) % 2**32


def test_a_part_that_is_not_there(run, photos, capsys):
    assert "the data has no test part, only no parts, only classes; choose another part" in refused(
        capsys, run, photos, "--part", "test"
    )


def test_nothing_is_left_to_test(run, photos, tmp_path, capsys):
    for name in open_data(str(photos)).train.names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / name, tmp_path / name)
    assert "was trained on all 16 images" in refused(capsys, run, tmp_path)


def test_an_older_run_keeps_its_split(old_run, photos, fresh, capsys, tmp_path):
    result = evaluate(capsys, old_run, photos, "--out", tmp_path / "a.npz")
    assert (result["num_images"], result["num_trained_on"], result["part"]) == (4, 16, "held-out")
    assert set(read_result(tmp_path / "a.npz").names) == set(json.loads((old_run / SPLIT).read_text())["held_out"])


def test_a_model_that_was_never_trained_here_is_tested_whole(fresh, capsys, tmp_path):
    folders = {"airplane": 5, "bird": 1}  # a class with one image is no error where nothing is split
    assert evaluate(capsys, "cifar10", class_folders(tmp_path, folders))["num_images"] == 6


def test_an_ensemble_leaves_out_what_any_of_them_was_trained_on(run, photos, fresh, tmp_path, capsys):
    other = train(fresh, tmp_path / "other")
    shutil.copytree(fresh, tmp_path / "mixed")
    for name in open_data(str(photos)).train.names[:3]:
        shutil.copy(photos / name, tmp_path / "mixed" / "dog" / f"copy of {Path(name).name}")
    result = evaluate(capsys, run, other, tmp_path / "mixed")
    assert (result["num_images"], result["num_trained_on"]) == (4, 19)


def test_an_ensemble_with_an_older_run_leaves_out_what_that_one_was_trained_on(
    old_run, photos, fresh, tmp_path, capsys
):
    other = train(fresh, tmp_path / "other")
    for models in ((old_run, other), (other, old_run)):
        result = evaluate(capsys, *models, photos, "--out", tmp_path / "a.npz")
        assert (result["num_images"], result["part"]) == (4, "held-out")
        assert set(read_result(tmp_path / "a.npz").names) == set(
            json.loads((old_run / SPLIT).read_text())["held_out"]
        )


@pytest.mark.parametrize("which", ["run", "old_run"])
def test_a_copy_of_a_run_is_tested_as_the_run(which, photos, tmp_path, capsys, request):
    main(["convert", str(request.getfixturevalue(which)), str(tmp_path / "copy")])
    assert evaluate(capsys, tmp_path / "copy", photos)["num_images"] == 4


def test_what_an_older_run_was_trained_on_is_not_known_to_the_next(old_run, fresh, tmp_path):
    second = train(fresh, tmp_path / "second", "--from", str(old_run))
    assert read_training_images(second) is None  # a list of the new images alone would pass for a whole one


def test_what_an_earlier_run_was_trained_on_counts_too(run, fresh, photos, tmp_path, capsys):
    second = train(fresh, tmp_path / "second", "--from", str(run))
    assert set(read_training_images(run).tolist()) < set(read_training_images(second).tolist())
    assert evaluate(capsys, second, photos)["num_trained_on"] == 16


def test_shards_keep_the_hashes_of_the_files_that_they_were_made_of(run, photos, tmp_path, capsys):
    main(["shard", str(photos), "--out", str(tmp_path / "shards"), "--rescale", "33"])
    shards, folder = open_data(str(tmp_path / "shards")), open_data(str(photos))
    for part in ("train", "held_out", "all"):
        of_shards, of_folder = getattr(shards, part), getattr(folder, part)
        assert tuple(of_shards.names) == tuple(of_folder.names)
        hashes = of_folder.source.hashes(lambda count: None)
        np.testing.assert_array_equal(of_shards.source.hashes(lambda count: None), hashes)
    result = evaluate(capsys, run, tmp_path / "shards")
    assert (result["num_images"], result["num_trained_on"]) == (4, 16)
    again = train(tmp_path / "shards", tmp_path / "run of shards")
    np.testing.assert_array_equal(read_training_images(again), read_training_images(run))


def test_shards_made_before_are_split_as_they_were(run, photos, tmp_path, capsys):
    main(["shard", str(photos), "--out", str(tmp_path / "shards")])
    manifest = tmp_path / "shards" / "shards.json"
    fields = json.loads(manifest.read_text())
    del fields["index"]["index/hashes.npy"]
    manifest.write_text(json.dumps(fields))
    result = evaluate(capsys, run, tmp_path / "shards")
    assert (result["num_images"], result["part"]) == (4, "held-out")
    old = train(tmp_path / "shards", tmp_path / "run of shards")
    assert read_training_images(old) is None
    assert evaluate(capsys, old, tmp_path / "shards")["num_images"] == 4


def test_fused_results_say_how_many_were_left_out(run, photos, fresh, tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("a.npz", "b.npz", "c.npz")]
    for file, scale in zip(files, (36, 40), strict=False):
        evaluate(capsys, run, photos, "--out", file, "--scales", scale)
    capsys.readouterr()
    main(["fuse", *files[:2], "--json"])
    assert json.loads(capsys.readouterr().out)["num_trained_on"] == 16
    shutil.copytree(photos, tmp_path / "other")
    evaluate(capsys, run, tmp_path / "other", "--out", files[2])
    main(["fuse", files[0], files[2]])
    assert f"results of {photos} and of {tmp_path / 'other'} are combined" in capsys.readouterr().err


def test_parts_of_foreign_data_do_not_follow_the_runs_names(run, tmp_path, capsys):
    """Names such as cat/0.jpg are in every data set; a run's split counts where all of its images are there."""
    for number in range(30, 60):
        for kind in ("cat", "dog"):
            save(tmp_path / "data" / kind / f"{number}.jpg", smooth(40, 40, seed=hash_of(kind, number)))
    held_out = json.loads((run / SPLIT).read_text())["held_out"]
    save(tmp_path / "data" / held_out[0], smooth(40, 40, seed=5))
    assert evaluate(capsys, run, tmp_path / "data", "--part", "val")["num_images"] == 12


def test_a_folder_that_has_grown_is_not_tested_on_what_the_network_was_trained_on(run, photos, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "data")
    for number in range(10, 25):
        for kind in ("cat", "dog"):
            save(tmp_path / "data" / kind / f"{number}.jpg", smooth(40, 40, seed=hash_of(kind, number)))
    held_out = set(json.loads((run / SPLIT).read_text())["held_out"])
    second = train(tmp_path / "data", tmp_path / "second", "--from", str(run))
    assert set(json.loads((second / SPLIT).read_text())["held_out"]) == held_out
    main(["transfer", str(run), str(tmp_path / "data"), "--no-save", "--json"])
    assert "the model's training held out" in json.loads(capsys.readouterr().out.splitlines()[-1])["split"]


def transfer(capsys, *words: object) -> tuple[dict, str]:
    capsys.readouterr()
    main(["transfer", *map(str, words), "--no-save", "--json"])
    said = capsys.readouterr()
    return json.loads(said.out.splitlines()[-1]), said.err


@pytest.mark.parametrize("which", ["run", "old_run"])
def test_a_classifier_is_tested_on_what_is_left_of_the_held_out_images(which, photos, tmp_path, capsys, request):
    run = request.getfixturevalue(which)
    shutil.copytree(photos, tmp_path / "data")
    (tmp_path / "data" / json.loads((run / SPLIT).read_text())["held_out"][0]).unlink()
    facts, said = transfer(capsys, run, tmp_path / "data")
    assert facts["num_images"] == 19
    assert "the model's training held out" in facts["split"]
    assert "are not held out; 3 others are, 3 of them as in its training" in said
    second = train(tmp_path / "data", tmp_path / "second", "--from", str(run))
    left = set(json.loads((run / SPLIT).read_text())["held_out"])
    held_out = set(json.loads((second / SPLIT).read_text())["held_out"])
    assert held_out < left and len(held_out) == 3


def grown(photos: Path, data: Path) -> Path:
    """The photographs, and fifteen new ones of each class."""
    shutil.copytree(photos, data)
    for number in range(10, 25):
        for kind in ("cat", "dog"):
            save(data / kind / f"{number}.jpg", smooth(40, 40, seed=hash_of(kind, number)))
    return data


def test_random_splits_do_not_test_on_training_images(run, photos, tmp_path, capsys, monkeypatch):
    data = grown(photos, tmp_path / "data")
    (data / "cat" / "24.jpg").write_bytes(b"\xff\xd8 no image")
    several, random_splits = [], svm.random_splits

    def recorded(*asked):
        several.append((asked, random_splits(*asked)))
        return several[-1][1]

    monkeypatch.setattr(svm, "random_splits", recorded)
    facts, said = transfer(capsys, run, data, "--splits", 2, "--per-class", 8, "--max-unreadable", 1)
    assert facts["num_images"] == 49
    assert "16 of 50 images are not tested, as the network was trained on them" in said
    ((labels, _, _, _, _, _, may_test), found) = several[0]
    assert may_test.sum() == 49 - 16 and len(labels) == 49
    for train_part, test in found:
        assert may_test[test].all() and not set(train_part) & set(test)


def test_random_splits_of_the_training_data_itself(run, photos, tmp_path, capsys):
    """Two images of each class were held out: one of them at least is tested, whatever is drawn to train on."""
    for seed in range(5):
        facts, _ = transfer(capsys, run, photos, "--splits", 3, "--per-class", 8, "--seed", seed)
        assert len(facts["mean_class_recall"]) == 3
    shutil.copytree(photos, tmp_path / "data")
    for name in json.loads((run / SPLIT).read_text())["held_out"]:
        if name.startswith("cat"):
            (tmp_path / "data" / name).unlink()
    with pytest.raises(DataError, match="trained on every image of class 'cat', so random splits cannot test it"):
        verydeep.transfer(run, tmp_path / "data", splits=1, per_class=4, save=False)


def test_new_images_are_held_out_beside_those_that_are_left(run, photos, tmp_path, capsys):
    """Of a folder that has grown and lost a held-out image; a class of held-out images alone is split anew."""
    data = grown(photos, tmp_path / "data")
    held_out = json.loads((run / SPLIT).read_text())["held_out"]
    (data / next(name for name in held_out if name.startswith("cat"))).unlink()
    for path in (data / "dog").iterdir():
        if f"dog/{path.name}" not in held_out:
            path.unlink()
    training = Training(read_training_images(run), frozenset(held_out))
    split = split_again(open_data(str(data)), training)
    assert "as in its training" in capsys.readouterr().err
    known = set(read_training_images(run).tolist())
    assert not any(content_hash((data / name).read_bytes()) in known for name in split.held_out.names)
    counts = [np.bincount(part.labels, minlength=2).tolist() for part in (split.train, split.held_out)]
    assert counts[0][1] == counts[1][1] == 1  # of the two dogs
    assert counts[1][0] > 1
    assert sum(map(sum, counts)) == 24 + 2


def test_a_new_class_is_held_out_from_too(run, photos, fresh, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "data")
    shutil.copytree(fresh / "cat", tmp_path / "data" / "emu")
    before = set(json.loads((run / SPLIT).read_text())["held_out"])
    training = Training(read_training_images(run), frozenset(before))
    split = split_again(open_data(str(tmp_path / "data")), training)
    assert "a class had none" in capsys.readouterr().err
    held_out = set(split.held_out.names)
    assert held_out > before and all(name.startswith("emu/") for name in held_out - before)
    assert {name for name in split.train.names if name.startswith("emu/")}
    longer = train(tmp_path / "data", tmp_path / "longer", "--from", str(run))
    assert set(json.loads((longer / SPLIT).read_text())["held_out"]) == held_out
    resumed = train(tmp_path / "data", longer, "--resume", "--epochs", "2")
    assert set(json.loads((resumed / SPLIT).read_text())["held_out"]) == held_out


def test_a_class_of_which_all_was_held_out_is_trained_on_too(run, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "data")
    before = json.loads((run / SPLIT).read_text())["held_out"]
    for path in (tmp_path / "data" / "dog").iterdir():
        if f"dog/{path.name}" not in before:
            path.unlink()
    training = Training(read_training_images(run), frozenset(before))
    split = split_again(open_data(str(tmp_path / "data")), training)
    assert [sorted(set(part.labels.tolist())) for part in (split.train, split.held_out)] == [[0, 1], [0, 1]]
    assert {name for name in split.train.names if name.startswith("dog/")} < set(before)


def test_a_drawn_part_beside_a_test_part_is_split_again_too(photos, fresh, tmp_path, capsys):
    shutil.copytree(photos, tmp_path / "data" / "train")
    shutil.copytree(fresh, tmp_path / "data" / "test")
    run = train(tmp_path / "data", tmp_path / "run")
    held_out = json.loads((run / SPLIT).read_text())["held_out"]
    (tmp_path / "data" / held_out[0]).unlink()
    training = Training(read_training_images(run), frozenset(held_out))
    split = split_again(open_data(str(tmp_path / "data")), training)
    assert set(split.held_out.names) == set(held_out[1:])


def test_one_name_of_a_run_without_hashes_decides_nothing(old_run, fresh, tmp_path, capsys):
    held_out = json.loads((old_run / SPLIT).read_text())["held_out"]
    shutil.copytree(fresh, tmp_path / "data")
    for name in held_out[1:]:
        (tmp_path / "data" / name).unlink()
    facts, said = transfer(capsys, old_run, tmp_path / "data", "--splits", 1, "--per-class", 4)
    assert "not tested" not in said and len(facts["mean_class_recall"]) == 1
    facts, said = transfer(capsys, old_run, tmp_path / "data")
    assert "left out" not in said and facts["num_images"] == 17


def test_a_classifier_is_not_tested_on_training_images(run, photos, fresh, tmp_path, capsys):
    shutil.copytree(fresh, tmp_path / "data" / "train")
    shutil.copytree(photos, tmp_path / "data" / "test")
    facts, said = transfer(capsys, run, tmp_path / "data")
    assert facts["num_images"] == 24
    assert "16 of 20 test images are left out, as the network was trained on them" in said
    for name in json.loads((run / SPLIT).read_text())["held_out"]:
        (tmp_path / "data" / "test" / name).unlink()
    with pytest.raises(DataError, match="was trained on all 16 test images"):
        verydeep.transfer(run, tmp_path / "data", save=False)


def test_foreign_data_is_split_for_a_classifier_as_ever(run, photos, fresh, tmp_path, capsys):
    """One image under a held-out name does not decide what is tested."""
    shutil.copytree(fresh, tmp_path / "data")
    (tmp_path / "data" / json.loads((run / SPLIT).read_text())["held_out"][0]).unlink()
    facts, said = transfer(capsys, run, tmp_path / "data")
    assert facts["split"] == "a fifth of each class held out at random, seed 0"
    assert "left out" not in said


def test_images_saved_anew_before_a_resume_count_too(photos, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    run = train(data, tmp_path / "run", "--epochs", "2")
    for path in data.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
        image.save(path, quality=60)
    before = read_training_images(run)
    main(["train", str(data), str(run), "--resume"])
    assert len(read_training_images(run)) == 2 * len(before)
    assert evaluate(capsys, run, data)["num_images"] == 4


@pytest.mark.parametrize("change", ["renamed", "added", "removed"])
def test_a_run_without_a_state_does_not_go_on_with_other_data(run, photos, tmp_path, capsys, change):
    shutil.copytree(run, tmp_path / "run")
    for pattern in ("state*", "*.safetensors"):  # as where it was ended in its first epoch
        for path in (tmp_path / "run").glob(pattern):
            path.unlink()
    shutil.copytree(photos, tmp_path / "data")
    if change == "renamed":
        (tmp_path / "data" / "dog").rename(tmp_path / "data" / "ape")
    elif change == "added":
        save(tmp_path / "data" / "cat" / "new.jpg")
    else:
        (tmp_path / "data" / open_data(str(photos)).train.names[0]).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["train", str(tmp_path / "data"), str(tmp_path / "run"), "--resume"])
    assert ended.value.code == 1
    assert f"the data has changed since {tmp_path / 'run'} was begun" in capsys.readouterr().err


def test_an_interrupted_test_is_not_gone_on_with_where_images_were_changed(run, tmp_path, capsys):
    """Another size changes which images are scored together, and so what every later chunk holds."""
    data = tmp_path / "data"
    for number in range(8):
        for kind in ("cat", "dog"):
            save(data / kind / f"{number}.jpg", smooth(40 + 3 * number, 40, seed=hash_of(kind, number)))
    broken = data / "cat" / "3.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-20])
    words = [str(run), str(data), "--out"]
    assert "cannot be read" in refused(capsys, *words, tmp_path / "a.npz")
    assert list((tmp_path / "a.npz.parts").glob("0*.npy"))
    save(broken, smooth(90, 40, seed=77))
    evaluate(capsys, *words, tmp_path / "a.npz")
    evaluate(capsys, *words, tmp_path / "fresh.npz")
    again, fresh = read_result(tmp_path / "a.npz"), read_result(tmp_path / "fresh.npz")
    assert again.names == fresh.names
    np.testing.assert_array_equal(again.posteriors, fresh.posteriors)


def test_digits_are_known_by_their_pixels():
    data = open_data("digits")
    chosen = choose(data, "auto", [Training(data.train.source.hashes(lambda count: None), frozenset())])
    assert (chosen.name, chosen.num_trained_on) == ("held-out", 1438)
    assert set(chosen.of(data).names) == set(data.held_out.names)


def test_a_damaged_list_of_training_images(run, photos, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    for content in (b"", b"\x93NUMPY", buffer(np.zeros(3)), buffer(np.zeros((2, 2), np.uint64))):
        (tmp_path / "run" / TRAINING_IMAGES).write_bytes(content)
        said = refused(capsys, tmp_path / "run", photos)
        assert said.startswith(f"verydeep: {tmp_path / 'run' / TRAINING_IMAGES} does not list the images")


def buffer(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_file_that_cannot_be_read_was_not_trained_on(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "data")
    data = open_data(str(tmp_path / "data"))
    (tmp_path / "data" / data.all.names[0]).unlink()
    hashes = data.all.source.hashes(lambda count: None)
    assert hashes[0] == 0
    assert (hashes[1:] != 0).all()
    assert choose(data, "auto", [Training(np.array([0], np.uint64), frozenset())]).numbers is None


def test_a_data_set_without_a_training_part_cannot_be_trained_on(fresh, tmp_path):
    shutil.copytree(fresh, tmp_path / "data" / "test")
    with pytest.raises(DataError, match="the data has no training part, only its own test/"):
        _ = open_data(str(tmp_path / "data")).train
