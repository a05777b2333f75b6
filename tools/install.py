"""Install the package from this checkout into the environment of the Python that runs this.

    python tools/install.py '.[train,report]'

On Linux the usual build of PyTorch brings CUDA, some 5 GB. Without an NVIDIA GPU a CPU build does the same; it is
taken where the package index has one.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OLDEST = (2, 9)  # as pyproject.toml wants it


def wants_cpu_build() -> bool:
    """Whether PyTorch would bring CUDA for nothing: on Linux, on x86-64, without an NVIDIA GPU."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and not Path("/dev/nvidiactl").exists()


def cpu_build() -> str | None:
    """The newest CPU build of PyTorch that the package index has; None where it has none, or cannot be asked."""
    answer = subprocess.run([*PIP, "index", "versions", "torch"], capture_output=True, text=True, check=False)
    builds = re.findall(r"\b((\d+)\.(\d+)[\d.]*\+cpu)\b", answer.stdout)
    fitting = [(int(major), int(minor), version) for version, major, minor in builds]
    return max((one for one in fitting if one[:2] >= OLDEST), default=(0, 0, None))[2]


def main() -> int:
    """Install, and say before how much it will be."""
    what = sys.argv[1]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    build = cpu_build() if wants_cpu_build() else None
    if build:
        print(f"PyTorch {build}, a CPU build, as there is no NVIDIA GPU: 1.3 GB in all.")
        constraints = re.sub(r"^torch==.*$", "", constraints, flags=re.M) + f"torch=={build}\n"
    elif wants_cpu_build():
        print(
            "PyTorch with CUDA: 5.8 GB in all. There is no NVIDIA GPU, but the package index has no CPU build. "
            "To save 4 GB, install one from pytorch.org into this environment first."
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(constraints)
        file.flush()
        return subprocess.call([*PIP, "install", "--quiet", "-c", file.name, "-e", what], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
