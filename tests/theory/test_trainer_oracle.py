"""The library's own trainer, loss and target rule against the closed form: times, plateaus, and what breaks them."""

import numpy as np
import pytest
import torch
from linear_method import Fresh, LinearConfig, LinearJEPA, Population, descent_optim, level, trained

from anyjepa.contract import Batch
from anyjepa.theory import Pairs, StaticViews, critical_time, gradients, plateau

LAM, RHO, D = np.array([1.0, 1.0, 0.5]), np.array([0.9, 0.6, 0.9]), 3
PAIRS = Pairs.of(LAM, RHO)
RATE = 0.4
MEAN = 2 / D
"""The library's l2 is a mean over elements: 2 / d times the theory's half of a sum."""


def measure(tmp_path, depth=2, rate=RATE, unit=None, cls=LinearJEPA, data=None, **fields):
    """Measured over exact times."""
    objective = fields.get("objective", "jepa")
    exact = critical_time(objective, depth, LAM, RHO, start=0.05)
    unit = rate * MEAN if unit is None else unit
    # The end of an MAE is slow: it needs longer from 90 % to its plateau.
    steps = int((1.06 if objective == "jepa" else 1.8) * exact.max() / unit)
    config = LinearConfig(D, depth, descent_optim(rate, steps), **fields)
    found, times = trained(
        cls(config), data or Population(PAIRS), tmp_path / "run", unit, level(config, PAIRS)
    )
    return found, times / exact


def test_the_pairs_have_the_moments_of_the_theory():
    x, y = Population(PAIRS).views.double().unbind(2)
    for found, exact in zip((x.T @ x, y.T @ x, y.T @ y), PAIRS.matrices(), strict=True):
        assert np.allclose(found.numpy() / len(x), exact, atol=1e-6)


def test_the_loss_and_its_gradients_are_those_of_the_theory():
    method = LinearJEPA(LinearConfig(D, 3, descent_optim(0.1, 1)))
    views = Population(PAIRS).views
    method(Batch(views, torch.arange(len(views)))).loss.backward()
    of_layers, of_predictor = gradients("jepa", *method.matrices(), *PAIRS.matrices()[:2])
    for module, exact in zip(
        [*method.context_encoder.layers(), method.predictor.proj], [*of_layers, of_predictor], strict=True
    ):
        assert np.allclose(module.weight.grad, MEAN * exact, rtol=1e-4, atol=1e-7)


def test_the_optimizer_descends_plainly(tmp_path):
    method = LinearJEPA(LinearConfig(D, 2, descent_optim(RATE, 1)))
    layers, v = method.matrices()
    of_layers, of_predictor = gradients("jepa", layers, v, *PAIRS.matrices()[:2])
    trained(method, Population(PAIRS), tmp_path / "run", 1.0, [1.0] * D)
    after = [w - RATE * MEAN * g for w, g in zip([*layers, v], [*of_layers, of_predictor], strict=True)]
    found_layers, found_v = method.matrices()
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip([*found_layers, found_v], after, strict=True))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_jepa_learns_at_the_exact_times(tmp_path, depth):
    found, ratio = measure(tmp_path, depth)
    assert np.abs(ratio - 1).max() < 0.03, ratio
    assert np.allclose(found.amplitudes[-1], plateau("jepa", depth, RHO), rtol=0.05)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_autoencoder_learns_at_the_exact_times(tmp_path, depth):
    found, ratio = measure(tmp_path, depth, rate=0.05, objective="mae")
    assert np.abs(ratio - 1).max() < 0.03, ratio
    assert np.allclose(found.amplitudes[-1], plateau("mae", depth, RHO), rtol=0.05)


def test_sampled_batches_learn_within_a_tenth(tmp_path):
    _, ratio = measure(tmp_path, data=Fresh(StaticViews.realising(LAM, RHO), 256))
    assert np.abs(ratio - 1).max() < 0.1, ratio


def test_a_moving_average_without_memory_is_a_stop_gradient(tmp_path):
    _, ratio = measure(tmp_path, target="ema", ema=(0.0, 0.0))
    assert np.abs(ratio - 1).max() < 0.03, ratio


def test_without_the_stop_gradient_nothing_is_learned(tmp_path):
    found, ratio = measure(tmp_path, target="online")
    assert np.isinf(ratio).all()
    assert (found.amplitudes[-1] < found.amplitudes[0]).all(), "the encoder shrinks from the start on"


def test_a_frozen_copy_as_target_has_another_end(tmp_path):
    found, _ = measure(tmp_path, target="frozen")
    # It is an MAE whose targets are 0.05 x: v w = 0.05 rho.
    assert (found.amplitudes[-1] < 0.5 * plateau("jepa", 2, RHO)).all()


def test_a_slow_target_is_late(tmp_path):
    _, ratio = measure(tmp_path, target="ema", ema=(0.99, 0.99))
    assert ratio.min() > 1.03, ratio


class Summed(LinearJEPA):
    """Half of the sum over dimensions, the mean over samples."""

    def compare(self, predicted, target, masks):
        return 0.5 * (predicted - target).square().sum(dim=-1).mean()


def test_another_reduction_has_other_times(tmp_path):
    _, ratio = measure(tmp_path, cls=Summed, unit=RATE)
    assert np.abs(ratio - 1).max() < 0.03, ratio
    # The same run, read as if the loss were the library's mean over elements.
    assert np.abs(MEAN * ratio - 1).min() > 0.03


def test_another_distance_has_other_times(tmp_path):
    _, ratio = measure(tmp_path, distance="smooth_l1")
    assert np.abs(ratio - 1).min() > 0.03, ratio
