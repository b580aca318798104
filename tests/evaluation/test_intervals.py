"""Intervals, the paired bootstrap and the correction for many comparisons, against formulas and packages of others."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import mean_absolute_error, r2_score

from anyjepa.evaluation.intervals import Tally, bootstrap, holm, middle, two_sided, wilson


def hits(values) -> Tally:
    right = np.asarray(values, dtype=np.float64)
    nothing = np.zeros_like(right)
    return Tally(np.ones_like(right), right, nothing, nothing, nothing)


@pytest.mark.parametrize("right, n", [(0, 10), (10, 10), (7, 10), (450, 1000), (999, 1000)])
def test_wilson_is_scipys(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_bootstrap_of_a_share_has_the_binomial_spread():
    tally = hits(np.arange(500) < 400)
    (drawn,) = bootstrap([(tally, "accuracy")], seed=0)
    assert drawn.mean() == pytest.approx(0.8, abs=2e-3)
    assert drawn.std() == pytest.approx(np.sqrt(0.8 * 0.2 / 500), rel=0.08)
    assert middle(drawn) == pytest.approx(wilson(0.8, 500), abs=0.005)
    assert (bootstrap([(tally, "accuracy")], seed=0) == drawn).all()


def test_values_are_scored_like_scikit_learn_does():
    draw = np.random.default_rng(0)
    truth, answers = 1000 + draw.normal(size=(2, 60))
    error = answers - truth
    ones = np.ones(60)
    tally = Tally(ones, 0 * ones, error**2, np.abs(error), truth)
    weights = draw.integers(0, 4, size=(3, 60)).astype(float)
    for row, r2, mae in zip(weights, tally.score("r2", weights), tally.score("mae", weights), strict=True):
        assert r2 == pytest.approx(r2_score(truth, answers, sample_weight=row))
        assert mae == pytest.approx(mean_absolute_error(truth, answers, sample_weight=row))


def test_paired_differences_are_judged_like_mcnemars_test():
    """Two readers that agree on most samples: paired, 30 against 10 is no accident, though the shares lie close."""
    both, first, second, neither = 800, 30, 10, 160
    one = np.r_[np.ones(both + first), np.zeros(second + neither)]
    other = np.r_[np.ones(both), np.zeros(first), np.ones(second), np.zeros(neither)]
    a, b = bootstrap([(hits(one), "accuracy"), (hits(other), "accuracy")], seed=1)
    exact = binomtest(first, first + second).pvalue
    assert exact < 0.01 and two_sided(a - b) < 0.01
    low, high = middle(a - b)
    assert 0 < low < 0.02 < high
    # Unpaired, the same two shares could not be told apart.
    assert wilson(one.mean(), 1000)[0] < other.mean()
    even = np.r_[np.ones(both), np.zeros(20), np.ones(20), np.zeros(neither)]
    c, d = bootstrap([(hits(even[::-1]), "accuracy"), (hits(even), "accuracy")], seed=1)
    assert two_sided(c - d) > 0.5 and two_sided(c - c) == 1.0


def test_no_difference_is_found_as_rarely_as_promised():
    found = 0
    for trial in range(100):
        draw = np.random.default_rng(trial)
        a, b = bootstrap(
            [(hits(draw.random(200) < 0.7), "accuracy") for _ in range(2)], seed=trial, resamples=500
        )
        found += two_sided(a - b) < 0.05
    assert found <= 12


def test_holm_corrects_for_the_number_of_comparisons():
    # By hand: sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
