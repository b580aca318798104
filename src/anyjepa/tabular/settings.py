"""What is tuned of each model: a default, and where random trials are drawn from.

The ranges are those of Gorishniy et al. (arXiv 2106.11959) and of the benchmark of T-JEPA, cut to what a CPU trains in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyjepa.errors import ConfigError, nearest
from anyjepa.randomness import derive_seed
from anyjepa.tabular.adapters import ADAPTERS, conv_fits
from anyjepa.tabular.inputs import Inputs

BOOSTING_ADAPTERS = ("pca", "max_pool", "mean_pool", "flatten")
"""How trees, which train no adapter, see tokens: their principal components, a number a column, or all channels."""
MOST_FLAT = 1024
"""Channels up to which random trials give trees all of them."""


@dataclass(frozen=True)
class OneOf:
    """Draws one of some values, each as likely."""

    values: tuple[Any, ...]
    """The values."""

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them."""
        return self.values[int(rng.integers(len(self.values)))]


@dataclass(frozen=True)
class Between:
    """Draws a number between two others."""

    low: float
    """The least."""
    high: float
    """The largest."""
    log: bool = False
    """Evenly in the logarithm."""
    or_zero: bool = False
    """Half of the draws are 0."""

    def draw(self, rng: np.random.Generator) -> float:
        """A number."""
        if self.or_zero and rng.random() < 0.5:
            return 0.0
        if self.log:
            return float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return float(rng.uniform(self.low, self.high))


Space = Mapping[str, tuple[Any, OneOf | Between]]
"""For each setting its default, and how it is drawn."""

_DROPOUT = Between(0.0, 0.5, or_zero=True)
_NETWORK: Space = {
    "lr": (1e-3, Between(1e-4, 5e-3, log=True)),
    "weight_decay": (1e-5, Between(1e-6, 1e-2, log=True, or_zero=True)),
}
_SPACES: dict[str, Space] = {
    "mlp": {
        "layers": (3, OneOf((1, 2, 3, 4))),
        "width": (256, OneOf((64, 128, 256, 512))),
        "dropout": (0.1, _DROPOUT),
        **_NETWORK,
    },
    "resnet": {
        "layers": (2, OneOf((1, 2, 3, 4))),
        "width": (192, OneOf((64, 128, 192, 256))),
        "hidden_factor": (2.0, Between(1.0, 3.0)),
        "dropout": (0.15, _DROPOUT),
        "residual_dropout": (0.0, _DROPOUT),
        **_NETWORK,
    },
    "dcnv2": {
        "cross_layers": (2, OneOf((1, 2, 3, 4))),
        "layers": (2, OneOf((1, 2, 3))),
        "width": (256, OneOf((64, 128, 256))),
        "dropout": (0.1, _DROPOUT),
        "stacked": (False, OneOf((False, True))),
        **_NETWORK,
    },
    "ft-transformer": {
        "layers": (2, OneOf((1, 2, 3))),
        "width": (64, OneOf((32, 64))),
        "heads": (4, OneOf((4,))),
        "hidden_factor": (4 / 3, OneOf((1.0, 4 / 3, 2.0))),
        "attention_dropout": (0.15, Between(0.0, 0.3)),
        "dropout": (0.05, Between(0.0, 0.3, or_zero=True)),
        **_NETWORK,
    },
    "autoint": {
        "layers": (2, OneOf((1, 2, 3))),
        "width": (32, OneOf((16, 32, 64))),
        "heads": (2, OneOf((2,))),
        "dropout": (0.1, Between(0.0, 0.3, or_zero=True)),
        **_NETWORK,
    },
    "xgboost": {
        "depth": (6, OneOf((3, 4, 5, 6, 7, 8))),
        "lr": (0.1, Between(0.03, 0.3, log=True)),
        "rows": (0.9, Between(0.5, 1.0)),
        "columns": (0.9, Between(0.5, 1.0)),
        "child_weight": (1.0, Between(1e-2, 30.0, log=True)),
        "l2": (1.0, Between(1e-1, 30.0, log=True)),
    },
    "catboost": {
        "depth": (6, OneOf((3, 4, 5, 6, 7, 8))),
        "lr": (0.1, Between(0.03, 0.3, log=True)),
        "l2": (3.0, Between(0.5, 30.0, log=True)),
        "temperature": (1.0, Between(0.0, 1.0)),
    },
}
MODELS = tuple(_SPACES)
"""Names of all models."""
BOOSTING = ("xgboost", "catboost")
"""Those that are trees."""


def space(model: str, inputs: Inputs) -> Space:
    """What is tuned of a model on inputs like these: on tokens the adapter too, on rows the scaling for networks.

    Raises:
        ConfigError: there is no such model.
    """
    if model not in _SPACES:
        raise ConfigError(f"unknown model '{model}': {nearest(model, MODELS)}")
    found = dict(_SPACES[model])
    if inputs.tokens is not None:
        _, columns, width = inputs.tokens.shape
        if model in BOOSTING:
            some = tuple(a for a in BOOSTING_ADAPTERS if a != "flatten" or columns * width <= MOST_FLAT)
            found["adapter"] = ("pca", OneOf(some))
        else:
            some = tuple(a for a in ADAPTERS if a != "conv" or conv_fits(columns, width))
            found["adapter"] = ("linear_flatten", OneOf(some))
    elif model not in BOOSTING:
        found["scaling"] = ("quantile", OneOf(("quantile", "read")))
    return found


def draw(model: str, inputs: Inputs, trial: int, seed: int) -> dict[str, Any]:
    """Settings of a random trial, by its number and the seed alone; trial 0 has the defaults."""
    known = space(model, inputs)
    if trial == 0:
        return {name: default for name, (default, _) in known.items()}
    rng = np.random.Generator(np.random.Philox(derive_seed(seed, f"tables/trial/{model}", trial)))
    return {name: kind.draw(rng) for name, (_, kind) in known.items()}


def complete(model: str, inputs: Inputs, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Given settings on top of the defaults.

    Raises:
        ConfigError: the model has no such setting.
    """
    found = draw(model, inputs, 0, 0)
    for name, value in (given or {}).items():
        if name not in found:
            raise ConfigError(f"{model} has no setting '{name}': {nearest(name, found)}")
        found[name] = value
    return found
