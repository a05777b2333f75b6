"""Paired comparisons: the bootstrap by counts is the one by images, and McNemar's test is the binomial one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from verydeep.evaluation.paired import bootstrap, mcnemar


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


def test_several_seeds_are_resampled_too():
    """Written out: seeds are drawn, and images, the same for all seeds."""
    random = np.random.default_rng(0)
    values = (random.random((4, 300)) < np.array([[0.2], [0.25], [0.3], [0.4]])).astype(float)
    found = bootstrap(values)
    assert found.over_seeds
    assert found.mean == pytest.approx(values.mean())
    means = []
    for _ in range(10_000):
        images = values[:, random.integers(0, 300, 300)].mean(1)
        means.append(images[random.integers(0, 4, 4)].mean())
    low, high = np.quantile(means, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03 * (high - low))
    alone = bootstrap(values.mean(0))
    assert found.high - found.low > 1.5 * (alone.high - alone.low)


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
