"""An index for millions of vectors: FAISS (Douze et al., arXiv 2401.08281), kept beside the embeddings."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from anyjepa.embedding.parts import saved
from anyjepa.embedding.search import Found, unit
from anyjepa.embedding.stored import Embeddings
from anyjepa.errors import MissingExtraError
from anyjepa.training.run_dir import write_whole

log = logging.getLogger(__name__)

KIND = "HNSW32"
"""A navigable graph with 32 links per vector (Malkov and Yashunin, arXiv 1603.09320): no training, good up to many millions."""
EFFORT = 128
"""Vectors looked at in a search: more find more of the true neighbours."""


def nearest_by_faiss(stored: Embeddings, queries: Float[np.ndarray, "Q F"], k: int) -> Found:
    """Neighbours by the index; it is built when it is missing, torn, or older than the embeddings.

    Raises:
        MissingExtraError: FAISS is not installed.
        DataError: the index cannot be written.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss-cpu", "search") from None
    index = _load(faiss, stored) or _build(faiss, stored)
    index.hnsw.efSearch = max(EFFORT, k)
    cosines, rows = index.search(unit(queries), k)
    return rows.astype(np.int64), cosines


def index_beside(path: Path) -> Path:
    """The index of a file of embeddings."""
    return path.with_name(f"{path.name}.faiss")


def _stamp(stored: Embeddings) -> dict[str, Any]:
    found = stored.path.stat()
    return {"kind": KIND, "rows": len(stored), "size": found.st_size, "time": found.st_mtime_ns}


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.faiss.json")


def _load(faiss: Any, stored: Embeddings) -> Any:
    note, file = _note(stored.path), index_beside(stored.path)
    try:
        if json.loads(note.read_text()) != _stamp(stored):
            return None
        index = faiss.read_index(str(file))
    except (OSError, ValueError, RuntimeError):
        return None
    fits = (getattr(index, "ntotal", None), getattr(index, "d", None)) == (len(stored), stored.width)
    return index if fits and hasattr(index, "hnsw") else None


def _build(faiss: Any, stored: Embeddings) -> Any:
    log.info("building the index %s", index_beside(stored.path))
    index = faiss.index_factory(stored.width, KIND, faiss.METRIC_INNER_PRODUCT)
    for chunk in stored.chunks():
        index.add(unit(chunk))
    _note(stored.path).unlink(missing_ok=True)
    with saved(index_beside(stored.path)) as partial:
        try:
            faiss.write_index(index, str(partial))
        except RuntimeError as error:
            raise OSError(str(error).splitlines()[-1]) from error
    write_whole(_note(stored.path), json.dumps(_stamp(stored)))
    return index
