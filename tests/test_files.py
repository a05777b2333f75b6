"""Where an output goes: a file appears whole; links stay, and devices, pipes and folders are never replaced."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import DiskError, UsageError
from verydeep.files import check_folder, check_out, write_text, write_whole


def left_aside(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


@pytest.fixture
def taken(tmp_path) -> Path:
    """A folder in which each name is something else than a file."""
    (tmp_path / "file").write_text("before")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_file").symlink_to("file")
    (tmp_path / "to_link").symlink_to("to_file")
    (tmp_path / "to_nothing").symlink_to("folder/nothing")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("null", "full"):  # the devices themselves are not risked
        (tmp_path / name).symlink_to(f"/dev/{name}")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kept_in"),
    [
        ("new", "new"),
        ("a/b/new", "a/b/new"),
        ("file", "file"),
        ("to_file", "file"),
        ("to_link", "file"),
        ("to_nothing", "folder/nothing"),
        ("x" * 255, "x" * 255),
        ("é" * 127, "é" * 127),
    ],
    ids=lambda name: name[:10],
)
def test_a_file_is_written_and_a_link_to_it_stays(taken, name, kept_in):
    was_link = (taken / name).is_symlink()
    check_out(taken / name)
    write_text(taken / name, "after")
    assert (taken / kept_in).read_text() == "after"
    assert stat.S_ISREG((taken / kept_in).lstat().st_mode)
    assert (taken / name).is_symlink() == was_link
    assert not left_aside(taken)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("folder", UsageError, "{}/folder is a folder; name a file"),
        ("socket", UsageError, "{}/socket is a socket; name a file"),
        ("loop", DiskError, "{}/loop cannot be written: Too many levels of symbolic links"),
        ("file/new", DiskError, "{0}/file cannot be made: {0}/file is a file, not a folder"),
        ("file/deep/new", DiskError, "{0}/file/deep cannot be made: {0}/file is a file, not a folder"),
        ("x" * 256, DiskError, "{}/" + "x" * 256 + " cannot be written: File name too long"),
        ("a\0b", UsageError, "'{}/a\\x00b' is not the name of a file: it has a zero byte"),
    ],
    ids=lambda value: str(value)[:10].replace("\0", "0"),
)
@pytest.mark.parametrize("write", [check_out, lambda path: write_text(path, "after")], ids=["check", "write"])
def test_where_no_file_can_be_is_told_in_a_sentence(taken, name, error, message, write, monkeypatch):
    if name == "socket":
        monkeypatch.chdir(taken)  # its name has a hundred bytes at most
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(name)
    before = sorted(taken.iterdir())
    with pytest.raises(error) as raised:
        write(taken / name)
    assert str(raised.value) == message.format(taken)
    assert sorted(taken.iterdir()) == before
    assert (taken / "file").read_text() == "before"


def test_a_device_and_a_pipe_are_written_and_stay(taken):
    write_text(taken / "null", "after")
    assert (taken / "null").readlink() == Path("/dev/null")
    assert Path("/dev/null").is_char_device()
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((taken / "pipe").read_bytes()))
    reader.start()
    check_out(taken / "pipe")
    write_text(taken / "pipe", "after")
    reader.join(10)
    assert read == [b"after"]
    assert (taken / "pipe").is_fifo()
    assert not left_aside(taken)


def test_a_full_device_is_a_full_disk(taken):
    with pytest.raises(DiskError, match=r"/full cannot be written: No space left on device"):
        write_text(taken / "full", "after")
    assert (taken / "full").readlink() == Path("/dev/full")
    assert Path("/dev/full").is_char_device()
    assert not left_aside(taken)


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_standard_output_is_added_to(tmp_path, kind):
    code = "\n".join(
        [
            "from pathlib import Path",
            "from verydeep.files import write_text",
            "print('first')",
            "write_text(Path('/proc/self/fd/1'), 'second\\n')",
            "print('third')",
        ]
    )
    words = [sys.executable, "-c", code]
    if kind == "pipe":
        found = subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout
    else:
        with (tmp_path / "out").open("wb") as file:
            subprocess.run(words, check=True, stdout=file)
        found = (tmp_path / "out").read_bytes()
    assert found == b"first\nsecond\nthird\n"


def test_a_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(DiskError, match=r"^(out|\.) cannot be (written|made): No such file or directory$"):
        write_text(Path("out"), "after")


def test_a_file_that_was_to_be_fetched_and_is_not_there_is_not_this_one(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError, match="missing"):
        write_whole(tmp_path / "out", lambda aside: aside.write_bytes(missing.read_bytes()))
    assert not left_aside(tmp_path)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A model, an image and a result."""
    folder = tmp_path_factory.mktemp("world")
    new("A", folder / "model", width=0.05, window=32, num_classes=2)
    for name in ("0", "1"):
        (folder / "data" / name).mkdir(parents=True)
        image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(image).save(folder / "data" / name / "0.png")
    return folder


OUTPUTS = {
    "evaluate": ["evaluate", "model", "data", "--part", "all", "--out", "OUT.npz"],
    "extract": ["extract", "model", "data/0", "--layers", "fc7", "--out", "OUT.npz"],
    "visualize": ["visualize", "model", "data/0/0.png", "--steps", "0", "--layers", "fc8", "--page", "OUT.html"],
}  # fmt: skip


@pytest.mark.parametrize("command", OUTPUTS)
def test_no_command_replaces_a_link_or_starts_where_it_cannot_end(command, world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(world)
    *words, last = OUTPUTS[command]
    out = tmp_path / last
    out.symlink_to("kept")
    main([*words, str(out)])
    assert out.readlink() == Path("kept")
    assert (tmp_path / "kept").stat().st_size > 0
    out.unlink()
    out.mkdir()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*words, str(out)])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"verydeep: {out} is a folder; name a file\n"


def test_a_folder_is_checked_and_not_made(tmp_path):
    (tmp_path / "file").write_text("")
    check_folder(tmp_path / "new" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(UsageError, match="file is a file; name a folder"):
        check_folder(tmp_path / "file")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_others_may_read_a_file_as_the_umask_says(tmp_path, umask, mode):
    """Also of a writer that makes files for its user alone, as safetensors does."""

    def write(aside: Path) -> None:
        aside.write_text("x")
        aside.chmod(0o600)

    before = os.umask(umask)
    try:
        write_whole(tmp_path / "new", write)
        (tmp_path / "old").write_text("")
        (tmp_path / "old").chmod(0o664)
        write_whole(tmp_path / "old", write)
        write_text(tmp_path / "text", "x")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"new": mode, "old": 0o664, "text": mode}
