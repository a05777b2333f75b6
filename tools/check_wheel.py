"""Install a wheel into a clean environment without a compiler and without PyTorch, and let it classify an image.

    python tools/check_wheel.py WHEEL [IMAGE CLASS]

The last lines state the size of the wheel and of the environment. The environment is removed in the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "make")


def megabytes(path: Path) -> float:
    """What a file, or a folder with all that is in it, takes on disk."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_symlink()]
    return sum(file.lstat().st_blocks * 512 for file in files) / 1e6


def compilers(path: str) -> list[str]:
    """The compilers and build tools that are found on a PATH."""
    return [name for name in COMPILERS if shutil.which(name, path=path)]


def check(wheel: Path, answer: list[str], folder: Path) -> str | None:
    """Install and ask in a folder; says what is wrong, or None."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    environment = {"PATH": str(python.parent), "HOME": os.environ.get("HOME", str(folder))}
    found = compilers(environment["PATH"])
    if found:
        return f"the clean environment has {', '.join(found)}; it has to have none"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    options = ("--quiet", "--only-binary", ":all:", "-c", ROOT / "constraints.txt")
    if subprocess.call([*pip, "install", *options, wheel], env={**environment, **pip_settings()}):
        return f"{wheel} cannot be installed without a compiler"
    if subprocess.call([python, "-c", "import torch"], env=environment, stderr=subprocess.DEVNULL) == 0:
        return f"{wheel} brings PyTorch, which the core dependencies must not"
    if subprocess.call([python, ROOT / "tools" / "check_answer.py", *answer], env=environment):
        return f"{wheel} gives no right answer"
    print(f"{wheel.name}: {megabytes(wheel):.1f} MB, installed with what it needs {megabytes(folder):.0f} MB")
    return None


def pip_settings() -> dict[str, str]:
    """What the environment says to pip: the package index, say."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def main() -> str | None:
    """Check the wheel of the command line; the return value says what is wrong."""
    wheel, *answer = sys.argv[1:]
    if not Path(wheel).is_file():
        return f"{wheel} is not there; build it by: make wheel"
    with tempfile.TemporaryDirectory() as folder:
        return check(Path(wheel), answer, Path(folder) / "environment")


if __name__ == "__main__":
    sys.exit(main())
