"""A network that the native engine has no kernels for: auto takes torch, native refuses, other libraries too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.inference import open_engine
from verydeep.inference.torch_engine import TorchEngine
from verydeep.weights.opening import open_source
from verydeep.weights.writing import write_for


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "shallow"
    new("B-5x5", path, width=0.05, num_classes=3, window=32)
    return path


def test_auto_takes_torch(model):
    assert isinstance(open_engine(model), TorchEngine)


def test_native_refuses_in_one_sentence(model):
    with pytest.raises(UsageError, match="B-5x5 has 5x5; use `engine=torch`"):
        open_engine(model, engine="native")


def test_it_predicts(model, tmp_path, capsys):
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    main(["predict", str(model), str(tmp_path / "grey.png"), "--top", "1"])
    assert "%" in capsys.readouterr().out


@pytest.mark.parametrize("library", ["torchvision", "timm", "keras"])
def test_other_libraries_have_no_such_network(library, model, tmp_path):
    config, tensors = open_source(model)
    out = tmp_path / ("shallow.weights.h5" if library == "keras" else "shallow.pth")
    with pytest.raises(UsageError, match=r"has no network .*B-5x5"):
        write_for(library, out, config, tensors)
    assert not out.exists()
