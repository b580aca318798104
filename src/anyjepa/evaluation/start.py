"""Where trained probes start: at the linear probe on pooled features.

From a zero layer the first steps of fine-tuning change good features to fit a head that knows nothing (LP-FT: Kumar et al., arXiv
2202.10054); and a probe that contains the linear one should not end below it for want of steps.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.linear import fit_linear
from anyjepa.evaluation.ridge import fit_ridge
from anyjepa.evaluation.task import REGRESS, Target

UNSEEN = -10.0
"""Score of a class that has no label here: next to nothing after the softmax."""


@torch.no_grad()
def start_linear(
    layer: nn.Linear, features: Float[np.ndarray, "n F"], labels: Labels, target: Target, seed: int
) -> None:
    """Set a layer to the linear probe: logistic regression for classes, ridge for values.

    Args:
        layer: F inputs, ``target.outputs`` outputs.
        features: what the layer will see of the training samples.
        labels: (n,) their classes or values.
        target: the training labels; those of ``labels`` may lack some of its classes.
        seed: of the folds that choose the L2 strength.
    """
    places = np.zeros(1, np.int64)
    if target.task == REGRESS:
        ridge = fit_ridge(features, target.encode(labels).double().numpy())
        mean, scale = ridge.mean, ridge.scale
        rows, intercept = ridge.model.coef_[None], np.atleast_1d(ridge.model.intercept_)
    else:
        linear = fit_linear(features, labels, seed=seed)
        mean, scale = linear.mean, linear.scale
        rows, intercept = linear.model.coef_, linear.model.intercept_
        if len(rows) == 1:  # two classes share one row
            rows, intercept = np.concatenate((-rows, rows)) / 2, np.concatenate((-intercept, intercept)) / 2
        places = np.searchsorted(target.classes, linear.model.classes_)
    weight = rows / scale
    bias = intercept - weight @ mean
    layer.weight.zero_()
    layer.bias.fill_(UNSEEN)
    layer.weight[places] = _like(layer.weight, weight)
    layer.bias[places] = _like(layer.bias, bias)


def _like(parameter: Tensor, values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64)).to(parameter)
