"""Appendix B: features as torch gives them, the SVM as scikit-learn gives it, a classifier that `predict` uses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from sample_images import class_folders, cut, save, smooth
from sklearn.svm import LinearSVC

import verydeep
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import DataError, ModelError, UsageError
from verydeep.evaluation.protocols import Dense
from verydeep.images.sources import open_data
from verydeep.images.views import rescale
from verydeep.inference import open_engine
from verydeep.linear.classifier import CLASSIFIER, FeatureSpec, read_classifier, write_classifier
from verydeep.linear.features import features_of
from verydeep.linear.svm import mean_class_recall, random_splits, train_svm
from verydeep.run_folder import LAST_WEIGHTS, WEIGHTS

pytest.importorskip("verydeep._native")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    class_folders(folder, {"red": 10, "green": 10, "blue": 10})
    class_folders(folder, {"red": 5}, size=(33, 50))
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    path = tmp_path / "A"
    new("A", path, width=0.06, num_classes=3, window=32)
    return path


@pytest.mark.parametrize("combine", ["stack", "average"])
def test_features_are_those_of_appendix_b(run, data, combine):
    """Dense, the mean over space and mirror image, of unit length; by torch, in float64."""
    described = FeatureSpec("relu7", (32, 48), True, combine)
    images = open_data(str(data)).all
    found = features_of(open_engine(run, ["relu7"]), images, described)
    tap = verydeep.features(run, ["relu7"], range=(0, 255))
    for number in (0, 12, 29):
        image = Image.open(data / images.names[number])
        rows = []
        for scale in (32, 48):
            levels = torch.from_numpy(np.array(rescale(image, scale))).permute(2, 0, 1)[None].double()
            views = [tap(view)["relu7"][0].mean((1, 2)).numpy() for view in (levels, levels.flip(3))]
            rows.append(np.mean(views, axis=0) / np.linalg.norm(np.mean(views, axis=0)))
        wanted = np.concatenate(rows) if combine == "stack" else np.mean(rows, axis=0)
        assert np.allclose(found[number], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_classifier_is_saved_and_predict_uses_it(run, data, tmp_path, capsys):
    main(["transfer", str(run), str(data), "--scales", "32", "48", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_images"] == 30
    assert facts["mean_class_recall"][0] > 80  # classes are colours, which random weights tell apart
    classifier = read_classifier(run)
    assert classifier.class_names == ("blue", "green", "red")
    image = save(tmp_path / "red.png", np.uint8([127, 0, 0]) + smooth(60, 40) // 2)
    main(["predict", str(run), str(image), "--json"])
    first = json.loads(capsys.readouterr().out)["predictions"]
    assert first[0]["class"] == "red"
    assert sum(one["probability"] for one in first) == pytest.approx(1)
    main(["predict", str(run), str(image), "--json", "--network"])
    assert json.loads(capsys.readouterr().out)["predictions"][0]["class"] in "012"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), str(image), "--scales", "32"])
    assert ended.value.code == 2
    assert "add --network" in capsys.readouterr().err
    (run / CLASSIFIER).write_bytes((run / CLASSIFIER).read_bytes()[:-9])
    with pytest.raises(ModelError, match="is not a complete classifier"):
        read_classifier(run)


def test_a_model_that_is_no_run_folder_becomes_one_with_the_classifier_in_it(data, tmp_path, capsys):
    run = tmp_path / "colours"
    with pytest.raises(SystemExit) as ended:
        main(["transfer", "cifar10", str(data)])
    assert ended.value.code == 2
    assert "--out RUN" in capsys.readouterr().err
    main(["transfer", "cifar10", str(data), "--out", str(run), "--scales", "64"])
    assert f"`verydeep predict {run} IMAGE` uses it" in capsys.readouterr().err
    image = save(tmp_path / "red.png", np.uint8([127, 0, 0]) + smooth(60, 40) // 2)
    assert {one.class_name for one in verydeep.load(run).predict(image)} == {"blue", "green", "red"}
    network, bundled = (verydeep.load(model, network=True).posterior([image]) for model in (run, "cifar10"))
    np.testing.assert_array_equal(network, bundled)
    with pytest.raises(UsageError, match="exists and is not empty"):
        verydeep.transfer("cifar10", data, out=run)
    with pytest.raises(UsageError, match="`out` is ''; it must be a path"):
        verydeep.transfer(run, data, out="")  # would be the working directory
    with pytest.raises(UsageError, match="choose one"):
        verydeep.transfer("cifar10", data, out=tmp_path / "other", save=False)


def test_a_run_folder_is_not_called_as_a_file_of_weights(run, data, tmp_path, capsys):
    """The classifier would replace that of the folder around it."""
    verydeep.transfer(run, data, scales=(32,))
    verydeep.transfer(run, data, scales=(32,))
    assert f"{run / CLASSIFIER} written in place of the one before" in capsys.readouterr().err
    before = (run / CLASSIFIER).read_bytes()
    for make in (
        lambda out: verydeep.transfer(run, data, out=out),
        lambda out: verydeep.new("A", out, width=0.02, num_classes=2),
        lambda out: verydeep.train(data, out),
    ):
        with pytest.raises(
            UsageError, match=r"new\.safetensors has the ending of a file of weights; give the name"
        ):
            make(run / "new.safetensors")
    assert (run / CLASSIFIER).read_bytes() == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_folder_is_made_whole_or_not_at_all(run, data, tmp_path, monkeypatch, error):
    def failing(*arguments):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("verydeep.api.transfer.write_classifier", failing)
        with pytest.raises(type(error)):
            verydeep.transfer(run, data, scales=(32,), out=tmp_path / "out")
    verydeep.transfer(run, data, scales=(32,), out=tmp_path / "out")
    assert read_classifier(tmp_path / "out").class_names == ("blue", "green", "red")


def test_what_is_told_is_of_the_machine_that_is_kept(run, data, capsys):
    """The held-out fifth, which chooses C, is that of --seed."""
    for seed in ("0", "1"):
        main(["transfer", str(run), str(data), "--scales", "32", "--seed", seed, "--json"])
        facts = json.loads(capsys.readouterr().out)
        classifier, images = read_classifier(run), open_data(str(data))
        features = features_of(open_engine(run, ["relu7"]), images.held_out, classifier.described)
        answers = classifier.scores(features).argmax(1)
        assert facts["mean_class_recall"] == [mean_class_recall(answers, images.held_out.labels)]


def test_a_classifier_is_of_the_weights_that_it_was_trained_on(run, data, tmp_path, capsys):
    main(["transfer", str(run), str(data), "--scales", "32"])
    new("A", tmp_path / "other", width=0.06, num_classes=3, window=32, seed=1)
    tensors = load_file(tmp_path / "other" / "model.safetensors")
    tensors["conv2_1.bias"] += 1  # as training would; at the start all biases are 0
    save_file(tensors, run / "model.safetensors")
    image = save(tmp_path / "red.png", smooth(60, 40))
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), str(image)])
    assert ended.value.code == 1
    assert "trained on features of other weights" in capsys.readouterr().err
    main(["predict", str(run), str(image), "--network"])


def test_random_splits_and_their_spread(run, data, capsys):
    main(["transfer", str(run), str(data), "--scales", "32", "--splits", "3", "--per-class", "6", "--no-save"])
    out = capsys.readouterr().out
    assert "mean class recall" in out and "±" in out
    assert not (run / CLASSIFIER).exists()


def test_the_machine_is_scikit_learns():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    features = (random.normal(size=(4, 20))[labels] + random.normal(size=(100, 20))).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    machine = train_svm(features, labels, "abcd")
    wanted = LinearSVC(C=machine.strength, random_state=0).fit(features, labels)
    assert np.allclose(machine.weights, wanted.coef_, rtol=1e-4, atol=1e-5)
    two = train_svm(features[:50], labels[:50], "ab")
    answers = (features[:50] @ two.weights.T + two.bias).argmax(1)
    wanted = LinearSVC(C=two.strength, random_state=0).fit(features[:50], labels[:50])
    assert np.array_equal(answers, wanted.predict(features[:50]))
    with pytest.raises(
        DataError, match=r"class 'b' has 1 readable training images; .*; add images or remove the class"
    ):
        train_svm(features[:26], labels[:26], "ab")
    with pytest.raises(DataError, match="all images are of one class"):
        train_svm(features[:25], labels[:25], "a")


def test_recall_is_the_mean_over_classes():
    labels = np.array([0, 0, 0, 0, 1])
    assert mean_class_recall(np.array([0, 0, 0, 1, 1]), labels) == pytest.approx(100 * (0.75 + 1) / 2)


def test_splits_are_disjoint_and_of_the_size_that_was_asked_for():
    labels = np.repeat(np.arange(3), [10, 12, 30])
    several = random_splits(labels, "abc", 2, 8, 5)
    for train, test in several:
        assert not set(train) & set(test)
        assert np.bincount(labels[train]).tolist() == [8, 8, 8]
        assert np.bincount(labels[test]).tolist() == [2, 4, 5]
    assert not np.array_equal(several[0][0], several[1][0])
    may_test = np.random.default_rng(0).random(52) < 0.7
    for (train, test), (same, some) in zip(
        random_splits(labels, "abc", 2, 4, 50),
        random_splits(labels, "abc", 2, 4, 50, may_test=may_test),
        strict=True,
    ):
        assert np.array_equal(train, same)
        assert np.array_equal(test[may_test[test]], some)
    with pytest.raises(DataError, match="trained on every image of class 'a'"):
        random_splits(labels, "abc", 1, 8, 5, may_test=labels > 0)
    one = np.isin(np.arange(52), [3, 14, 30])  # of each class: it is never trained on
    for train, test in random_splits(labels, "abc", 20, 8, 5, may_test=one):
        assert test.tolist() == [3, 14, 30] and len(set(train) - set(test)) == 24
    with pytest.raises(DataError, match=r"class 'a' has 10 .*`per_class=10` leaves none .* remove the class"):
        random_splits(labels, "abc", 1, 10, 5)


def test_what_cannot_be_used_is_one_sentence(run, tmp_path, capsys):
    broken = class_folders(tmp_path / "broken", {"blue": 6, "red": 6})
    lost = cut(broken / "red" / "1.jpg")
    for words, code, said in (
        ([], 1, str(lost.relative_to(broken))),
        (["--layer", "relu9"], 2, "did you mean relu"),
        (["--scales", "20"], 2, "smaller than the network's window of 32 pixels"),
        (["--splits", "-1"], 2, "--splits is -1"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["transfer", str(run), str(broken), *words])
        assert ended.value.code == code
        assert said in capsys.readouterr().err
    main(["transfer", str(run), str(broken), "--scales", "32", "--max-unreadable", "1"])
    assert "11 images" in capsys.readouterr().out
    for image in broken.rglob("*.jpg"):
        cut(image)
    with pytest.raises(SystemExit) as ended:
        main(["transfer", str(run), str(broken), "--scales", "32", "--max-unreadable", "12"])
    assert ended.value.code == 1
    assert "none of the 12 images can be read" in capsys.readouterr().err


@pytest.mark.parametrize(("part", "called"), [("train", "training"), ("test", "test")])
def test_a_good_classifier_stays_where_a_whole_part_cannot_be_read(run, tmp_path, part, called):
    data = tmp_path / "data"
    for folder in ("train", "test"):
        class_folders(data / folder, {"blue": 4, "red": 4})
    verydeep.transfer(run, data, scales=(32,))
    before = (run / CLASSIFIER).read_bytes()
    for image in (data / part).rglob("*.jpg"):
        cut(image)
    with pytest.raises(DataError, match=f"none of the {called} images can be read"):
        verydeep.transfer(run, data, scales=(32,), max_unreadable=8)
    assert (run / CLASSIFIER).read_bytes() == before
    classifier = read_classifier(run)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_classifier(run, replace(classifier, facts={"mean_class_recall": [float("nan")]}))
    assert (run / CLASSIFIER).read_bytes() == before


@pytest.fixture
def transferred(run, data) -> Path:
    main(["transfer", str(run), str(data), "--scales", "32", "48"])
    return run


def wanted_posteriors(run: Path, images: list[Path]) -> np.ndarray:
    """What the classifier's file says of the features that torch computes in float64."""
    tensors, facts = load_file(run / CLASSIFIER), read_classifier(run)
    tap = verydeep.features(run, ["relu7"], range=(0, 255))
    rows = []
    for image in images:
        scales = []
        for scale in (32, 48):
            levels = torch.from_numpy(np.array(rescale(Image.open(image), scale))).permute(2, 0, 1)[None].double()
            views = [tap(view)["relu7"][0].mean((1, 2)).numpy() for view in (levels, levels.flip(3))]
            scales.append(np.mean(views, axis=0) / np.linalg.norm(np.mean(views, axis=0)))
        row = np.concatenate(scales)
        rows.append(row / np.linalg.norm(row))
    scores = facts.sharpness * (np.array(rows) @ tensors["weights"].T + tensors["bias"])
    return torch.from_numpy(scores).softmax(1).numpy()


