"""Small commands to be tried in processes of their own, which have imported all that they need already."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch: a process that is forked has no threads of its parent

import numpy as np
import torch  # noqa: F401 - so that no process has to
from PIL import Image

from verydeep.cli import COMMANDS, main
from verydeep.commands.special import command

SMALL = ("--recipe", "digits", "--width", "0.03", "--batch-size", "8", "--warmup-epochs", "0")


def import_all() -> None:
    """Import what the commands import when they are at work; processes that are forked then begin at once."""
    for name in COMMANDS:
        command(name)


def make_images(folder: Path, each: int, seed: int = 0, side: int = 40) -> Path:
    """Folders of three classes with so many images of noise each."""
    random = np.random.default_rng(seed)
    for name in ("blue", "green", "red"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def quietly(*words: object) -> None:
    """Carry out a command here."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main([*map(str, words)])
    except SystemExit as ended:
        raise RuntimeError(said.getvalue()) from ended


def fork(words: Sequence[object], said: Path, before: Callable[[], object] = lambda: None) -> int:
    """Carry out a command in a process of a session of its own; give its id.

    Args:
        words: of the command, after `verydeep`.
        said: file for what it prints.
        before: called in the process before the command.

    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        sys.argv = ["verydeep", *map(str, words)]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with said.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2)
        )
        before()
        main(sys.argv[1:])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """Wait for a process; its exit code as a shell tells it."""
    return as_shell(os.waitpid(child, 0)[1])


def as_shell(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
