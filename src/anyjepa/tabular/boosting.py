"""Gradient boosting on rows or on tokens, by XGBoost and CatBoost: early stopping on the validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from anyjepa.errors import ConfigError, MissingExtraError, nearest
from anyjepa.evaluation.task import CLASSIFY, Target
from anyjepa.randomness import derive_seed
from anyjepa.tabular.fitting import Clock, FitConfig, FittedModel, Samples, known
from anyjepa.tabular.inputs import Inputs
from anyjepa.tabular.settings import BOOSTING_ADAPTERS

COMPONENTS = 128
"""Principal components of the tokens, at most."""


class Flattening:
    """Samples as rows for trees. Rows stay as they are, missing values and codes included.

    Args:
        kind: for tokens, one of :data:`~anyjepa.tabular.settings.BOOSTING_ADAPTERS`.
        inputs: training samples, from which principal components are learned.
        seed: of their computation.
    """

    def __init__(self, kind: str | None, inputs: Inputs, seed: int) -> None:
        if kind is not None and kind not in BOOSTING_ADAPTERS:
            raise ConfigError(f"unknown adapter '{kind}' for trees: {nearest(kind, BOOSTING_ADAPTERS)}")
        self._kind = kind
        if kind == "pca":
            flat = inputs.values.reshape(len(inputs), -1)
            self._pca = PCA(
                min(COMPONENTS, *flat.shape), random_state=derive_seed(seed, "tables/pca") % 2**32
            ).fit(flat)

    def __call__(self, inputs: Inputs) -> Float[np.ndarray, "N F"]:
        """The samples as float32."""
        if inputs.tokens is None:
            found = inputs.values
        elif self._kind == "max_pool":
            found = inputs.tokens.max(axis=2)
        elif self._kind == "mean_pool":
            found = inputs.tokens.mean(axis=2)
        else:
            flat = inputs.tokens.reshape(len(inputs), -1)
            found = self._pca.transform(flat) if self._kind == "pca" else flat
        return np.ascontiguousarray(found, dtype=np.float32)


class XGBoostModel(FittedModel):
    """Trees of XGBoost."""

    def __init__(self, booster: Any, flattening: Flattening, target: Target, rounds: int) -> None:
        self._booster, self._flattening, self._target, self.rounds = booster, flattening, target, rounds

    def outputs(self, inputs: Inputs) -> Float[Tensor, "N K"]:
        data = _matrix(self._flattening(inputs), None, inputs)
        found = self._booster.predict(data, output_margin=True, iteration_range=(0, self.rounds))
        return _as_outputs(found, self._target)


class CatBoostModel(FittedModel):
    """Trees of CatBoost."""

    def __init__(self, trees: Any, flattening: Flattening, target: Target) -> None:
        self._trees, self._flattening, self._target = trees, flattening, target
        self.rounds = int(trees.tree_count_)

    def outputs(self, inputs: Inputs) -> Float[Tensor, "N K"]:
        pool = _pool(self._flattening(inputs), None, inputs)
        return _as_outputs(self._trees.predict(pool, prediction_type="RawFormulaVal"), self._target)


def fit_boosting(
    kind: str,
    settings: Mapping[str, Any],
    samples: Samples,
    config: FitConfig,
    *,
    seed: int,
    device: str = "cpu",
) -> FittedModel:
    """Grow trees until the loss on the validation rows has not fallen for ``rounds_patience`` trees.

    Args:
        kind: ``"xgboost"`` or ``"catboost"``.
        settings: all of them, see :mod:`~anyjepa.tabular.settings`.
        samples: training and validation samples.
        config: the limits.
        seed: of the rows and columns each tree sees.
        device: where to compute.

    Raises:
        MissingExtraError: the package is not installed.
    """
    flattening = Flattening(settings.get("adapter"), samples.train, seed)
    fit = _fit_xgboost if kind == "xgboost" else _fit_catboost
    model = fit(settings, samples, flattening, config, derive_seed(seed, "tables/trees") % 2**31, device)
    judges, answers = known(samples)
    model.loss = samples.target.losses(model.outputs(judges), answers).mean().item()
    model.settings = dict(settings)
    return model


def _fit_xgboost(
    settings: Mapping[str, Any],
    samples: Samples,
    flattening: Flattening,
    config: FitConfig,
    seed: int,
    device: str,
) -> XGBoostModel:
    try:
        import xgboost
    except ImportError:
        raise MissingExtraError("xgboost", "models") from None

    class Limit(xgboost.callback.TrainingCallback):
        """Ends the fit when its time is over."""

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return clock.over

    clock, target = Clock(config.seconds), samples.target
    judges, answers = known(samples)
    objective: dict[str, Any] = {"objective": "reg:squarederror"}
    if target.task == CLASSIFY:
        objective = {"objective": "binary:logistic", "eval_metric": "logloss"}
        if target.outputs > 2:
            objective = {
                "objective": "multi:softprob",
                "eval_metric": "mlogloss",
                "num_class": target.outputs,
            }
    booster = xgboost.train(
        {
            **objective,
            "max_depth": int(settings["depth"]),
            "eta": float(settings["lr"]),
            "subsample": float(settings["rows"]),
            "colsample_bytree": float(settings["columns"]),
            "min_child_weight": float(settings["child_weight"]),
            "lambda": float(settings["l2"]),
            "tree_method": "hist",
            "device": device,
            "nthread": torch.get_num_threads(),
            "seed": seed,
            "verbosity": 0,
        },
        _matrix(flattening(samples.train), target.encode(samples.labels).numpy(), samples.train),
        config.rounds,
        evals=[(_matrix(flattening(judges), answers.numpy(), judges), "valid")],
        early_stopping_rounds=config.rounds_patience,
        callbacks=[Limit()],
        verbose_eval=False,
    )
    # The time limit may come before early stopping has named a best tree.
    best = booster.attr("best_iteration")
    rounds = booster.num_boosted_rounds() if best is None else int(best) + 1
    model = XGBoostModel(booster, flattening, target, rounds)
    model.cut = clock.over
    return model


def _fit_catboost(
    settings: Mapping[str, Any],
    samples: Samples,
    flattening: Flattening,
    config: FitConfig,
    seed: int,
    device: str,
) -> CatBoostModel:
    try:
        import catboost
    except ImportError:
        raise MissingExtraError("catboost", "models") from None

    class Limit:
        """Ends the fit when its time is over."""

        def after_iteration(self, info: Any) -> bool:
            return not clock.over

    clock, target = Clock(config.seconds), samples.target
    judges, answers = known(samples)
    kind = "RMSE"
    if target.task == CLASSIFY:
        kind = "Logloss" if target.outputs == 2 else "MultiClass"
    trees = catboost.CatBoost(
        {
            "loss_function": kind,
            "iterations": config.rounds,
            "depth": int(settings["depth"]),
            "learning_rate": float(settings["lr"]),
            "l2_leaf_reg": float(settings["l2"]),
            "bootstrap_type": "Bayesian",
            "bagging_temperature": float(settings["temperature"]),
            "od_type": "Iter",
            "od_wait": config.rounds_patience,
            "use_best_model": True,
            "random_seed": seed,
            "thread_count": torch.get_num_threads(),
            # The GPU of CatBoost takes no callbacks, and so no time limit.
            "task_type": "GPU" if device.startswith("cuda") and config.seconds is None else "CPU",
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
    )
    limit = {} if config.seconds is None else {"callbacks": [Limit()]}
    train = _pool(flattening(samples.train), target.encode(samples.labels).numpy(), samples.train)
    trees.fit(train, eval_set=_pool(flattening(judges), answers.numpy(), judges), **limit)
    model = CatBoostModel(trees, flattening, target)
    model.cut = clock.over
    return model


def _matrix(values: np.ndarray, labels: np.ndarray | None, inputs: Inputs) -> Any:
    """Features for XGBoost; codes of rows are categories."""
    import xgboost

    kinds = ["c" if size else "q" for size in inputs.cardinalities] or None
    return xgboost.DMatrix(values, labels, feature_types=kinds, enable_categorical=kinds is not None)


def _pool(values: np.ndarray, labels: np.ndarray | None, inputs: Inputs) -> Any:
    """Features for CatBoost: first numbers, then categories as words, of which one is for missing."""
    import catboost

    is_code = np.array([size > 0 for size in inputs.cardinalities] or [False] * values.shape[1])
    numbers = np.ascontiguousarray(values[:, ~is_code]) if not is_code.all() else None
    words = None
    if is_code.any():
        codes = np.nan_to_num(values[:, is_code], nan=-1).astype(np.int64)
        words = codes.astype(str).astype("S").astype(object)
    data = catboost.FeaturesData(num_feature_data=numbers, cat_feature_data=words)
    return catboost.Pool(data, labels)


def _as_outputs(found: np.ndarray, target: Target) -> Float[Tensor, "N K"]:
    """(N, K) of what trees answer: one column for two classes means the log-odds of the second."""
    outputs = torch.from_numpy(np.asarray(found, dtype=np.float32).reshape(len(found), -1))
    if target.task == CLASSIFY and outputs.shape[1] == 1:
        return torch.cat((torch.zeros_like(outputs), outputs), dim=1)
    return outputs
