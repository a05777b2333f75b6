"""A tiny model, a folder of images with awkward names, and a result of the one on the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.accounting import num_parameters
from verydeep.api.new import new
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts
from verydeep.images.sources import open_data
from verydeep.run_folder import JOURNAL, read_model, write_model

AWKWARD = '<b>&"ü $x$'
CLASSES = (AWKWARD, "cat", "日本 dog")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: layers as narrow as these only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for label, name in enumerate(sorted(CLASSES)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 80, (40, 50, 3)) + 80 * (np.arange(3) == label)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "A"
    new("A", path, num_classes=3, width=0.03, window=32)
    config, tensors = read_model(path)
    write_model(path, replace(config, class_names=tuple(sorted(CLASSES))), tensors)
    records = [
        {"step": 0, "epoch": 0, "loss": 1.0, "error": 60.0, "rate": 0.1, "seconds": 0.5, "wait": 0.0},
        *(
            {
                "step": epoch + 1,
                "epoch": epoch,
                "train_loss": 1 / (epoch + 1),
                "train_error": 50.0 / (epoch + 1),
                "validation_error": 40.0 * (2 - epoch),
                "best": True,
                "images_per_second": 10.0,
            }
            for epoch in range(3)
        ),
    ]
    (path / JOURNAL).write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def make_result(run: Path, photos: Path) -> Callable[..., Evaluation]:
    def make(wrong: int = 2, **changes: object) -> Evaluation:
        images = open_data(str(photos)).held_out
        labels = images.labels
        said = np.where(np.arange(len(labels)) < wrong, (labels + 1) % 3, labels)
        posteriors = np.full((len(labels), 3), 0.1)
        posteriors[np.arange(len(labels)), said] = 0.8
        architecture = read_model(run)[0].architecture
        test = MemberFacts(
            model=str(run),
            configuration="A",
            width=0.03,
            batch_norm=False,
            parameters=num_parameters(architecture),
            trained_scale=(37, 37),
            views="dense",
            scales=(37,),
            mirror=True,
        )
        of_test = {name: changes.pop(name) for name in list(changes) if hasattr(test, name)}
        facts = Facts(
            members=(replace(test, **of_test),),  # type: ignore[arg-type]
            data=str(photos),
            part="held-out",
            class_names=images.class_names,
            seconds=0.5,
        )
        return Evaluation(replace(facts, **changes), images.names, labels, posteriors)  # type: ignore[arg-type]

    return make
