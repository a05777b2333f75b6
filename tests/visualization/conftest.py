"""Small models and images to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_images import save, smooth

from verydeep.api.new import new
from verydeep.run_folder import read_model, write_model


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread: layers as narrow as these only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """Net A, narrow, of windows of 32 pixels."""
    path = tmp_path_factory.mktemp("models") / "A"
    new("A", path, width=0.1, num_classes=3, window=32)
    return path


@pytest.fixture(scope="session")
def bare(small, tmp_path_factory) -> Path:
    """The same without FC layers."""
    config, tensors = read_model(small)
    architecture = replace(config.architecture, num_classes=0)
    path = tmp_path_factory.mktemp("models") / "features"
    kept = {name: tensors[name] for name in architecture.tensors}
    write_model(path, replace(config, architecture=architecture, class_names=()), kept)
    return path


@pytest.fixture(scope="session")
def desk(tmp_path_factory, photographs) -> Path:
    """Images of many kinds; two are parts of real photographs."""
    desk = tmp_path_factory.mktemp("desk")
    for name, photograph in zip(("content", "style"), photographs, strict=True):
        save(desk / f"{name}.png", photograph[100:292:3, 200:488:3])  # 96x64
    Image.fromarray(smooth(50, 40)).convert("L").save(desk / "gray.png")
    clear = np.dstack([smooth(50, 40), np.full((40, 50), 90, np.uint8)])
    save(desk / "clear.png", clear)
    Image.fromarray(smooth(50, 40)).convert("CMYK").save(desk / "cmyk.jpg")
    save(desk / "tiny.png", smooth(8, 8))
    save(desk / "huge.jpg", smooth(3000, 2000))
    save(desk / "strip.png", smooth(600, 3))
    (desk / "text.png").write_text("no image")
    return desk
