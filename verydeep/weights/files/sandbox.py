"""What other libraries read, and pickles, are read in a process of its own, with bounded memory and time.

Its time is the processor's, which a busy machine does not change; one that waits is ended when nothing comes.

A file that makes HDF5's or MATLAB's reader crash, eat memory or never end is an error here and no more.
The process sends each tensor as it reads it, through a pipe: a header of JSON, then the numbers.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from verydeep.weights.checkpoint import NotWeightsError, Reader, Tensor

MOST_SECONDS, BYTES_PER_SECOND = 60, 5_000_000  # of the processor: for starting, and for what is read
SILENT_SECONDS = 600.0  # without a byte: it waits for something that does not come
SPARE_BYTES, TIMES = 1 << 30, 4  # memory, and what may come out of it: this, and so many times the file's size
MOST_TENSORS, MOST_HEADER_BYTES = 10_000, 1 << 24


def reader(module: str) -> Reader:
    """The reader of a module, run in a process of its own.

    It raises a `NotWeightsError` too if the reader crashes, or runs out of memory or time.
    """
    return partial(_read, module)


def _read(module: str, path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    size = path.stat().st_size
    seconds, most = MOST_SECONDS + size // BYTES_PER_SECOND, SPARE_BYTES + TIMES * size
    command = [sys.executable, "-P", "-m", "verydeep.weights.files.sandbox_process"]
    command += [module, str(path), str(most), str(seconds), json.dumps(facts)]
    # One thread: a pool of them would take address space, which is bounded, and time to start.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        try:
            yield from _receive(process.stdout, facts, most)
        except EOFError:
            raise NotWeightsError(f"cannot be read: {_ending(process.wait(), seconds)}") from None
        finally:
            process.kill()


def _receive(stream: IO[bytes], facts: dict[str, Any], most: int) -> Iterator[Tensor]:
    total = count = 0
    while True:
        header = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, 4), "little")))
        if "error" in header:
            raise NotWeightsError(header["error"])
        if "facts" in header:
            facts.clear()
            facts.update(header["facts"])
            return
        shape, dtype = tuple(header["shape"]), np.dtype(header["dtype"])
        total, count = total + prod(shape) * dtype.itemsize, count + 1
        if total > most or count > MOST_TENSORS:
            raise NotWeightsError("cannot be read: it does not fit in memory")
        tensor = np.empty(shape, dtype)
        _fill(stream, tensor.reshape(-1).view(np.uint8).data)
        yield header["name"], tensor, header["stored"]


def _exactly(stream: IO[bytes], count: int) -> bytes:
    if count > MOST_HEADER_BYTES:
        raise NotWeightsError(f"cannot be read: what describes it has more than {MOST_HEADER_BYTES:,} bytes")
    content = bytearray(count)
    _fill(stream, memoryview(content))
    return bytes(content)


def _fill(stream: IO[bytes], target: memoryview) -> None:
    done = 0
    while done < len(target):
        if not _answers(stream):
            raise NotWeightsError(f"cannot be read: its reader gave nothing for {SILENT_SECONDS:g} seconds")
        count = stream.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def _answers(stream: IO[bytes]) -> bool:
    """Whether there is something to read, or its end, before `SILENT_SECONDS` are over."""
    with selectors.DefaultSelector() as selector:  # `select` itself takes no descriptor above 1023
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(SILENT_SECONDS))


def _ending(code: int, seconds: int) -> str:
    if code == -signal.SIGXCPU:
        return f"its reader took more than {seconds} seconds of processor time"
    if code == -signal.SIGKILL:
        return "its reader was killed, most often because memory ran out"
    if code < 0:
        return f"its reader crashed ({signal.Signals(-code).name}); the file is damaged"
    return "its reader ended early; the file is damaged"
