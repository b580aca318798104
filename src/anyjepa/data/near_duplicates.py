"""Images that are almost another one, turned, mirrored or enlarged: clusters of them, so that none is in training and in a test.

Public sets of chips are often expanded by augmentation before they are published, without saying which chip comes from which. A
random split then puts near copies on both sides, and the nearest neighbour of thumbnails looks like a good classifier.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.data.base import Source
from anyjepa.data.transforms import crop_resize
from anyjepa.errors import ConfigError, DataError

SIDE = 24
"""Pixels along a thumbnail."""
BLOCK = 512


def thumbnails(source: Source, side: int = SIDE) -> Float[np.ndarray, "N side side"]:
    """All images of a source, squeezed to squares, the mean of their channels; a row of a broken one is NaN."""
    found = np.full((len(source), side, side), np.nan, dtype=np.float32)
    for i in range(len(source)):
        try:
            image = source.read(i)
        except DataError:
            continue
        box = np.array([[0, 0, *image.shape[1:]]])
        found[i] = crop_resize([image], box, (side, side))[0].mean(dim=0).numpy()
    return found


def near_duplicates(
    images: Float[np.ndarray, "N side side"], threshold: float = 0.8, *, turned: bool = True
) -> Int[np.ndarray, "N"]:
    """The cluster of each image: those that are more alike than ``threshold``, and those alike to them, and so on.

    So images of two clusters are never more alike than the threshold.

    Args:
        images: from :func:`thumbnails`; NaN where there is none, which is a cluster of its own.
        threshold: correlation of pixels, -1..1.
        turned: take the largest correlation over quarter turns and mirror images.

    Raises:
        ConfigError: the threshold is not between 0 and 1.
    """
    # Comes with scikit-learn.
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not 0 < threshold < 1:
        raise ConfigError(f"threshold must lie between 0 and 1, got {threshold}")
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for start, alike in _similarities(images, images, turned):
        rows, columns = np.nonzero(alike.numpy() > threshold)
        pairs.append(np.stack([rows + start, columns]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(images),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)


def closest(
    images: Float[np.ndarray, "N side side"], others: Float[np.ndarray, "M side side"], *, turned: bool = True
) -> tuple[Float[np.ndarray, "N"], Int[np.ndarray, "N"]]:
    """For each image the correlation with the most alike of ``others``, and which that is."""
    best = [alike.max(dim=1) for _, alike in _similarities(images, others, turned)]
    return torch.cat([b.values for b in best]).numpy(), torch.cat([b.indices for b in best]).numpy()


def _similarities(a: np.ndarray, b: np.ndarray, turned: bool) -> Iterator[tuple[int, Tensor]]:
    """(first row, correlations) of blocks of ``a`` with all of ``b``."""
    flipped = (b, b[:, :, ::-1]) if turned else (b,)
    views = [_standard(np.rot90(each, k, (1, 2))) for each in flipped for k in range(4 if turned else 1)]
    rows = _standard(a)
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        alike = part @ views[0].T
        for view in views[1:]:
            torch.maximum(alike, part @ view.T, out=alike)
        yield start, alike


def _standard(images: np.ndarray) -> Tensor:
    """Flattened, with mean 0 and length 1; 0 where an image is missing or of one value, so that it resembles none."""
    flat = torch.from_numpy(np.ascontiguousarray(images)).flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    return torch.nan_to_num(flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6))
