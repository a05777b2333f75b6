"""The process that reads one file which may harm its reader: a pickle, or what another library reads.

`sandbox` starts it, nothing else does. It has bounds on memory and time, and can write to no file.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from verydeep.errors import printable
from verydeep.interrupts import kernel_ends_with_parent
from verydeep.weights.checkpoint import NotWeightsError, Reader


def main(module: str, path: Path, most_bytes: int, most_seconds: int, facts: dict[str, Any]) -> None:
    """Read a file by a module's reader, and write what it holds to standard output."""
    kernel_ends_with_parent()
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is not taken for a tensor
    read: Reader = import_module(module).read
    bound(most_bytes, most_seconds)
    end: dict[str, Any] = {"facts": facts}
    try:
        for name, tensor, stored in read(path, facts):
            _send(output, {"name": name, "shape": tensor.shape, "dtype": tensor.dtype.str, "stored": stored})
            _write(output, np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
            del tensor
    except NotWeightsError as error:
        end = {"error": str(error)}
    except MemoryError:
        end = {"error": "cannot be read: it does not fit in memory"}
    except BrokenPipeError:
        return
    except Exception as error:  # a damaged file makes these libraries raise nearly anything
        end = {"error": f"cannot be read; it is damaged ({printable(error) or type(error).__name__})"}
    _send(output, end)


def bound(most_bytes: int, most_seconds: int) -> None:
    """Bound this process from now on: memory beside what it has, processor time, and no byte into any file."""
    if sys.platform == "win32":
        return
    import resource

    status = Path("/proc/self/statm")
    if status.is_file():
        used = int(status.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = used + most_bytes if hard == resource.RLIM_INFINITY else min(used + most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # A second more for SIGXCPU to end it, which tells the reason; then SIGKILL does.
    limits = {"RLIMIT_CPU": (most_seconds, most_seconds + 1), "RLIMIT_FSIZE": (0, 0), "RLIMIT_CORE": (0, 0)}
    for name, limit in limits.items():
        with suppress(ValueError, OSError):  # a stricter limit stands already
            resource.setrlimit(getattr(resource, name), limit)


def _send(output: IO[bytes], header: dict[str, Any]) -> None:
    content = json.dumps(header).encode()
    _write(output, memoryview(len(content).to_bytes(4, "little") + content))


def _write(output: IO[bytes], content: memoryview) -> None:
    done = 0
    while done < len(content):
        done += output.write(content[done:])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), json.loads(sys.argv[5]))
