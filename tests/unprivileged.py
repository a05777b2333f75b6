"""The command line as a user meets it whom permissions bind: root's privileges are given up first."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
import warnings
from io import StringIO
from pathlib import Path

from verydeep.cli import main

CAPABILITY_VERSION = 0x20080522


def give_up_privileges() -> None:
    """Drop all capabilities: root stays the owner of its files, and may read and write them as any owner may."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "privileges cannot be given up")


def may_be_denied() -> bool:
    """Whether a file can be made that this user may not read."""
    return os.geteuid() != 0 or sys.platform == "linux"


def run(words: list[str], errors: Path) -> tuple[int, str]:
    """A command in a fork of this process, which has imported what it needs; its exit code and standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, from Python 3.12 on
        process = os.fork()
    if process == 0:
        try:
            os._exit(_run(words, errors))
        finally:
            os._exit(99)
    status = os.waitpid(process, 0)[1]
    return os.waitstatus_to_exitcode(status), errors.read_text()


def _run(words: list[str], errors: Path) -> int:
    sys.stderr = errors.open("w", buffering=1)
    sys.stdout = StringIO()
    if os.geteuid() == 0:
        give_up_privileges()
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 98
    return 0
