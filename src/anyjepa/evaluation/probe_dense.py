"""Runs scored by what their single tokens know, beside their untrained twins and the pixels of the patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyjepa.data.images import ImageConfig
from anyjepa.data.masked import IGNORE, MaskedImages, open_clips, open_masked
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.dense import (
    DenseResult,
    DenseScore,
    Tokens,
    patch_reader,
    rows_and_columns,
    token_reader,
)
from anyjepa.evaluation.features import untrained
from anyjepa.evaluation.keep import keep, places
from anyjepa.evaluation.propagation import PropagationConfig, clip_scores, propagate
from anyjepa.evaluation.segmentation import Counts, fit_patches, patch_shares
from anyjepa.evaluation.subjects import BASELINES, Subject, default_device
from anyjepa.randomness import permutation

RESULT = "probe-{task}.json"
HELD = 0.2
"""Share of the images that is held out where no test data are given."""
MOST_PATCHES = 200_000
"""Training patches held in memory; of more images so many are drawn."""

Progress = Callable[[str, int, int], None]


def probe_segmentation(
    runs: Sequence[str | Path],
    train: str | Path,
    test: str | Path | None = None,
    *,
    labels: int | None = None,
    seeds: Sequence[int] = (0,),
    encoder: str = "target",
    layers: Sequence[int] = (-1,),
    baselines: Sequence[str] = BASELINES,
    read: Mapping[str, Any] | None = None,
    batch_size: int = 256,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> DenseResult:
    """Score a linear layer on patch tokens that names the class of every pixel.

    The result is written to ``RUN/probe-segmentation.json`` of each run, and to ``out``.

    Args:
        runs: directories of runs or of checkpoints.
        train: images with masks, see :func:`~anyjepa.data.masked.open_masked`.
        test: the same for the score; None: a fifth of ``train`` is held out, another one with each seed.
        labels: training images to use; None: all, up to 200,000 patches.
        seeds: of the split, the choice of images, the validation and the untrained twin.
        encoder: ``"target"`` or ``"context"``.
        layers: blocks whose tokens are joined.
        baselines: of ``"untrained"`` (the same config with fresh weights) and ``"raw"`` (the pixels of each patch).
        read: options by which the images are read, instead of those of the runs.
        batch_size: images per forward pass.
        device: None: a GPU where there is one.
        out: a file to write the result to as well.
        progress: called with (what is done, parts done, parts in all).

    Raises:
        ConfigError: a run for another kind of data, or whose tokens do not lie in rows and columns.
        DataError: images or masks cannot be read, or there are too few.
    """
    device = default_device(device)
    subjects = [Subject.load(run, read) for run in runs]
    scores: list[DenseScore] = []
    for subject in subjects:
        config = _reading(subject, "segmentation")
        data = open_masked(train, config)
        held = None if test is None else open_masked(test, config)
        grid = rows_and_columns(subject.method)
        for seed in seeds:
            inside, outside = _split(data, held, seed, labels, grid[0] * grid[1])
            for features, tokens in _features(subject, grid, seed, encoder, layers, baselines, device):
                found = _segment(tokens, data, inside, held or data, outside, grid, seed, batch_size)
                scores.append(DenseScore(subject.run, features, seed, found))
                if progress is not None:
                    progress("segmenting", len(scores), (1 + len(baselines)) * len(seeds) * len(runs))
    return _done(
        "segmentation",
        runs,
        train,
        test,
        (
            f"logistic regression on {encoder} tokens of blocks {', '.join(map(str, layers))}: fitted on {len(inside)} images, "
            f"scored on {len(outside)} of {train if test is None else test}; L2 strength by a fifth of the training images",
            "mIoU and pixels: scores enlarged to the pixels the model sees; patches: the class with the largest share; raw: the "
            "pixels of the patch alone",
        ),
        scores,
        out,
    )


def probe_propagation(
    runs: Sequence[str | Path],
    clips: str | Path,
    *,
    config: PropagationConfig | None = None,
    seeds: Sequence[int] = (0,),
    encoder: str = "target",
    layers: Sequence[int] = (-1,),
    baselines: Sequence[str] = BASELINES,
    read: Mapping[str, Any] | None = None,
    batch_size: int = 256,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> DenseResult:
    """Score how far the first frame's mask can be followed through clips by likeness of tokens; nothing is trained.

    The result is written to ``RUN/probe-propagation.json`` of each run, and to ``out``. Arguments and errors as those of
    :func:`probe_segmentation`; ``clips``: see :func:`~anyjepa.data.masked.open_clips`; ``seeds`` are those of the untrained twin.
    """
    device = default_device(device)
    subjects = [Subject.load(run, read) for run in runs]
    scores: list[DenseScore] = []
    constants = config or PropagationConfig()
    for subject in subjects:
        data = open_clips(clips, _reading(subject, "propagation"))
        grid = rows_and_columns(subject.method)
        for seed in seeds:
            for features, tokens in _features(subject, grid, seed, encoder, layers, baselines, device):
                found = _follow(tokens, data, grid, constants, batch_size)
                scores.append(DenseScore(subject.run, features, seed, found))
                if progress is not None:
                    progress("following masks", len(scores), (1 + len(baselines)) * len(seeds) * len(runs))
    return _done(
        "propagation",
        runs,
        clips,
        None,
        (
            f"the first frame's mask of {len(data)} clips of {clips}, passed on by likeness of {encoder} tokens of blocks "
            f"{', '.join(map(str, layers))}: {constants.neighbours} neighbours in the first and the {constants.frames} latest "
            f"frames, at most {constants.radius} patches away, temperature {constants.temperature}",
            "J: intersection over union of the objects, F: their outlines, at the pixels the model sees, means over clips",
        ),
        scores,
        out,
    )


def _reading(subject: Subject, task: str) -> ImageConfig:
    if subject.modality.name != "images":
        raise ConfigError(
            f"task={task} is for runs on images, {subject.run} is one on {subject.modality.noun}"
        )
    reading = subject.modality.suit(subject.reading, subject.method.input_shape())
    assert isinstance(reading, ImageConfig)
    return replace(reading, limit=None)


def _features(
    subject: Subject,
    grid: tuple[int, int],
    seed: int,
    encoder: str,
    layers: Sequence[int],
    baselines: Sequence[str],
    device: str,
) -> list[tuple[str, Tokens]]:
    found: list[tuple[str, Tokens]] = [("pretrained", token_reader(subject.method, encoder, layers, device))]
    for name in baselines:
        if name not in BASELINES:
            raise ConfigError(f"unknown baseline '{name}': {nearest(name, BASELINES)}")
        twin = name == "untrained"
        reader = token_reader(untrained(subject.method, seed), encoder, layers, device) if twin else None
        found.append((name, reader or patch_reader(grid)))
    return found


def _split(
    data: MaskedImages, held: MaskedImages | None, seed: int, labels: int | None, patches: int
) -> tuple[np.ndarray, np.ndarray]:
    order = permutation(seed, "evaluation/dense", 0, len(data))
    cut = 0 if held is not None else round(HELD * len(data))
    outside = np.arange(len(held)) if held is not None else np.sort(order[:cut])
    left = order[cut:]
    if labels is not None and not 2 <= labels <= len(left):
        raise ConfigError(
            f"labels={labels} must lie between 2 and the number of training images, {len(left)}"
        )
    inside = np.sort(left[: min(labels or len(left), max(2, MOST_PATCHES // patches))])
    if len(inside) < 2 or len(outside) < 1:
        raise DataError(
            f"{len(data)} images with masks are too few: at least two to fit on, and one to score"
        )
    return inside, outside


def _segment(
    tokens: Tokens,
    data: MaskedImages,
    inside: np.ndarray,
    other: MaskedImages,
    outside: np.ndarray,
    grid: tuple[int, int],
    seed: int,
    batch_size: int,
) -> dict[str, float]:
    """Scores of one kind of features."""
    read, masks = [], []
    for images, mask in data.batches(inside, batch_size):
        read.append(tokens(images).numpy())
        masks.append(mask)
    truth = np.concatenate(masks)
    if (truth == IGNORE).all():
        raise DataError(f"all pixels of the training masks are {IGNORE}, which counts nowhere")
    # Numbers of test classes are not known yet; one that has no training label costs a column that never wins.
    classes = int(truth[truth != IGNORE].max()) + 1
    probe = fit_patches(np.concatenate(read), patch_shares(truth, grid, classes), seed=seed)
    counts = Counts.none(IGNORE)
    for images, mask in other.batches(outside, batch_size):
        found = tokens(images)
        counts.add(mask, probe.pixels(found, grid, mask.shape[1:]).numpy())
        counts.add_patches(patch_shares(mask, grid, IGNORE), probe.scores(found).argmax(-1).numpy())
    return counts.scores


def _follow(
    tokens: Tokens,
    clips: Sequence[tuple[str, MaskedImages]],
    grid: tuple[int, int],
    config: PropagationConfig,
    batch_size: int,
) -> dict[str, float]:
    """Means over the clips."""
    scores = []
    for name, clip in clips:
        if len(clip) < 2:
            raise DataError(f"clip {name} has {len(clip)} frame: at least two are needed")
        parts = list(clip.batches(range(len(clip)), batch_size))
        truth = np.concatenate([mask for _, mask in parts])
        told = propagate(torch.cat([tokens(images) for images, _ in parts]), grid, truth[0], config)
        scores.append(clip_scores(truth, told))
    scores = [score for score in scores if not np.isnan(score["j"])]
    if not scores:
        raise DataError("no clip has an object in its first mask: 0 is the background, objects are 1, 2, ...")
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}


def _done(
    task: str,
    runs: Sequence[str | Path],
    train: str | Path,
    test: str | Path | None,
    protocol: tuple[str, ...],
    scores: list[DenseScore],
    out: str | Path | None,
) -> DenseResult:
    result = DenseResult(task, str(train), str(train if test is None else test), protocol, tuple(scores))
    keep(result, places(runs, RESULT.format(task=task), out))
    return result
