"""All samples of a data set as vectors in one file, in constant memory, and on from wherever it was interrupted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from anyjepa.bundle import blank, described
from anyjepa.config import from_dict, to_dict
from anyjepa.data import Dataset, Loaded, load_all
from anyjepa.data.modalities import modality
from anyjepa.embedding.ahead import ahead
from anyjepa.embedding.files import ENDINGS, broken_beside, ids_beside, join, schema_of
from anyjepa.embedding.opened import choose_device, open_run, vector_reader
from anyjepa.embedding.parts import Part, alone, begin, finished, write_part
from anyjepa.embedding.plan import Plan, fingerprint
from anyjepa.embedding.stored import read_plan
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation import Reader
from anyjepa.training.allocator import return_large_blocks

PART_BYTES = 1 << 25
PART_SECONDS = 30.0
"""A part is written when it holds so many bytes of vectors, or so many seconds of work."""


@dataclass(frozen=True)
class Embedded:
    """What :func:`embed` has made."""

    out: Path
    """The file of the embeddings."""
    rows: int
    """Samples in it."""
    shape: tuple[int, ...]
    """Shape of what is stored of one sample: (D,), or (N, D) with tokens."""
    broken: int
    """Samples that could not be read."""
    noun: str = "samples"
    """What they are."""

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        lines = [f"{self.rows} {self.noun}, {shape} numbers each: {self.out}"]
        if self.out.suffix == ".npy":
            lines.append(f"their names: {ids_beside(self.out)}")
        if self.broken:
            lines.append(f"{self.broken} {self.noun} could not be read: {broken_beside(self.out)}")
        return "\n".join(lines)


def embed(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    tokens: bool = False,
    encoder: str = "target",
    layers: Sequence[int] = (-1,),
    dtype: str = "float32",
    labels: bool = False,
    label_column: str | None = None,
    limit: int | None = None,
    read: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    device: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Write the representation of every sample to one Parquet or NumPy file.

    Interrupted at any moment, the same call goes on where it was, and the file is the same byte for byte as without the
    interruption. What is finished lies in ``OUT.parts`` until the whole is.

    Args:
        run: directory of a run or of one of its checkpoints.
        data: of the kind the run is for. What cannot be read is left out and listed.
        out: ``.parquet`` or ``.npy`` (with ``OUT.ids.parquet`` beside it).
        tokens: store all tokens (N, D) of a sample, not their mean (D,).
        encoder: ``"target"`` or ``"context"``.
        layers: blocks whose representations are joined; -1 is the last one, after its norm.
        dtype: ``"float32"`` or ``"float16"``.
        labels: store the labels too; the data must have them.
        label_column: column of the labels in a table; None: as in the run, or found by name.
        limit: use that many samples, evenly spread over all.
        read: further options by which the data are read, instead of those of the run.
        batch_size: samples per forward pass.
        device: None: a GPU where there is one.
        overwrite: delete older embeddings and parts of that name.
        progress: called with (samples done, samples in all), first with those of an earlier, interrupted call.

    Raises:
        CheckpointError: there is no run to load.
        ConfigError: a setting is impossible, or ``out`` holds embeddings of another model, data or options.
        DataError: the data cannot be read, or the file cannot be written.
    """
    out = Path(out)
    _check(out, Path(data), tuple(layers), batch_size, dtype)
    opened, device = open_run(run), choose_device(device)
    # Here a broken sample harms nobody, so none is too many; each is read once and none takes its place.
    kind = opened.modality
    chosen = {
        "limit": limit,
        "max_broken": 1.0,
        **({"label_column": label_column} if label_column else {}),
        **(read or {}),
    }
    config: Any = from_dict(kind.config, to_dict(opened.reading) | chosen, f"{kind.name}.")
    dataset = kind.dataset(kind.open(data, config, labels=labels), config)
    # Where the samples have other channels than those of the training, a model for these.
    opened = replace(opened, method=kind.adapt(opened.method, dataset.source))
    if dataset.shape != opened.method.input_shape():
        raise DataError(
            f"the {kind.noun} of {data} have shape {described(dataset.shape)}, {run} was trained on "
            f"{described(opened.method.input_shape())} "
            f"({kind.axes})"
        )
    reader = vector_reader(opened.method, encoder=encoder, layers=layers, tokens=tokens, device=device)
    with torch.inference_mode():
        shape = tuple(reader(blank(dataset.shape)).shape[1:])
    plan = Plan(
        method=opened.method.name,
        run=str(run),
        checkpoint=opened.checkpoint,
        step=opened.step,
        weights=opened.weights,
        encoder=encoder,
        layers=tuple(layers),
        pooling="none" if tokens else "mean",
        shape=shape,
        dtype=dtype,  # type: ignore[arg-type]  # looked at by _check
        data=str(data),
        samples=len(dataset),
        content=fingerprint(data, dataset.source),
        labels=labels,
        modality=kind.name,
        reading=to_dict(config),
        batch_size=batch_size,
        device=torch.device(device).type,
        anyjepa=_version(),
    )
    return _embed(plan, dataset, reader, out, overwrite, progress or (lambda done, total: None))


