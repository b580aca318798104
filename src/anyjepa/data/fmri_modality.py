"""Resting-state fMRI as a kind of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anyjepa.config import to_dict
from anyjepa.contract import Method
from anyjepa.data.base import Source
from anyjepa.data.fmri import FmriSource
from anyjepa.data.fmri_config import FmriConfig, FmriReport
from anyjepa.data.fmri_dataset import FmriDataset, ScaledScans
from anyjepa.data.gradients import as_rows, diffusion_gradients, group_connectivity, read_gradients
from anyjepa.data.modality import Modality, Progress
from anyjepa.data.nifti import ENDINGS as IMAGE_ENDINGS
from anyjepa.data.roi_files import ENDINGS
from anyjepa.data.roi_scaling import fit_scaling
from anyjepa.errors import ConfigError, DataError


class Fmri(Modality):
    """Scans of the resting brain, averaged over the regions of an atlas."""

    name = "fmri"
    noun = "scans"
    config = FmriConfig
    opens = (
        f"region series ({', '.join(ENDINGS)}; an .npz holds an array (frames, regions) per scan), a folder of them, or NIfTI "
        f"images ({', '.join(IMAGE_ENDINGS)}) with --fmri.atlas"
    )
    # .npz, .csv and the like hold all kinds of data.
    endings = frozenset({*IMAGE_ENDINGS, ".1d"})
    axes = "1, regions, frames"
    inherited = ("scaling", "target_tr", "rate")
    unlearned = "connectivity of the clip: Fisher z of the correlation of every two regions"

    def open(
        self, path: str | Path, config: FmriConfig, *, labels: bool = False, progress: Progress | None = None
    ) -> ScaledScans:
        source = FmriSource.open(path, config, progress=progress)
        if labels and config.label_column is None:
            has = (
                "" if source.table is None else f"; {source.table.path} has {', '.join(source.table.columns)}"
            )
            raise DataError(f"say which column of the table is the label: label_column=NAME{has}")
        return ScaledScans(source, config.label_column if labels else None)

    def given(self, x: Any, config: FmriConfig, shape: tuple[int, ...] | None = None) -> Source:
        if isinstance(x, FmriSource):
            return ScaledScans(x)
        if (isinstance(x, np.ndarray) and x.ndim == 3) or (
            isinstance(x, Sequence) and not isinstance(x, str)
        ):
            return ScaledScans(FmriSource.of(x, config))
        return super().given(x, config, shape)

    def inspect(self, source: Source, config: FmriConfig) -> FmriReport:
        return _scans(source).report

    def shape(self, source: Source, config: FmriConfig, report: FmriReport) -> tuple[int, ...]:
        return (1, _scans(source).rois, _scans(source).config.clip)

    def suit(self, config: FmriConfig, shape: tuple[int, ...]) -> FmriConfig:
        if len(shape) != 3 or shape[0] != 1:
            raise ConfigError(f"the method takes samples of shape {shape}, not clips (1, regions, frames)")
        for name, wanted in (("rois", shape[1]), ("frames", shape[2])):
            if getattr(config, name) not in (None, wanted):
                raise ConfigError(
                    f"fmri.{name}={getattr(config, name)}, but the model expects {wanted}: leave one of the two out"
                )
        return replace(config, rois=shape[1], frames=shape[2])

    def dataset(self, source: Source, config: FmriConfig) -> FmriDataset:
        return FmriDataset(_recordings(source), config)

    def settle(self, source: Source, config: FmriConfig) -> tuple[Source, FmriConfig]:
        """Statistics of a robust scaling, from these scans."""
        if config.scaling.fitted:
            return source, config
        scans = _recordings(source)
        scaling = fit_scaling(config.scaling.kind, scans.scans.scans())
        return scans.scaled(scaling), replace(config, scaling=scaling)

    def place(self, model: Any, source: Source, config: FmriConfig) -> Any:
        """Gradients of the connectivity of these scans, unless the model has some or places regions by their number."""
        wanted = hasattr(model, "gradients") and model.gradients is None and model.positions != "index"
        if not wanted or config.gradients == 0:
            return model
        scans = _scans(source)
        if config.gradients_from is not None:
            table = read_gradients(Path(config.gradients_from).expanduser(), scans.rois)
        else:
            group = group_connectivity(scans.scans())
            table = diffusion_gradients(
                group, min(config.gradients, scans.rois - 1), sparsity=config.sparsity
            )
        return replace(model, gradients=as_rows(table))

    def meets(self, source: Source, shape: tuple[int, ...]) -> None:
        if shape[1] != _scans(source).rois:
            raise ConfigError(
                f"the weights are for {shape[1]} regions, the scans have {_scans(source).rois}: another atlas needs weights of "
                "its own"
            )

    def adapt(self, method: Method, source: Source) -> Method:
        if method.input_shape()[1] != _scans(source).rois:
            raise DataError(
                f"the encoder is for {method.input_shape()[1]} regions, the scans have {_scans(source).rois}: use the atlas it "
                "was trained with"
            )
        return method

    def published(self, config: FmriConfig) -> dict[str, Any]:
        # No paths, and nothing that was chosen for one set of labels.
        local = ("table", "atlas", "gradients_from", "label_column", "sites", "limit")
        return {name: value for name, value in to_dict(config).items() if name not in local}

    def raw(self, method: Method) -> Callable[[Tensor], Float[Tensor, "B F"]]:
        return clip_connectivity


def clip_connectivity(clips: Float[Tensor, "B 1 R n"]) -> Float[Tensor, "B F"]:
    """Fisher z of the correlation of every two regions, R (R - 1) / 2 of each clip; 0 where a region is flat."""
    x = clips[:, 0] - clips[:, 0].mean(dim=2, keepdim=True)
    x = F.normalize(x, dim=2)
    row, column = torch.triu_indices(x.shape[1], x.shape[1], offset=1)
    return (x @ x.transpose(1, 2))[:, row, column].clamp(-1 + 1e-6, 1 - 1e-6).arctanh()


def _recordings(source: Source) -> ScaledScans:
    if not isinstance(source, ScaledScans):
        raise DataError(f"expected scans, got {type(source).__name__}")
    return source


def _scans(source: Source) -> FmriSource:
    return _recordings(source).scans
