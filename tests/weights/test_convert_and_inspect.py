"""The commands `convert` and `inspect`, what is known about published files, and names of classes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import gives
from peers import torchvision_network
from safetensors.torch import save_file
from sample_images import save
from torchvision import models

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import DataError, ModelError
from verydeep.files import digest_of
from verydeep.images import imagenet
from verydeep.images.color import Preprocessing
from verydeep.images.sources import open_data
from verydeep.run_folder import TrainedOn, read_config, read_model, write_model
from verydeep.weights import importing, opening, published
from verydeep.weights.metadata import Metadata
from verydeep.weights.published import PUBLISHED, Checksum
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Torchvision's network A with five classes, in a file that nobody knows."""
    path = tmp_path_factory.mktemp("theirs") / "mine.safetensors"
    save_file(torchvision_network("A", num_classes=5).state_dict(), path)
    return path


def refused(capsys, *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return ended.value.code, said


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            [],
            1,
            "does not say how images are preprocessed and what its 5 classes are called",
        ),
        (["--preprocessing", "torchvision"], 1, "does not say what its 5 classes are called"),
        (
            ["--preprocessing", "torchvision"],
            1,
            "RUN --class-names numbers`; or give --class-names imagenet or a file",
        ),
        (
            ["--class-names", "numbers"],
            1,
            "RUN --preprocessing torchvision`; or give --preprocessing oxford, matconvnet, amdegroot, or --mean",
        ),
        (["--mean", "1", "2", "3"], 2, "both --mean and --channels"),
        (["--mean", "0.485", "0.456", "0.406", "--channels", "RGB"], 2, "multiply them by 255"),
        (
            ["--mean", "0", "0", "0", "--deviation", ".2", ".2", ".2", "--channels", "RGB"],
            2,
            "multiply them by 255",
        ),
        (["--mean", "9", "9", "nan", "--channels", "RGB"], 2, "three finite means"),
        (["--mean", "9", "9", "9", "--deviation", "1", "0", "1", "--channels", "RGB"], 2, "positive deviations"),
        (["--preprocessing", "oxford", "--train-scale", "384", "256"], 2, "the least and the greatest S"),
        (["--preprocessing", "oxford", "--class-names", "."], 2, "cannot be read: Is a directory"),
        (["--preprocessing", "oxford", "--channels", "BGR"], 2, "give either the name or these"),
        (["--preprocessing", "oxford", "--class-names", "imagenet"], 2, "names 1000 classes, the weights have 5"),
        (["--preprocessing", "oxford", "--class-names", "none.txt"], 2, "there is no such file"),
        (["--config", "D"], 2, "is configuration A, not D"),
        (["--config", "F"], 2, "no configuration is called 'F'"),
    ],
)
def test_what_is_not_known_is_asked_for(options, code, said, theirs, tmp_path, capsys):
    ended_with, sentence = refused(capsys, "convert", theirs, tmp_path / "run", *options)
    assert said in sentence
    assert ended_with == code
    assert not (tmp_path / "run").exists()


def test_deep_names_are_no_names(theirs, tmp_path, capsys):
    (tmp_path / "names.json").write_text("[" * 100_000)
    words = ["--preprocessing", "oxford", "--class-names", tmp_path / "names.json"]
    code, said = refused(capsys, "convert", theirs, tmp_path / "run", *words)
    assert (code, "names.json cannot be read" in said) == (2, True)


def test_features_have_no_classes_to_name(tmp_path, capsys):
    state = torchvision_network("A", num_classes=2).state_dict()
    save_file({name: t for name, t in state.items() if name.startswith("features")}, tmp_path / "f.safetensors")
    words = ["--preprocessing", "oxford", "--class-names", "numbers"]
    code, said = refused(capsys, "convert", tmp_path / "f.safetensors", tmp_path / "run", *words)
    assert (code, "features only" in said) == (2, True)


def test_weights_that_nobody_knows_are_not_exported(theirs, tmp_path, capsys):
    code, said = refused(capsys, "export", theirs, "--out", tmp_path / "out.weights.h5", "--to", "keras")
    assert (code, "does not say how images are" in said) == (1, True)
    assert not (tmp_path / "out.weights.h5").exists()


