"""What the command line does where the request, the data or a file is not as it should be.

Each time: exit code 2 for a wrong request and 1 for a failure, one sentence on standard error that says what was
seen, nothing on standard output, nothing half-written.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sample_images import bomb, class_folders, cut, save, smooth

import verydeep
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.images import in_memory
from verydeep.images.sources import open_data

TINY = [
    *("--recipe", "photos", "--config", "A", "--width", "0.05", "--window", "32"),
    *("--train-scale", "36", "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "4"),
]
FAILURE, WRONG_REQUEST = 1, 2


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd) -> Run:
    """Run a command in this process, which has torch already."""

    def command(*words: object) -> Outcome:
        capfd.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
        return Outcome(code, *capfd.readouterr())

    return command


def run_alone(*words: object) -> Outcome:
    """Run a command as people do."""
    command = [sys.executable, "-m", "verydeep", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_refused(outcome: Outcome, code: int, *said: str, after: tuple[str, ...] = ()) -> None:
    """One sentence, which says `said`; before it only lines that begin as `after` says."""
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    *before, sentence = outcome.err.splitlines()
    for part in said:
        assert part in sentence
    assert sentence.startswith("verydeep: ")
    assert [line for line in before if not line.startswith(after or ("nothing",))] == []
    assert outcome.code == code


@pytest.fixture
def data(tmp_path) -> Path:
    """Two classes of five images."""
    return class_folders(tmp_path / "data", {"cat": 5, "dog": 5})


@pytest.fixture
def model(tmp_path) -> Path:
    """An untrained model of two classes; to be damaged."""
    folder = tmp_path / "model"
    main(["new", "A", str(folder), "--width", "0.05", "--window", "32", "--num-classes", "2"])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A model trained on classes with difficult names, and their folder; not to be changed."""
    folder = tmp_path_factory.mktemp("schöne Bilder ✓")
    root = class_folders(folder / "my data", {"grüner Apfel": 5, "ねこ": 5, "white shark, man-eater": 5})
    main(["train", str(root), str(folder / "run ①"), *TINY])
    return folder / "run ①", root


# The request


WRONG_REQUESTS = {
    "trian": "no command is called 'trian'; there are train, watch, evaluate",
    "train digits RUN --recipe foto": "paper, paper_384, paper_jittered; did you mean photos?",
    "train digits RUN --recipe=digit": "did you mean digits?",
    "train digits RUN --recipe x": "no recipe is called 'x'; there are digits, cifar10, photos, paper",
    "train digits RUN TINY --config F": "no configuration is called 'F'; Table 1 has A, A-LRN, B, C, D, E",
    "train digits RUN TINY --config a-lnr": "did you mean A-LRN?",
    "train digits RUN TINY --window 33": "--window is 33; it must be a multiple of 32: use 32",
    "train digits RUN TINY --train-scale 30": "it must be at least the network's window, 32 pixels",
    "train digits RUN TINY --train-scale 40:36": "--train-scale is 40:36; it must be",
    "train digits RUN TINY --init hee": "no initialisation is called 'hee'; there are he, glorot, normal, "
    "normal-literal",
    "train digits RUN TINY --width 0": "--width is 0.0; give a factor above 0",
    "train digits RUN TINY --device gpu9": "no device is called 'gpu9'",
    "train digits RUN TINY --workers -1": "-1",
    "train digits RUN TINY --max-unreadable -1": "-1",
    "new D16 RUN": "no configuration is called 'D16'",
    "new D RUN --window 0": "--window is 0; it must be a multiple of 32: use 32",
    "new A RUN --width 0.05 --window 32 --init hee": "no initialisation is called 'hee'",
    "describe vgg16": "no configuration is called 'vgg16'",
    "describe D --num-classes -1": "--num-classes is -1",
    "shard digits --out OUT --rescale 0": "--rescale is 0; it must be at least 1 pixel",
    "shard digits --out OUT --images-per-shard 0": "--images-per-shard is 0; it must be at least 1",
    "shard digits --out OUT --max-unreadable -1": "--max-unreadable is -1; it must be 0 or more",
    "shard digits OUT": "`verydeep shard digits --out OUT`",
    "shard digits --out OUT --smaller-side 64": "--smaller-side is called --rescale now",
    "predict MODEL nothing*.jpg": "no file matches nothing*.jpg",
    "predict MODEL a.jpg --top 0": "--top is 0; it must be at least 1",
    "predict MODEL": "no image is given",
}


