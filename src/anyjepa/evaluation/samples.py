"""The labelled samples behind the features, for the probe that trains the encoder as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from anyjepa.bundle import Inputs
from anyjepa.data import Dataset


@dataclass(frozen=True)
class Samples:
    """Samples under the positions of the features: training samples first.

    Attributes:
        train, test: the data sets; the same one where no test set was given.
        index: (n,) where each sample is in its data set.
        train_size: positions before this one are of ``train``, the others of ``test``; None: all are of ``train``.
    """

    train: Dataset
    test: Dataset | None
    index: Int[np.ndarray, "n"]
    train_size: int | None

    def draw(self, step: int, positions: np.ndarray, seed: int, crop_scale: tuple[float, float]) -> Inputs:
        """Training samples as drawn for training; images in crops of this least and largest share of their area."""
        return self.train.cropped(crop_scale).varied(step, self.index[positions], seed)

    def whole(self, positions: np.ndarray) -> Inputs:
        """Samples as features are read from them; all training or all test samples."""
        tests = self.train_size is not None and len(positions) > 0 and positions[0] >= self.train_size
        dataset = self.test if tests else self.train
        assert dataset is not None
        return dataset.evaluation(self.index[positions])
