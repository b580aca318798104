"""Ridge and nearest neighbours for measured values, against scikit-learn and against plain loops."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier

from anyjepa.errors import DataError
from anyjepa.evaluation.knn import knn_regress
from anyjepa.evaluation.ridge import fit_ridge


def classes(seed: int, n: int = 90, dim: int = 12):
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return (np.eye(3, dim)[labels] + 0.8 * draw.normal(size=(n, dim))).astype(np.float32), labels


def values(seed: int, n: int = 80, dim: int = 6, noise: float = 0.3):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, dim)).astype(np.float32)
    return x, 20 + 5 * (x @ np.arange(1, dim + 1) + noise * draw.normal(size=n))


def standard(x):
    return (x.astype(np.float64) - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("n, dim", [(90, 12), (30, 50)])
def test_the_classifier_is_scikit_learns(n, dim):
    (x, y), (other, _) = classes(0, n, dim), classes(1, n, dim)
    found = fit_ridge(x, y, strengths=(0.03,))
    expected = RidgeClassifier(alpha=0.03 * n).fit(standard(x), y)
    z = (other - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(
        found.model.decision_function((other - found.mean) / found.scale),
        expected.decision_function(z),
        atol=1e-4,
    )
    assert (found.predict(other) == expected.predict(z)).all()


def test_the_regression_is_scikit_learns():
    (x, y), (other, _) = values(0), values(1)
    found = fit_ridge(x, y, strengths=(0.1,)).predict(other)
    expected = Ridge(alpha=0.1 * len(y)).fit(standard(x), y).predict((other - x.mean(0)) / x.std(0))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_strength_has_the_least_leave_one_out_error():
    x, y = values(0, n=25, dim=20, noise=60.0)
    strengths, errors = (10.0, 1.0, 0.1, 0.001), []
    for strength in strengths:
        left = []
        for i in range(len(y)):
            rest = np.arange(len(y)) != i
            model = Ridge(alpha=strength * len(y)).fit(standard(x)[rest], y[rest])
            left.append(float((model.predict(standard(x)[i : i + 1])[0] - y[i]) ** 2))
        errors.append(np.mean(left))
    assert 0 < int(np.argmin(errors)) < 3  # or the test could not tell
    assert fit_ridge(x, y, strengths=strengths).strength == pytest.approx(strengths[int(np.argmin(errors))])


def test_one_value_is_refused():
    with pytest.raises(DataError, match="at least two"):
        fit_ridge(np.zeros((4, 2), dtype=np.float32), np.full(4, 0.5))


def test_neighbours_average_values_by_similarity():
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32)
    asked = np.array([[3.0, 0.0]], dtype=np.float32)
    weights = np.exp(np.array([1.0, 0.8]) / 0.5)
    found = knn_regress(train, np.array([1.0, 5.0, 100.0]), asked, k=2, temperature=0.5)
    assert found == pytest.approx((weights @ [1.0, 5.0]) / weights.sum())
