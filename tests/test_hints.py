"""What a user may have meant: one sentence that says what to write instead, and exit code 2."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import pytest
from sample_images import class_folders, save

import verydeep
from verydeep.cli import main
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
        ("predict --top 3 --max_unreadable 3", "there is no --max-unreadable; `verydeep predict --help` lists"),
        ("transfer --no-save --no-mirror M D", "there is no --no-mirror"),
        ("describe D -x", "there is no -x"),
        ("train --resume photos", "RUN is missing"),
        ("--tyro-print-completion", "bash, zsh or tcsh"),
        ("--tyro-print-completion csh", "bash, zsh or tcsh"),
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
        ("style --model M a.jpg a.jpg --out b.jpg", "`verydeep style MODEL CONTENT STYLE --out IMAGE`"),
        ("export cifar10 a.onnx --to onnx", "`verydeep export cifar10 --out a.onnx --to onnx`"),
        ("describe VGG16", "VGG16 is configuration D"),
        ("describe vgg-11", "VGG11 is configuration A"),
        ("describe vgg19_bn", "VGG19 is configuration E, with --batch-norm"),
        ("new vgg13 RUN", "VGG13 is configuration B"),
        ("evaluate photos cifar10", "MODEL stands before DATA: `verydeep evaluate cifar10 photos`"),
        ("predict a.jpg cifar10", "MODEL stands before IMAGE: `verydeep predict cifar10 a.jpg`"),
        ("transfer photos cifar10 --no-save", "MODEL stands before DATA: `verydeep transfer cifar10 photos`"),
        ("train RUN photos", "DATA stands before RUN: `verydeep train photos RUN`"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(said, command, hint):
    code, error = said(command)
    assert code == 2
    assert hint in error


@pytest.mark.parametrize("name", ["vgg16", "VGG-16", "vgg19_bn"])
def test_a_model_that_torchvision_has(said, name):
    wanted = name.lower().replace("-", "")
    assert f"did you mean torchvision:{wanted}?" in said(f"predict {name} a.jpg")[1]


def test_words_in_the_right_order_are_not_turned_round(said):
    assert "nothing does not exist" in said("evaluate nothing photos")[1]
    assert "nothing.jpg: no such file" in said("predict cifar10 nothing.jpg")[1]
    assert "photos exists" in said("train photos photos")[1]


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
