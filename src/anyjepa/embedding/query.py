"""What a search is asked with: a name, a row, or a picture that is embedded as the others were."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anyjepa.config import from_dict
from anyjepa.data import ImageConfig, ImageDataset
from anyjepa.data.given import list_source
from anyjepa.embedding.opened import OpenRun, choose_device, open_run, vector_reader
from anyjepa.embedding.plan import Plan
from anyjepa.embedding.stored import Embeddings
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.evaluation import extract


@dataclass(frozen=True)
class Query:
    """A query with its vector.

    Attributes:
        name: as it was given.
        row: its row in the embeddings; None for a picture that is not from there.
        vector: (F,) float32.
    """

    name: str
    row: int | None
    vector: Float[np.ndarray, "F"]


def resolve(stored: Embeddings, queries: Sequence[str | int], run: str | Path | None) -> list[Query]:
    """Find the vector of each query: an id comes before a row number, and that before an image file.

    Raises:
        DataError: a query is none of these, or its image cannot be read.
        ConfigError: ``run`` is not the run of the embeddings, or none is known.
    """
    if not queries:
        raise ConfigError("there is no query: give an id, a row number or an image file")
    rows = [_row(stored, query) for query in queries]
    files = [str(query) for query, row in zip(queries, rows, strict=True) if row is None]
    embedded = iter(_embed_files(stored, files, run) if files else ())
    return [
        Query(str(query), row, next(embedded) if row is None else stored.vector(row))
        for query, row in zip(queries, rows, strict=True)
    ]


def _row(stored: Embeddings, query: str | int) -> int | None:
    row = stored.find(query) if isinstance(query, str) else None
    if row is None and str(query).isdecimal():
        row = int(query)
        if row >= len(stored):
            raise DataError(f"row {row} is not in {stored.path}, which has rows 0 to {len(stored) - 1}")
    if row is None and not Path(str(query)).is_file():
        near = difflib.get_close_matches(str(query), stored.some_ids(), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise DataError(
            f"'{query}' is neither an id in {stored.path}, nor a row number, nor an image file{hint}"
        )
    return row


def _embed_files(
    stored: Embeddings, files: list[str], run: str | Path | None
) -> list[Float[np.ndarray, "F"]]:
    plan = stored.plan
    if plan is None:
        raise ConfigError(
            f"{stored.path} does not say how it was made, so an image cannot be embedded alike: ask with ids or row numbers"
        )
    opened, device = _open_same(plan, run), choose_device(None)
    if plan.modality != "images":
        raise ConfigError(f"{stored.path} holds {plan.modality}: ask with ids or row numbers")
    config = from_dict(ImageConfig, plan.reading | {"limit": None})
    source = list_source(files, opened.method.input_shape()[0])
    for i in range(len(source)):
        source.read(i)  # a broken query is an error, not something to leave out
    read = vector_reader(opened.method, encoder=plan.encoder, layers=plan.layers, tokens=False, device=device)
    return list(extract({"vector": read}, ImageDataset(source, config)).values["vector"])


def _open_same(plan: Plan, run: str | Path | None) -> OpenRun:
    """The run with the weights of the plan: its newest checkpoint, or the one the plan names."""
    chosen = Path(run if run is not None else plan.run)
    named = chosen / plan.checkpoint
    tries = [chosen / plan.checkpoint, chosen] if plan.checkpoint and named.is_dir() else [chosen]
    for place in tries:
        try:
            opened = open_run(place)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; to embed a query, name the run of these embeddings with --run"
            ) from None
        if opened.weights == plan.weights:
            return opened
    raise ConfigError(
        f"{chosen} holds other weights than those the embeddings were made with ({plan.run}, step {plan.step}): name the run "
        "with --run, or embed again"
    )
