"""T-JEPA as a scikit-learn transformer. The model, its training and its files are those of ``anyjepa pretrain tjepa``."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from anyjepa.contract import Method, Representation
from anyjepa.data.tables_config import TableReport, TablesConfig
from anyjepa.data.tables_files import RenamedTable, Table, open_table
from anyjepa.data.tables_frames import as_table, column_names
from anyjepa.data.tables_source import TableSource
from anyjepa.embedding.opened import choose_device, open_run
from anyjepa.errors import DataError
from anyjepa.hub.read import Loaded
from anyjepa.monitoring.doctor import Diagnosis
from anyjepa.pretraining import pretrain
from anyjepa.tabular.parameters import check_choices, run_config
from anyjepa.tabular.stored import About, no_estimator, read_estimator, write_estimator


class TJEPA(TransformerMixin, BaseEstimator):
    """Vectors of table rows by an encoder that ``fit`` pretrains without labels (T-JEPA, arXiv 2410.05016).

    ``X`` is a frame of pandas or polars, a pyarrow table, an array (rows, columns), or the path of a .csv, .parquet or .npy file
    or of a folder of them. Files are read block by block: of millions of rows only a mapped temporary file grows. Texts, truth
    values and dictionaries are categories, numbers and times are numbers; NaN, None and empty cells are missing values, which
    are a token of their own. Columns that are constant or empty in the training rows are left out. ``y`` is never looked at.

    Columns of frames and files are found by their names, in whatever order; columns that were not there when fitting are
    ignored. A category that was not there is treated as missing, or as one of the rare ones where there were such.

    Args:
        size: ``"nano"``, ``"tiny"``, or ``"small"``, the published setting for Jannis.
        steps: length of the pretraining in optimizer steps.
        batch_size: rows per step, and per forward pass of ``transform``.
        lr: learning rate after the warm-up; None: that of the method, 3.66e-4.
        registers: [REG] tokens; without one training tends to collapse.
        pooling: ``"tokens"``: the vectors of all columns, one behind the other; ``"mean"``: their mean.
        encoder: ``"target"`` or ``"context"``.
        categorical: columns (names, or positions in an array) of categories that look like numbers.
        numerical: columns that must hold numbers.
        ignore: columns to leave out.
        scaling: of numbers, ``"standard"``, ``"minmax"`` or ``"none"``, fitted on the training rows.
        options: further keys of a run, e.g. ``{"model": {"depth": 3}, "tables": {"max_categories": 50}}``.
        out: directory under which each fit keeps its run; None: runs are deleted after their fit.
        device: where to compute; None: a GPU where there is one.
        random_state: of weights, masks and order: an int for equal results each time.
        verbose: 0 trains in silence, 1 prints what ``anyjepa pretrain`` prints.

    Attributes:
        method_: the trained method, in eval mode on the CPU.
        reading_: how rows are read: features, categories, scales.
        report_: what was found in the training rows.
        diagnosis_: what the doctor says of the training: look here whether it has collapsed.
        run_: directory of the run; None when it was not kept.
        n_features_in_: columns of the training table, those that are no features included.
        feature_names_in_: their names, of frames and files.
    """

    def __init__(
        self,
        *,
        size: str = "nano",
        steps: int = 1000,
        batch_size: int = 256,
        lr: float | None = None,
        registers: int = 1,
        pooling: Literal["tokens", "mean"] = "tokens",
        encoder: Literal["target", "context"] = "target",
        categorical: Sequence[str | int] | None = None,
        numerical: Sequence[str | int] | None = None,
        ignore: Sequence[str | int] | None = None,
        scaling: Literal["standard", "minmax", "none"] = "standard",
        options: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.size = size
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.registers = registers
        self.pooling = pooling
        self.encoder = encoder
        self.categorical = categorical
        self.numerical = numerical
        self.ignore = ignore
        self.scaling = scaling
        self.options = options
        self.out = out
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> TJEPA:  # noqa: N803
        """Learn kinds, categories and scales of the columns, and pretrain. ``y`` is ignored.

        Raises:
            DataError: X is no table, has columns of one name, texts among numbers, infinite numbers, or fewer than two columns
                that vary.
            ConfigError: a parameter is unknown or impossible.
        """
        check_choices(self)
        table = self._table(X, fitted=False)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        parent = None if self.out is None else Path(self.out)
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        # A directory of its own for each fit, so that fits side by side do not meet.
        run = tempfile.mkdtemp(prefix="fit-", dir=parent)
        with contextlib.ExitStack() as stack:
            if parent is None:
                stack.callback(shutil.rmtree, run, ignore_errors=True)
            config = run_config(self, run, seed, table)
            # Every column of a frame is meant to be there, whatever its name; of a file one that is named like a label is not.
            source = TableSource(table, config.reading, guess=isinstance(X, str | Path))
            if self.verbose == 0:
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            with torch.random.fork_rng(devices=[]):
                result = pretrain(config, source=source)
            opened = open_run(run)
        self.method_: Method = opened.method
        self.reading_: TablesConfig = opened.reading
        self.report_: TableReport = source.report
        self.diagnosis_: Diagnosis | None = result.diagnosis
        self.run_ = None if parent is None else run
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "N F"]:  # noqa: N803
        """float32 vectors of the rows, in their order. That of a row does not depend on the rows around it.

        Raises:
            DataError: a column is missing, or holds what it cannot.
            sklearn.exceptions.NotFittedError: ``fit`` has not been called.
        """
        check_is_fitted(self)
        if self.pooling == "mean":
            return self._encoded(X, lambda encoded: encoded.pooled, (len(self._names()),))
        return self._encoded(X, lambda encoded: encoded.tokens.flatten(1), (len(self._names()),))

    def tokens(self, X: Any) -> Float[np.ndarray, "N d h"]:  # noqa: N803
        """float32 vectors of each column of each row, as :class:`~anyjepa.tabular.TableClassifier` takes them.

        Raises:
            DataError: a column is missing, or holds what it cannot.
            sklearn.exceptions.NotFittedError: ``fit`` has not been called.
        """
        check_is_fitted(self)
        order: Any = self.method_.token_columns
        shape = (len(order), int(self.method_.config.dim))
        return self._encoded(X, lambda encoded: encoded.tokens, shape)

    def _encoded(
        self,
        X: Any,  # noqa: N803
        read: Callable[[Representation], torch.Tensor],
        shape: tuple[int, ...],
    ) -> np.ndarray:
        source = TableSource(self._table(X, fitted=True), self.reading_, guess=False)
        device = choose_device(self.device)
        found = np.empty((len(source), *shape), dtype=np.float32)
        self.method_.to(device)
        try:
            for start in range(0, len(source), self.batch_size):
                stop = min(start + self.batch_size, len(source))
                rows = source.take(np.arange(start, stop))
                # Batches of one size: in others a library of matrix products may round differently.
                filled = torch.cat((rows, rows[:1].expand(self.batch_size - len(rows), -1, -1)))
                with torch.inference_mode():
                    vectors = read(self.method_.encode(filled.to(device), encoder=self.encoder))
                found[start:stop] = vectors[: stop - start].float().cpu().numpy()
        finally:
            self.method_.cpu()
        return found

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the numbers of a vector: the column and the number of the channel, e.g. ``age_0``; ``tjepa0`` and so on of the
        mean.

        Args:
            input_features: names of the columns of an array; of frames and files those they were fitted with.

        Raises:
            ValueError: these are other columns.
        """
        check_is_fitted(self)
        columns = _check_feature_names_in(self, input_features)
        return np.array(self._names(columns), dtype=object)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the fitted estimator to a directory of JSON and safetensors files, which :func:`anyjepa.load` reads too.

        Raises:
            ConfigError: something is there already.
            CheckpointError: it cannot be written.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        columns = None if names is None else list(map(str, names))
        about = About(self.get_params(deep=False), columns, self.n_features_in_)
        write_estimator(Path(path), about, Loaded(self.method_, True, self.reading_), overwrite)

    @classmethod
    def load(cls, path: str | Path) -> TJEPA:
        """What :meth:`save` wrote. Nothing of it is executed or unpickled.

        Raises:
            CheckpointError: there is no such directory, or a file of it is damaged.
        """
        about, loaded = read_estimator(Path(path))
        try:
            made = cls(**about.params)
        except TypeError as error:
            raise no_estimator(path, error) from None
        made.method_, made.reading_, made.run_ = loaded.method, loaded.reading, None
        made.n_features_in_ = about.width
        if about.columns is not None:
            made.feature_names_in_ = np.array(about.columns, dtype=object)
        return made

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "method_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _table(self, X: Any, *, fitted: bool) -> Table:  # noqa: N803
        """The rows of X, with columns named as when fitting."""
        if isinstance(X, str | Path):
            chosen: dict[str, Any] = dict((self.options or {}).get("tables", {}))
            table: Table = open_table(X, chosen.get("header", True), chosen.get("delimiter"))
            named = True
        elif column_names(X) is not None:
            table = as_table(X)
            # As scikit-learn has it: only texts are names.
            named = all(isinstance(name, str) for name in getattr(X, "columns", ()) if name is not None)
            named = named or not hasattr(X, "iloc")
        else:
            table = as_table(check_array(X, dtype=None, ensure_all_finite=False, estimator=self))
            named = False
        plain = [f"x{i}" for i in range(len(table.names))]
        if not fitted:
            self.n_features_in_ = len(table.names)
            if named:
                self.feature_names_in_ = np.array(table.names, dtype=object)
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            return table if named else RenamedTable(table, plain)
        known = getattr(self, "feature_names_in_", None)
        if named and known is not None:
            return table
        self._must_be_wide(len(table.names))
        if known is not None:
            self._warn("X does not have valid feature names, but {} was fitted with feature names")
        elif named:
            self._warn("X has feature names, but {} was fitted without feature names")
        return RenamedTable(table, plain if known is None else list(map(str, known)))

    def _warn(self, text: str) -> None:
        warnings.warn(text.format(type(self).__name__), UserWarning, stacklevel=4)

    def _must_be_wide(self, width: int) -> None:
        if width != self.n_features_in_:
            raise DataError(
                f"X has {width} features, but {type(self).__name__} is expecting {self.n_features_in_} features as input"
            )

    def _names(self, columns: Any = None) -> list[str]:
        width = int(self.method_.config.dim)
        if self.pooling == "mean":
            return [f"tjepa{i}" for i in range(width)]
        known = [column.name for column in self.reading_.columns or ()]
        if columns is not None and not hasattr(self, "feature_names_in_"):
            # Columns of an array are x0, x1, ... here; the caller may know them better.
            known = [str(columns[int(name[1:])]) for name in known]
        order: Any = self.method_.token_columns
        names = ["REG" if j is None else known[j] for j in order]
        return [f"{name}_{i}" for name in names for i in range(width)]
