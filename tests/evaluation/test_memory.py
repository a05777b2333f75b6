"""A test's memory does not grow with the number of its images, nor with its networks beyond their own."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from verydeep.configurations import Architecture
from verydeep.evaluation.evaluate import Member, evaluate
from verydeep.evaluation.protocols import PROTOCOLS, protocols_of
from verydeep.images.color import Preprocessing
from verydeep.images.image_set import ImageSet
from verydeep.inference import Engine
from verydeep.run_folder import ModelConfig, TrainedOn

CLASSES = 5


@dataclass
class BlankEngine(Engine):
    """A network that answers at once: what is left is what the test itself needs."""

    config: ModelConfig

    def weights(self) -> dict[str, np.ndarray]:
        return {}

    def run(self, images: np.ndarray, outputs) -> dict[str, np.ndarray]:
        rows, columns = self.config.architecture.score_map_size(*images.shape[1:3])
        return {"fc8": np.zeros((len(images), CLASSES, rows, columns), np.float32)}


@dataclass(frozen=True)
class Drawn:
    """Images of several shapes that are made when they are read."""

    def read(self, number: int, smallest_side: int | None = None) -> np.ndarray:
        width, height = self.size(number)
        return np.full((height, width, 3), number % 256, np.uint8)

    def size(self, number: int) -> tuple[int, int]:
        return ((160, 120), (120, 160), (150, 120), (120, 120))[number % 4]

    def stamp(self, number: int) -> str:
        return ""

    def select(self, numbers) -> Drawn:
        return self


def peak(count: int, views: str, num_networks: int) -> int:
    """Bytes that a test of `count` images takes at its peak, beside their posteriors."""
    config = ModelConfig(
        Architecture("A", CLASSES, 0.05, 64), Preprocessing(), tuple(map(str, range(CLASSES))), TrainedOn((80, 80))
    )
    names = tuple(map(str, range(count)))
    images = ImageSet(names, np.zeros(count, np.int64), config.class_names, Drawn())
    members = [Member(BlankEngine(config), protocols_of(views, (80, 96), mirror=True))] * num_networks
    tracemalloc.start()
    posteriors = evaluate(members, images, batch_size=16)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.allclose(posteriors, 1 / CLASSES)
    return most - posteriors.nbytes


@pytest.mark.parametrize("views", PROTOCOLS)
def test_four_hundred_images_take_no_more_than_a_hundred(views):
    peak(8, views, 1)  # what is imported and cached at first use
    assert peak(400, views, 1) < 1.25 * peak(100, views, 1) + 150_000  # half a kilobyte an image: the plan


@pytest.mark.heavy
def test_seven_networks_take_no_more_than_one_beside_their_own():
    peak(8, "both", 1)
    assert peak(100, "both", 7) < 1.25 * peak(100, "both", 1) + 100_000
