"""Paired comparisons: the bootstrap by counts is the one by images, and McNemar's test is the binomial one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from verydeep.evaluation.paired import STUDENT, bootstrap, mcnemar


def by_images(values: np.ndarray, resamplings: int = 20_000) -> tuple[float, float]:
    """The same, written out: every image drawn."""
    chosen = np.random.default_rng(1).integers(0, len(values), (resamplings, len(values)))
    low, high = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    return float(low), float(high)


@pytest.mark.parametrize("kinds", [2, 3, 7])
def test_the_interval_is_that_of_resampled_images(kinds):
    values = np.random.default_rng(0).integers(-1, kinds - 1, 400) / 3
    found = bootstrap(values)
    low, high = by_images(values)
    assert found.mean == pytest.approx(values.mean())
    width = high - low
    assert found.low == pytest.approx(low, abs=0.03 * width)
    assert found.high == pytest.approx(high, abs=0.03 * width)


def test_the_interval_of_a_share_is_the_binomial_one():
    values = np.arange(1000) < 200
    found = bootstrap(values.astype(float))
    error = 1.96 * np.sqrt(0.2 * 0.8 / 1000)
    assert (found.low, found.high) == pytest.approx((0.2 - error, 0.2 + error), abs=0.003)


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_the_interval_over_three_seeds_holds_the_truth_as_often_as_it_says(spread):
    """Each network has an error of its own around 20 %; what is asked is the error of all such networks."""
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        errors = 0.2 + spread * random.standard_normal((3, 1))
        found = bootstrap((random.random((3, 4000)) < errors).astype(float), trial, 2000)
        assert found.over_seeds
        hits += found.low < 0.2 < found.high
    assert hits / 400 >= 0.93


def test_students_t_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    assert pytest.approx(stats.t.ppf(0.975, range(2, 2 + len(STUDENT))), abs=1e-3) == STUDENT


def test_seeds_that_differ_widen_the_interval_and_the_images_still_count():
    alike = np.tile(np.arange(1000) < 200, (3, 1)).astype(float)
    apart = np.stack([np.arange(1000) < count for count in (190, 200, 210)]).astype(float)
    same, wider, single = bootstrap(alike), bootstrap(apart), bootstrap(alike[0])
    assert (same.low, same.high) == pytest.approx((single.low, single.high))
    assert wider.high - wider.mean == pytest.approx(
        np.hypot(same.high - same.mean, 4.303 * 0.01 / 3**0.5), rel=0.05
    )


def test_two_seeds_are_averaged_first():
    values = np.random.default_rng(0).integers(0, 2, (2, 300)).astype(float)
    assert bootstrap(values) == bootstrap(values.mean(0))
    assert not bootstrap(values).over_seeds


def test_one_value_has_no_width():
    found = bootstrap(np.full(7, 0.25))
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)


def test_it_is_the_same_each_time():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values) == bootstrap(values)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50))
def test_mcnemar_is_the_binomial_test(only_first, only_second, both):
    first = np.r_[np.ones(only_first), np.zeros(only_second), np.ones(both)].astype(bool)
    second = np.r_[np.zeros(only_first), np.ones(only_second), np.ones(both)].astype(bool)
    count = only_first + only_second
    expected = binomtest(only_first, count, 0.5).pvalue if count else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_images():
    first = np.arange(12_000) < 6_500
    assert mcnemar(first, ~first) == pytest.approx(binomtest(6_500, 12_000, 0.5).pvalue, rel=1e-9)