def test_other_weights_of_a_run_do_not_replace_its_classifier(transferred, data):
    """One classifier belongs to the run's model."""
    before = (transferred / CLASSIFIER).read_bytes()
    shutil.copy(transferred / WEIGHTS, transferred / LAST_WEIGHTS)
    with pytest.raises(UsageError, match=r"belongs to its model\.safetensors; for last\.safetensors make"):
        verydeep.transfer(transferred / LAST_WEIGHTS, data)
    assert (transferred / CLASSIFIER).read_bytes() == before


def test_what_evaluate_says_of_other_classes_beside_a_classifier(transferred, data, tmp_path):
    """The user has just taught them, by `transfer`."""
    other = tmp_path / "other"
    for number, folder in enumerate(sorted(path for path in Path(data).iterdir() if path.is_dir())):
        shutil.copytree(folder, other / f"new-{number}")
    with pytest.raises(
        DataError, match=r"lacks classes of the data; the classifier .* `verydeep train .* --from "
    ):
        verydeep.evaluate(transferred, other)


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("weights", ["", "model.safetensors"])
def test_python_answers_as_the_command_does(transferred, tmp_path, capsys, engine, weights):
    """Whatever lies on disk decides, a run folder or a file in it, for one image or for several."""
    model = verydeep.load(transferred / weights, engine=engine)
    assert model.class_names == ("blue", "green", "red")
    images = [save(tmp_path / f"{n}.png", smooth(60 + n, 40, seed=n)) for n in range(3)]
    found = model.posterior(images)
    np.testing.assert_allclose(found, wanted_posteriors(transferred, images), atol=1e-4)
    capsys.readouterr()
    main(["predict", str(transferred / weights), *map(str, images), "--json", "--engine", engine])
    for line, image, posterior in zip(capsys.readouterr().out.splitlines(), images, found, strict=True):
        said = {one["class"]: one["probability"] for one in json.loads(line)["predictions"]}
        assert said == pytest.approx(dict(zip(model.class_names, posterior.tolist(), strict=True)), abs=1e-9)
        assert {one.class_name: one.probability for one in model.predict(image)} == pytest.approx(said, abs=1e-4)


