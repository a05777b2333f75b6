"""mypy's word on the package: a test among others, as it takes one core and half a minute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_mypy_finds_nothing():
    outcome = subprocess.run(
        [sys.executable, "-m", "mypy"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
