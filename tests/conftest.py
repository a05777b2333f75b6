"""Shapes in signatures are checked at run time in every test; data and models that tests share are made here."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# torch and NumPy read these when they are first imported. One thread: two processes test at once on two cores, and
# threads of OpenMP that wait for each other there cost a third of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.pop("COLUMNS", None)  # tables are as wide as where nobody says

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

CHECKED = ["network.vgg", "network.normalize", "network.synchronized", "inference.native", "inference.strips"]
_hook = install_import_hook([f"verydeep.{name}" for name in CHECKED], "beartype.beartype")


def pytest_collection_modifyitems(items):
    """The long tests first: they stay with one process, which makes what they share once, and none comes last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_the_tests_own(tmp_path_factory):
    """What training measures is not left behind in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Two real photographs of 427x640 pixels that scikit-learn brings along."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_sample_images

        return [np.array(image) for image in load_sample_images().images]