def test_the_network_itself_answers_where_it_is_asked(transferred, tmp_path):
    image = save(tmp_path / "one.png", smooth(60, 40))
    alone = verydeep.load(transferred, network=True)
    assert alone.class_names == ("0", "1", "2")
    assert alone.score_map(image).class_names == ("0", "1", "2")
    (transferred / CLASSIFIER).unlink()
    assert np.array_equal(alone.posterior([image]), verydeep.load(transferred).posterior([image]))


def test_what_a_classifier_does_not_have_is_one_sentence(transferred, tmp_path):
    image = save(tmp_path / "one.png", smooth(60, 40))
    model = verydeep.load(transferred)
    for ask in (lambda: model.score_map(image), lambda: model.posterior([image], Dense((40,), mirror=False))):
        with pytest.raises(UsageError, match="network=True"):
            ask()
    tensors = load_file(transferred / "model.safetensors")
    tensors["conv2_1.bias"] += 1
    save_file(tensors, transferred / "model.safetensors")
    with pytest.raises(ModelError, match="features of other weights"):
        verydeep.load(transferred)
    assert verydeep.load(transferred, network=True).class_names == ("0", "1", "2")


def test_images_that_cannot_be_read_do_not_move_the_others(transferred, tmp_path, capsys):
    images = [save(tmp_path / f"{n}.png", smooth(60, 40, seed=n)) for n in range(4)]
    whole = verydeep.load(transferred).posterior([images[1], images[3]])
    for lost in (0, 2):
        cut(images[lost], 0.3)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(transferred), *map(str, images), "--json"])
    assert ended.value.code == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == list(map(str, images))
    assert ["reason" in line for line in lines] == [True, False, True, False]
    for line, posterior in zip(lines[1::2], whole, strict=True):
        assert line["predictions"][0]["probability"] == pytest.approx(posterior.max(), abs=1e-6)


def test_other_commands_say_that_the_classifier_is_left_out(transferred, data, tmp_path, capsys):
    numbered = tmp_path / "numbered"
    for number, name in enumerate(("blue", "green", "red")):
        shutil.copytree(data / name, numbered / str(number))
    for words, what in (
        (["evaluate", transferred, numbered, "--part", "all"], "tested"),
        (["export", transferred, "--out", tmp_path / "hub", "--to", "hub"], "exported"),
    ):
        capsys.readouterr()
        main(list(map(str, words)))
        assert f"the network's own classes are {what}; the classifier" in capsys.readouterr().err
    (transferred / CLASSIFIER).unlink()
    main(["evaluate", str(transferred), str(numbered), "--part", "all"])
    assert "classifier" not in capsys.readouterr().err
