"""Models tuned, fitted and scored on one material, each in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from anyjepa.evaluation import Budget
from anyjepa.evaluation.task import REGRESS
from anyjepa.tabular.fitting import FitConfig
from anyjepa.tabular.material import Material, Progress, drawn, task_of
from anyjepa.tabular.models import fit_model, judge, make_samples, tune
from anyjepa.tabular.result import COLUMNS, TOKENS, UNTRAINED, Difference, ModelRow, difference
from anyjepa.tabular.settings import BOOSTING


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
