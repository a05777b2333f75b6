"""`predict` and `extract` into part files: every image has its row, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import KINDS, ODD, write_damaged
from PIL import Image
from safetensors.torch import load_file
from sample_images import class_folders, cut, save, smooth

import verydeep
from verydeep import notes
from verydeep.api.new import new
from verydeep.chunks.part_files import PartFiles, count_rows
from verydeep.chunks.plan import Blocks
from verydeep.cli import main
from verydeep.errors import DataError, ImageError, UsageError
from verydeep.extraction.archive import read_features
from verydeep.images.find import find_images
from verydeep.images.image_set import ImageSet
from verydeep.images.path_list import PathList

pytest.importorskip("verydeep._native")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "B"
    new("B", path, width=0.06, num_classes=3, window=32)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Images of two shapes, 27 of them."""
    folder = tmp_path_factory.mktemp("data")
    class_folders(folder, {"blue": 9, "red": 9})
    class_folders(folder, {"green": 9}, size=(33, 50))
    return folder


def rows_of(folder: Path) -> list[dict]:
    files = sorted(folder.glob("part-*"))
    if files[0].suffix == ".jsonl":
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_row_is_what_predict_answers(run, data, tmp_path, kind):
    answer = verydeep.predict(run, data, out=tmp_path / "out", format=kind, images_per_part=10, top=2)
    assert answer == PartFiles(str(tmp_path / "out"), 27, 0, 3)
    rows = rows_of(tmp_path / "out")
    expected = list(verydeep.predict(run, data, top=2).records())
    assert [row["image"] for row in rows] == sorted(map(str, data.rglob("*.jpg")))
    for row, other in zip(rows, expected, strict=True):
        assert list(row) == ["image", "predictions", "reason"]
        assert (row["image"], row["reason"]) == (other["image"], None)
        assert [one["class"] for one in row["predictions"]] == [one["class"] for one in other["predictions"]]
        ours, theirs = ([one["probability"] for one in each["predictions"]] for each in (row, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("pool", ["mean", "gram"])
def test_a_row_is_what_extract_keeps(run, data, tmp_path, kind, pool):
    words = {"layers": ["relu2_2", "fc7"], "pool": pool}
    verydeep.extract(run, data, out=tmp_path / "out", format=kind, images_per_part=10, **words)
    verydeep.extract(run, data, out=tmp_path / "f.npz", **words)
    names, arrays, _ = read_features(tmp_path / "f.npz")
    rows = rows_of(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "_verydeep.json").read_text())
    assert [row["name"] for row in rows] == names
    for layer, array in arrays.items():
        kept = np.array([row[layer] for row in rows]).reshape(len(rows), *facts["shapes"][layer])
        np.testing.assert_allclose(kept, array, rtol=1e-5, atol=1e-6)


def mixed_folder(folder: Path) -> dict[str, bool]:
    """Files of every kind that people have among their photographs, and whether each can be read."""
    folder.mkdir()
    random = np.random.default_rng(0)
    photograph = Image.fromarray(smooth(60, 48))
    # Those that claim 13,000 x 13,000 pixels take half a gigabyte each; `benchmarks/damaged_images.py` has them.
    numbers = [number for number, kind in enumerate(KINDS) if "13000" not in kind]
    found = dict(write_damaged(folder, photograph, number, random) for number in numbers)
    frames = [photograph, photograph.rotate(90)]
    for kind in ("gif", "webp", "png"):
        frames[0].save(folder / f"animated.{kind}", save_all=True, append_images=frames[1:])
    save(folder / "grey.jpg", smooth(60, 48)[..., 0])
    save(folder / "huge.png", smooth(5000, 4000))
    save(folder / "narrow.png", smooth(900, 3))
    for name in ("animated.gif", "animated.webp", "animated.png", "grey.jpg", "huge.png", "narrow.png"):
        found[folder / name] = True
    (folder / "text.jpg").write_text("this is no image")
    (folder / "folder.jpg").mkdir()  # is passed over: it has no images
    found[folder / "text.jpg"] = False
    return {str(path): readable for path, readable in found.items()}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("command", ["predict", "extract"])
def test_every_file_of_a_mixed_folder_has_its_row(run, tmp_path, command, kind, capsys):
    files = mixed_folder(tmp_path / "mixed")
    assert sum(files.values()) >= len(ODD) + 6
    words = ["--layers", "relu3_2"] if command == "extract" else []
    out = tmp_path / "out"
    main([command, str(run), str(tmp_path / "mixed"), *words, "--out", str(out), "--format", kind, "--json"])
    answer = json.loads(capsys.readouterr().out)
    lost = len(files) - sum(files.values())
    assert answer == {"path": str(out), "num_images": len(files), "num_unreadable": lost, "num_files": 1}
    column, kept = ("image", "predictions") if command == "predict" else ("name", "relu3_2")
    rows = rows_of(out)
    assert {row[column]: row["reason"] is None for row in rows} == files
    assert [row[column] for row in rows] == sorted(files)
    for row in rows:
        assert bool(row[kept]) == (row["reason"] is None)
        assert row["reason"] is None or row[column] in row["reason"]
    (part,) = out.glob("part-*")
    assert count_rows(part) == (len(files), lost)


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "verydeep", *map(str, words)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )


