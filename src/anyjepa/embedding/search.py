"""Nearest neighbours by cosine similarity, exact, over a file that need not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from anyjepa.embedding.query import Query, resolve
from anyjepa.embedding.stored import Embeddings
from anyjepa.errors import ConfigError, DataError
from anyjepa.errors import nearest as nearest_name

Found = tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]]
"""Rows of the neighbours of each query, nearest first, and their cosines."""


INDICES = ("exact", "faiss")


@dataclass(frozen=True)
class Neighbour:
    """One of the nearest images."""

    row: int
    """Its row in the file of embeddings."""
    id: str
    """Its name."""
    cosine: float
    """Cosine of the angle to the query, -1..1."""
    label: str | int | None = None
    """Its label, where labels are stored."""


@dataclass(frozen=True)
class Answer:
    """A query and its neighbours, nearest first. A query that is in the file is not its own neighbour."""

    query: str
    """The query, as it was named."""
    row: int | None
    """Its row in the file, if it is there."""
    label: str | int | None
    """Its label, if it is known."""
    neighbours: tuple[Neighbour, ...]
    """The nearest images."""

    def __str__(self) -> str:
        label = "" if self.label is None else f"  label {self.label}"
        lines = [f"query {self.query}{label}"]
        for n in self.neighbours:
            label = "" if n.label is None else f"  label {n.label}"
            lines.append(f"  {n.cosine:7.4f}  {n.id}{label}")
        return "\n".join(lines)


def search(
    embeddings: str | Path | Embeddings,
    queries: Sequence[str | int],
    *,
    k: int = 10,
    run: str | Path | None = None,
    index: str = "exact",
) -> list[Answer]:
    """The ``k`` nearest images of each query.

    Args:
        embeddings: file written by :func:`anyjepa.embedding.write`, pooled.
        queries: ids, row numbers, or image files, which are embedded as the others were.
        k: neighbours; all others where there are fewer.
        run: run that embeds image files; None: the one the embeddings come from. It must hold the same weights.
        index: ``"exact"`` compares with every vector; ``"faiss"`` asks an index that is built at the first search and kept
            in ``EMBEDDINGS.faiss``: nearly as good and much faster for millions of vectors.

    Raises:
        DataError: there are no such embeddings, or no such query.
        ConfigError: k is not positive, or the run has other weights.
        MissingExtraError: FAISS is not installed.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    if index not in INDICES:
        raise ConfigError(f"unknown index '{index}': {nearest_name(index, INDICES)}")
    stored = embeddings if isinstance(embeddings, Embeddings) else Embeddings(embeddings)
    if stored.plan is not None and stored.plan.pooling == "none":
        raise DataError(
            f"{stored.path} holds the tokens of each image; search compares whole images: embed without --tokens"
        )
    if not len(stored):
        raise DataError(f"{stored.path} holds no embeddings")
    asked = resolve(stored, queries, run)
    vectors = np.stack([query.vector for query in asked])
    # One more, since a query that is in the file finds itself first.
    most = min(k + 1, len(stored))
    if index == "faiss":
        from anyjepa.embedding.faiss_index import nearest_by_faiss

        rows, cosines = nearest_by_faiss(stored, vectors, most)
    else:
        rows, cosines = nearest(stored, vectors, most)
    return [_answer(stored, query, rows[q], cosines[q], k) for q, query in enumerate(asked)]


def nearest(stored: Embeddings, queries: Float[np.ndarray, "Q F"], k: int) -> Found:
    """Exact neighbours; of equal cosines the one in the earlier row. Memory does not grow with the file."""
    queries = unit(queries)
    rows = np.zeros((len(queries), 0), dtype=np.int64)
    cosines = np.zeros((len(queries), 0), dtype=np.float32)
    start = 0
    for chunk in stored.chunks():
        here = np.broadcast_to(np.arange(start, start + len(chunk)), (len(queries), len(chunk)))
        rows = np.concatenate((rows, here), axis=1)
        cosines = np.concatenate((cosines, queries @ unit(chunk).T), axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        rows, cosines = np.take_along_axis(rows, best, axis=1), np.take_along_axis(cosines, best, axis=1)
        start += len(chunk)
    return rows, cosines


def unit(vectors: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n F"]:
    """The vectors at length 1; a zero vector stays one."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, np.finfo(np.float32).tiny)


def _answer(stored: Embeddings, query: Query, rows: np.ndarray, cosines: np.ndarray, k: int) -> Answer:
    kept = [(int(row), float(c)) for row, c in zip(rows, cosines, strict=True) if row not in (query.row, -1)][
        :k
    ]
    places = [row for row, _ in kept]
    ids = stored.column("id", places)
    labels = stored.column("label", places) if stored.labelled else [None] * len(places)
    own = stored.column("label", [query.row])[0] if stored.labelled and query.row is not None else None
    found = [
        Neighbour(row, name, min(1.0, max(-1.0, cosine)), label)
        for (row, cosine), name, label in zip(kept, ids, labels, strict=True)
    ]
    return Answer(query.name, query.row, own, tuple(found))
