"""Install the package from this checkout into the environment of the Python that runs this.

    python tools/install.py '.[train,report]'

uv installs, as it is twice as fast as pip; pip installs where uv cannot. On Linux the usual build of PyTorch
brings CUDA, some 5 GB. Without an NVIDIA GPU a CPU build does the same. It is taken where the package index has
one, but not for the tests: torchvision, a peer of theirs, goes with the usual build alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OLDEST = (2, 9)  # as pyproject.toml wants it


def wants_cpu_build(what: str) -> bool:
    """Whether PyTorch would bring CUDA for nothing: on Linux, on x86-64, without an NVIDIA GPU."""
    linux = sys.platform == "linux" and platform.machine() == "x86_64"
    return "train" in what and linux and not Path("/dev/nvidiactl").exists()


def cpu_build() -> str | None:
    """The newest CPU build of PyTorch that the package index has; None where it has none, or cannot be asked."""
    answer = subprocess.run([*PIP, "index", "versions", "torch"], capture_output=True, text=True, check=False)
    builds = re.findall(r"\b((\d+)\.(\d+)[\d.]*\+cpu)\b", answer.stdout)
    fitting = [(int(major), int(minor), version) for version, major, minor in builds]
    return max((one for one in fitting if one[:2] >= OLDEST), default=(0, 0, None))[2]


def has_uv() -> bool:
    """Install uv, and say whether that went well."""
    command = [*PIP, "install", "--quiet", "-c", str(ROOT / "constraints.txt"), "uv"]
    return subprocess.call(command, stderr=subprocess.DEVNULL) == 0


def is_built() -> bool:
    """Whether the package of this checkout is installed here, and its kernels are newer than their sources."""
    try:
        found = importlib.util.find_spec("verydeep._native")
    except ImportError:
        return False
    if found is None or found.origin is None:
        return False
    ours = str(ROOT / "verydeep") in importlib.import_module("verydeep").__path__
    sources = [ROOT / "pyproject.toml", *(path for path in (ROOT / "native").rglob("*") if path.is_file())]
    return ours and Path(found.origin).stat().st_mtime > max(path.stat().st_mtime for path in sources)


def main() -> int:
    """Install, and say before how much it will be."""
    what = sys.argv[1]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    wanted = wants_cpu_build(what)
    build = cpu_build() if wanted else None
    if build:
        print(f"PyTorch {build}, a CPU build, as there is no NVIDIA GPU: 1.3 GB in all.")
        constraints = re.sub(r"^torch==.*$", "", constraints, flags=re.M) + f"torch=={build}\n"
    elif wanted:
        print(
            "PyTorch with CUDA: 5.8 GB in all. There is no NVIDIA GPU, but the package index has no CPU build. "
            "To save 4 GB, install one from pytorch.org into this environment first."
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(constraints)
        file.flush()
        words = ["install", "--quiet", "-c", file.name]
        # pip's own settings, an index of a company say, are unknown to uv; and where the CPU build lies pip knows.
        if not build and has_uv():
            uv = [str(Path(sys.executable).parent / "uv"), "pip", *words, "--python", sys.executable]
            extras = [word for extra in re.findall(r"\w+", what) for word in ("--extra", extra)]
            asked = ["-r", "pyproject.toml", *extras] if is_built() else ["-e", what]
            if subprocess.call([*uv, *asked], cwd=ROOT) == 0:
                return 0
            print("uv could not install; pip tries.")
        return subprocess.call([*PIP, *words, "--no-compile", "-e", what], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