@pytest.mark.slow
def test_killed_and_resumed_and_shared_out_they_are_the_same_files(run, tmp_path):
    data = class_folders(tmp_path / "data", {"blue": 300, "red": 300}, size=(64, 64))
    cut(data / "red" / "7.jpg")
    words = ("predict", run, data, "--scales", 96, "--images-per-part", 50)
    whole, killed, shared = (tmp_path / name for name in ("whole", "killed", "shared"))
    main([*map(str, words), "--out", str(whole)])
    done: dict[Path, int] = {}
    for more in (1, 4, 7):
        first = start(*words, "--out", killed, "--processes", 2)
        while len(list(killed.glob("part-*"))) < more:
            time.sleep(0.002)
            assert first.poll() is None, first.communicate()
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        assert all(path.stat().st_mtime_ns == then for path, then in done.items())  # they are not made again
        done = {path: path.stat().st_mtime_ns for path in killed.glob("part-*")}
        assert more <= len(done) < 12
    again = start(*words, "--out", killed)
    out, err = again.communicate(timeout=120)
    assert (again.returncode, err) == (0, "")
    assert "600 images in 12 part files, 1 of them unreadable" in out
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())
    assert contents(killed) == contents(whole)
    together = start(*words, "--out", shared, "--processes", 3)
    out, err = together.communicate(timeout=120)
    assert (together.returncode, err) == (0, "")
    assert contents(shared) == contents(whole)


@pytest.mark.slow
@pytest.mark.heavy
def test_under_torchrun_they_are_the_same_files(run, data, tmp_path):
    pytest.importorskip("torch")
    words = [str(run), str(data), "--images-per-part", "5", "--engine", "native"]
    main(["predict", *words, "--out", str(tmp_path / "alone")])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "verydeep", "predict", *words, "--out", str(tmp_path / "together")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("27 images in 6 part files") == 1
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


def test_without_part_files_processes_give_the_answer_of_one(run, data, tmp_path):
    answers = []
    for count in (1, 2):
        done = start("predict", run, data, "--processes", count, "--json")
        out, err = done.communicate(timeout=120)
        assert (done.returncode, err) == (0, "")
        answers.append(out)
    assert len(answers[0].splitlines()) == 27
    assert answers[0] == answers[1]