def test_what_is_told_is_kept(theirs, tmp_path, crops, capsys):
    (tmp_path / "names.json").write_text('["a", "b", "c", "d", "é"]')
    words = [
        "--mean",
        "10",
        "20",
        "30",
        "--deviation",
        "2",
        "3",
        "4",
        "--channels",
        "BGR",
        "--train-scale",
        "256",
        "384",
    ]
    names = ["--class-names", str(tmp_path / "names.json"), "--licence", "CC0-1.0", "--config", "A-LRN"]
    main(["convert", str(theirs), str(tmp_path / "run"), *words, *names])
    config = read_config(tmp_path / "run")
    assert config.preprocessing == Preprocessing((10, 20, 30), (2, 3, 4), "BGR")
    assert config.class_names == ("a", "b", "c", "d", "é")
    assert config.trained_on == TrainedOn((256, 384))
    assert config.architecture.configuration == "A-LRN"
    assert config.provenance["licence"] == "CC0-1.0"
    assert len(config.provenance["sha256"]) == 64
    capsys.readouterr()
    main(["inspect", str(tmp_path / "run"), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["licence"], facts["layout"], facts["dtypes"]) == ("CC0-1.0", "verydeep", ["float32"])


def test_bgr_is_the_reverse_of_rgb(theirs, tmp_path, crops):
    """The same scores by a network whose first layer is turned, fed BGR."""
    state = torchvision_network("A", num_classes=5).state_dict()
    with torch.inference_mode():
        network = torchvision_network("A", num_classes=5)
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        mean = torch.tensor(published.OXFORD_MEAN).view(3, 1, 1)
        scores = network(pixels - mean).numpy()
    state["features.0.weight"] = state["features.0.weight"].flip(1).contiguous()
    save_file(state, tmp_path / "turned.safetensors")
    words = ["--preprocessing", "oxford", "--class-names", "numbers"]
    main(["convert", str(tmp_path / "turned.safetensors"), str(tmp_path / "run"), *words])
    assert gives(tmp_path / "run", crops, scores)


def test_a_published_file_is_known_by_its_checksum(theirs, tmp_path, monkeypatch, capsys):
    """As if torchvision had published the file."""
    known = dataclasses.replace(PUBLISHED[0], checksum=Checksum("sha256", digest_of(theirs)[:8]))
    monkeypatch.setattr(published, "PUBLISHED", (known,))
    state = torchvision_network("A", num_classes=1000).state_dict()
    save_file(state, tmp_path / "a.safetensors")
    monkeypatch.setattr(importing, "digest_of", lambda path, algorithm="sha256": digest_of(theirs))
    main(["inspect", str(tmp_path / "a.safetensors")])
    out = capsys.readouterr().out
    assert "torchvision:vgg11-IMAGENET1K_V1: top-1 error 30.98 %, top-5 11.372 %" in out
    assert "BSD-3-Clause" in out
    config, _ = opening.open_source(tmp_path / "a.safetensors")
    assert config.preprocessing == known.metadata.preprocessing
    assert config.class_names == imagenet.class_names()


def test_published_files_are_the_libraries():
    """Checksums, preprocessing and figures as torchvision's own enumerations have them, and Keras's sources."""
    found = 0
    for name in ("VGG11", "VGG11_BN", "VGG13", "VGG13_BN", "VGG16", "VGG16_BN", "VGG19", "VGG19_BN"):
        for weights in getattr(models, f"{name}_Weights"):
            (mine,) = (one for one in PUBLISHED if one.url == weights.url)
            assert mine.checksum.prefix in weights.url
            assert f"{name}_Weights.{weights.name}" in mine.metadata.origin
            transform = weights.transforms()
            np.testing.assert_allclose(mine.metadata.preprocessing.mean, 255 * np.array(transform.mean), rtol=1e-6)
            np.testing.assert_allclose(
                mine.metadata.preprocessing.deviation, 255 * np.array(transform.std), rtol=1e-6
            )
            metrics = weights.meta["_metrics"]["ImageNet-1K"]
            if mine.top1_error is not None:
                assert mine.top1_error == pytest.approx(100 - metrics["acc@1"])
                assert mine.top5_error == pytest.approx(100 - metrics["acc@5"])
            found += 1
    assert found == 9
    from keras.src.applications import vgg16, vgg19

    for home in (vgg16, vgg19):
        source = Path(home.__file__).read_text(encoding="utf-8")
        for path in (home.WEIGHTS_PATH, home.WEIGHTS_PATH_NO_TOP):
            (mine,) = (one for one in PUBLISHED if one.url == path)
            assert f'file_hash="{mine.checksum.prefix}"' in source


def test_imagenets_classes_are_everybodys():
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    assert list(imagenet.class_names()) == _IMAGENET_CATEGORIES
    from timm.data import ImageNetInfo

    assert list(imagenet.wordnet_numbers()) == ImageNetInfo().label_names()
    assert imagenet.named(["n01440764", "n15075141"]) == ("tench", "toilet tissue")
    assert imagenet.named(["n01440764", "n00000000"]) is None


def test_imagenets_folders_are_known_by_their_numbers(tmp_path):
    """Folders are called by WordNet numbers, classes by names."""
    for part in ("train", "val"):
        for number in ("n01440764", "n15075141"):
            save(tmp_path / part / number / "1.jpg")
    images = open_data(str(tmp_path)).held_out.relabel(imagenet.class_names())
    assert images.labels.tolist() == [0, 999]
    with pytest.raises(DataError, match="tench"):
        open_data(str(tmp_path)).held_out.relabel(("a", "b"))


def test_evaluating_and_training_take_another_librarys_file(tmp_path, capsys):
    pytest.importorskip("sklearn")
    state = torchvision_network("A", num_classes=2).state_dict()
    save_file({name: t for name, t in state.items() if name.startswith("features")}, tmp_path / "f.safetensors")
    for label, name in enumerate(("x", "y")):
        for number in range(6):
            save(tmp_path / "data" / name / f"{number}.png", np.full((64, 64, 3), 60 + 120 * label, np.uint8))
    words = ["--recipe", "photos", "--window", "32", "--train-scale", "36", "--epochs", "1", "--batch-size", "4"]
    converted = ["convert", str(tmp_path / "f.safetensors"), str(tmp_path / "features")]
    main([*converted, "--preprocessing", "torchvision"])
    start = ["--from", str(tmp_path / "features")]
    main(["train", str(tmp_path / "data"), str(tmp_path / "run"), *words, *start])
    config, _ = read_model(tmp_path / "run")
    assert config.architecture.num_classes == 2
    assert config.preprocessing == published.PREPROCESSING["torchvision"]
    assert config.provenance["new_layers"] == ["fc6", "fc7", "fc8"]
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "run"), str(tmp_path / "data"), "--part", "all", "--json"])
    assert json.loads(capsys.readouterr().out)["top1_error"] <= 100


