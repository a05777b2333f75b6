"""`benchmarks/hold_out.py`: which images are held out, and that the user's own files are never written to."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import hold_out


def make(root: Path, *names: str) -> Path:
    """Files that hold their own names, for each class and part."""
    for part in ("train", "val"):
        for kind in ("cat", "dog"):
            for name in names:
                file = root / part / kind / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(str(file.relative_to(root)))
    return root


def contents(root: Path) -> dict[str, str]:
    return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}


@pytest.fixture
def run(monkeypatch):
    def run(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["hold_out.py", *map(str, words)])
        hold_out.main()

    return run


def test_the_images_held_out_stay_the_same(run, tmp_path):
    data = make(tmp_path / "data", *(f"{number}.png" for number in range(6)))
    run(data, tmp_path / "out", "--images", 4, "--seed", 3)
    found = contents(tmp_path / "out")
    held_out = {name for name in found if name.startswith("val/")}
    assert held_out == {"val/cat/2.png", "val/cat/5.png", "val/dog/1.png", "val/dog/2.png"}
    came_from = {name.partition("/")[0]: text.partition("/")[0] for name, text in found.items()}
    assert came_from == {"train": "train", "val": "train", "test": "val"}
    assert len(found) == 24
    assert (tmp_path / "out/val/cat/2.png").samefile(data / "train/cat/2.png")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_files_of_one_name_in_two_folders_are_two_images(run, tmp_path):
    data = make(tmp_path / "data", "x/1.png", "y/1.png")
    before = contents(data)
    run(data, tmp_path / "out", "--images", 2)
    assert contents(data) == before
    assert sorted(contents(tmp_path / "out").values()) == sorted(before.values())


def test_a_folder_that_is_not_empty_is_refused(run, tmp_path, capsys):
    data = make(tmp_path / "data", "0.png", "1.png")
    run(data, tmp_path / "out", "--images", 2)
    before = contents(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(data, tmp_path / "out", "--images", 2, "--seed", 1)
    assert ended.value.code == 2
    assert "out exists and is not empty; choose another name\n" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_data_without_parts_is_refused_in_a_sentence(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "nowhere", tmp_path / "out")
    assert ended.value.code == 2
    assert "nowhere needs train/ and val/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--images", -3), "--images is -3"),
        (("--images", 1), "it must be at least 1 of each"),
        (("--images", 4), "less than the 2 that cat has"),
        (("--classes", 0), "--classes is 0"),
        (("--images", 2), "val has no folder emu"),
    ],
)
def test_what_cannot_be_held_out_is_refused(run, words, said, tmp_path, capsys):
    data = make(tmp_path / "data", "0.png", "1.png")
    if "emu" in said:
        (data / "train/emu").mkdir()
    with pytest.raises(SystemExit) as ended:
        run(data, tmp_path / "out", *words)
    assert (ended.value.code, said in capsys.readouterr().err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_what_is_hidden_or_no_folder_is_no_class_and_no_image(run, tmp_path):
    data = make(tmp_path / "data", "0.png", "1.png")
    for name in (".cache/0.png", "cat/.DS_Store", "dog/.more/0.png"):
        (data / "train" / name).parent.mkdir(exist_ok=True)
        (data / "train" / name).write_text("")
    (data / "train/README.txt").write_text("")
    run(data, tmp_path / "out", "--images", 2)
    assert len(contents(tmp_path / "out")) == 8


def test_an_interrupted_run_can_be_repeated(run, tmp_path, monkeypatch):
    data = make(tmp_path / "data", "0.png", "1.png")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        place, left = hold_out.place, [3]

        def interrupted(source: Path, target: Path) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            place(source, target)

        patch.setattr(hold_out, "place", interrupted)
        run(data, tmp_path / "out", "--images", 2)
    assert not (tmp_path / "out").exists()
    run(data, tmp_path / "out", "--images", 2)
    assert len(contents(tmp_path / "out")) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_files_are_copied_only_where_they_cannot_be_linked(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("source")
    target.write_text("target")
    with pytest.raises(FileExistsError):
        hold_out.place(source, target)

    def cannot(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", cannot)
    with pytest.raises(FileExistsError):
        hold_out.place(source, target)
    assert target.read_text() == "target"
    hold_out.place(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "source" and not (tmp_path / "copy").samefile(source)
