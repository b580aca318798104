"""A probe during training, on labelled data of its own: the labels never reach the pretraining."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import RidgeClassifier

from anyjepa.contract import Method
from anyjepa.data import Dataset
from anyjepa.errors import DataError
from anyjepa.evaluation.features import encoder_reader, extract
from anyjepa.evaluation.knn import knn_accuracy
from anyjepa.evaluation.splits import balanced, folds, group_folds

HELD_OUT = 5
"""One in so many labelled samples is for the score."""
RIDGE = 1e-3
"""L2 strength of the linear classifier, per sample, on standardised features."""


class OnlineProbe:
    """Scores the target encoder as it is, on a fixed split of labelled samples.

    Two cheap classifiers on mean-pooled features: nearest neighbours, and least squares on one column per class, which has a
    closed form. For scores to publish use ``anyjepa probe``.

    Args:
        dataset: labelled samples of the shape the method expects.
        samples: use that many, as many of each class.

    Raises:
        DataError: the data have no labels, fewer than two classes, or fewer than five samples of each on average.
        ConfigError: ``samples`` is smaller than the number of classes.
    """

    def __init__(self, dataset: Dataset, samples: int) -> None:
        classes = 0 if dataset.source.labels is None else len(np.unique(dataset.source.labels))
        if dataset.source.labels is None or classes < 2:
            raise DataError("the data of the online probe need labels of at least two classes")
        if dataset.source.labels.dtype.kind == "f":
            raise DataError("the labels of the online probe must be classes, these have fractions")
        if min(samples, len(dataset)) < HELD_OUT * classes:
            raise DataError(
                f"the online probe needs {HELD_OUT} samples for each of {classes} classes, it has {min(samples, len(dataset))}"
            )
        self._dataset = dataset
        self._indices = balanced(dataset.source.labels, min(samples, len(dataset)), seed=0)

    def __call__(self, method: Method) -> dict[str, float]:
        """``probe_knn`` and ``probe_linear``, accuracies in 0..1. The method is left in the mode it was in."""
        training, device = method.training, next(method.parameters()).device
        try:
            features = extract(
                {"": encoder_reader(method, device=device)}, self._dataset, indices=self._indices
            )
        finally:
            method.train(training)
        assert features.labels is not None
        values, labels = features.values[""], features.labels
        groups = self._dataset.source.groups
        fold = folds(labels, HELD_OUT, seed=0)
        if groups is not None:
            fold = group_folds(labels, groups[features.index], HELD_OUT, seed=0)
        held = fold == 0
        mean, scale = values[~held].mean(0), values[~held].std(0) + 1e-6
        standard = (values - mean) / scale
        linear = RidgeClassifier(alpha=RIDGE * int((~held).sum())).fit(standard[~held], labels[~held])
        return {
            "probe_knn": knn_accuracy(values[~held], labels[~held], values[held], labels[held]),
            "probe_linear": float(linear.score(standard[held], labels[held])),
        }
