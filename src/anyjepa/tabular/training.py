"""Training of a network on rows or tokens: AdamW, cosine, the weights with the lowest loss on the validation rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

from anyjepa.errors import ConfigError
from anyjepa.randomness import derive_seed, permutation
from anyjepa.tabular.fitting import Clock, FitConfig, FittedModel, Samples, known
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.networks import make_network

FEWEST_STEPS = 8
"""Steps of an epoch for which batches are made smaller than asked for."""
CHUNK = 4096
"""Rows of a forward pass without gradient."""


class Scaling:
    """Numbers as they were read, or by their quantiles in the training rows to a normal distribution; NaN stays.

    Args:
        kind: ``"read"`` or ``"quantile"``.
        inputs: training samples; tokens are left as they are.
        seed: of the rows quantiles are taken from, where there are many.
    """

    def __init__(self, kind: str, inputs: Inputs, seed: int) -> None:
        if kind not in ("read", "quantile"):
            raise ConfigError(f"unknown scaling '{kind}': quantile or read")
        self._where = np.flatnonzero([size == 0 for size in inputs.cardinalities])
        self._fitted: QuantileTransformer | None = None
        if kind == "quantile" and inputs.rows is not None and len(self._where):
            self._fitted = QuantileTransformer(
                output_distribution="normal",
                n_quantiles=max(min(len(inputs) // 30, 1000), min(10, len(inputs))),
                random_state=derive_seed(seed, "tables/quantiles") % 2**32,
            ).fit(inputs.rows[:, self._where])

    def __call__(self, inputs: Inputs) -> Tensor:
        """The samples as the network reads them, (N, d) or (N, d, h)."""
        values = inputs.values
        if self._fitted is not None:
            values = values.copy()
            values[:, self._where] = self._fitted.transform(values[:, self._where])
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


class NetworkModel(FittedModel):
    """A trained network with the scaling of its training rows, in eval mode on the CPU."""

    def __init__(self, network: nn.Module, scaling: Scaling, device: str) -> None:
        self.network, self._scaling, self._device = network, scaling, device

    def outputs(self, inputs: Inputs) -> Float[Tensor, "N K"]:
        network = self.network.to(self._device)
        try:
            return _outputs(network, self._scaling(inputs), self._device)
        finally:
            network.cpu()


def fit_network(
    kind: str,
    settings: Mapping[str, Any],
    samples: Samples,
    config: FitConfig,
    *,
    seed: int,
    device: str = "cpu",
) -> NetworkModel:
    """Train a network until the loss on the validation rows has not fallen for ``patience`` epochs.

    Args:
        kind: one of :data:`~anyjepa.tabular.networks.NETWORKS`.
        settings: all of them, see :mod:`~anyjepa.tabular.settings`.
        samples: training and validation samples.
        config: the limits.
        seed: of weights, dropout and order.
        device: where to compute.

    Raises:
        ConfigError: the loss was never finite.
        MissingExtraError: a package is needed.
    """
    clock, target = Clock(config.seconds), samples.target
    scaling = Scaling(str(settings.get("scaling", "read")), samples.train, seed)
    inputs, labels = scaling(samples.train).to(device), target.encode(samples.labels).to(device)
    judges, answers = known(samples)
    valid = scaling(judges)
    count = len(inputs)
    steps = math.ceil(count / min(config.batch_size, max(count // FEWEST_STEPS, 16)))
    best, state, rounds, cut = math.inf, None, 0, False
    # The generators of the caller are not touched.
    with torch.random.fork_rng(devices=None if device.startswith("cuda") else []):
        torch.manual_seed(derive_seed(seed, "tables/weights"))
        network = make_network(kind, settings, samples.train, target.outputs).to(device)
        optimizer = torch.optim.AdamW(
            _groups(network, float(settings["weight_decay"])), lr=float(settings["lr"])
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * steps)
        for epoch in range(config.epochs):
            network.train()
            for rows in np.array_split(permutation(seed, "tables/order", epoch, count), steps):
                index = torch.from_numpy(rows).to(device)
                optimizer.zero_grad()
                target.losses(network(inputs[index]), labels[index]).mean().backward()
                optimizer.step()
                schedule.step()
                if clock.over:
                    cut = True
                    break
            loss = _loss(network, valid, answers, samples, device)
            if loss < best:
                best, rounds = loss, epoch + 1
                state = copy.deepcopy(network.state_dict())
            if cut or epoch + 1 - rounds >= config.patience:
                break
    if state is None:
        raise ConfigError(
            f"{kind} does not learn: its loss is no number; settings were {dict(settings)}: use a smaller lr"
        )
    network.load_state_dict(state)
    fitted = NetworkModel(network.cpu().eval(), scaling, device)
    fitted.settings, fitted.loss, fitted.rounds, fitted.cut = dict(settings), best, rounds, cut
    return fitted


def _loss(network: nn.Module, valid: Tensor, answers: Tensor, samples: Samples, device: str) -> float:
    return samples.target.losses(_outputs(network, valid, device), answers).mean().item()


def _outputs(network: nn.Module, values: Tensor, device: str) -> Float[Tensor, "N K"]:
    network.eval()
    with torch.inference_mode():
        found = [network(part.to(device)).float().cpu() for part in values.split(CHUNK)]
    return torch.cat(found)


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices alone."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": group, "weight_decay": rate}
        for group, rate in ((matrices, decay), (vectors, 0.0))
        if group
    ]
