"""k nearest neighbours by cosine similarity with a weighted vote, as in DINO (arXiv 2104.14294; Wu et al., arXiv 1805.01978)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.errors import ConfigError

NEIGHBOURS = 20
TEMPERATURE = 0.07


def knn_predict(
    train: Float[np.ndarray, "n F"],
    labels: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m F"],
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
) -> Int[np.ndarray, "m"]:
    """The class with the largest sum of ``exp(cosine / temperature)`` over the ``k`` most similar training vectors.

    Args:
        train, labels: training vectors and their classes.
        test: vectors to classify.
        k: neighbours that vote; all training vectors when there are fewer.
        temperature: smaller: nearer neighbours count more.
        chunk: test vectors compared at once.
    """
    classes, numbered = np.unique(labels, return_inverse=True)
    votes_for, found = torch.from_numpy(numbered), []
    for weights, rows in _neighbours(train, test, k, temperature, chunk):
        votes = torch.zeros(len(rows), len(classes)).scatter_add_(1, votes_for[rows], weights)
        found.append(votes.argmax(dim=1))
    return classes[torch.cat(found).numpy()]


def knn_regress(
    train: Float[np.ndarray, "n F"],
    labels: Float[np.ndarray, "n"],
    test: Float[np.ndarray, "m F"],
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    chunk: int = 1024,
) -> Float[np.ndarray, "m"]:
    """The mean value of the ``k`` most similar training vectors, weighted as in :func:`knn_predict`."""
    values, found = torch.from_numpy(labels).double(), []
    for weights, rows in _neighbours(train, test, k, temperature, chunk):
        share = weights.double() / weights.double().sum(dim=1, keepdim=True)
        found.append((values[rows] * share).sum(dim=1))
    return torch.cat(found).numpy()


def _neighbours(
    train: np.ndarray, test: np.ndarray, k: int, temperature: float, chunk: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and rows of the nearest training vectors, for so many test vectors at a time."""
    if k < 1 or temperature <= 0:
        raise ConfigError(
            f"k must be at least 1 and temperature positive, got k={k}, temperature={temperature}"
        )
    bank = F.normalize(torch.from_numpy(train), dim=1)
    for queries in F.normalize(torch.from_numpy(test), dim=1).split(chunk):
        similarity, rows = (queries @ bank.T).topk(min(k, len(bank)), dim=1)
        # Divided by the largest, the weights cannot overflow at small temperatures; the vote is the same.
        yield ((similarity - similarity[:, :1]) / temperature).exp().float(), rows


def knn_accuracy(
    train: Float[np.ndarray, "n F"],
    labels: Int[np.ndarray, "n"],
    test: Float[np.ndarray, "m F"],
    truth: Int[np.ndarray, "m"],
    *,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> float:
    """Share of ``test`` that :func:`knn_predict` puts into its true class, 0..1."""
    return float((knn_predict(train, labels, test, k=k, temperature=temperature) == truth).mean())
