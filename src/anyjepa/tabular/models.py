"""One fit of one model, its scores, and the random search for its settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import f1_score

from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.labelled import strata
from anyjepa.evaluation.splits import folds, group_folds
from anyjepa.evaluation.task import REGRESS, Target
from anyjepa.tabular.boosting import fit_boosting
from anyjepa.tabular.fitting import FitConfig, FittedModel, Samples
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.settings import BOOSTING, complete, draw
from anyjepa.tabular.training import fit_network

HELD_BACK = 5
"""One in so many training rows is for validation."""
FEWEST = 10
"""Training rows below which nothing is held back, and so nothing fitted."""
Tick = Callable[[], None]
"""Called after every fit."""


def hold_back(
    labels: Labels, seed: int, groups: Int[np.ndarray, "n"] | None = None
) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
    """Positions of training and of validation rows: four fifths and one, with classes spread evenly, and no group in both.

    Raises:
        DataError: there are fewer than ten rows or five groups, or one class or value.
    """
    if len(labels) < FEWEST:
        raise DataError(
            f"{len(labels)} labelled training rows are too few to hold a fifth back for validation: give at least {FEWEST}"
        )
    even = strata(labels)
    held = (
        folds(even, HELD_BACK, seed) if groups is None else group_folds(even, groups, HELD_BACK, seed)
    ) == 0
    # Refuses a single class, in words of its own.
    Target.of(labels[~held])
    if labels.dtype.kind != "f" and not np.isin(labels[held], labels[~held]).any():
        raise DataError(
            "none of the classes of the validation rows occurs in training: each class needs several rows, in several groups"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


def make_samples(
    inputs: Inputs, labels: Labels, seed: int, groups: Int[np.ndarray, "n"] | None = None
) -> Samples:
    """Labelled training rows with a fifth of them held back; see :func:`hold_back`."""
    train, valid = hold_back(labels, seed, groups)
    return Samples(
        inputs.take(train), labels[train], inputs.take(valid), labels[valid], Target.of(labels[train])
    )


def fit_model(
    model: str,
    samples: Samples,
    settings: Mapping[str, Any] | None = None,
    config: FitConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> FittedModel:
    """Fit a model, stopping early by the validation rows.

    Args:
        model: one of :data:`~anyjepa.tabular.settings.MODELS`.
        samples: training and validation rows, see :func:`make_samples`.
        settings: on top of the defaults.
        config: limits of the fit.
        seed: of everything that is drawn.
        device: where to compute.

    Raises:
        ConfigError: the model or a setting is unknown, or the loss was never finite.
        MissingExtraError: a package is needed and not installed.
    """
    chosen = complete(model, samples.train, settings)
    fit = fit_boosting if model in BOOSTING else fit_network
    began = time.process_time()
    fitted = fit(model, chosen, samples, config or FitConfig(), seed=seed, device=device)
    fitted.seconds = time.process_time() - began
    return fitted


@dataclass(frozen=True)
class Judged:
    """Answers of a model beside the truth."""

    scores: Mapping[str, float]
    """``accuracy`` and ``macro_f1``, shares; or ``rmse``, in standard deviations of the training labels."""
    errors: Float[np.ndarray, "N"]
    """Of each row: 1 where the class is wrong; or the squared error in units of the training variance."""


def judge(fitted: FittedModel, target: Target, inputs: Inputs, labels: Labels) -> Judged:
    """Score a fitted model. A class that training did not have is never right."""
    answers = target.decode(fitted.outputs(inputs))
    if target.task == REGRESS:
        errors = np.square((answers - labels) / target.scale)
        return Judged({"rmse": float(np.sqrt(errors.mean()))}, errors)
    errors = (answers != labels).astype(np.float64)
    f1 = float(f1_score(labels, answers, average="macro", zero_division=0))
    return Judged({"accuracy": float(1 - errors.mean()), "macro_f1": f1}, errors)


@dataclass(frozen=True)
class Trial:
    """One draw of the random search."""

    settings: Mapping[str, Any]
    """What was tried."""
    score: float
    """On the validation rows: accuracy, or minus the RMSE."""
    loss: float
    """Of the validation rows; decides between equal scores."""
    rounds: int
    """Epochs or trees."""
    cut: bool
    """The time limit ended it."""
    seconds: float
    """Processor time."""


def tune(
    model: str,
    samples: Samples,
    *,
    trials: int = 8,
    config: FitConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    tick: Tick | None = None,
) -> list[Trial]:
    """Random search: fits of the default settings and of ``trials - 1`` random ones; the best by the validation rows first. A
    trial whose loss is never finite is left out.

    Args:
        model: one of :data:`~anyjepa.tabular.settings.MODELS`.
        samples: training and validation rows.
        trials: number of fits.
        config: limits of each.
        seed: of settings and fits.
        device: where to compute.
        tick: called after each fit.

    Raises:
        ConfigError: trials is below 1, or no trial could be fitted.
        MissingExtraError: a package is needed and not installed.
    """
    if trials < 1:
        raise ConfigError(f"trials must be at least 1, got {trials}")
    found: list[Trial] = []
    failed: ConfigError | None = None
    for number in range(trials):
        settings = draw(model, samples.train, number, seed)
        try:
            fitted = fit_model(model, samples, settings, config, seed=seed, device=device)
        except ConfigError as error:
            # Rates of learning that are too high are drawn now and then.
            failed = error
        else:
            scores = judge(fitted, samples.target, samples.valid, samples.valid_labels).scores
            score = -scores["rmse"] if samples.target.task == REGRESS else scores["accuracy"]
            found.append(Trial(settings, score, fitted.loss, fitted.rounds, fitted.cut, fitted.seconds))
        if tick is not None:
            tick()
    if not found and failed is not None:
        raise failed
    return sorted(found, key=lambda trial: (-trial.score, trial.loss))
