"""An encoder as a scikit-learn transformer: pretrain with ``fit``, embed with ``transform``."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from anyjepa import registry
from anyjepa.bundle import Shape, blank
from anyjepa.contract import Method
from anyjepa.data import Source
from anyjepa.data.modality import Modality
from anyjepa.embedding.opened import OpenRun, choose_device, open_run, vector_reader
from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation import extract
from anyjepa.pretraining import pretrain
from anyjepa.training import RunConfig


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Vectors of samples by an encoder that ``fit`` pretrains without labels, or that was pretrained before.

    ``X`` is a path as for ``anyjepa pretrain --data``; of images also an array (N, H, W), (N, H, W, C) or (N, C, H, W) of uint8,
    uint16 or floats in 0..1, or a list of image files. ``y`` is never looked at.

    Args:
        method: name of the method to pretrain, or a run directory, which is the same as ``pretrained``.
        pretrained: a run or one of its checkpoints; ``fit`` then trains nothing and only checks that the samples fit.
        size: size of the encoder, from ``nano`` to ``giant``.
        steps: length of the pretraining in optimizer steps.
        batch_size: samples per step.
        encoder: ``"target"`` or ``"context"``.
        layers: blocks whose pooled representations are joined; -1 is the last one, after its norm.
        image_shape: (H, W) or (H, W, C) of flattened images, when ``X`` is (N, H * W * C).
        options: further keys of a run, e.g. ``{"model": {"patch_size": 2}, "images": {"size": 16}}``.
        out: directory under which each fit keeps its run; None: runs are deleted after their fit, the encoder stays in memory.
        device: where to compute; None: a GPU where there is one.
        random_state: of weights, masks, crops and order: an int for equal results each time.
        verbose: 0 trains in silence, 1 prints what ``anyjepa pretrain`` prints.

    Attributes:
        method_: the trained method, in eval mode on the CPU.
        run_: directory of the run; None when it was not kept.
        shape_: (C, ...) of what the encoder sees.
        n_features_: length D of a vector.
    """

    def __init__(
        self,
        method: str = "ijepa",
        *,
        pretrained: str | Path | None = None,
        size: str = "nano",
        steps: int = 1000,
        batch_size: int = 64,
        encoder: str = "target",
        layers: Sequence[int] = (-1,),
        image_shape: tuple[int, ...] | None = None,
        options: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.pretrained = pretrained
        self.size = size
        self.steps = steps
        self.batch_size = batch_size
        self.encoder = encoder
        self.layers = layers
        self.image_shape = image_shape
        self.options = options
        self.out = out
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Embedder:  # noqa: N803
        """Pretrain on the samples of ``X``; with ``pretrained`` only check that they fit. ``y`` is ignored.

        Raises:
            DataError: these are no samples of its kind, or they do not fit the pretrained encoder.
            ConfigError: a setting is unknown or impossible.
            CheckpointError: there is no run in ``pretrained``.
        """
        if self._pretrained is None:
            self._train(X)
        else:
            self._keep(open_run(self._pretrained), self._pretrained)
            self._source(X, self._modality, self._reading, self.shape_).read(0)
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "N D"]:  # noqa: N803
        """float32 vectors (N, D) of the samples, in their order.

        Raises:
            DataError: these are no samples of its kind, do not fit, or one of them cannot be read.
            sklearn.exceptions.NotFittedError: ``fit`` has not been called and nothing is pretrained.
        """
        check_is_fitted(self)
        if not hasattr(self, "method_"):
            assert self._pretrained is not None
            self._keep(open_run(self._pretrained), self._pretrained)
        reading = replace(self._reading, max_broken=0.0)
        source = self._source(X, self._modality, reading, self.shape_)
        method = self._modality.adapt(self.method_, source)
        reader = vector_reader(
            method,
            encoder=self.encoder,
            layers=tuple(self.layers),
            tokens=False,
            device=choose_device(self.device),
        )
        try:
            dataset = self._modality.dataset(source, reading)
            return extract({"vector": reader}, dataset, batch_size=self.batch_size).values["vector"]
        finally:
            self.method_.cpu()

    @property
    def _pretrained(self) -> str | Path | None:
        if self.pretrained is not None:
            return self.pretrained
        if self.method in registry.names():
            return None
        if Path(self.method).exists():
            return self.method
        raise ConfigError(
            f"'{self.method}' is neither a method nor a run directory: {nearest(str(self.method), registry.names())}"
        )

    @property
    def _n_features_out(self) -> int:
        return self.n_features_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "method_") or self._pretrained is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.image_shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        # A pretrained one knows all it needs.
        tags.requires_fit = self.pretrained is None
        return tags

    def _source(self, X: Any, kind: Modality, reading: Any, shape: Shape | None = None) -> Source:  # noqa: N803
        if self.image_shape is not None and not isinstance(X, str | Path | Source):
            X = _unflattened(np.asarray(X), tuple(self.image_shape))  # noqa: N806
        return kind.given(X, reading, shape)

    def _train(self, X: Any) -> None:  # noqa: N803
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        parent = None if self.out is None else Path(self.out)
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        # A directory of its own for each fit, so that fits side by side do not meet.
        run = tempfile.mkdtemp(prefix="fit-", dir=parent)
        with contextlib.ExitStack() as stack:
            if parent is None:
                stack.callback(shutil.rmtree, run, ignore_errors=True)
            config = self._config(run, seed)
            source = self._source(X, config.modality, config.reading)
            with _silence(self.verbose == 0), torch.random.fork_rng(devices=[]):
                pretrain(config, source=source)
            self._keep(open_run(run), None if parent is None else run)

    def _config(self, run: str, seed: int) -> RunConfig:
        extra: dict[str, dict[str, Any]] = {name: dict(group) for name, group in (self.options or {}).items()}
        kind = registry.entry(self.method).modality
        groups = ("model", kind, "train")
        for name in extra:
            if name not in groups:
                raise ConfigError(f"unknown group '{name}' in options: {nearest(name, groups)}")
        model: dict[str, Any] = {"size": self.size, "seed": seed} | extra.get("model", {})
        model["optim"] = {"steps": self.steps} | dict(model.get("optim", {}))
        # No loader processes: a fit may itself run in a worker, which must not start others.
        train: dict[str, Any] = {"seed": seed, "batch_size": self.batch_size, "workers": 0}
        if self.device == "cpu":
            train["accelerator"] = "cpu"
        values = {"model": model, kind: extra.get(kind, {}), "train": train | extra.get("train", {})}
        return RunConfig.from_mapping({"method": self.method, "data": "X", "out": run} | values)

    def _keep(self, opened: OpenRun, run: str | Path | None) -> None:
        self.method_: Method = opened.method
        self._modality, self._reading = opened.modality, opened.reading
        self.run_ = None if run is None else str(run)
        self.shape_ = opened.method.input_shape()
        reader = vector_reader(
            self.method_, encoder=self.encoder, layers=tuple(self.layers), tokens=False, device="cpu"
        )
        with torch.inference_mode():
            self.n_features_ = reader(blank(self.shape_)).shape[1]


def _unflattened(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.ndim != 2 or array.shape[1] != int(np.prod(shape)):
        raise DataError(
            f"X has shape {array.shape}; with image_shape={shape} it must be (N, {int(np.prod(shape))})"
        )
    return array.reshape(len(array), *shape)


@contextlib.contextmanager
def _silence(quiet: bool) -> Iterator[None]:
    """Keep reports and progress off the screen; errors and warnings are raised and logged as ever."""
    if not quiet:
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
