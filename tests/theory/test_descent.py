"""Descent on whole matrices follows the theory of single features; its gradients are those of autograd."""

import numpy as np
import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.theory import (
    Descent,
    Pairs,
    RandomMasking,
    StaticViews,
    aligned_start,
    conserved,
    critical_time,
    descend,
    gradients,
    plateau,
    rank_correlation,
)

LAM, RHO = np.array([1.0, 1.0, 0.5]), np.array([0.9, 0.6, 0.9])
PAIRS = Pairs.of(LAM, RHO)
# theory of section 12's check with start .05, and the plateaus
CHECK = {
    ("jepa", 1): ((24.35, 25.81, 48.71), (0.9, 0.6, 0.9)),
    ("jepa", 2): ((49.22, 65.56, 98.45), (0.81, 0.36, 0.81)),
    ("jepa", 3): ((64.06, 113.74, 128.11), (0.729, 0.216, 0.729)),
    ("mae", 1): ((3.67, 3.46, 7.33), (0.9487, 0.7746, 0.9487)),
    ("mae", 2): ((4.25, 4.21, 8.51), (0.9322, 0.7114, 0.9322)),
    ("mae", 3): ((3.93, 3.96, 7.85), (0.9240, 0.6817, 0.9240)),
}
FLIP_LAM, FLIP_RHO = np.linspace(1, 1.2, 6), np.linspace(0.95, 0.5, 6)


@pytest.mark.parametrize("objective, depth", CHECK)
def test_whole_matrices_learn_at_the_exact_times(objective, depth):
    times, plateaus = CHECK[objective, depth]
    exact = critical_time(objective, depth, LAM, RHO, start=0.05)
    assert np.allclose(exact, times, atol=5.1e-3, rtol=0)
    top = plateau(objective, depth, RHO)
    assert np.allclose(top, plateaus, atol=5.1e-5, rtol=0)
    found = descend(
        objective, PAIRS, depth, start=0.05, step=0.02 if objective == "jepa" else 0.01,
        duration=1.6 * max(times), generator=np.random.default_rng(7),
    )  # fmt: skip
    assert np.allclose(found.critical_times(0.9 * top), exact, rtol=0.01)
    assert np.allclose(found.amplitudes[-1], top, rtol=0.01)
    assert conserved(found.layers, found.predictor) < 1e-3
    # V W = rho I for an MAE; V = U diag(rho) U^T for a JEPA, where W = U diag(rho^L).
    if objective == "mae":
        assert np.allclose(found.predictor @ found.encoder, np.diag(RHO), atol=0.01)
    else:
        u = found.encoder / found.amplitudes[-1]
        assert np.allclose(u.T @ found.predictor @ u, np.diag(RHO), atol=0.01)


def test_a_little_more_covariance_wins_over_a_noisy_feature():
    """lam .5 against 1 is nearly enough at depth 3 for rho .9 against .6; .6 is."""
    times = critical_time("jepa", 3, [1.0, 0.5, 0.6], [0.6, 0.9, 0.9], start=0.05)
    assert times[1] > times[0] > times[2] and times[2] == pytest.approx(106.8, abs=0.05)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_depth_flip_is_seen_in_whole_matrices(depth):
    for objective in ("jepa", "mae"):
        exact = critical_time(objective, depth, FLIP_LAM, FLIP_RHO)
        step, every = (0.1, 10) if objective == "jepa" else (0.02, 1)
        found = descend(
            objective,
            Pairs.of(FLIP_LAM, FLIP_RHO),
            depth,
            duration=1.05 * exact.max(),
            step=step,
            every=every,
        )
        times = found.critical_times(0.9 * plateau(objective, depth, FLIP_RHO))
        assert np.abs(times / exact - 1).max() < 0.03
        if objective == "mae":
            assert rank_correlation(times, FLIP_LAM) == pytest.approx(-1)
        elif depth != 2:
            assert rank_correlation(times, FLIP_RHO) == pytest.approx(1 if depth == 1 else -1)
        else:
            assert abs(rank_correlation(times, FLIP_RHO)) < 0.5


