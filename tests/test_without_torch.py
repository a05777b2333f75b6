"""An installation with the core dependencies alone: what it can do, how large it is, and how quick.

The environment is made by pip, from the versions of constraints.txt and from this checkout, and from wherever pip
finds packages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from sample_images import class_folders
from without_torch import WITHOUT_TORCH

from verydeep.api.new import new
from verydeep.evaluation.results import read_result
from verydeep.processor import native_module

ROOT = Path(__file__).parent.parent
CORE = ("numpy", "pillow", "safetensors", "tyro", "rich")
CLASSES = ("blue", "green", "red")

needs_native = pytest.mark.skipif(native_module() is None, reason="built without a C++ compiler")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data"), dict.fromkeys(CLASSES, 5))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "D"
    new("D", path, width=0.1, num_classes=3, window=32)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "class_names": CLASSES}))
    return path


def run(python: Path | str, *words: object, **options) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)


WHAT_IS_IMPORTED = """
import sys
from verydeep.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "jaxtyping", "sklearn", "matplotlib", "torchvision", "scipy"} & sys.modules.keys()
    print(*sorted(heavy), file=sys.stderr)
"""


@needs_native
@pytest.mark.parametrize("command", ["predict", "evaluate", "fuse", "report", "describe", "engines"])
def test_torch_is_not_imported_where_it_is_installed(command, model, data, tmp_path):
    results = [tmp_path / f"{number}.npz" for number in range(2)]
    evaluate = ["evaluate", model, data, "--part", "all", "--out"]
    words = {
        "predict": ["predict", model, data / "red" / "0.jpg", "--maps", tmp_path / "maps"],
        "evaluate": [*evaluate, results[0]],
        "fuse": ["fuse", *results, "--out", tmp_path / "fused.npz"],
        "report": ["report", *results],
        "describe": ["describe", "D"],
        "engines": ["engines"],
    }[command]
    if command in ("fuse", "report"):
        for result in results:
            assert run(sys.executable, "-m", "verydeep", *evaluate, result, cwd=ROOT).returncode == 0
    outcome = run(sys.executable, "-c", WHAT_IS_IMPORTED, *words, cwd=ROOT)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout
    assert outcome.stderr.splitlines()[-1] == ""  # nothing of these was imported


@needs_native
def test_what_takes_long_to_import_is_not_imported_for_the_first_answer(model, data):
    script = (
        "import os, sys; from verydeep.cli import main; main(sys.argv[1:])\n"
        "print(*({'typeguard', 'verydeep.weights.importing'} & sys.modules.keys()))\n"
        "print('OPENBLAS_NUM_THREADS' in os.environ)"
    )
    outcome = run(sys.executable, "-c", script, "predict", model, data / "red" / "0.jpg", cwd=ROOT)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-2:] == ["", "False"]


@pytest.fixture(scope="module")
def core(tmp_path_factory) -> Path:
    """An environment of what `pip install .` brings, and nothing else: not pip itself; its interpreter.

    The native engine is not compiled once more: it is the one that the environment of the tests has.
    """
    folder = tmp_path_factory.mktemp("core") / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = ("-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    outcome = run(sys.executable, *pip, "-C", "wheel.cmake=false", "-c", ROOT / "constraints.txt", ROOT)
    assert outcome.returncode == 0, outcome.stderr
    (package,) = folder.glob("lib/python*/site-packages/verydeep")
    shutil.copy(native_module().__file__, package)
    return python


def megabytes(folder: Path) -> float:
    files = [file.lstat() for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum(file.st_blocks * 512 for file in files) / 1e6


@needs_native
@pytest.mark.slow
@pytest.mark.heavy  # `make wheel` installs without torch too
def test_pip_install_gives_everything_but_training(core, model, data, tmp_path):
    def verydeep(*words: object) -> str:
        outcome = run(core.parent / "verydeep", *words, cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    assert megabytes(core.parent.parent) < 140  # the README says 139
    installed = json.loads(run(sys.executable, "-m", "pip", "--python", core, "list", "--format", "json").stdout)
    assert set(CORE) <= {package["name"].lower() for package in installed}
    assert run(core, "-c", "import torch", cwd=tmp_path).returncode == 1

    predicted = json.loads(verydeep("predict", model, data / "red" / "0.jpg", "--json"))
    assert sum(one["probability"] for one in predicted["predictions"]) == pytest.approx(1)
    for count in (1, 2):
        words = ("--part", "all", "--batch-size", 4, "--out", tmp_path / f"{count}.npz")
        printed = verydeep("evaluate", model, data, *words, "--processes", count)
        assert ": 15 images, " in printed
    one, two = (read_result(tmp_path / f"{count}.npz") for count in (1, 2))
    assert (one.posteriors == two.posteriors).all()
    torchs = tmp_path / "torch.npz"
    words = (model, data, "--part", "all", "--engine", "torch", "--out", torchs)
    assert run(sys.executable, "-m", "verydeep", "evaluate", *words, cwd=ROOT).returncode == 0
    np.testing.assert_allclose(one.posteriors, read_result(torchs).posteriors, atol=1e-4)
    assert "15 images" in verydeep("fuse", tmp_path / "1.npz", tmp_path / "2.npz", "--out", tmp_path / "both.npz")
    assert "D ×0.1" in verydeep("report", tmp_path / "1.npz", tmp_path / "both.npz")
    for form in (("--out", "-"), ("--json",)):
        assert "D" in verydeep("report", tmp_path / "1.npz", *form)
    assert "138,357,544" in verydeep("describe", "D")
    assert re.search(r"torch", verydeep("engines"))
    trained = run(core.parent / "verydeep", "train", data, tmp_path / "run", cwd=tmp_path)
    assert trained.returncode == 1
    assert "torch, which is not installed; run: pip install 'verydeep[train]'" in trained.stderr
    assert 0.05 < seconds_to_the_first_answer(core.parent / "verydeep", model, data / "red" / "0.jpg") < 0.8


def seconds_to_the_first_answer(verydeep: Path, model: Path, image: Path) -> float:
    """Of processors' time, the least of seven, as the machine may be busy."""
    seconds = []
    for _ in range(7):
        before = os.times()
        assert run(verydeep, "predict", model, image, cwd=model).returncode == 0
        after = os.times()
        spent = after.children_user - before.children_user + after.children_system - before.children_system
        seconds.append(spent)
    return min(seconds)


@pytest.mark.parametrize("module", ["verydeep.perceptual", "verydeep.perceptual.lpips", "verydeep.network.vgg"])
def test_a_module_that_needs_torch_names_the_extra(module):
    code = WITHOUT_TORCH.partition("from verydeep.cli")[0] + f"import {module}"
    ended = run(sys.executable, "-c", code)
    assert "needs torch, which is not installed; run: pip install 'verydeep[train]'" in ended.stderr
    assert "No module named" not in ended.stderr