def test_a_part_whose_images_changed_is_made_again(run, tmp_path):
    data, out = class_folders(tmp_path / "data", {"blue": 9}), tmp_path / "out"
    verydeep.predict(run, data, out=out, images_per_part=3)
    before = contents(out)
    cut(data / "blue" / "4.jpg")
    answer = verydeep.predict(run, data, out=out, images_per_part=3)
    assert answer == PartFiles(str(out), 9, 1, 3)
    after = contents(out)
    assert [name[:11] for name in sorted(after)] == ["_verydeep.j", "part-000000", "part-000001", "part-000002"]
    same = {name for name in before if before[name] == after.get(name)}
    assert {name[:11] for name in same} == {"_verydeep.j", "part-000000", "part-000002"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_image_that_can_be_read_by_now_is_read(run, tmp_path, monkeypatch, kind):
    """Permissions and libraries change without the file. A part whose images still cannot be read stays."""
    data, out = class_folders(tmp_path / "data", {"blue": 9}), tmp_path / "out"
    cut(data / "blue" / "1.jpg")
    read = PathList.read

    def denied(self, number):
        if number == 7:
            raise ImageError("it cannot be read; change its permissions")
        return read(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(PathList, "read", denied)
        assert verydeep.predict(run, data, out=out, images_per_part=3, format=kind).num_unreadable == 2
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert verydeep.predict(run, data, out=out, images_per_part=3, format=kind).num_unreadable == 1
    made = [path.name[:11] for path in sorted(out.glob("part-*")) if path.stat().st_mtime_ns != times[path.name]]
    assert made == ["part-000002"]
    assert [row["reason"] is None for row in rows_of(out)] == [n != 1 for n in range(9)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_damaged_part_is_made_again(run, data, tmp_path, kind):
    out = tmp_path / "out"
    verydeep.predict(run, data, out=out, images_per_part=10, format=kind)
    before = contents(out)
    cut(sorted(out.glob("part-*"))[1])
    (out / ".part-000002-0123.aaaa.part").write_text("half-written by a process that was killed")
    verydeep.predict(run, data, out=out, images_per_part=10, format=kind)
    assert contents(out) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"top": 2}, "with another top"),
        ({"scales": (64,)}, "with another scales"),
        ({"format": "parquet"}, "format"),
    ],
)
def test_part_files_of_other_work_are_not_taken(run, data, tmp_path, more, said):
    verydeep.predict(run, data, out=tmp_path / "out")
    with pytest.raises(UsageError, match=said):
        verydeep.predict(run, data, out=tmp_path / "out", **more)
    with pytest.raises(UsageError, match="of other images"):
        verydeep.predict(run, data / "blue", out=tmp_path / "out")
    with pytest.raises(UsageError, match="of another command"):
        verydeep.extract(run, data, layers=["fc7"], out=tmp_path / "out")


@pytest.mark.parametrize("work", [verydeep.predict, partial(verydeep.extract, layers=["relu1_1"])])
def test_part_files_of_another_preprocessing_are_not_taken(run, data, tmp_path, work):
    model, out = shutil.copytree(run, tmp_path / "model"), tmp_path / "out"
    work(model, data / "blue", out=out)
    config = json.loads((model / "config.json").read_text())
    config["preprocessing"]["mean"] = [1.0, 2.0, 3.0]
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="with another preprocessing"):
        work(model, data / "blue", out=out)
    facts = json.loads((out / "_verydeep.json").read_text())
    del facts["preprocessing"]  # as an earlier version wrote it: nothing of its work is lost
    (out / "_verydeep.json").write_text(json.dumps(facts))
    before = rows_of(out)
    work(model, data / "blue", out=out)
    assert rows_of(out) == before


def test_part_files_of_another_network_of_a_checkpoint_are_not_taken(data, tmp_path):
    new("A", tmp_path / "A", width=0.02, num_classes=3)
    verydeep.export(tmp_path / "A", to="torchvision", out=tmp_path / "a.safetensors")
    network, folder = load_file(tmp_path / "a.safetensors"), tmp_path / "two"
    folder.mkdir()
    other = {name: 0.5 * tensor for name, tensor in network.items()}
    torch.save({"state_dict": network, "state_dict_ema": other}, folder / "pytorch_model.bin")
    fed = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 224, 224], "crop_pct": 0.875}
    facts = {"architecture": "vgg11", "num_classes": 3, "label_names": ["x", "y", "z"], "pretrained_cfg": fed}
    (folder / "config.json").write_text(json.dumps(facts))
    image = data / "blue" / "0.jpg"
    verydeep.predict(folder, image, out=tmp_path / "out", tensors="state_dict")
    with pytest.raises(UsageError, match="with another model"):
        verydeep.predict(folder, image, out=tmp_path / "out", tensors="state_dict_ema")


@pytest.mark.parametrize("name", ["part-000000-mine.jsonl", "part-1.jsonl"])
def test_files_that_others_call_part_are_refused_and_stay(run, data, tmp_path, name):
    out = tmp_path / "out"
    for begun in (False, True):
        if begun:
            verydeep.predict(run, data / "blue", out=out)
        out.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        before = contents(out)
        with pytest.raises(UsageError, match=f"holds {name}, which is none of this command's part files"):
            verydeep.predict(run, data / "blue", out=out)
        assert contents(out) == before
        (out / name).unlink()


