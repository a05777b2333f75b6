"""The models that come with the package: they answer by their names, and as they did when they were made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep
from verydeep.api.inspect import inspect
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.evaluation.protocols import Dense
from verydeep.processor import native_module
from verydeep.run_folder import CONFIG, WEIGHTS
from verydeep.weights.source import EMBEDDED, locate

MODELS = {"cifar10": ("MIT", 10), "tiny-imagenet": ("MIT; trained on ImageNet, for research", 200)}
"""Licence of the weights, and number of classes."""
ENGINES = ["native", "torch"] if native_module() else ["torch"]


def views() -> dict[str, Image.Image]:
    """Photographs that come with scikit-learn, and pieces of them."""
    from sklearn.datasets import load_sample_images

    temple, flower = (Image.fromarray(image) for image in load_sample_images().images)
    return {
        "temple": temple,
        "flower": flower,
        "roof": temple.crop((150, 60, 420, 250)),
        "petals, small": flower.crop((200, 80, 460, 340)).resize((32, 32), Image.Resampling.BILINEAR),
    }


def recorded(model: str) -> dict[str, dict[str, list[float]]]:
    """Posteriors of `views`, at each Q, by the native engine in float32."""
    return json.loads(Path(__file__).with_name(f"{model}_posteriors.json").read_text(encoding="utf-8"))


def posteriors(name: str, engine: str) -> dict[str, dict[str, list[float]]]:
    model = verydeep.load(name, engine=engine)
    return {
        name: {
            str(scale): [float(f"{number:.6f}") for number in model.posterior([image], Dense((scale,)))[0]]
            for scale in (64, 96)
        }
        for name, image in views().items()
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("engine", ENGINES)
def test_posteriors_are_those_that_were_recorded(model, engine):
    found, right = posteriors(model, engine), recorded(model)
    assert found.keys() == right.keys()
    for name, scales in right.items():
        for scale, numbers in scales.items():
            np.testing.assert_allclose(found[name][scale], numbers, atol=2e-5, err_msg=f"{name}, Q = {scale}")
            assert sum(numbers) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_it_is_small_and_its_card_tells_what_it_is(model):
    folder, (licence, num_classes) = EMBEDDED[model], MODELS[model]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    card = (folder / "README.md").read_text(encoding="utf-8")
    for section in ("## Results", "## Usage", "## Training", "## Limits", "## Licence"):
        assert section in card
    assert "10,000" in card and "top-1 error" in card
    facts = inspect(model).to_dict()
    assert facts["configuration"] == "D" and facts["licence"] == licence and "float16" in facts["dtypes"]
    assert facts["origin"] == "this package, which it comes with"
    assert len(verydeep.load(model).class_names) == num_classes


def test_a_folder_of_data_of_its_name_is_not_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10" / "train").mkdir(parents=True)
    assert locate("cifar10").path == EMBEDDED["cifar10"]
    for name in (CONFIG, WEIGHTS):  # a model is
        (tmp_path / "cifar10" / name).write_bytes((EMBEDDED["cifar10"] / name).read_bytes())
    assert locate("cifar10").path == Path("cifar10")


def test_it_predicts_by_its_name_in_a_process_of_its_own(tmp_path):
    views()["temple"].save(tmp_path / "temple.png")
    done = subprocess.run(
        [sys.executable, "-m", "verydeep", "predict", "cifar10", "temple.png", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "airplane" in done.stdout


def test_no_classifier_is_laid_beside_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("cifar10").mkdir()  # data of the same name
    with pytest.raises(SystemExit) as caught:
        main(["transfer", "cifar10", "digits"])
    assert caught.value.code == 2 and "with --out RUN" in capsys.readouterr().err
    assert not list(Path("cifar10").iterdir())


@pytest.mark.skipif(not native_module(), reason="the native engine is not built")
def test_engines_are_measured_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--engines", "verydeep", "--batch-sizes", "1", "--rounds", "1", "--seconds", "0.01", "--json"]
    main(["bench", "cifar10", *words])
    told = json.loads(capsys.readouterr().out)
    assert "cifar10" in json.dumps(told) and "D at width 0.25" in json.dumps(told)


def test_half_is_of_a_folder_for_the_hub_and_of_numbers_that_fit(tmp_path, capsys):
    from verydeep.errors import UsageError
    from verydeep.exports.hub_folder import halved

    with pytest.raises(SystemExit) as caught:
        main(["export", "cifar10", "--out", str(tmp_path / "model.onnx"), "--half"])
    assert caught.value.code == 2 and "--to hub" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"conv1_1.weight has numbers above 65504"):
        halved({"conv1_1.weight": np.full((2, 3), 7e4, np.float32)})


def test_it_is_described_by_its_name(capsys):
    main(["describe", "cifar10", "--json"])
    described = json.loads(capsys.readouterr().out)
    assert described == verydeep.describe(EMBEDDED["cifar10"]).to_dict()
    with pytest.raises(UsageError, match="no configuration is called 'cifar11'"):
        verydeep.describe("cifar11")
