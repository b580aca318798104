"""How models are fitted: until the loss on validation rows no longer falls, and never longer than allowed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num
from torch import Tensor

from anyjepa.errors import ConfigError
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.task import Target
from anyjepa.tabular.inputs import Inputs


@dataclass(frozen=True)
class FitConfig:
    """The same limits for every model."""

    epochs: int = 200
    """Passes of a network over its training rows, at most."""
    batch_size: int = 512
    """Rows of a step; fewer where an epoch would have less than eight steps."""
    patience: int = 16
    """Epochs without a lower loss on the validation rows, after which a network stops."""
    rounds: int = 2000
    """Trees of a boosting model (of each class), at most."""
    rounds_patience: int = 50
    """Trees without a lower loss on the validation rows, after which boosting stops."""
    seconds: float | None = None
    """Processor time of one fit; what is best by then is taken. None: no limit, and the same result
    each time."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "rounds", "rounds_patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seconds is not None and self.seconds <= 0:
            raise ConfigError(f"seconds must be above 0, got {self.seconds}")


@dataclass(frozen=True)
class Samples:
    """Training and validation samples of one fit."""

    train: Inputs
    """What the model learns from."""
    labels: Labels
    """Their labels."""
    valid: Inputs
    """What decides when it stops. Rows of the test are in neither."""
    valid_labels: Int[np.ndarray, "m"] | Float[np.ndarray, "m"]
    """Their labels."""
    target: Target
    """Classes, or mean and scale, of the training labels."""


class Clock:
    """Processor time of this process since it was made.

    Args:
        seconds: the limit; None: none.
    """

    def __init__(self, seconds: float | None) -> None:
        self._began, self._seconds = time.process_time(), seconds

    @property
    def over(self) -> bool:
        """Whether the limit is reached."""
        return self._seconds is not None and time.process_time() - self._began >= self._seconds


class FittedModel(ABC):
    """A model after its fit.

    Attributes:
        settings: what it was made with.
        loss: on the validation rows: cross-entropy, or squared error of standardised values.
        rounds: epochs, or trees, behind its weights.
        cut: the time limit ended the fit.
        seconds: processor time of the fit.
    """

    settings: Mapping[str, Any]
    loss: float
    rounds: int
    cut: bool
    seconds: float

    @abstractmethod
    def outputs(self, inputs: Inputs) -> Float[Tensor, "N K"]:
        """Logarithms of class shares but for a constant, or standardised values (N, 1)."""


def known(samples: Samples) -> tuple[Inputs, Num[Tensor, "n"]]:
    """Validation samples whose class occurs in training, and their targets."""
    target = samples.target.encode(samples.valid_labels)
    if target.is_floating_point():
        return samples.valid, target
    where = (target >= 0).nonzero()[:, 0].numpy()
    return samples.valid.take(where), target[where]
