"""Is a pretrained encoder worth it for my table? All models on its raw columns and on T-JEPA's tokens, tuned alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from anyjepa.data.tables_config import TablesConfig
from anyjepa.data.tables_source import TableSource
from anyjepa.embedding.opened import choose_device
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation import Budget, Reader, extract
from anyjepa.evaluation.budgets import Labels, budgets
from anyjepa.evaluation.features import untrained as with_fresh_weights
from anyjepa.evaluation.labelled import Labelled, join
from anyjepa.evaluation.subjects import Subject
from anyjepa.evaluation.task import REGRESS
from anyjepa.randomness import permutation
from anyjepa.tabular.fitting import FitConfig
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.models import FEWEST, fit_model, judge, make_samples, tune
from anyjepa.tabular.result import COLUMNS, TOKENS, UNTRAINED, Difference, ModelRow, ModelsResult, difference
from anyjepa.tabular.settings import BOOSTING, MODELS
from anyjepa.training.run_dir import write_whole

RESULT = "models.json"
"""File in the directory of the run."""
SEEDS = (0, 1, 2, 3, 4)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Material:
    """Labelled rows, read once: as columns and as tokens."""

    kinds: Mapping[str, Inputs]
    """All rows by the kind of input."""
    labels: Labels
    """Their classes or values."""
    inside: Int[np.ndarray, "_"]
    """Positions of the training rows."""
    outside: Int[np.ndarray, "_"]
    """Positions of the test rows."""
    groups: Int[np.ndarray, "n"] | None = None
    """Whose each row is."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""


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
    files = [Path(run) / RESULT] if Path(run).is_dir() else []
    for file in files if out is None else [*files, Path(out)]:
        try:
            write_whole(file, result.to_json())
        except OSError as error:
            # The work is done: what was found must not be lost with the file.
            raise DataError(f"cannot write {file} ({error.strerror}); the result was:\n{result}") from error
    return result


def read_material(
    run: str | Path,
    train: str | Path,
    test: str | Path | None,
    *,
    task: str | None,
    options: Mapping[str, Any],
    encoder: str = "target",
    untrained: bool = False,
    batch_size: int = 256,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Material:
    """Labelled rows as columns, read as the run reads them, and as the tokens of its encoder; see :func:`compare`."""
    subject = Subject.load(run, options)
    if not isinstance(subject.reading, TablesConfig):
        raise ConfigError(f"{run} is a model for {subject.modality.name}: models are compared on tables")
    sets = [subject.open(path) for path in (train, test) if path is not None]
    method = subject.method.eval().to(device)
    readers: dict[str, Reader] = {
        COLUMNS: lambda rows: rows[:, 0],
        TOKENS: lambda rows: method.encode(rows.to(device), encoder=encoder).tokens.flatten(1),
    }
    if untrained:
        fresh = with_fresh_weights(subject.method, 0).eval().to(device)
        readers[UNTRAINED] = lambda rows: fresh.encode(rows.to(device), encoder=encoder).tokens.flatten(1)
    report = None if progress is None else partial(progress, "reading rows")
    found = [extract(readers, each, batch_size=batch_size, progress=report) for each in sets]
    held, held_source = (found[1], sets[1].source) if test is not None else (None, None)
    data: Labelled = join(found[0], sets[0].source, held, held_source, task)
    inside, outside = data.split(0)
    source = sets[0].source
    assert isinstance(source, TableSource)
    with torch.inference_mode():
        shape = method.encode(sets[0].evaluation([0]).to(device), encoder=encoder).tokens.shape[1:]
    groups = data.groups
    if groups is None and source.groups is not None:
        groups = np.concatenate((source.groups[found[0].index], np.full(len(outside), -1)))
    kinds = {COLUMNS: Inputs(data.values[COLUMNS], tuple(column.cardinality for column in source.columns))}
    kinds |= {
        name: Inputs(tokens=data.values[name].reshape(-1, *shape)) for name in readers if name != COLUMNS
    }
    return Material(
        kinds,
        data.labels,
        inside,
        outside,
        groups,
        _notes(data, test is None),
    )


def fit_all(
    material: Material,
    models: Sequence[str],
    asked: Sequence[Budget],
    *,
    trials: int,
    seeds: Sequence[int],
    limits: FitConfig,
    device: str = "cpu",
    kinds: Sequence[str] = (COLUMNS, TOKENS),
    progress: Progress | None = None,
) -> tuple[tuple[ModelRow, ...], tuple[Difference, ...]]:
    """Tune and fit every model on every kind of input with every number of labels; see :func:`compare`."""
    rows: list[ModelRow] = []
    differences: list[Difference] = []
    done, total = 0, len(models) * len(asked) * len(kinds) * (trials + len(seeds))

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("fitting models", done, total)

    for budget in asked:
        chosen = material.inside[drawn(budget, len(material.inside))]
        errors: dict[tuple[str, str], tuple[ModelRow, Float[np.ndarray, "N"]]] = {}
        for model in models:
            for kind in kinds:
                row, error = fit_row(
                    material,
                    chosen,
                    model,
                    kind,
                    trials=trials,
                    seeds=seeds,
                    limits=limits,
                    device=device,
                    tick=tick,
                )
                rows.append(row)
                errors[model, kind] = row, error
        differences += _differences(errors, task_of(material))
    return tuple(rows), tuple(differences)


def fit_row(
    material: Material,
    chosen: Int[np.ndarray, "_"],
    model: str,
    kind: str,
    *,
    trials: int,
    seeds: Sequence[int],
    limits: FitConfig,
    device: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    tick: Callable[[], None] | None = None,
) -> tuple[ModelRow, Float[np.ndarray, "N"]]:
    """Tune one model on one kind of input, fit it with every seed, and score it on the test rows.

    Args:
        material: the rows.
        chosen: positions of the labelled training rows.
        model, kind: what is fitted on what.
        trials, seeds, limits, device: see :func:`compare`.
        settings: these, without a search.
        tick: called after each fit.

    Returns:
        The row, and the error of each test row, mean over the seeds.
    """
    inputs = material.kinds[kind]
    groups = None if material.groups is None else material.groups[chosen]
    samples = make_samples(inputs.take(chosen), material.labels[chosen], 0, groups)
    searched = (
        tune(model, samples, trials=trials, config=limits, device=device, tick=tick)
        if settings is None
        else []
    )
    best = searched[0].settings if searched else dict(settings or {})
    cut, seconds = sum(trial.cut for trial in searched), sum(trial.seconds for trial in searched)
    truth = inputs.take(material.outside), material.labels[material.outside]
    judged = []
    for seed in seeds:
        fitted = fit_model(model, samples, best, limits, seed=seed, device=device)
        judged.append(judge(fitted, samples.target, *truth))
        cut, seconds = cut + fitted.cut, seconds + fitted.seconds
        if tick is not None:
            tick()
    row = ModelRow(
        model=model,
        features=kind,
        labels=len(chosen),
        scores={name: tuple(each.scores[name] for each in judged) for name in judged[0].scores},
        settings=best,
        valid=searched[0].score if searched else None,
        trials=len(searched),
        cut=cut,
        seconds=seconds,
    )
    return row, np.mean([each.errors for each in judged], axis=0)


def task_of(material: Material) -> str:
    """``"regress"`` for values, else ``"classify"``."""
    return REGRESS if material.labels.dtype.kind == "f" else "classify"


def constant(material: Material) -> float:
    """Score of always the same answer: the share of the most frequent test class, or the RMSE of the training mean."""
    truth = material.labels[material.outside]
    if task_of(material) == REGRESS:
        known = material.labels[material.inside]
        return float(np.sqrt(np.square((truth - known.mean()) / known.std()).mean()))
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))


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