@pytest.mark.parametrize("wrong", WRONG_REQUESTS)
def test_a_wrong_request(run, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    words = [word for words in wrong.split() for word in (TINY if words == "TINY" else [words])]
    assert_refused(run(*words), WRONG_REQUEST, WRONG_REQUESTS[wrong])
    assert list(tmp_path.iterdir()) == []


NOT_UNDERSTOOD = {
    "train": "DATA",
    "train digits": "RUN",
    "train digits RUN --nonsense": "--nonsense",
    "train digits RUN --epochs": "--epochs",
    "train digits RUN --epochs many": "many",
    "train digits RUN --epochs 0": "--epochs is 0; it must be from 1 to 1000000",
    "train digits RUN --batch-size 0": "--batch-size is 0",
    "train digits RUN --seed -1": "--seed is -1; it must be from 0 to 9223372036854775807",
    "new A RUN --seed -1": "--seed is -1; it must be from 0 to 9223372036854775807",
    "transfer cifar10 digits --seed -1": "--seed is -1; it must be from 0 to 9223372036854775807",
    "visualize cifar10 a.png --seed 99999999999999999999": "--seed is 99999999999999999999; it must be from 0",
    "train digits RUN --learning-rate -1": "--learning-rate is -1.0",
    "train digits RUN --learning-rate nan": "--learning-rate is nan",
    "train digits RUN --dropout 1": "--dropout is 1.0",
    "train digits RUN --train-scale abc": "abc",
    "train digits RUN --schedule linear": "linear",
    "train digits RUN --recipe": "recipe",
    "evaluate MODEL digits --part rest": "rest",
    "shard digits": "--out",
    "describe": "CONFIG|MODEL",
    "describe D E": "E",
}


@pytest.mark.parametrize("wrong", NOT_UNDERSTOOD)
def test_words_that_cannot_be_understood(run, tmp_path, monkeypatch, wrong):
    """These the parser refuses; it may take more than a line, to show the option's help."""
    monkeypatch.chdir(tmp_path)
    outcome = run(*wrong.split())
    assert outcome.code == WRONG_REQUEST
    assert outcome.out == ""
    assert NOT_UNDERSTOOD[wrong] in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_wrongas_people_make_it(tmp_path):
    assert_refused(run_alone("trian"), WRONG_REQUEST, "no command is called 'trian'")
    assert_refused(run_alone("train", "digits", tmp_path / "run", "--recipe", "foto"), WRONG_REQUEST, "photos")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_exists(run, data, model, tmp_path):
    before = {path: path.read_bytes() for path in model.iterdir()}
    assert_refused(run("train", data, model, *TINY), WRONG_REQUEST, f"{model} exists", "choose another name")
    assert_refused(run("new", "A", model), WRONG_REQUEST, f"{model} exists")
    assert {path: path.read_bytes() for path in model.iterdir()} == before


def test_a_run_folder_that_is_a_file(run, data, tmp_path):
    (tmp_path / "run").write_text("a letter")
    assert_refused(run("train", data, tmp_path / "run", *TINY), WRONG_REQUEST, "run is a file")
    assert (tmp_path / "run").read_text() == "a letter"


def test_a_run_folder_within_a_file(run, data, tmp_path):
    (tmp_path / "file").write_text("a letter")
    assert_refused(
        run("train", data, tmp_path / "file" / "run", *TINY), FAILURE, str(tmp_path / "file"), after=("10", "8 ")
    )


def test_resuming_what_is_no_run(run, data, tmp_path):
    outcome = run("train", data, tmp_path / "none", *TINY, "--resume")
    assert_refused(outcome, WRONG_REQUEST, "none has no run to resume; start one without --resume")
    outcome = run("train", data, data, *TINY, "--resume")
    assert_refused(outcome, FAILURE, f"{data} is not a run folder: it has no config.json; it holds images")
    assert not (tmp_path / "none").exists()


def test_resuming_a_model_that_was_not_trained(run, data, model):
    assert_refused(run("train", data, model, "--resume"), FAILURE, str(model), "trained")


def test_resuming_with_other_settings(run, trained):
    model, root = trained
    outcome = run("train", root, model, "--resume", "--learning-rate", "0.5")
    assert_refused(outcome, WRONG_REQUEST, "learning_rate", "start a new run")


def test_resuming_with_other_data(run, trained, data):
    outcome = run("train", data, trained[0], "--resume")
    assert_refused(outcome, FAILURE, "start a new run", after=("8 images", "configuration A"))


# The data


def refuse_data(run: Run, data: Path, *said: str, after: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> None:
    """Training refuses, and makes no run folder."""
    folder = data.parent / "run"
    assert_refused(run("train", data, folder, *TINY, *more), FAILURE, *said, after=after)
    assert not folder.exists()


def test_no_such_data(run, tmp_path):
    refuse_data(run, tmp_path / "none", f"data folder {tmp_path / 'none'} does not exist")


def test_no_such_data_as_people_see_it(tmp_path):
    outcome = run_alone("train", tmp_path / "none", tmp_path / "run", *TINY)
    assert_refused(outcome, FAILURE, f"data folder {tmp_path / 'none'} does not exist")


def test_an_empty_class(run, data):
    (data / "eel").mkdir()
    refuse_data(run, data, f"class folder {data / 'eel'} holds no images", "fill it or remove it")


def test_one_class_alone(run, data):
    shutil.rmtree(data / "dog")
    refuse_data(run, data, "the one class 'cat'", "needs at least two")


def test_a_truncated_image_among_good_ones(run, data):
    damaged = cut(data / "cat" / "3.jpg")
    refuse_data(
        run,
        data,
        "1 image cannot be read",
        f"{damaged}: damaged",
        "--max-unreadable 1",
        after=("skipped: ",),
    )


def test_a_truncated_image_that_may_be_left_out(run, data):
    damaged = cut(data / open_data(str(data)).train.names[0])
    outcome = run("train", data, data.parent / "run", *TINY, "--max-unreadable", "1")
    assert outcome.code == 0
    assert f"skipped: {damaged}: damaged" in outcome.err
    assert "7 images of 2 classes to train on, 2 to validate on" in outcome.err
    assert "least validation error" in outcome.out


def test_a_truncated_image_that_is_found_while_training(run, data, monkeypatch):
    """Images that take too much memory to be kept are read when their turn comes."""
    monkeypatch.setattr(in_memory, "KEEP_BYTES", 0)
    damaged = cut(data / open_data(str(data)).train.names[0])
    words = ["train", data, data.parent / "run", *TINY, "--workers", "0"]
    after = ("8 images", "configuration A")
    assert_refused(run(*words), FAILURE, f"{damaged}: damaged", "--max-unreadable", after=after)
    shutil.rmtree(data.parent / "run")
    outcome = run(*words, "--max-unreadable", "1")
    assert outcome.code == 0
    assert outcome.err.splitlines()[-1].startswith("skipped 1 image that cannot be read; see ")
    [left_out] = [json.loads(line) for line in (data.parent / "run" / "skipped.jsonl").read_text().splitlines()]
    assert left_out["reason"].startswith(f"{damaged}: damaged")


def test_a_text_file_that_is_called_an_image(run, data):
    (data / "dog" / "notes.jpg").write_text("It was a dark and stormy night.")
    refuse_data(run, data, "notes.jpg: not a readable image: a text file", after=("skipped: ",))


def test_a_decompression_bomb(run, data):
    bomb(data / "dog" / "bomb.png")
    refuse_data(run, data, "bomb.png: more than 178,000,000 pixels", after=("skipped: ",))


def test_nothing_can_be_read_though_all_may_be_left_out(run, data):
    for path in data.rglob("*.jpg"):
        path.write_bytes(b"")
    refuse_data(
        run, data, "none of the", "be read", after=("skipped: ", "0 images"), more=("--max-unreadable", "100")
    )


def test_no_held_out_image_can_be_read(run, tmp_path):
    data = tmp_path / "data"
    class_folders(data / "train", {"cat": 4, "dog": 4})
    for name in ("cat", "dog"):
        save(data / "val" / name / "0.jpg").write_bytes(b"")
    refuse_data(run, data, "held", after=("skipped: ",), more=("--max-unreadable", "2"))


# Difficult but right


def test_class_names_with_spaces_and_unicode(run, trained):
    model, root = trained
    image = root / "ねこ" / "0.jpg"
    outcome = run("predict", model, image, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    answer = json.loads(outcome.out)
    assert answer["image"] == str(image)
    names = {"grüner Apfel", "ねこ", "white shark, man-eater"}
    assert {prediction["class"] for prediction in answer["predictions"]} == names
    assert "ねこ" in outcome.out  # as it is written, not as escapes
    assert sum(prediction["probability"] for prediction in answer["predictions"]) == pytest.approx(1)


def test_class_names_with_spaces_and_unicode_as_people_see_them(trained):
    model, root = trained
    outcome = run_alone("predict", model, root / "ねこ", "--top", "3")
    assert (outcome.code, outcome.err) == (0, "")
    header, *lines = outcome.out.splitlines()
    assert header == "image,class_1,probability_1,class_2,probability_2,class_3,probability_3"
    assert len(lines) == 5
    assert all('"white shark, man-eater"' in line and "grüner Apfel" in line for line in lines)


def test_an_image_smaller_than_the_window_is_rescaled(run, trained, tmp_path):
    for width, height in ((1, 1), (5, 3), (20, 400)):
        outcome = run("predict", trained[0], save(tmp_path / "small.png", smooth(width, height)))
        assert (outcome.code, outcome.err) == (0, "")
        assert len(outcome.out.splitlines()) == 3


def test_a_tensor_smaller_than_the_window_is_refused(trained):
    engine = verydeep.load(trained[0]).engine
    assert engine.score_maps(np.zeros((1, 32, 40, 3), np.uint8)).shape == (1, 3, 1, 1)
    with pytest.raises(UsageError, match="image is 40x31 pixels; this network needs both sides to be at least 32"):
        engine.score_maps(np.zeros((1, 31, 40, 3), np.uint8))


@pytest.mark.parametrize("option", ["--scales", "--map-scale"])
def test_a_scale_smaller_than_the_window_is_refused(run, trained, tmp_path, option):
    model, root = trained
    words = ["predict", model, root / "ねこ" / "0.jpg", option, "31", "--maps", tmp_path / "maps"]
    assert_refused(run(*words), WRONG_REQUEST, "31", "32")
    assert not (tmp_path / "maps").exists()


def test_testing_at_a_scale_smaller_than_the_window_is_refused(run, trained):
    refused = run("evaluate", *trained, "--scales", "16")
    assert_refused(refused, WRONG_REQUEST, "--scales 16 is smaller", "32 pixels")


# Images to predict


def test_predicting_what_cannot_be_read_after_what_can(run, trained, tmp_path):
    good, damaged = save(tmp_path / "a.jpg"), cut(save(tmp_path / "b.jpg"))
    also, text = save(tmp_path / "c.jpg"), tmp_path / "d.jpg"
    text.write_text("It was a dark and stormy night.")
    outcome = run("predict", trained[0], tmp_path, "--json")
    assert outcome.code == FAILURE
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["image"] for row in rows] == list(map(str, (good, damaged, also, text)))
    assert [bool(row["predictions"]) for row in rows] == [True, False, True, False]
    assert ["reason" in row for row in rows] == [False, True, False, True]
    assert outcome.err.splitlines()[0].startswith(f"verydeep: {damaged}: damaged (")
    assert outcome.err.splitlines()[1].startswith(f"verydeep: {text}: not a readable image")
    assert outcome.err.splitlines()[2:] == ["verydeep: 2 of 4 images could not be read"]


def test_predicting_what_is_not_there(run, trained, tmp_path):
    assert_refused(run("predict", trained[0], tmp_path / "none.jpg"), FAILURE, "none.jpg: no such file")
    assert_refused(run("predict", trained[0], tmp_path), FAILURE, f"{tmp_path}: no images in this folder")


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_predicting_an_image_too_long_to_be_rescaled(run, trained, tmp_path, words):
    long, good = save(tmp_path / "a.png", np.zeros((1, 6_000_000, 3), np.uint8)), save(tmp_path / "b.png")
    outcome = run("predict", trained[0], good, long, *words)
    assert outcome.code == FAILURE
    assert str(good) in outcome.out
    assert "Traceback" not in outcome.err
    first, last = outcome.err.splitlines()
    assert first.startswith(f"verydeep: {long}: 6000000x1 pixels would be 216000000x36")
    assert last == "verydeep: 1 of 2 images could not be read"


def test_testing_on_data_with_another_class(run, trained, data):
    assert_refused(run("evaluate", trained[0], data), FAILURE, "2 of 2 classes that the model lacks: 'cat', 'dog'")


# Models


def damage_config(model: Path, **fields: object) -> None:
    content = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**content, **fields}))


