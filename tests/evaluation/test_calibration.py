"""Calibration against scikit-learn's curve, and on posteriors that are right by construction."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from verydeep.evaluation.calibration import calibration
from verydeep.evaluation.posterior import softmax


@given(st.integers(2, 7), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_bins_are_scikit_learns(num_classes, count, seed):
    random = np.random.default_rng(seed)
    posteriors = softmax(2 * random.normal(size=(count, num_classes)))
    labels = random.integers(0, num_classes, count)
    ours = calibration(posteriors, labels)
    right = (posteriors.argmax(1) == labels).astype(int)
    accuracy, confidence = calibration_curve(right, posteriors.max(1), n_bins=10)
    np.testing.assert_allclose(ours.accuracy, accuracy)
    np.testing.assert_allclose(ours.confidence, confidence)
    assert ours.count.sum() == count


def test_honest_posteriors_have_hardly_an_error_and_sure_ones_a_large_one():
    random = np.random.default_rng(0)
    posteriors = softmax(random.normal(size=(40_000, 4)))
    labels = (posteriors.cumsum(1) < random.random((40_000, 1))).sum(1)
    assert calibration(posteriors, labels).expected_error < 1
    assert calibration(posteriors**8 / (posteriors**8).sum(1, keepdims=True), labels).expected_error > 15
