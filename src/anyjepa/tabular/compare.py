"""Is a pretrained encoder worth it for my table? All models on its raw columns and on T-JEPA's tokens, tuned alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anyjepa.embedding.opened import choose_device
from anyjepa.errors import ConfigError, nearest
from anyjepa.evaluation.budgets import budgets
from anyjepa.evaluation.keep import keep, places
from anyjepa.tabular.fitting import FitConfig
from anyjepa.tabular.material import Progress, constant, read_material, task_of
from anyjepa.tabular.result import ModelsResult
from anyjepa.tabular.scoring import fit_all
from anyjepa.tabular.settings import MODELS

RESULT = "models.json"
"""File in the directory of the run."""
SEEDS = (0, 1, 2, 3, 4)


def compare(
    run: str | Path,
    train: str | Path,
    test: str | Path | None = None,
    *,
    models: Sequence[str] = MODELS,
    task: str | None = None,
    labels: int | str | Sequence[int | str | None] | None = None,
    label_column: str | None = None,
    trials: int = 8,
    seeds: Sequence[int] = SEEDS,
    limits: FitConfig | None = None,
    encoder: str = "target",
    untrained: bool = False,
    read: Mapping[str, Any] | None = None,
    batch_size: int = 256,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> ModelsResult:
    """Tunes and fits models on raw columns and on the tokens of a run, with the same training, validation and test rows.

    The result is written to ``RUN/models.json``. Test rows are used for the final scores only: a fifth of the training rows is
    held back to choose settings and to stop early. All rows are in memory, tokens too: rows x columns x width x 4 bytes.

    Args:
        run: a T-JEPA run, a checkpoint, an export, or what :meth:`anyjepa.tabular.TJEPA.save` wrote.
        train: a table with labels.
        test: one for the scores; None: a fifth of ``train``, whole groups where the run or ``read`` names them.
        models: of :data:`~anyjepa.tabular.settings.MODELS`.
        task: ``"classify"`` or ``"regress"``; None: by the labels.
        labels: labelled rows to use: a number, a share like ``"10%"``, ``"all"``; several: rows for each. Drawn at random.
        label_column: column of the labels; None: that of the run, or found by its name.
        trials: fits of the random search for each model, input and number of labels.
        seeds: of the fits with the best settings, from which mean and spread come.
        limits: of every fit.
        encoder: ``"target"`` or ``"context"``.
        untrained: fit all models on the tokens of the same encoder with fresh weights too: what of a gain is the training's.
        read: further options by which tables are read.
        batch_size: rows per forward pass of the encoder.
        device: None: a GPU where there is one.
        out: a file to write the result to as well.
        progress: called with (what is done, parts done, parts in all).

    Raises:
        DataError: no labels, missing ones, one class, too few rows, or the result cannot be written.
        ConfigError: an impossible setting, or a run that is not for tables.
        MissingExtraError: a package of a model is not installed.
    """
    for name in models:
        if name not in MODELS:
            raise ConfigError(f"unknown model '{name}': {nearest(name, MODELS)}")
    if not models or not seeds:
        raise ConfigError(f"{'seeds' if models else 'models'} is empty: give at least one")
    if out is not None and (Path(out).is_dir() or not Path(out).absolute().parent.is_dir()):
        raise ConfigError(f"out={out} must be a file in a directory that exists")
    asked = budgets(labels)
    limits = limits or FitConfig()
    device = choose_device(device)
    options = {"label_column": label_column, **(read or {})}
    material = read_material(
        run,
        train,
        test,
        task=task,
        options=options,
        encoder=encoder,
        untrained=untrained,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )
    rows, differences = fit_all(
        material,
        tuple(dict.fromkeys(models)),
        asked,
        trials=trials,
        seeds=seeds,
        limits=limits,
        device=device,
        kinds=tuple(material.kinds),
        progress=progress,
    )
    result = ModelsResult(
        run=str(run),
        task=task_of(material),
        train=str(train),
        test=str(train if test is None else test),
        test_size=len(material.outside),
        chance=constant(material),
        seeds=tuple(seeds),
        protocol=protocol(trials, seeds, limits, encoder),
        notes=material.notes,
        rows=rows,
        differences=differences,
    )
    keep(result, places([run], RESULT, out))
    return result


def protocol(trials: int, seeds: Sequence[int], limits: FitConfig, encoder: str) -> tuple[str, ...]:
    """How models are compared, in sentences."""
    time = "" if limits.seconds is None else f", at most {limits.seconds:g} seconds of processor time a fit"
    return (
        f"each model, on columns and on tokens alike: {trials} random settings{time}; the best on the validation rows (a fifth "
        f"of the labelled training rows, the same for all) is fitted with {len(seeds)} seeds, stopped early by the same rows",
        f"tokens of the {encoder} encoder, frozen; networks read them through an adapter that is trained with them, trees as "
        "principal components or pooled: a tuned choice",
        "± is the standard deviation over seeds; of a difference two standard errors, of seeds and of test rows together",
        "an RMSE is in standard deviations of the training labels",
    )