def test_what_a_user_makes_of_part_files_stays_beside_them(run, tmp_path):
    data, out = class_folders(tmp_path / "data", {"blue": 4}), tmp_path / "out"
    verydeep.predict(run, data, out=out)
    (part,) = out.glob("part-*")
    mine = [part.with_suffix(".parquet"), part.with_suffix(".csv"), out / "part-one.csv"]
    for path in mine:
        path.write_text("mine")
    cut(data / "blue" / "2.jpg")
    assert verydeep.predict(run, data, out=out) == PartFiles(str(out), 4, 1, 1)
    assert not part.exists()
    assert [path.read_text() for path in mine] == ["mine"] * 3


def test_parts_of_which_nobody_knows_what_they_are_of_are_not_taken(run, data, tmp_path):
    out = tmp_path / "out"
    verydeep.predict(run, data / "blue", out=out)
    (out / "_verydeep.json").unlink()
    before = contents(out)
    with pytest.raises(UsageError, match="holds part files"):
        verydeep.predict(run, data / "blue", out=out, top=2)
    assert contents(out) == before


def test_what_a_user_keeps_where_parts_are_made_stays(run, data, tmp_path):
    notes = tmp_path / "f.npz.parts" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    verydeep.extract(run, data / "blue", layers=["relu1_1"], out=tmp_path / "f.npz")
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
    notes.unlink()
    verydeep.extract(run, data / "blue", layers=["relu1_1"], out=tmp_path / "f.npz")
    assert not notes.parent.exists()


def test_it_stops_where_more_cannot_be_read_than_may(run, tmp_path):
    data = class_folders(tmp_path / "data", {"blue": 6})
    for number in (1, 4, 5):
        cut(data / "blue" / f"{number}.jpg")
    for words in ({}, {"out": tmp_path / "out", "images_per_part": 2}):
        with pytest.raises(DataError, match="cannot be read"):
            verydeep.predict(run, data, max_unreadable=2, **words)
        answer = verydeep.predict(run, data, max_unreadable=3, **words)
    assert answer == PartFiles(str(tmp_path / "out"), 6, 3, 3)
    with pytest.raises(DataError, match="cannot be read"):
        verydeep.extract(run, data, layers=["fc7"], out=tmp_path / "f.npz")
    answer = verydeep.extract(run, data, layers=["fc7"], out=tmp_path / "features")
    assert answer.num_unreadable == 3


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_repeated_command_counts_what_the_parts_lost(run, tmp_path, kind):
    """Two parts are kept with an image lost each; the third loses the one too many, at each try."""
    data, out = class_folders(tmp_path / "data", {"blue": 6}), tmp_path / "out"
    for number in (1, 3, 5):
        cut(data / "blue" / f"{number}.jpg")
    words = {"out": out, "images_per_part": 2, "format": kind}
    for _ in range(2):
        with pytest.raises(DataError, match=r"3 images cannot be read, the last is .*5\.jpg"):
            verydeep.predict(run, data, max_unreadable=2, **words)
        assert len(list(out.glob("part-*"))) == 2
    assert verydeep.predict(run, data, max_unreadable=3, **words).num_unreadable == 3
    for processes in (1, 2):  # now all parts are there, and each of two processes finds some of them
        with pytest.raises(DataError, match="3 images cannot be read"):
            verydeep.predict(run, data, max_unreadable=2, processes=processes, **words)
        answer = verydeep.predict(run, data, max_unreadable=3, processes=processes, **words)
        assert answer == PartFiles(str(out), 6, 3, 3)