def damage_architecture(model: Path, **fields: object) -> None:
    architecture = json.loads((model / "config.json").read_text())["architecture"]
    damage_config(model, architecture={**architecture, **fields})


def damage_weights(model: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = {name: tensor.copy() for name, tensor in load_file(model / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, model / "model.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another configuration's weights": (
        lambda model: damage_architecture(model, configuration="B"),
        "lacks conv1_2",
    ),
    "a deeper network's weights": (
        lambda model: damage_weights(model, lambda tensors: tensors.update(conv1_2=np.zeros(3, np.float32))),
        "has conv1_2",
    ),
    "another width's weights": (lambda model: damage_architecture(model, width=0.1), "belong to another network"),
    "NaN weights": (
        lambda model: damage_weights(model, lambda tensors: tensors["conv1_1.bias"].fill(np.nan)),
        "conv1_1.bias has NaN or infinite numbers",
    ),
    "infinite weights": (
        lambda model: damage_weights(model, lambda tensors: tensors["fc8.weight"].fill(np.inf)),
        "fc8.weight has NaN or infinite numbers",
    ),
    "half a weights file": (lambda model: cut(model / "model.safetensors"), "is not a complete safetensors file"),
    "an empty weights file": (
        lambda model: (model / "model.safetensors").write_bytes(b""),
        "is not a complete safetensors file",
    ),
    "a weights file of text": (
        lambda model: (model / "model.safetensors").write_text("It was a dark and stormy night."),
        "is not a complete safetensors file",
    ),
    "no weights": (lambda model: (model / "model.safetensors").unlink(), "has no weights yet"),
    "no config.json": (lambda model: (model / "config.json").unlink(), "it has no config.json"),
    "half a config.json": (lambda model: cut(model / "config.json"), "config.json is not JSON"),
    "an empty config.json": (lambda model: (model / "config.json").write_text(""), "config.json is not JSON"),
    "a config.json in bytes": (
        lambda model: (model / "config.json").write_bytes(b"\xff\xfe\x00"),
        "config.json is not JSON",
    ),
    "a list for config.json": (
        lambda model: (model / "config.json").write_text("[]"),
        "not a model's config.json",
    ),
    "another program's config.json": (
        lambda model: (model / "config.json").write_text('{"model_type": "vgg"}'),
        "not a model's config.json: it lacks 'format'",
    ),
    "a later format": (lambda model: damage_config(model, format="verydeep 2"), "format 'verydeep 2'"),
    "a wrong configuration": (
        lambda model: damage_architecture(model, configuration="Z"),
        "no configuration is called 'Z'",
    ),
    "a field too many": (lambda model: damage_architecture(model, depth=3), "depth"),
    "too few classes": (lambda model: damage_config(model, class_names=["one"]), "1 class names for 2 classes"),
    "a number for a configuration": (
        lambda model: damage_architecture(model, configuration=16),
        "not a model's config.json: configuration is 16; it must be",
    ),
    "a broken number of classes": (
        lambda model: damage_architecture(model, num_classes=3.0),
        "num_classes is 3.0; it must be",
    ),
    "a list for the architecture": (
        lambda model: damage_config(model, architecture=[]),
        "its architecture is []",
    ),
    "an infinite scale": (
        lambda model: damage_config(model, trained_on={"scale": [36, float("inf")], "mirror": True}),
        "config.json is not JSON: it has Infinity",
    ),
    "brackets without end": (
        lambda model: (model / "config.json").write_text("[" * 100_000),
        "config.json is not JSON",
    ),
    "a word for a width": (lambda model: damage_architecture(model, width="wide"), "not a model's config.json"),
    "null for classes": (lambda model: damage_config(model, class_names=None), "not a model's config.json"),
    "a preprocessing that cannot be": (
        lambda model: damage_config(
            model, preprocessing={"mean": [1, 2, 3], "deviation": [1, 0, 1], "channels": "RGB"}
        ),
        "three positive deviations",
    ),
    "one scale for two": (
        lambda model: damage_config(model, trained_on={"scale": [36], "mirror": True}),
        "not a model's config.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model(run, model, tmp_path, damage):
    damaging, said = DAMAGES[damage]
    damaging(model)
    assert_refused(run("predict", model, save(tmp_path / "a.jpg")), FAILURE, str(model), said)


def test_damaged_models_as_people_see_them(model, tmp_path):
    cut(model / "model.safetensors")
    outcome = run_alone("predict", model, save(tmp_path / "a.jpg"))
    assert_refused(outcome, FAILURE, "is not a complete safetensors file")


def test_testing_a_damaged_model(run, model, data):
    damage_architecture(model, configuration="Z")
    assert_refused(run("evaluate", model, data), FAILURE, "no configuration is called 'Z'")


def test_a_damaged_list_of_what_was_held_out(run, trained, tmp_path):
    model = shutil.copytree(trained[0], tmp_path / "run")
    cut(model / "split.json")
    assert_refused(run("evaluate", model, trained[1]), FAILURE, "split.json does not list the images")


def test_a_damaged_state(run, trained, tmp_path):
    model = shutil.copytree(trained[0], tmp_path / "run")
    cut(model / "state.pt")
    outcome = run("train", trained[1], model, "--resume")
    assert_refused(outcome, FAILURE, "state.pt cannot be read", after=("12 images", "configuration A"))


def test_no_such_model(run, tmp_path):
    image = save(tmp_path / "a.jpg")
    for name in ("none", "none.safetensors"):
        assert_refused(run("predict", tmp_path / name, image), FAILURE, f"{tmp_path / name} does not exist")
    assert_refused(run("predict", image, image), FAILURE, "a.jpg is not a model")
    assert_refused(run("evaluate", tmp_path / "none", "digits"), FAILURE, "does not exist")


def test_growing_from_a_network_that_does_not_fit(run, data, model, tmp_path):
    outcome = run("train", data, tmp_path / "run", *TINY, "--width", "0.1", "--grow-from", model)
    assert outcome.code in (FAILURE, WRONG_REQUEST)
    assert_refused(outcome, outcome.code, "width", after=("8 images",))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scales"], "--scales needs a value: INT [INT ...]"),
        (["--scales", "64,80"], "--scales is '64,80'; each must be a whole number: write 64 80"),
        (["--scales", "64", "80", "b.jpg"], "put b.jpg before the option"),
        (["--device", "gpu", "--engine", "torch"], "no device is called 'gpu'; give auto, cpu, cuda"),
    ],
)
def test_options_of_several_values_and_devices_say_what_to_write(words, told, tmp_path, capsys):
    Image.new("RGB", (80, 80)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as ended:
        main(["predict", "cifar10", str(tmp_path / "a.png"), *words])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_folder_is_no_result(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path)])
    said = capsys.readouterr().err
    assert "is a folder, and no result" in said
    assert "Errno" not in said