def drawn(budget: Budget, count: int) -> Int[np.ndarray, "_"]:
    """Positions of the labelled rows among ``count``: at random, because models learn how frequent classes are.

    Raises:
        DataError: there are fewer than ten rows.
        ConfigError: the budget asks for fewer than ten, or for more than there are.
    """
    if count < FEWEST:
        raise DataError(
            f"{count} labelled training rows are too few to hold a fifth back for validation: give at least {FEWEST}"
        )
    wanted = budget.count or (count if budget.share is None else round(budget.share * count))
    if not FEWEST <= wanted <= count:
        raise ConfigError(
            f"labels={wanted} must lie between {FEWEST} and that of labelled training rows, {count}"
        )
    return np.sort(permutation(0, "tables/labels", 0, count)[:wanted])


def _notes(data: Labelled, one_pool: bool) -> tuple[str, ...]:
    """What a reader must know of the split."""
    if not one_pool:
        return data.notes
    whose = "" if data.groups is None else ", whole groups of them"
    return (f"no test set was given: a fifth of the labelled rows is held out{whose}, the same for all fits",)


def _differences(
    errors: Mapping[tuple[str, str], tuple[ModelRow, np.ndarray]], task: str
) -> list[Difference]:
    """T-JEPA against columns, and against fresh weights, for each model; then trees on columns against networks on T-JEPA."""
    metric = "rmse" if task == REGRESS else "accuracy"
    sign = -1 if metric == "rmse" else 1

    def between(first: tuple[str, str], second: tuple[str, str]) -> Difference:
        (row, wrong), (other, others) = errors[first], errors[second]
        return difference(row, other, metric, (wrong, others))

    found = [
        between((model, TOKENS), (model, other))
        for other in (COLUMNS, UNTRAINED)
        for model in dict.fromkeys(name for name, _ in errors)
        if {(model, TOKENS), (model, other)} <= set(errors)
    ]
    ranked = sorted(errors, key=lambda key: -sign * errors[key][0].mean(metric))
    trees = next((key for key in ranked if key[0] in BOOSTING and key[1] == COLUMNS), None)
    others = next((key for key in ranked if key[0] not in BOOSTING and key[1] == TOKENS), None)
    return [*found, between(trees, others)] if trees and others else found
