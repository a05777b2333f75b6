"""What a user may have meant: one sentence that says what to write instead, and exit code 2."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
from sample_images import class_folders, save

import verydeep
from verydeep.cli import main
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts, write_result
from verydeep.files import _named

Said = Callable[..., tuple[int, str]]


@pytest.fixture
def said(tmp_path, monkeypatch, capsys) -> Said:
    """Run a command beside a folder of photos and an image; its exit code, and the one line that it says."""
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "photos", {"cat": 2, "dog": 2})
    save(tmp_path / "a.jpg")

    def run(command: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(command.split())
        error = capsys.readouterr().err
        assert error.startswith("verydeep: ")
        assert error.count("\n") == 1
        return ended.value.code, error

    return run


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("trian photos RUN", "did you mean train?"),
        ("train photos RUN --lr 0.1", "there is no --lr; did you mean --learning-rate?"),
        ("train photos RUN --lr=0.1", "there is no --lr; did you mean --learning-rate?"),
        ("train --lr 0.1 photos RUN", "there is no --lr; did you mean --learning-rate?"),
        ("predict --top 3 --batch_size 3", "there is no --batch-size; `verydeep predict --help` lists"),
        ("transfer --no-save --no-mirror M D", "there is no --no-mirror"),
        ("describe D -x", "there is no -x"),
        ("train --resume photos", "RUN is missing"),
        ("--tyro-print-completion", "bash, zsh or tcsh"),
        ("--tyro-print-completion csh", "bash, zsh or tcsh"),
        ("evaluate cifar10 photos --mirror False", "--mirror takes no word; --no-mirror switches it off"),
        ("train photos RUN --batch-norm no", "--batch-norm takes no word; --no-batch-norm switches it off"),
        ("train photos RUN --epoch 3", "there is no --epoch; did you mean --epochs?"),
        ("fuse a.npz b.npz --lr 0.1", "there is no --lr; `verydeep fuse --help` lists the options"),
        ("train photos", "RUN is missing"),
        ("shard photos", "--out is missing"),
        ("train photos RUN --epochs", "--epochs needs a value: INT"),
        ("train photos RUN --epochs many", "--epochs is 'many'; it must be a whole number"),
        ("train photos RUN --train-scale 1:x", "--train-scale is '1:x'; it must be a whole number, or two"),
        ("bench --size 3 x", "--size is '3 x'; it must be a whole number"),
        ("evaluate cifar10 photos --part rest", "--part is 'rest'; it must be one of auto, test, val"),
        ("describe D E", "E is one word too many"),
        ("compare a.jpg a.jpg photos", "photos is one word too many"),
        (
            f"compare a.jpg a.jpg {'x' * 300}",
            f"is said by --out: `verydeep compare a.jpg a.jpg --out {'x' * 300}`",
        ),
        ("extract cifar10 a.jpg --layers relu7 --scales 13342 --out f.npz", "--scales has the scale 13342"),
        ("compare a.jpg a.jpg pairs.csv", "`verydeep compare a.jpg a.jpg --out pairs.csv`"),
        ("export cifar10 --to hub --out folder --name a/b/c", "'a/b/c' is not a repository name"),
        ("predict cifar10 a.jpg --scales 64 13342", "--scales has the scale 13342; the greatest is 13341 pixels"),
        ("predict cifar10 a.jpg --maps m --map-scale 99999", "--map-scale has the scale 99999; the greatest is"),
        ("train photos RUN --train-scale 128:99999", "--train-scale has the scale 99999; the greatest is"),
        ("style --model M a.jpg a.jpg --out b.jpg", "`verydeep style MODEL CONTENT STYLE --out IMAGE`"),
        ("export cifar10 a.onnx --to onnx", "`verydeep export cifar10 --out a.onnx --to onnx`"),
        ("describe VGG16", "VGG16 is configuration D"),
        ("describe vgg-11", "VGG11 is configuration A"),
        ("describe vgg19_bn", "VGG19 is configuration E, with --batch-norm"),
        ("new vgg13 RUN", "VGG13 is configuration B"),
        ("evaluate photos cifar10", "MODEL stands before DATA: `verydeep evaluate cifar10 photos`"),
        ("predict a.jpg cifar10", "MODEL stands before IMAGE: `verydeep predict cifar10 a.jpg`"),
        ("transfer photos cifar10 --no-save", "MODEL stands before DATA: `verydeep transfer cifar10 photos`"),
        ("predict cifar10 a.jpg --maps=", "--maps is ''; it must be a path"),
        ("help nosuch", "no command is called 'nosuch'"),
        ("help features", "`verydeep features` is called `verydeep extract` now"),
        (
            "extract cifar10 a.jpg --layers fc6 --layers fc7 --out f.npz",
            "--layers is given 2 times; write all its words",
        ),
        (
            "predict cifar10 a.jpg --map-scale 64",
            "--map-scale is of score maps; name a folder for them, as --maps",
        ),
        (
            "transfer cifar10 photos --per-class 3 --out r",
            "--per-class is of random splits; say how many, as --splits",
        ),
        ("train RUN photos", "DATA stands before RUN: `verydeep train photos RUN`"),
        ("-v", "--version prints the version"),
        ("version", "--version prints the version"),
        ("predict cifar10 --scales 64 80 a.jpg", "put a.jpg before the option"),
        (
            "extract cifar10 --out f.npz --layers relu1_1 a.jpg",
            "IMAGE is missing; --layers takes all words",
        ),
        ("style cifar10 --style-layers relu1_1 a.jpg a.jpg --out o.png", "put STYLE before it"),
        ("extract cifar10 a.jpg --layers relu1_1,relu1_2 --out f.npz", "write relu1_1 relu1_2"),
        ("train photos RUN --train-scale 256 512", "write --train-scale 256:512"),
        ("train photos --train-scale 256 512 RUN", "write --train-scale 256:512"),
        ("train photos RUN --train-scale 256-512", "write 256:512"),
        ("train photos RUN --width 1/4", "write 0.25"),
        ("train photos RUN --width 0,25", "write 0.25"),
        ("train photos photos/run", "photos/run lies in the data photos itself"),
        ("transfer cifar10 photos --out photos/run", "photos/run lies in the data photos itself"),
        ("train photos RUN --resume", "RUN has no run to resume; start one without --resume"),
        ("describe cifar10 --width 2", "cifar10 is a model, and has its own --width; leave it out"),
        ("describe cifar10 --batch-norm", "cifar10 is a model, and has its own --batch-norm"),
        ("predict cifar10 a.jpg --maps a.jpg", "a.jpg is a file; name a folder"),
        ("evaluate cifar10 photos --processes 1000", "--processes is 1000; this machine has"),
        (
            "extract cifar10 a.jpg --layers fc7 --out f.npz --processes 1000",
            "--processes is 1000; this machine has",
        ),
        ("study digits --out OUT --processes 1000", "--processes is 1000; this machine has"),
        ("train photos RUN --workers 1000", "--workers is 1000; this machine has"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(said, command, hint):
    code, error = said(command)
    assert code == 2
    assert hint in error


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("predict cifr10 a.jpg", "did you mean cifar10?"),
        ("predict torchvison:vgg16 a.jpg", "did you mean torchvision:vgg16?"),
        ("predict keras:vgg61 a.jpg", "did you mean keras:VGG19?"),
        ("predict D a.jpg", "D is a configuration, and has no weights; give a model, such as cifar10"),
        ("predict photos a.jpg", "photos is not a model; it holds images; give a run folder"),
        ("predict runs a.jpg", "runs is not a model; it holds runs; give one of them, such as runs/first"),
        ("predict run/first a.jpg", "run/first does not exist; did you mean runs/first?"),
        ("predict runs/fist a.jpg", "did you mean runs/first?"),
        ("inspect runs", "runs is not a run folder: it has no config.json; it holds runs"),
        ("watch runs", "runs has no journal.jsonl: it holds runs; give one of them, such as runs/first"),
        ("watch photos", "photos has no journal.jsonl: it holds images"),
        ("watch a.jpg", "a.jpg is a file; give a run folder"),
        ("predict https://host.invalid/a.pth a.jpg", "is a URL; download the file of weights"),
        ("predict cifar10 https://host.invalid/a.jpg", "is the URL of a file; a URL has to be that of a folder"),
        (
            "predict cifar10 a.jpg https://host.invalid/b.zip",
            "https://host.invalid/b.zip is the URL of a file; a URL",
        ),
        ("evaluate cifar10 https://host.invalid/a.zip", "is the URL of a file; a URL has to be that of a folder"),
        ("evaluate cifar10 photo", "data folder photo does not exist"),
        ("evaluate cifar10 photo", "did you mean photos?"),
        ("train digit RUN", "did you mean digits?"),
        ("predict cifar10 b.jpg", "b.jpg: no such file; did you mean a.jpg?"),
        ("fuse a.npz b.npz", "a.npz does not exist; `verydeep evaluate --out` makes such a file"),
        ("evaluate cifar10 others", "start `verydeep transfer` or `verydeep train` from it"),
    ],
)
def test_what_was_meant_is_proposed(said, command, hint):
    verydeep.new("A", "runs/first", width=0.05, window=32)
    class_folders(Path("others"), {"chair": 2, "lamp": 2})
    assert hint in said(command)[1]


def test_a_result_is_not_fused_with_itself(said):
    images = np.zeros(2, np.int64), np.full((2, 2), 0.5, np.float32)
    test = MemberFacts("m", "A", 1.0, False, 9, (32, 32), "dense", (32,), False)
    write_result(Path("a.npz"), Evaluation(Facts((test,), "d", "all", ("x", "y"), 1.0), ("1", "2"), *images))
    assert "a.npz is given twice" in said("fuse a.npz ./a.npz")[1]


@pytest.mark.parametrize("name", ["vgg16", "VGG-16", "vgg19_bn"])
def test_a_model_that_torchvision_has(said, name):
    wanted = name.lower().replace("-", "")
    assert f"did you mean torchvision:{wanted}?" in said(f"predict {name} a.jpg")[1]


def test_words_in_the_right_order_are_not_turned_round(said):
    assert "nothing does not exist" in said("evaluate nothing photos")[1]
    assert "nothing.jpg: no such file" in said("predict cifar10 nothing.jpg")[1]
    assert "photos lies in the data photos itself" in said("train photos photos")[1]


def test_an_error_of_the_system_has_no_number(said, monkeypatch):
    @wraps(verydeep.describe)
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "a folder")

    monkeypatch.setattr(verydeep, "describe", denied, raising=False)
    assert said("describe D") == (
        1,
        f"verydeep: {Path.cwd()} cannot be read: permission denied; change its permissions or run as its owner\n",
    )


@pytest.mark.parametrize(("number", "room"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_room_is_made_where_the_disk_is_full_alone(tmp_path, monkeypatch, number, room):
    pytest.importorskip("torch")

    def refused(run: Path, *_: object) -> None:
        with _named(run):
            raise OSError(number, "no")

    monkeypatch.setattr(sys.modules[verydeep.train.__module__], "write_split", refused)
    with pytest.raises(verydeep.errors.TrainingError) as error:
        verydeep.train("digits", tmp_path / "run", recipe="digits", epochs=1)
    assert ("make room" in str(error.value)) == room


def test_a_model_that_does_not_exist_is_not_taken_for_the_wrong_order(said):
    code, error = said("evaluate cifr10 cifar10")
    assert code == 1
    assert "cifr10 does not exist; did you mean cifar10?" in error
