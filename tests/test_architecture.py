"""Imports go one way, and nothing heavy is imported before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "verydeep"
HEAVY = {"torch", "numpy", "PIL", "sklearn", "matplotlib", "jinja2", "rich"}

# What each room may import of ours, besides errors and files, which all may.
MAY_IMPORT = {
    "configurations": set(),
    "images": {"images", "interrupts"},
    "network": {"network", "configurations"},
    "run_folder": {"configurations", "images", "safetensors_file"},
    "distributed": set(),
    "interrupts": set(),
    "processes": {"distributed", "engines", "interrupts"},
    "bench": {"bench", "engines", "images", "configurations", "run_folder", "report"},
    "training": {"training", "network", "images", "run_folder", "distributed", "interrupts"},
    "safetensors_file": set(),
    "weights": {"weights", "configurations", "images", "run_folder", "safetensors_file"},
    "engines": {"engines", "network", "configurations", "run_folder", "weights"},
    "evaluation": {"evaluation", "engines", "images", "configurations", "run_folder", "distributed"},
    "layers": {"layers", "weights", "engines", "network", "images", "configurations", "run_folder"},
    "extraction": {
        "extraction",
        "weights",
        "layers",
        "evaluation",
        "engines",
        "network",
        "images",
        "configurations",
        "run_folder",
        "distributed",
    },
    "transfer": {"transfer", "extraction", "evaluation", "images"},
    "perceptual": {
        "perceptual",
        "weights",
        "layers",
        "engines",
        "network",
        "images",
        "configurations",
        "run_folder",
    },
    "looking": {
        "looking",
        "perceptual",
        "layers",
        "report",
        "evaluation",
        "network",
        "images",
        "configurations",
        "run_folder",
    },
    "model": {"engines", "evaluation", "images", "run_folder", "weights", "extraction", "transfer"},
    "export": {"export", "engines", "evaluation", "configurations", "run_folder"},
    "study": {"study", "report", "evaluation", "training", "configurations", "run_folder"},
    "report": {"report", "engines", "evaluation", "images", "configurations", "run_folder", "training"},
}


def rooms_imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("verydeep."):
            found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room):
    alone = PACKAGE / f"{room}.py"
    files = [alone] if alone.exists() else sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        assert rooms_imported(file) - MAY_IMPORT[room] <= {"errors", "files", "notes"}, file


def test_every_room_is_held_to_it():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__", "errors", "files", "notes", "cli", "commands"} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import verydeep", set()),
        ("import verydeep.cli", set()),
        ("import verydeep.configurations", set()),
        ("import verydeep.training.recipe", set()),
        ("import verydeep.run_folder, verydeep.images.sources, verydeep.engines", {"numpy", "PIL"}),
        ("import verydeep.evaluation.evaluate, verydeep.model", {"numpy", "PIL"}),
        (
            "import verydeep.commands.describe, verydeep.commands.report, verydeep.commands.convert, "
            "verydeep.commands.export, verydeep.commands.push",
            {"numpy", "PIL"},
        ),
        ("import verydeep.commands.study", {"numpy", "PIL", "rich"}),
    ],
)
def test_nothing_heavy_is_imported(statement, allowed):
    code = f"{statement}\nimport sys\nprint(*({HEAVY!r} & sys.modules.keys()))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(output.split()) <= allowed
