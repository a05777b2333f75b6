"""Mean and deviation against NumPy's, and preprocessing that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sample_images import class_folders
from sklearn.decomposition import PCA

from verydeep.errors import DataError, ModelError
from verydeep.images import color
from verydeep.images.color import ColorShift, Preprocessing, PrincipalColors, measure
from verydeep.images.image_set import Arrays, ImageSet
from verydeep.images.sources import open_data
from verydeep.images.statistics import measure_images

IMAGES = st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda shape: arrays.arrays(np.uint8, (*shape, 3))
)


@given(IMAGES)
def test_measure_is_numpys_mean_and_standard_deviation(images):
    found = measure(images)
    levels = images.astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(found.mean, levels.mean(0), rtol=1e-12, atol=1e-9)
    # The difference of squares of 255^2 leaves about 1e-11 of variance, 1e-5 of deviation.
    np.testing.assert_allclose(found.deviation, levels.std(0), rtol=1e-9, atol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(levels, rowvar=False, bias=True), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("at_once", [1 << 20, 1000])
def test_measure_of_photographs(photographs, monkeypatch, at_once):
    monkeypatch.setattr(color, "AT_ONCE", at_once)
    found = measure(photographs)
    levels = np.stack(photographs).astype(np.float64)
    np.testing.assert_allclose(found.mean, levels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.deviation, levels.std((0, 1, 2)), rtol=1e-12)


def test_each_image_weighs_the_same_whatever_its_size():
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    found = measure([black, white])
    assert found.mean.tolist() == [127.5] * 3
    assert found.deviation.tolist() == [127.5] * 3


def test_measure_takes_one_pass():
    images = iter([np.full((2, 2, 3), level, np.uint8) for level in (10, 20)])
    assert measure(images).mean.tolist() == [15, 15, 15]


def test_measure_of_nothing_is_refused():
    with pytest.raises(DataError, match="none of the images"):
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


def test_principal_colors_are_scikit_learns(photographs):
    colors = measure(photographs).principal_colors
    pixels = np.concatenate([image.reshape(-1, 3) for image in photographs]) / 255
    reference = PCA(3).fit(pixels)
    np.testing.assert_allclose(colors.eigenvalues, reference.explained_variance_, rtol=1e-4)
    cosines = np.abs((np.array(colors.eigenvectors) * reference.components_).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def long_statistics(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """In two passes, with 64 bits of mantissa."""
    levels = [image.reshape(-1, 3).astype(np.longdouble) for image in images]
    mean = sum(one.mean(0) for one in levels) / len(levels)
    return mean, sum((one - mean).T @ (one - mean) / len(one) for one in levels) / len(levels)


def almost_white(random: np.random.Generator) -> np.ndarray:
    return (np.full((300, 400, 3), 250) + (random.random((300, 400, 3)) < 3e-5)).astype(np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        almost_white,  # a few pixels of a million differ from the others, by one level
        lambda random: random.integers(0, 256, (70, 90, 3), np.uint8),
        lambda random: np.tile(random.integers(200, 203, (1, 1, 3), np.uint8), (50, 60, 1)),
    ],
)
def test_statistics_are_right_to_the_last_digits_whatever_the_mean(make):
    random = np.random.default_rng(0)
    images = [make(random) for _ in range(20)]
    mean, covariance = long_statistics(images)
    found = measure(images)
    np.testing.assert_allclose(found.mean, mean.astype(float), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, covariance.astype(float), atol=1e-9 * float(covariance.max()))


def test_a_set_of_one_color_does_not_vary():
    found = measure([np.full((999, 777, 3), (250, 3, 77), np.uint8)] * 3)
    assert not found.covariance.any()
    np.testing.assert_allclose(found.mean, (250, 3, 77), rtol=1e-15)


def test_a_shift_is_alexnets_formula():
    colors = PrincipalColors((0.2, 0.02, 0.004), ((0.6, 0.8, 0.0), (-0.8, 0.6, 0.0), (0.0, 0.0, 1.0)))
    normals = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    shifts = ColorShift(colors, 0.1).shifts(normals)
    first = 0.1 * (1.0 * 0.2 * np.array([0.6, 0.8, 0]) - 2 * 0.02 * np.array([-0.8, 0.6, 0]) + [0, 0, 0.5 * 0.004])
    np.testing.assert_allclose(shifts, [255 * first, [0, 0, 0]], rtol=1e-6)
    root = ColorShift(colors, 0.1, "root").shifts(np.array([[1.0, 0, 0]]))
    np.testing.assert_allclose(root, [25.5 * np.sqrt(0.2) * np.array([0.6, 0.8, 0])], rtol=1e-6)


def test_shifts_vary_as_the_colors_do(photographs):
    colors = measure(photographs).principal_colors
    shifts = ColorShift(colors, 0.1).shifts(np.random.default_rng(0).standard_normal((200_000, 3)))
    vectors, values = np.array(colors.eigenvectors), np.array(colors.eigenvalues)
    wanted = 25.5**2 * vectors.T @ np.diag(values**2) @ vectors
    np.testing.assert_allclose(np.cov(shifts, rowvar=False), wanted, rtol=0.03, atol=1e-3 * wanted.max())


@pytest.mark.parametrize(
    "fields",
    [
        ((1.0, 0.5), np.eye(3).tolist()),
        ((1.0, 0.5, -0.1), np.eye(3).tolist()),
        ((1.0, 0.5, float("nan")), np.eye(3).tolist()),
        ((1.0, 0.5, 0.1), np.eye(2).tolist()),
        ((1.0, 0.5, 0.1), [[float("inf"), 0, 0], [0, 1, 0], [0, 0, 1]]),
    ],
)
def test_principal_colors_that_cannot_be_are_refused(fields):
    with pytest.raises(ModelError):
        PrincipalColors(*fields)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_measured_is_remembered_until_a_file_changes(tmp_path, cache, monkeypatch):
    images = open_data(str(class_folders(tmp_path / "data", {"cat": 6, "dog": 4}))).train
    first = measure_images(images)
    [kept] = cache.rglob("*.json")
    read = []
    monkeypatch.setattr(type(images.source), "read", lambda self, *rest: read.append(rest))
    again = measure_images(images)
    assert not read
    np.testing.assert_array_equal(again.covariance, first.covariance)
    np.testing.assert_array_equal(again.mean, first.mean)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    path = images.source.paths[0]
    path.write_bytes(images.source.paths[-1].read_bytes())
    assert (measure_images(images).mean != first.mean).any()
    kept.write_text("{")
    assert np.isfinite(measure_images(images).mean).all()


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path, cache):
    cache.write_text("a file where the folder should be")
    images = open_data(str(class_folders(tmp_path / "data", {"cat": 6, "dog": 4}))).train
    assert np.isfinite(measure_images(images).mean).all()


def test_of_very_many_images_some_evenly_spaced_are_measured():
    shades = tuple(np.full((2, 2, 3), level, np.uint8) for level in range(100))
    images = ImageSet(tuple(map(str, range(100))), np.zeros(100, np.int64), ("a",), Arrays(shades))
    counted = []
    assert measure_images(images, most=10, advance=counted.append).mean.tolist() == [45.0] * 3
    assert len(counted) == 10
