"""Second moments of the data families: the digits of the specification, and what sampling finds."""

import numpy as np
import pytest

from anyjepa.errors import ConfigError
from anyjepa.theory import Pairs, RandomMasking, StaticViews, Temporal

FAMILIES = {
    "static": StaticViews((1.0, 2.0, 0.5), (0.5, 2.0, 0.1)),
    "static, several tokens": StaticViews((1.0, 2.0), (0.5, 2.0), visible=4),
    "temporal": Temporal((0.99, 0.9, 0.5), (0.5, 1.0, 2.0), (0.1, 0.5, 1.0)),
    "masking": RandomMasking.exponential(8, 2.0, 0.4),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_have_the_moments(name):
    family, n = FAMILIES[name], 200_000
    x, y = family.sample(n, np.random.default_rng(0))
    sxx, syx, syy = family.pairs().matrices()
    for found, exact in ((x.T @ x / n, sxx), (y.T @ x / n, syx), (y.T @ y / n, syy)):
        assert np.abs(found - exact).max() < 0.02 * np.abs(sxx).max()


def test_frames_of_opposite_orders():
    pairs = FAMILIES["temporal"].pairs()
    assert np.allclose(pairs.lam, [0.2475, 0.9, 2.0], atol=5e-5)
    assert np.allclose(pairs.rho, [0.9519, 0.72, 0.4], atol=5e-5)


def test_masked_fields_have_features_that_die():
    pairs = FAMILIES["masking"].pairs()
    lam = (-0.1892, -0.1626, -0.1626, -0.1441, -0.1441, 0.0976, 0.0976, 0.6073)
    variance = (0.2739, 0.2916, 0.2916, 0.3039, 0.3039, 0.4651, 0.4651, 0.8049)
    assert np.allclose(pairs.lam, lam, atol=5.1e-5)
    assert np.allclose(pairs.variance, variance, atol=5.1e-5)
    assert np.allclose(pairs.rho[-3:], [0.21, 0.21, 0.7545], atol=5.1e-5)
    assert pairs.lam.sum() == pytest.approx(0, abs=1e-12)


def test_more_visible_tokens_are_a_cleaner_context():
    one, four = (StaticViews((1.0,), (1.0,), visible=k).pairs().rho[0] for k in (1, 4))
    assert one == pytest.approx(0.5) and four == pytest.approx(0.8)


def test_families_are_made_for_a_spectrum():
    lam, rho = np.array([1.0, 1.1, 0.4]), np.array([0.9, 0.5, 0.3])
    for family in (StaticViews.realising(lam, rho), Temporal.realising(lam, rho, (0.95, 0.9, 0.5))):
        assert np.allclose(family.pairs().lam, lam) and np.allclose(family.pairs().rho, rho)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="0 < rho <= 1"):
        StaticViews.realising([1.0], [1.2])
    with pytest.raises(ConfigError, match="rho <= persistence"):
        Temporal.realising([1.0], [0.9], (0.8,))
    with pytest.raises(ConfigError, match="circulant"):
        RandomMasking(np.diag([1.0, 2.0]), 0.5)
    with pytest.raises(ConfigError, match="visible"):
        RandomMasking(np.eye(4), 1.0)
    with pytest.raises(ConfigError, match="same sign"):
        Pairs.of([1.0], [-0.5])
