"""Trained probes start where the linear probe ends."""

import numpy as np
import pytest
import torch
from torch import nn

from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.ridge import fit_ridge
from anyjepa.evaluation.start import UNSEEN, start_linear
from anyjepa.evaluation.task import Target


def features(n: int = 200, width: int = 5) -> np.ndarray:
    x = np.random.default_rng(0).normal(3, 2, (n, width)).astype(np.float32)
    x[:, 4] = 7.0  # carries nothing
    return x


def started(x: np.ndarray, labels: np.ndarray, target: Target) -> nn.Linear:
    layer = nn.Linear(x.shape[1], target.outputs)
    start_linear(layer, x, labels, target, seed=0)
    return layer


@pytest.mark.parametrize("classes", [2, 4])
def test_a_layer_answers_as_logistic_regression(classes):
    x = features()
    labels = 10 * np.digitize(x[:, 0] - x[:, 1], np.linspace(-3, 3, classes + 1)[1:-1])
    target, fitted = Target.of(labels), fit_linear(x, labels, seed=0)
    with torch.no_grad():
        scores = started(x, labels, target)(torch.from_numpy(x))
    np.testing.assert_array_equal(target.decode(scores), fitted.predict(x))
    wanted = fitted.model.predict_proba((x - fitted.mean) / fitted.scale)
    np.testing.assert_allclose(scores.softmax(1).numpy(), wanted, atol=1e-4)


def test_a_layer_answers_as_ridge():
    x = features()
    values = (x[:, 0] * 2 - x[:, 2] + 5).astype(np.float64)
    target = Target.of(values)
    with torch.no_grad():
        found = target.decode(started(x, values, target)(torch.from_numpy(x)))
    np.testing.assert_allclose(found, values, atol=0.02)
    standard = fit_ridge(x, target.encode(values).double().numpy()).predict(x)
    np.testing.assert_allclose(found, standard * target.scale + target.mean, atol=1e-3)


def test_a_class_without_labels_is_never_the_answer():
    x = features()
    labels = (x[:, 0] > 3).astype(np.int64)
    target = Target.of(np.array([0, 1, 2]))
    layer = started(x, labels, target)
    assert layer.bias[2].item() == UNSEEN and not layer.weight[2].any()
