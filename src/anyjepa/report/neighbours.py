"""Which samples an encoder finds alike, next to those whose values are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from anyjepa.contract import Method
from anyjepa.data import ImageDataset, load_all
from anyjepa.errors import DataError
from anyjepa.evaluation.features import encoder_reader, extract, untrained
from anyjepa.report.pixels import Picture, colours, picture
from anyjepa.report.samples import Samples

QUERIES = 6
"""Images whose neighbours are shown."""
NEIGHBOURS = 5
LARGEST = 96
"""Side a large picture is shrunk to here: there are many of them."""
KINDS = ("trained encoder", "untrained encoder", "raw input")
DRAWN = (KINDS[0], KINDS[2])
"""Kinds of features whose neighbours are shown; the others are only counted."""


@dataclass(frozen=True)
class Neighbour:
    """An image that was found; ``same`` says whether it has the class of the query, where there are classes."""

    image: Picture
    cosine: float
    same: bool | None


@dataclass(frozen=True)
class Query:
    """An image, and what each kind of features finds for it, nearest first."""

    image: Picture
    caption: str
    found: tuple[tuple[str, tuple[Neighbour, ...]], ...]


@dataclass(frozen=True)
class NeighbourSection:
    """All queries, of images; where there are classes the share of all neighbours that have the class of their query."""

    queries: tuple[Query, ...]
    samples: int
    noun: str
    shares: tuple[tuple[str, float], ...]
    chance: float | None


def neighbour_section(
    method: Method, samples: Samples, seed: int, progress: Callable[[int, int], None] | None
) -> NeighbourSection:
    """Nearest samples by the cosine of pooled features, with the mean over all taken off.

    Raises:
        DataError: there are too few samples.
    """
    if len(samples.pool) <= NEIGHBOURS:
        raise DataError(
            f"neighbours need more than {NEIGHBOURS} {samples.dataset.noun}, {samples.where} has {len(samples.pool)}"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    readers = {
        KINDS[0]: encoder_reader(method, device=device),
        KINDS[1]: encoder_reader(untrained(method, seed), device=device),
        KINDS[2]: samples.modality.raw(method),
    }
    features = extract(readers, samples.dataset, indices=samples.pool, batch_size=64, progress=progress)
    method.to("cpu")
    if len(features.index) <= NEIGHBOURS:
        raise DataError(
            f"only {len(features.index)} of the {samples.dataset.noun} in {samples.where} can be read"
        )
    nearest = {kind: _nearest(features.values[kind]) for kind in KINDS}
    labels = features.labels
    if labels is not None and len(np.unique(labels)) < 2:
        labels = None
    asked = np.flatnonzero(np.isin(features.index, samples.index[samples.shown]))[:QUERIES].tolist()
    if not isinstance(samples.dataset, ImageDataset):
        # Only pictures are told apart at the size of a thumbnail.
        asked = []
    wanted = sorted({*asked, *(j for k in DRAWN for i in asked for j in nearest[k][0][i].tolist())})
    pictures = _pictures(samples, features.index, wanted)
    queries = []
    for i in asked:
        found = []
        for kind in DRAWN:
            who, cosines = nearest[kind]
            hits = [
                Neighbour(
                    pictures[j], float(cosine), None if labels is None else bool(labels[j] == labels[i])
                )
                for j, cosine in zip(who[i].tolist(), cosines[i].tolist(), strict=True)
            ]
            found.append((kind, tuple(hits)))
        queries.append(Query(pictures[i], samples.name(int(features.index[i])), tuple(found)))
    shares: tuple[tuple[str, float], ...] = ()
    chance = None
    if labels is not None:
        shares = tuple((k, float((labels[nearest[k][0]] == labels[:, None]).mean())) for k in KINDS)
        counts = np.unique(labels, return_counts=True)[1].astype(float)
        chance = float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))
    return NeighbourSection(tuple(queries), len(features.index), samples.dataset.noun, shares, chance)


def _nearest(
    values: Float[np.ndarray, "n F"],
) -> tuple[Int[np.ndarray, "n K"], Float[np.ndarray, "n K"]]:
    """The nearest others of every vector and their cosines, nearest first; of equals the one that comes first."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    who = np.argsort(-cosines, axis=1, kind="stable")[:, :NEIGHBOURS]
    return who, np.take_along_axis(cosines, who, axis=1)


def _pictures(samples: Samples, index: np.ndarray, wanted: list[int]) -> dict[int, Picture]:
    """Pictures of the images at these positions of the pool."""
    position = {int(index[j]): j for j in wanted}
    found = {}
    for loaded in load_all(samples.dataset, index[wanted], batch_size=64):
        for array, i in zip(
            colours(loaded.inputs, samples.dataset.config), loaded.index.tolist(), strict=True
        ):
            found[position[i]] = picture(array, samples.name(i), LARGEST)
    return found
