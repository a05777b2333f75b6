"""What this machine computes with: instruction sets, threads, whether there is a GPU. Imports nothing heavy.

Two environment variables overrule what is found: VERYDEEP_THREADS and VERYDEEP_INSTRUCTIONS.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from verydeep.distributed import local_world_size
from verydeep.errors import UsageError, VerydeepError, number_from_environment

MOST_THREADS = 8192  # as many processors as Linux knows; native/engine/threads.h says so too
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # Nvidia's, the same under Windows' Linux, AMD's


def native_module() -> ModuleType | None:
    """The package's compiled part; None where it was not built: without a compiler, on Windows, in a checkout."""
    try:
        import verydeep._native as _native
    except ImportError:
        return None
    return _native


def native_absence() -> str:
    """Why the native engine is not there, and what to do."""
    if sys.platform == "win32":
        return "there is none for Windows; use the torch engine"
    here = Path(__file__).parent
    for place in (Path(folder, here.name) for folder in sys.path):
        if place.resolve() != here.resolve() and any(
            (place / f"_native{ending}").is_file() for ending in EXTENSION_SUFFIXES
        ):  # as where Python starts in a checkout, which comes before what is installed
            return (
                f"Python takes verydeep from {here} and not the installed one; start it by `python -P`, or "
                "use the torch engine"
            )
    return (
        "the package was installed without a C++ compiler; install one, and then verydeep again, or use the torch "
        "engine"
    )


def require_native() -> None:
    """Make sure that the native engine is there.

    Raises:
        VerydeepError: it is not.

    """
    if native_module() is None:
        raise VerydeepError(f"the native engine is missing: {native_absence()}")


def has_gpu() -> bool:
    """Whether there may be a GPU that torch can use, told without importing torch."""
    try:
        torch_is_there = find_spec("torch") is not None
    except ModuleNotFoundError:
        torch_is_there = False
    return torch_is_there and (sys.platform == "darwin" or any(Path(driver).exists() for driver in GPU_DRIVERS))


def num_threads(threads: int | None = None) -> int:
    """How many threads this process computes with.

    As many as there are processors that it may use, or its fair share of them under torchrun; VERYDEEP_THREADS
    overrules that.

    Args:
        threads: that are asked for, which overrules all.

    Raises:
        UsageError: `threads` or VERYDEEP_THREADS is not a number of threads.

    """
    if threads is not None:
        if not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"`threads` is {threads}; it must be 1 to {MOST_THREADS}")
        return threads
    wanted = number_from_environment("VERYDEEP_THREADS", 0, 1, MOST_THREADS)
    if wanted:
        return wanted
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    if quota is not None:
        processors = min(processors, max(1, round(quota)))
    return max(1, processors // local_world_size())


def _quota() -> float | None:
    """Processors' worth of time that a container may use, by cgroups of version 2 or 1; None without a limit."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            texts = [Path("/sys/fs/cgroup", file).read_text(encoding="ascii") for file in files]
            allowed, period = map(int, " ".join(texts).split())
        except (OSError, ValueError):
            continue
        return allowed / period if allowed > 0 and period > 0 else None
    return None


def memory_bytes() -> int | None:
    """Memory of this machine, or what a container may use of it; None where the system does not tell."""
    found = []
    if hasattr(os, "sysconf"):  # not on Windows
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroups of version 2 and 1
        with suppress(OSError, ValueError):  # the first says `max` where there is no limit
            found.append(int(Path("/sys/fs/cgroup", file).read_text(encoding="ascii")))
    return min((bytes_ for bytes_ in found if bytes_ > 0), default=None)


def has_bfloat16(native: ModuleType) -> bool:
    """Whether the kernels that run here multiply bfloat16."""
    return bool(native.has(instruction_set(native), "bfloat16"))


def instruction_set(native: ModuleType) -> str:
    """The instruction set that the native engine runs on: the best there is, or VERYDEEP_INSTRUCTIONS.

    Raises:
        UsageError: VERYDEEP_INSTRUCTIONS names one that this processor lacks.

    """
    available: list[str] = native.available_instructions()
    wanted = os.environ.get("VERYDEEP_INSTRUCTIONS") or available[-1]
    if wanted not in available:
        raise UsageError(
            f"VERYDEEP_INSTRUCTIONS is {wanted!r}, which this processor lacks; it has {', '.join(available)}"
        )
    return wanted
