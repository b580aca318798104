"""The question after every pretraining: is the encoder better than the same one untrained, than the raw input, than others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.errors import ConfigError, nearest
from anyjepa.evaluation.attentive import AttentiveConfig
from anyjepa.evaluation.budgets import budgets
from anyjepa.evaluation.finetune import FinetuneConfig
from anyjepa.evaluation.fits import DEFAULT, Fits, Progress, check_probes
from anyjepa.evaluation.keep import keep, places
from anyjepa.evaluation.material import read as read_all
from anyjepa.evaluation.result import RESULT, ProbeResult
from anyjepa.evaluation.rows import score_rows
from anyjepa.evaluation.scoring import constant
from anyjepa.evaluation.subjects import BASELINES, Subject, default_device, kinds
from anyjepa.evaluation.task import CLASSIFY, REGRESS
from anyjepa.evaluation.tokens import IN_MEMORY, TokenBudget

ENCODERS = ("target", "context")


def probe(
    run: str | Path | Sequence[str | Path],
    train: str | Path,
    test: str | Path | None = None,
    *,
    probes: Sequence[str] | None = None,
    task: str | None = None,
    labels: int | str | Sequence[int | str | None] | None = None,
    per_class: int | Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    encoder: str = "target",
    pooling: str = "mean",
    layers: Sequence[int] = (-1,),
    baselines: Sequence[str] = BASELINES,
    image_column: str | None = None,
    label_column: str | None = None,
    read: Mapping[str, Any] | None = None,
    attentive: AttentiveConfig | None = None,
    finetune: FinetuneConfig | None = None,
    token_memory: int = IN_MEMORY,
    batch_size: int = 256,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> ProbeResult:
    """Scores what runs have learned, beside the same encoders untrained and the raw input, on labelled data.

    The result is written to ``RUN/probe.json``; that of several runs to ``out`` alone. Test labels are used for the final
    score only; everything that is chosen is chosen on training labels.

    Args:
        run: directory of a run or of one of its checkpoints; several: all are scored on the same labels, samples and seeds.
        train: labelled data of the kind the runs are for. Labels with fractions are measured values.
        test: labelled data for the score; None: a fifth of ``train`` is held out, stratified, another one for each seed, with
            nobody (no patient, subject, file) on both sides where the data say whose a sample is.
        probes: of ``"knn"``, ``"linear"``, ``"ridge"``, ``"attentive"``, ``"finetune"``; None: kNN and linear, for measured
            values kNN and ridge.
        task: ``"classify"`` or ``"regress"``; None: by the kind of the labels.
        labels: training labels to use, as many of each class: a number, a share like ``"10%"``, or ``"all"``; several: rows
            for each; None: all.
        per_class: so many labels of every class; several: rows for each. Added to ``labels``.
        seeds: of the split, the label choice, the validation folds, the probes and the untrained encoder.
        encoder: ``"target"``, ``"context"`` or ``"both"``.
        pooling: ``"mean"``, ``"meanmax"`` or ``"tokens"``.
        layers: blocks whose features are joined.
        baselines: of ``"untrained"`` (the same config with fresh weights) and ``"raw"`` (the input without an encoder).
        image_column, label_column: columns in tables; None: as in the run, or found.
        read: further options by which the data are read, instead of those of the runs.
        attentive, finetune: how those probes are trained.
        token_memory: bytes of tokens the attentive probe keeps in memory; more go to a temporary file.
        batch_size: samples per forward pass.
        device: None: a GPU where there is one.
        out: a file to write the result to as well.
        progress: called with (what is done, parts done, parts in all).

    Raises:
        DataError: no labels, one class only, no test class that was seen in training, or the result cannot be written.
        ConfigError: an impossible setting.
        CheckpointError: there is nothing to load.
    """
    runs = [run] if isinstance(run, str | Path) else list(run)
    asked = budgets(labels, per_class)
    check_probes(probes, task)
    encoders = _encoders(encoder)
    if not seeds or not runs:
        raise ConfigError(f"{'runs' if not runs else 'seeds'} is empty: give at least one")
    if len(set(map(str, runs))) < len(runs):
        raise ConfigError(f"a run is named twice: {', '.join(map(str, runs))}")
    if out is not None and (Path(out).is_dir() or not Path(out).absolute().parent.is_dir()):
        raise ConfigError(f"out={out} must be a file in a directory that exists")
    device = default_device(device)
    options = {"image_column": image_column, "label_column": label_column, **(read or {})}
    subjects = [Subject.load(each, options) for each in runs]
    rows = kinds(subjects, encoders, baselines)
    wanted = "attentive" in (probes or ())
    material = read_all(
        rows,
        train,
        test,
        task=task,
        seeds=seeds,
        pooling=pooling,
        layers=layers,
        tokens=TokenBudget(token_memory) if wanted else None,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )
    data = material.data
    kind = REGRESS if data.labels.dtype.kind == "f" else CLASSIFY
    chosen = tuple(DEFAULT[kind] if probes is None else dict.fromkeys(probes))
    check_probes(chosen, kind)
    fits = Fits(attentive or AttentiveConfig(), finetune or FinetuneConfig(), device, progress)
    scored, comparisons = score_rows(material, rows, asked, chosen, seeds, fits, len(runs) > 1)
    inside, outside = data.split(seeds[0])
    raw = subjects[0].modality.unlearned if "raw" in baselines else ""
    result = ProbeResult(
        runs=tuple(map(str, runs)),
        methods=tuple(subject.method.name for subject in subjects),
        shapes=tuple(subject.method.input_shape() for subject in subjects),
        task=kind,
        encoder=encoder,
        pooling=pooling,
        layers=tuple(layers),
        train=str(train),
        test=str(train if test is None else test),
        train_size=len(inside),
        test_size=len(outside),
        classes=0 if kind == REGRESS else len(np.unique(data.labels[inside])),
        chance=constant(kind, data.labels[outside]),
        seeds=tuple(seeds),
        protocol=(*fits.protocol(chosen, kind, raw), *_statistics(kind, seeds, comparisons)),
        notes=data.notes,
        rows=scored,
        comparisons=comparisons,
    )
    keep(result, places(runs if len(runs) == 1 else [], RESULT, out))
    return result


def _encoders(encoder: str) -> tuple[str, ...]:
    if encoder not in (*ENCODERS, "both"):
        raise ConfigError(f"unknown encoder '{encoder}': {nearest(encoder, (*ENCODERS, 'both'))}")
    return ENCODERS if encoder == "both" else (encoder,)


def _statistics(kind: str, seeds: Sequence[int], comparisons: Sequence[object]) -> tuple[str, ...]:
    many = "mean ± standard deviation over seeds" if len(seeds) > 1 else "one seed"
    how = "Wilson" if kind == CLASSIFY else "bootstrap over test samples"
    lines = [
        f"seeds {', '.join(map(str, seeds))} for split, choice of labels, validation, probes and untrained encoder",
        f"scores: {many}; in brackets the 95 % interval for other test samples ({how})",
    ]
    if comparisons:
        lines.append(
            "differences: 95 % interval and p value of a paired bootstrap over the same test samples, p corrected for their "
            "number (Holm). A run is one draw of pretraining: other pretraining seeds may differ by more"
        )
    return tuple(lines)
