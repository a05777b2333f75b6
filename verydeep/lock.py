"""One writer at a time: a lock on a folder or a file, held while a command writes there and released by its end.

The lock is `flock` on a small file that names its holder: `RUN/.verydeep.lock` for a folder, `.NAME.lock` beside a
file. The operating system releases it when the process ends, however it ends. The file is removed at an orderly
end; what a killed process leaves of it locks nothing. A note says so where the file system has no locks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from verydeep.errors import BusyError, DeniedError, DiskError, UsageError, printable, refusal
from verydeep.files import json_text
from verydeep.notes import note

LOCK = ".verydeep.lock"
MOST_BYTES = 240  # of a file's name in that of its lock: a name has 255 at most
PATIENCE = 0.2  # seconds: whoever looks whether a lock is held holds it for a moment
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def writing_folder(folder: Path) -> Iterator[int | None]:
    """Be the only process that writes to a folder, which is made; one that stays empty is removed.

    Gives the lock's descriptor, by which a process that is started meanwhile can hold it too; None without locks.

    Raises:
        BusyError: another process writes there.
        UsageError: it is a file.
        DiskError: it cannot be made or written to.

    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another name")
    with _locked(folder / LOCK, folder) as descriptor:
        yield descriptor


@contextmanager
def writing_file(path: Path) -> Iterator[None]:
    """Be the only process that writes a file, and what is kept beside it until it is whole.

    Raises:
        BusyError: another process writes it.
        DiskError: its folder cannot be made or written to.

    """
    name = path.name
    if len(os.fsencode(name)) > MOST_BYTES:  # what is put around it has to fit, too
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    with _locked(path.with_name(f".{name}.lock"), path):
        yield


def is_written(folder: Path) -> bool | None:
    """Whether a process writes to a folder now; None where it may run on another machine."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        _lock(descriptor, shared=True)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False if _read_holder(descriptor).get("host") == platform.node() else None
    finally:
        os.close(descriptor)


@contextmanager
def _locked(file: Path, target: Path) -> Iterator[int | None]:
    made = [folder for folder in file.parents if not folder.exists()]
    try:
        descriptor = _take(file, target)
        try:
            yield descriptor
        finally:
            with suppress(OSError):
                file.unlink()
            if descriptor is not None:
                os.close(descriptor)
    finally:
        for folder in made:
            with suppress(OSError):  # it is not empty, or gone
                folder.rmdir()


def _take(file: Path, target: Path) -> int | None:
    """Open and lock the file; None where the file system has no locks."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # whoever was here before has removed its empty folder
            if time.monotonic() < end:
                continue
            raise DiskError(f"{file.parent} cannot be made") from None
        except PermissionError as error:
            raise DeniedError(refusal(target, "written", error)) from None
        except OSError as error:
            raise DiskError(refusal(target, "written", error)) from None
        try:
            _lock(descriptor)
        except BlockingIOError:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            if time.monotonic() > end:
                raise BusyError(_refusal(target, holder)) from None
            time.sleep(0.02)
        except OSError as error:
            os.close(descriptor)
            _without_locks(target, error)
            return None
        else:
            if is_at(descriptor, file):
                _write_holder(descriptor)
                return descriptor
            os.close(descriptor)  # its last holder has removed it


def wait_for_lock(descriptor: int, target: Path) -> None:
    """Lock an open file as soon as no other process holds it; closing it unlocks it. Without locks a note says so.

    Raises:
        DiskError: it cannot be locked.

    """
    try:
        _lock(descriptor, wait=True)
    except OSError as error:
        _without_locks(target, error)


def _without_locks(target: Path, error: OSError) -> None:
    if error.errno not in NO_LOCKS:
        raise DiskError(f"{target} cannot be locked: {error.strerror or error}") from None
    note(f"{target} is on a file system without locks; make sure that no other process writes there")


def _lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)


def is_at(descriptor: int, file: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    holder = {
        "process": os.getpid(),
        "host": platform.node(),
        "command": shlex.join([_program(Path(sys.argv[0])), *sys.argv[1:]]),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    with suppress(OSError):  # a full disk: it is locked all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json_text(holder).encode(), 0)


def _program(path: Path) -> str:
    """What a program is called: of `python -m PACKAGE` the package."""
    return path.parent.name if path.name == "__main__.py" else path.name


def _read_holder(descriptor: int) -> dict[str, Any]:
    """Who has written the file; nothing where it does not say."""
    try:
        holder = json.loads(os.pread(descriptor, 1 << 16, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _refusal(target: Path, holder: dict[str, Any]) -> str:
    try:
        here = holder["host"] == platform.node()
        where = "this machine" if here else printable(holder["host"])
        since, now = datetime.fromisoformat(holder["since"]).astimezone(), datetime.now().astimezone()
        clock = since.strftime("%H:%M" if since.date() == now.date() else "%Y-%m-%d %H:%M")
        who = f"process {int(holder['process'])} on {where} ({printable(holder['command'], 100)}, since {clock})"
    except (KeyError, TypeError, ValueError):
        who = "another process"
    return f"{target} is being written by {who}; wait for it, or stop it"