def test_where_nothing_can_be_read_the_command_fails(run, tmp_path, capsys):
    for number in range(3):
        save(tmp_path / "data" / f"{number}.jpg")
        cut(tmp_path / "data" / f"{number}.jpg", 0.1)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "3 images in 1 part file, 3 of them unreadable" in told.out
    assert told.err == "verydeep: none of the 3 images could be read; the rows say why\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "parquet"], "--format is of part files; add --out"),
        (["--images-per-part", "10"], "--images-per-part is of part files; add --out"),
        (["--out", "OUT.csv"], "is called like a file; name a folder"),
        (["--out", "OUT", "--maps", "maps"], "--maps draws each image"),
        (["--out", "OUT", "--images-per-part", "0"], "--images-per-part is 0; it must be at least 1"),
        (["--out", "OUT", "--format", "csv"], "must be one of jsonl, parquet"),
        (["--max-unreadable", "-1"], "--max-unreadable is -1; it must be 0 or more"),
    ],
)
def test_wrong_requests_are_one_sentence(run, data, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run), str(data), *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_whole_maps_in_part_files_want_the_window(run, data, tmp_path):
    words = {"layers": ["pool3"], "pool": "none", "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="use `crop` for the same shape"):
        verydeep.extract(run, data, **words)
    verydeep.extract(run, data, crop=True, **words)
    assert len(rows_of(tmp_path / "out")) == 27


def test_images_may_be_listed(run, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(data)
    listed = ["green/3.jpg", "none.jpg", "blue/1.jpg", "green/3.jpg"]
    (tmp_path / "list.txt").write_bytes("\r\n\r\n".join(listed).encode() + b"\n\n")
    verydeep.predict(run, f"@{tmp_path / 'list.txt'}", out=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [row["image"] for row in rows] == listed
    assert [row["reason"] for row in rows] == [None, "none.jpg: no such file", None, None]
    assert rows[0] == rows[3]
    with pytest.raises(ImageError, match="no such file, where a list of images is wanted"):
        verydeep.predict(run, "@nothing.txt")
    with pytest.raises(UsageError, match="has zero bytes; give a text file with a path a line"):
        verydeep.predict(run, "@green/3.jpg")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ImageError, match="no images in this list"):
        verydeep.predict(run, f"@{tmp_path / 'empty.txt'}")
    save(tmp_path / "@photo.jpg")
    monkeypatch.chdir(tmp_path)
    assert [name for name, _ in verydeep.predict(run, "@photo.jpg")] == ["@photo.jpg"]


def test_a_list_may_begin_with_a_byte_order_mark(data, tmp_path):
    listed = [str(data / "blue" / "1.jpg"), str(data / "blue" / "2.jpg")]
    (tmp_path / "list.txt").write_text("\r\n".join(listed), encoding="utf-8-sig")
    assert list(find_images(f"@{tmp_path / 'list.txt'}").names) == listed


def test_a_pattern_names_each_image_once_and_no_other_files(run, tmp_path, capsys):
    root = tmp_path / "holiday"
    for name in ("1.jpg", "beach/2.png", "beach/deep/3.jpg", "beach-2/4.jpg"):
        save(root / name)
    save(root / "no ending", format="JPEG")
    (root / "notes.txt").write_text("sunny")
    (root / "beach" / "diary.txt").write_text("windy")
    (root / "empty").mkdir()
    verydeep.predict(run, root / "1.jpg", maps=root, map_scale=32)  # a drawing among the images
    every = ["1.jpg", "beach/2.png", "beach/deep/3.jpg", "beach-2/4.jpg", "no ending"]
    capsys.readouterr()
    for pattern, found in {
        "holiday/**": every,
        "holiday/*": ["1.jpg", "beach-2/4.jpg", "beach/2.png", "beach/deep/3.jpg", "no ending"],
        "holiday/**/*.*": ["1.jpg", "beach-2/4.jpg", "beach/2.png", "beach/deep/3.jpg"],
        "holiday/b*": ["beach-2/4.jpg", "beach/2.png", "beach/deep/3.jpg"],
        "holid*": every,
    }.items():
        names = [Path(name).relative_to(root).as_posix() for name in find_images(tmp_path / pattern).names]
        assert sorted(names) == sorted(found), pattern
        told = capsys.readouterr().err
        assert told.count("diary.txt") == 1, pattern
        assert told.count("notes.txt") == told.count("drawn by verydeep") == (pattern != "holiday/b*"), pattern
    with pytest.raises(ImageError, match=r"\*\.txt: no images match this pattern, but 1 text file \(notes\.txt\)"):
        find_images(root / "*.txt")
    (root / "lost").symlink_to("nowhere")
    os.mkfifo(root / "pipe.jpg")  # is not waited for
    assert sorted(Path(name).name for name in find_images(root / "*o*").names) == ["no ending"]
    assert [Path(name).name for name in find_images(root / "*.jpg").names] == ["1.jpg"]
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(ImageError, match="no such file"):
        find_images(root / "*.jpg")


def test_folders_lists_and_shards_may_be_given_together(run, data, tmp_path):
    verydeep.shard(data, out=tmp_path / "shards")
    (tmp_path / "list.txt").write_text(f"{data / 'red' / '2.jpg'}\n")
    words = [data / "blue", f"@{tmp_path / 'list.txt'}", tmp_path / "shards", data / "red" / "5.jpg"]
    alone = [one for word in words for one in verydeep.predict(run, word)]
    together = verydeep.predict(run, words)
    assert len(together) == 9 + 1 + 27 + 1
    assert [name for name, _ in together] == [name for name, _ in alone]
    assert sorted(name for name, _ in alone[10:-1]) == sorted(
        path.relative_to(data).as_posix() for path in data.rglob("*.jpg")
    )
    assert [ranking[0].class_name for _, ranking in together] == [ranking[0].class_name for _, ranking in alone]


def test_shards_behind_a_url(run, data, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    verydeep.shard(data, out=tmp_path / "shards")
    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(tmp_path / "shards"), "/many/shards", recursive=True)
    verydeep.predict(run, tmp_path / "shards", out=tmp_path / "here", images_per_part=10)
    verydeep.predict(run, "memory://many/shards", out=tmp_path / "there", images_per_part=10)
    filesystem.rm("/many", recursive=True)
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")
    assert len(rows_of(tmp_path / "here")) == 27


class Counted:
    """Millions of images that are nowhere; counts what is asked of them."""

    def __init__(self) -> None:
        self.asked = 0

    def stamp(self, number: int) -> str:
        self.asked += 1
        return ""


class Names:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> str:
        return f"{number}.jpg"


def test_a_plan_of_a_billion_images_looks_at_none_before_its_turn():
    source = Counted()
    images = ImageSet(Names(10**9 + 1), np.broadcast_to(np.int64(-1), 10**9 + 1), (), source)
    plan = Blocks(images, 1000)
    assert len(plan) == 10**6 + 1
    shares = [plan[rank::3] for rank in range(3)]
    assert sum(map(len, shares)) == len(plan)
    assert source.asked == 0
    assert [shares[2][1].number, shares[2][-1].number] == [5, 999_998]
    assert plan[1].images == range(1000, 2000)
    assert plan[-1].images == range(10**9, 10**9 + 1)
    assert source.asked == 1000 + 1000 + 1000 + 1
    assert plan[0].content != plan[1].content


def test_a_list_of_a_million_paths_takes_little_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "list.txt"
    path.write_text("".join(f"/data/images/{number:08d}.jpg\n" for number in range(10**6)))
    tracemalloc.start()
    images = find_images(f"@{path}")
    assert len(images) == 10**6
    assert images.names[765_432] == "/data/images/00765432.jpg"
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1.5 * path.stat().st_size
    assert most < 2.7 * path.stat().st_size


def test_the_digest_of_paths_is_that_of_names(data):
    found = find_images(data)
    listed = ImageSet(tuple(found.names), found.labels, (), found.source)
    assert found.fingerprint == listed.fingerprint
    assert found.select([0, 5]).fingerprint != found.select([5, 0]).fingerprint
    assert found.select([0, 5]).join(found.select([7])).names[2] == found.names[7]


@pytest.mark.heavy
@pytest.mark.slow
def test_four_times_the_images_take_no_more_memory(run, tmp_path):
    code = (
        "import resource, sys; from verydeep.cli import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (250, 1000):
        data = class_folders(tmp_path / f"data{count}", {"blue": count}, size=(96, 96))
        words = ["predict", run, data, "--out", tmp_path / f"out{count}", "--images-per-part", 100, "--scales", 96]
        command = [sys.executable, "-c", code, *map(str, words)]
        out = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
        peaks.append(int(out.splitlines()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 15, peaks


def test_in_a_log_progress_is_a_line_a_minute(monkeypatch, capsys):
    clock = iter([0.0, 30.0, 60.0, 60.0, 90.0, 180.0, 180.0])
    monkeypatch.setattr(notes, "monotonic", lambda: next(clock))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)  # another test's, which would have a bar
    with notes.progress("predicting", 10_000) as advance:
        for _ in range(4):
            advance(1200)
    assert capsys.readouterr().err.splitlines() == [
        "predicting: 2,400 of 10,000 images, 40 images/s, 0:03:10 left",
        "predicting: 4,800 of 10,000 images, 20 images/s, 0:04:20 left",
    ]