def test_describe_needs_neither_preprocessing_nor_names_of_classes(theirs, tmp_path, capsys):
    main(["describe", str(theirs), "--json"])
    assert json.loads(capsys.readouterr().out)["num_classes"] == 5
    state = torchvision_network("A", num_classes=2).state_dict()
    features = tmp_path / "features.safetensors"
    save_file({name: tensor for name, tensor in state.items() if name.startswith("features")}, features)
    main(["describe", str(features), "--size", "32"])
    for side in ("-500", "3", "31"):
        code, said = refused(capsys, "describe", features, "--size", side)
        assert code == 2 and f"--size is {side}; the five poolings need at least 32 pixels" in said


def test_inspect_of_a_model_of_ours(tmp_path, capsys):
    new("C", tmp_path / "run", width=0.05, num_classes=3, window=64)
    capsys.readouterr()
    main(["inspect", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert "configuration  C, width 0.05" in out
    assert "preprocessing  RGB of 0 to 255, less 123.675 116.28 103.53" in out
    assert "classes        3 (0, 1, 2)\n" in out
    main(["convert", str(tmp_path / "run"), str(tmp_path / "copy")])
    assert read_model(tmp_path / "copy")[0] == read_model(tmp_path / "run")[0]
    code, said = refused(capsys, "convert", tmp_path / "run", tmp_path / "run")
    assert (code, "exists and is not empty; choose another name\n" in said) == (2, True)
    code, said = refused(capsys, "convert", tmp_path / "run", tmp_path / "other", "--licence", "MIT")
    assert (code, "is a verydeep model" in said) == (2, True)
    code, said = refused(capsys, "convert", tmp_path / "run", tmp_path / "other", "--class-names", "numbers")
    assert (code, "is a verydeep model" in said) == (2, True)
    code, said = refused(capsys, "export", tmp_path / "run", "--out", tmp_path / "out.onnx", "--to", "torchvision")
    assert (code, "has to end with .pth" in said) == (2, True)


def test_inspect_names_what_is_not_finite(tmp_path, capsys):
    new("A", tmp_path / "run", width=0.05, num_classes=3, window=32)
    config, tensors = read_model(tmp_path / "run")
    tensors["fc7.bias"][1] = np.nan
    write_model(tmp_path / "run", config, tensors)
    capsys.readouterr()
    main(["inspect", str(tmp_path / "run")])
    assert "not finite     fc7.bias" in capsys.readouterr().out


def test_what_is_told_goes_before_what_is_known():
    known = Metadata(Preprocessing(), ("a",), licence="MIT")
    told = Metadata(class_names=("b",))
    assert told.completed_by(known) == Metadata(Preprocessing(), ("b",), licence="MIT")


def test_a_name_that_nobody_knows():
    with pytest.raises(ModelError, match="does not exist"):
        locate("no such thing")
