"""Mean and deviation against NumPy's, and preprocessing that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from verydeep.errors import DataError, ModelError
from verydeep.images.color import Preprocessing, measure

PICTURES = st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda shape: arrays.arrays(np.uint8, (*shape, 3))
)


@given(PICTURES)
def test_measure_is_numpys_mean_and_standard_deviation(pictures):
    mean, deviation = measure(pictures)
    levels = pictures.astype(np.float64)
    np.testing.assert_allclose(mean, levels.mean((0, 1, 2)), rtol=1e-12, atol=1e-9)
    # The difference of squares of 255^2 leaves about 1e-11 of variance, 1e-5 of deviation.
    np.testing.assert_allclose(deviation, levels.std((0, 1, 2)), rtol=1e-9, atol=1e-5)


def test_measure_of_photographs(photographs):
    mean, deviation = measure(photographs)
    levels = np.stack(photographs).astype(np.float64)
    np.testing.assert_allclose(mean, levels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, levels.std((0, 1, 2)), rtol=1e-12)


def test_each_picture_weighs_the_same_whatever_its_size():
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    mean, deviation = measure([black, white])
    assert mean.tolist() == [127.5] * 3
    assert deviation.tolist() == [127.5] * 3


def test_measure_takes_one_pass():
    pictures = iter([np.full((2, 2, 3), level, np.uint8) for level in (10, 20)])
    assert measure(pictures)[0].tolist() == [15, 15, 15]


def test_measure_of_nothing_is_refused():
    with pytest.raises(DataError, match="no picture"):
        measure([])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mean": (1.0, 2.0)}, "three"),
        ({"mean": (1.0, 2.0), "deviation": (1.0, 1.0, 1.0, 1.0)}, "three"),
        ({"mean": (1.0, 2.0, float("nan"))}, "nan"),
        ({"mean": (1.0, 2.0, float("inf"))}, "inf"),
        ({"deviation": (1.0, 1.0)}, "three"),
        ({"deviation": (1.0, 0.0, 1.0)}, "positive"),
        ({"deviation": (1.0, -2.0, 1.0)}, "-2.0"),
        ({"deviation": (1.0, float("nan"), 1.0)}, "nan"),
        ({"channels": "RBG"}, "'RBG'"),
        ({"channels": "rgb"}, "'rgb'"),
    ],
)
def test_preprocessing_refuses(fields, said):
    with pytest.raises(ModelError, match=said):
        Preprocessing(**fields)


def test_preprocessing_is_oxfords_where_nothing_is_said():
    assert Preprocessing() == Preprocessing((123.68, 116.779, 103.939), (1, 1, 1), "RGB")
