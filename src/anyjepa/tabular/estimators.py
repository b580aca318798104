"""The models as scikit-learn estimators: on columns of a table, or on the token matrices of T-JEPA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import softmax

from anyjepa.data.tables_config import TablesConfig
from anyjepa.embedding.opened import choose_device
from anyjepa.errors import DataError
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.task import Target
from anyjepa.tabular.fitting import FitConfig, FittedModel
from anyjepa.tabular.models import fit_model, make_samples
from anyjepa.tabular.rows import learn_inputs, read_inputs, read_labels


class _TableModel(BaseEstimator):
    """What both estimators share.

    ``X`` is a frame of pandas or polars, a pyarrow table, an array (rows, columns), the path of a file, or the tokens (rows,
    columns, channels) that :meth:`anyjepa.tabular.TJEPA.tokens` makes; for those an adapter is trained with the model. A fifth
    of the rows is held back to stop early by.

    Args:
        model: ``"mlp"``, ``"resnet"``, ``"dcnv2"``, ``"ft-transformer"``, ``"autoint"``, ``"xgboost"`` or ``"catboost"``.
        settings: of the model, on top of its defaults, see :func:`anyjepa.tabular.settings.space`.
        limits: epochs, batch size, patience, time.
        options: how columns are read, fields of :class:`~anyjepa.data.tables_config.TablesConfig`.
        device: where to compute; None: a GPU where there is one.
        random_state: of weights, order and the rows held back.

    Attributes:
        fitted_: the model.
        settings_: all of its settings.
        n_features_in_: columns of ``X``.
    """

    def __init__(
        self,
        model: str = "mlp",
        *,
        settings: Mapping[str, Any] | None = None,
        limits: FitConfig | None = None,
        options: Mapping[str, Any] | None = None,
        device: str | None = None,
        random_state: int = 0,
    ) -> None:
        self.model = model
        self.settings = settings
        self.limits = limits
        self.options = options
        self.device = device
        self.random_state = random_state

    def _fit(self, x: Any, labels: Labels, groups: Any) -> None:
        inputs, reading = learn_inputs(x, self.options)
        for what, given in (("y", labels), ("groups", groups)):
            if given is not None and len(given) != len(inputs):
                raise DataError(f"X has {len(inputs)} rows, {what} has {len(given)}")
        numbers = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        samples = make_samples(inputs, labels, self.random_state, numbers)
        self.reading_: TablesConfig | None = reading
        self.target_: Target = samples.target
        self.n_features_in_ = inputs.values.shape[1]
        self.fitted_: FittedModel = fit_model(
            self.model,
            samples,
            self.settings,
            self.limits,
            seed=self.random_state,
            device=choose_device(self.device),
        )
        self.settings_ = self.fitted_.settings

    def _outputs(self, x: Any) -> Any:
        check_is_fitted(self)
        return self.fitted_.outputs(read_inputs(x, self.reading_))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_")


class TableClassifier(ClassifierMixin, _TableModel):
    __doc__ = f"Predicts classes.\n{_TableModel.__doc__}    classes_: the classes.\n"

    def fit(self, X: Any, y: Any, groups: Any = None) -> TableClassifier:  # noqa: N803
        """Fit to rows and their classes; rows of one group are never both in training and held back.

        Raises:
            DataError: there is one class, y has gaps, rows are too few, or X is no table.
            ConfigError: a setting is unknown or impossible.
            MissingExtraError: a package is needed and not installed.
        """
        labels, names = read_labels(y)
        if labels.dtype.kind == "f":
            raise DataError("y holds fractions, which are no classes: use TableRegressor")
        self._fit(X, labels, groups)
        numbers = self.target_.classes
        self.classes_ = numbers if names is None else np.array(names)[numbers]
        return self

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N K"]:  # noqa: N803
        """Share of each of ``classes_``."""
        return softmax(self._outputs(X).double(), dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The most likely of ``classes_``."""
        return self.classes_[self._outputs(X).argmax(dim=1).numpy()]


class TableRegressor(RegressorMixin, _TableModel):
    __doc__ = f"Predicts values.\n{_TableModel.__doc__}"

    def fit(self, X: Any, y: Any, groups: Any = None) -> TableRegressor:  # noqa: N803
        """Fit to rows and their values; rows of one group are never both in training and held back.

        Raises:
            DataError: y does not vary or has gaps, rows are too few, or X is no table.
            ConfigError: a setting is unknown or impossible.
            MissingExtraError: a package is needed and not installed.
        """
        labels, names = read_labels(y)
        if names is not None:
            raise DataError("y holds texts, which are no values: use TableClassifier")
        self._fit(X, labels.astype(np.float64), groups)
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "N"]:  # noqa: N803
        """Values of the rows."""
        return self.target_.decode(self._outputs(X))