def _embed(
    plan: Plan,
    dataset: Dataset,
    read: Reader,
    out: Path,
    overwrite: bool,
    progress: Callable[[int, int], None],
) -> Embedded:
    return_large_blocks()
    folder = out.with_name(f"{out.name}.parts")
    if overwrite:
        for file in (out, broken_beside(out), *([ids_beside(out)] if out.suffix == ".npy" else [])):
            file.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    if out.exists():
        # It appears last, so all is done but perhaps the tidying up.
        plan.must_equal(read_plan(out), out)
        shutil.rmtree(folder, ignore_errors=True)
        return _counted(out, plan)
    plan = begin(folder, plan)
    schema = schema_of(plan, dataset.source.class_names is not None)
    with alone(folder):
        parts = finished(folder, schema)
        parts += _rest(parts[-1].stop if parts else 0, plan, dataset, read, folder, schema, progress)
        if not sum(part.rows for part in parts):
            shutil.rmtree(folder, ignore_errors=True)
            raise DataError(
                f"not one of the {plan.samples} {dataset.noun} of {plan.data} can be read, beginning with "
                f"{dataset.source.identity(0)}"
            )
        join(out, parts, schema, dataset.source)
    shutil.rmtree(folder, ignore_errors=True)
    return _counted(out, plan)


def _rest(
    done: int,
    plan: Plan,
    dataset: Dataset,
    read: Reader,
    folder: Path,
    schema: pa.Schema,
    progress: Callable[[int, int], None],
) -> list[Part]:
    """Embeds the samples from ``done`` on and writes their parts."""
    parts: list[Part] = []
    start, began, size = done, time.monotonic(), 0
    held: list[pa.RecordBatch] = []
    progress(done, plan.samples)
    with torch.inference_mode(), closing(ahead(_batches(dataset, done, plan.batch_size))) as batches:
        for stop, loaded in batches:
            if loaded is not None:
                held.append(_record(read, loaded, dataset, plan, schema))
                size += held[-1].nbytes
            if stop == plan.samples or size >= PART_BYTES or time.monotonic() - began >= PART_SECONDS:
                parts.append(write_part(folder, start, stop, held, schema))
                start, began, size, held = stop, time.monotonic(), 0, []
            progress(stop, plan.samples)
    return parts


def _batches(dataset: Dataset, start: int, size: int) -> Iterator[tuple[int, Loaded | None]]:
    """Each batch with the number of samples up to its end; None where not one of them can be read."""
    for at in range(start, len(dataset), size):
        stop = min(at + size, len(dataset))
        loaded = list(load_all(dataset, np.arange(at, stop), size))
        yield stop, loaded[0] if loaded else None


def _record(read: Reader, loaded: Loaded, dataset: Dataset, plan: Plan, schema: pa.Schema) -> pa.RecordBatch:
    index = loaded.index.tolist()
    vectors = read(loaded.inputs).float().flatten(1).cpu().numpy()
    with np.errstate(over="ignore"):
        vectors = vectors.astype(plan.dtype)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        name = dataset.source.identity(index[int(finite.argmin())])
        hint = "; --dtype float32 holds larger ones" if plan.dtype == "float16" else ": has the run diverged?"
        raise DataError(f"the vector of {name} is not made of finite {plan.dtype} numbers{hint}")
    vector = schema.field("vector").type
    columns = {
        "id": pa.array([dataset.source.identity(i) for i in index], pa.string()),
        "index": pa.array(index, pa.int64()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=vector),
    }
    if loaded.labels is not None:
        names, labels = dataset.source.class_names, loaded.labels.tolist()
        columns["label"] = pa.array([names[label] for label in labels] if names else labels)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _check(out: Path, data: Path, layers: tuple[int, ...], batch_size: int, dtype: str) -> None:
    if out.suffix not in ENDINGS:
        raise ConfigError(f"--out {out} must end in {' or '.join(ENDINGS)}")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a directory: name a file")
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ConfigError(
            f"--out {out} lies within the data, {data}, and could be taken for some the next time: name a file outside"
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    if dtype not in ("float32", "float16"):
        raise ConfigError(f"dtype must be float32 or float16, got {dtype}")


def _counted(out: Path, plan: Plan) -> Embedded:
    from anyjepa.embedding.stored import Embeddings

    rows = len(Embeddings(out))
    return Embedded(out, rows, plan.shape, plan.samples - rows, modality(plan.modality).noun)


def _version() -> str:
    import anyjepa

    return anyjepa.__version__