@pytest.mark.parametrize("objective, depth", [("jepa", 1), ("jepa", 2), ("mae", 2)])
def test_sampled_batches_learn_within_a_tenth(objective, depth):
    exact = critical_time(objective, depth, FLIP_LAM, FLIP_RHO)
    found = descend(
        objective, StaticViews.realising(FLIP_LAM, FLIP_RHO), depth, batch=256,
        duration=1.12 * exact.max(), step=0.1 if objective == "jepa" else 0.02,
    )  # fmt: skip
    times = found.critical_times(0.9 * plateau(objective, depth, FLIP_RHO))
    assert np.abs(times / exact - 1).max() < 0.1


def test_scaling_the_data_scales_the_times():
    for objective in ("jepa", "mae"):
        one, four = (
            descend(
                objective,
                Pairs(c * PAIRS.lam, c * PAIRS.variance),
                2,
                start=0.05,
                step=0.02 / c,
                duration=60 / c,
            )
            for c in (1.0, 4.0)
        )
        assert np.allclose(one.times, 4 * four.times) and np.allclose(one.amplitudes, four.amplitudes)


def test_features_are_found_in_any_basis_and_negative_ones_die():
    pairs = RandomMasking.exponential(8, 2.0, 0.4).pairs()
    exact = critical_time("jepa", 2, pairs.lam, pairs.rho, start=0.01)
    assert np.isinf(exact[:5]).all()
    found = descend("jepa", pairs, 2, step=0.2, duration=1.05 * exact[-1], every=5)
    times = found.critical_times(np.maximum(0.9 * plateau("jepa", 2, pairs.rho), 1e-2 + 1e-9))
    assert times[-1] == pytest.approx(exact[-1], rel=0.01) and np.isinf(times[:5]).all()
    assert (found.amplitudes[-1, :5] < 0.01).all()


def test_without_the_stop_gradient_no_feature_grows():
    found = descend("jepa", PAIRS, 2, start=0.05, step=0.05, duration=100.0, stop_gradient=False)
    assert (np.diff(found.amplitudes, axis=0) <= 1e-12).all()
    assert (descend("jepa", PAIRS, 2, start=0.05, step=0.05, duration=100.0).amplitudes[-1] > 0.3).all()


@pytest.mark.parametrize("objective", ["jepa", "mae", "jepa without stop-gradient"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_equal_autograd(objective, depth):
    name, held = objective[:4].strip(), "without" not in objective
    rng, d, n = np.random.default_rng(depth), 4, 50
    layers, v = [rng.normal(size=(d, d)) for _ in range(depth)], rng.normal(size=(d, d))
    x, y = rng.normal(size=(2, n, d))
    found = gradients(name, layers, v, x.T @ x / n, y.T @ x / n, None if held else y.T @ y / n)
    weights = [torch.tensor(w, requires_grad=True) for w in (*layers, v)]
    ours, theirs = torch.tensor(x), torch.tensor(y)
    for weight in weights[:-1]:
        ours = ours @ weight.T
        theirs = theirs @ weight.T if name == "jepa" else theirs
    loss = 0.5 * (ours @ weights[-1].T - (theirs.detach() if held else theirs)).square().sum() / n
    loss.backward()
    for weight, gradient in zip(weights, [*found[0], found[1]], strict=True):
        assert np.allclose(weight.grad.numpy(), gradient, rtol=1e-12, atol=1e-12)


def test_the_start_is_aligned():
    for objective in ("jepa", "mae"):
        layers, v = aligned_start(objective, 3, 4, 0.01, np.random.default_rng(0))
        w = layers[2] @ layers[1] @ layers[0]
        assert np.allclose(w.T @ w, 1e-4 * np.eye(4)) and conserved(layers, v) < 1e-12
        assert np.allclose(
            v @ w if objective == "mae" else v, 0.01 ** ((4 if objective == "mae" else 1) / 3) * np.eye(4)
        )


def test_crossings_are_found_between_records():
    curve = np.array([[0.0, 0.0], [1.0, 0.1], [3.0, 0.2]])
    found = Descent(np.array([0.0, 2.0, 4.0]), curve, [np.eye(2)], np.eye(2))
    assert found.critical_times([2.0, 0.5]).tolist() == [3.0, np.inf]


def test_samples_need_a_family():
    with pytest.raises(ConfigError, match="batch needs a family"):
        descend("jepa", PAIRS, 1, duration=1.0, batch=8)
    with pytest.raises(ConfigError, match="depth >= 1"):
        descend("jepa", PAIRS, 0, duration=1.0)
