"""The question after every pretraining: is the encoder better than the same one untrained, and than the raw input?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from anyjepa.config import from_dict, read_yaml
from anyjepa.contract import Method
from anyjepa.data import ImageConfig, ImageDataset, Source
from anyjepa.errors import ConfigError, nearest
from anyjepa.evaluation.features import (
    MOST_PIXELS,
    Features,
    Reader,
    encoder_reader,
    extract,
    pixel_reader,
    untrained,
)
from anyjepa.evaluation.knn import NEIGHBOURS, TEMPERATURE, knn_accuracy
from anyjepa.evaluation.labelled import Labelled, join
from anyjepa.evaluation.linear import STRENGTHS, fit_linear
from anyjepa.evaluation.result import RESULT, ProbeResult, Row
from anyjepa.evaluation.splits import balanced
from anyjepa.training.checkpoint import STATE, latest, load_method, read_state
from anyjepa.training.run_dir import CONFIG, write_whole

BASELINES = ("untrained", "raw")


def probe(
    run: str | Path,
    train: str | Path,
    test: str | Path | None = None,
    *,
    labels: int | Sequence[int | None] | None = None,
    seeds: Sequence[int] = (0,),
    encoder: str = "target",
    pooling: str = "mean",
    layers: Sequence[int] = (-1,),
    baselines: Sequence[str] = BASELINES,
    label_column: str | None = None,
    batch_size: int = 256,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeResult:
    """Scores frozen features of a run by nearest neighbours and by a linear probe, and writes ``RUN/probe.json``.

    Test labels are used for the final score alone; everything that is chosen is chosen on training labels.

    Args:
        run: directory of a run or of one of its checkpoints.
        train: labelled images; see :func:`anyjepa.data.open_source`.
        test: labelled images for the score; None: a fifth of ``train`` is held out, stratified, another one for each seed.
        labels: training labels to use, as many of each class; several numbers: rows for each; None: all.
        seeds: of the split, the label choice, the validation folds and the untrained encoder.
        encoder: ``"target"`` or ``"context"``.
        pooling: ``"mean"``.
        layers: blocks whose pooled features are joined.
        baselines: of ``"untrained"`` (the same config with fresh weights) and ``"raw"`` (the pixels).
        label_column: column of the labels in parquet files; None: as in the run, or found.
        batch_size: images per forward pass.
        device: None: a GPU where there is one.
        progress: called with (images done, images in all) while features are read.

    Raises:
        DataError: no labels, one class only, or no test class that was seen in training.
        ConfigError: an impossible setting.
        CheckpointError: there is nothing to load.
    """
    for name in baselines:
        if name not in BASELINES:
            raise ConfigError(f"unknown baseline '{name}': {nearest(name, BASELINES)}")
    if not seeds:
        raise ConfigError("seeds is empty: give at least one")
    method = load_method(run)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def reads(model: Method) -> Reader:
        return encoder_reader(model, encoder=encoder, pooling=pooling, layers=layers, device=device)

    readers: dict[str, Reader] = {"pretrained": reads(method)}
    if "untrained" in baselines:
        readers |= {f"untrained {seed}": reads(untrained(method, seed)) for seed in seeds}
    if "raw" in baselines:
        readers["raw"] = pixel_reader(method.input_shape())

    config = replace(_image_config(Path(run)), limit=None)
    if label_column is not None:
        config = replace(config, label_column=label_column)

    def load(path: str | Path) -> tuple[Features, Source]:
        size = method.input_shape()[1:]
        dataset = ImageDataset.open(path, config, size=(size[0], size[1]), labels=True)
        return extract(readers, dataset, batch_size=batch_size, progress=progress), dataset.source

    data = join(*load(train), *((None, None) if test is None else load(test)))
    budgets = list(labels) if isinstance(labels, Sequence) else [labels]
    rows = [
        _score(data, name, budget, seeds)
        for budget in budgets
        for name in ("pretrained", *(n for n in BASELINES if n in baselines))
    ]
    inside, outside = data.split(seeds[0])
    truth = data.labels[outside]
    result = ProbeResult(
        run=str(run),
        method=method.name,
        encoder=encoder,
        pooling=pooling,
        layers=tuple(layers),
        train=str(train),
        test=str(train if test is None else test),
        train_size=len(inside),
        test_size=len(outside),
        classes=len(np.unique(data.labels[inside])),
        chance=float(np.unique(truth, return_counts=True)[1].max() / len(truth)),
        seeds=tuple(seeds),
        protocol=_protocol("raw" in baselines),
        notes=data.notes,
        rows=tuple(rows),
    )
    write_whole(Path(run) / RESULT, result.to_json())
    return result


def _score(data: Labelled, name: str, budget: int | None, seeds: Sequence[int]) -> Row:
    """One row: the same features scored with each seed."""
    knn, linear, used, dims = [], [], 0, 0
    for seed in seeds:
        values = data.values[f"untrained {seed}" if name == "untrained" else name]
        inside, outside = data.split(seed)
        if budget is not None:
            inside = inside[balanced(data.labels[inside], budget, seed)]
        known, classes, asked, truth = (
            values[inside],
            data.labels[inside],
            values[outside],
            data.labels[outside],
        )
        knn.append(knn_accuracy(known, classes, asked, truth))
        linear.append(fit_linear(known, classes, seed=seed).accuracy(asked, truth))
        used, dims = len(inside), values.shape[1]
    return Row(name, used, dims, tuple(knn), tuple(linear))


def _protocol(raw: bool) -> tuple[str, ...]:
    lines = [
        f"kNN: {NEIGHBOURS} neighbours (all, when there are fewer labels), cosine similarity, vote at temperature {TEMPERATURE}",
        "linear: logistic regression on standardised features, its L2 strength chosen among "
        f"{len(STRENGTHS)} on held-out training labels, fitted again on all",
    ]
    if raw:
        lines.append(
            f"raw: the pixels the encoder sees, averaged over areas down to at most {MOST_PIXELS} values"
        )
    return tuple(lines)


def _image_config(path: Path) -> ImageConfig:
    """How the run's images became batches; the defaults where it does not say."""
    checkpoint = path if (path / STATE).is_file() else latest(path)
    config = read_yaml(path / CONFIG) if checkpoint is None else read_state(checkpoint).config
    return from_dict(ImageConfig, dict(config.get("images") or {}))
