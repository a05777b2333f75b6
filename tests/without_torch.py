"""The command in a process that cannot import torch: `[sys.executable, "-c", WITHOUT_TORCH, *words]`."""

from __future__ import annotations

WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
from verydeep.cli import main
main(sys.argv[1:])
"""
