"""What other libraries read, and pickles, are read in a process of its own, with bounded memory and time.

A file that makes HDF5's or MATLAB's reader crash, eat memory or never end is an error here and no more.
The process sends each tensor as it reads it, through a pipe: a header of JSON, then the numbers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, printable, require
from verydeep.weights.raw import Raw

NEEDS = {
    "hdf5": ("h5py", "weights", "Keras's files"),
    "keras": ("h5py", "weights", "Keras's files"),
    "matlab": ("scipy", "weights", "MATLAB's files"),
}
MOST_SECONDS, BYTES_PER_SECOND = 60, 5_000_000  # time: for starting, and for a slow disk
SPARE_BYTES, TIMES = 1 << 30, 4  # memory, and what may come out of it: this, and so many times the file's size
MOST_TENSORS, MOST_HEADER_BYTES, MOST_REASON = 10_000, 1 << 24, 500


def read_apart(path: Path, kind: str, network: str | None = None) -> Raw:
    """Read a file in a process of its own.

    Args:
        path: the file.
        kind: of the file, a key of `verydeep.weights.files.child.READERS`.
        network: which of the networks in it to take.

    Raises:
        ModelError: the file is damaged or holds what is not weights; or its reader crashed, or ran out of memory
            or time.
        VerydeepError: the library that reads it is not installed.

    """
    if kind in NEEDS:
        module, extra, what = NEEDS[kind]
        require(module, extra, f"reading {what}")
    size = path.stat().st_size
    seconds = MOST_SECONDS + size // BYTES_PER_SECOND
    most = SPARE_BYTES + TIMES * size
    command = [
        sys.executable,
        "-P",
        "-m",
        "verydeep.weights.files.child",
        kind,
        str(path),
        str(most),
        str(seconds),
        *([] if network is None else [network]),
    ]
    # One thread: a pool of them would take address space, which is bounded, and time to start.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as reader:
        assert reader.stdout is not None
        late = threading.Timer(seconds, reader.kill)
        late.start()
        try:
            return _receive(reader.stdout, path, kind, most)
        except EOFError:
            code = reader.wait()
            raise ModelError(f"{path} cannot be read: {_ending(code, seconds)}") from None
        finally:
            late.cancel()
            reader.kill()


def _receive(stream: IO[bytes], path: Path, kind: str, most: int) -> Raw:
    tensors: dict[str, NDArray[Any]] = {}
    dtypes: dict[str, str] = {}
    total = 0
    while True:
        header = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, 4), "little")))
        if "error" in header:
            raise ModelError(f"{path} {printable(header['error'], MOST_REASON)}")
        if "facts" in header:
            return Raw(kind, tensors, dtypes, header["facts"])
        shape, dtype = tuple(header["shape"]), np.dtype(header["dtype"])
        total += prod(shape) * dtype.itemsize
        if total > most or len(tensors) >= MOST_TENSORS:
            raise ModelError(f"{path} cannot be read: it would fill the memory")
        tensor = np.empty(shape, dtype)
        _fill(stream, tensor.reshape(-1).view(np.uint8).data)
        tensors[header["name"]], dtypes[header["name"]] = tensor, header["stored"]


def _exactly(stream: IO[bytes], count: int) -> bytes:
    if count > MOST_HEADER_BYTES or len(content := stream.read(count)) < count:
        raise EOFError
    return content


def _fill(stream: IO[bytes], target: memoryview) -> None:
    done = 0
    while done < len(target):
        count = stream.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def _ending(code: int, seconds: int) -> str:
    if code == -signal.SIGKILL:
        return f"its reader took more than {seconds} seconds, or was killed for want of memory"
    if code < 0:
        return f"its reader crashed ({signal.Signals(-code).name}); the file is damaged"
    return "its reader ended early; the file is damaged"
