"""How ECG-JEPA scores classifiers of recordings (arXiv 2410.13867): crops of 2.5 s, logits averaged over them, macro ROC-AUC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyjepa.data.ecg_signal import sliding_crops
from anyjepa.errors import ConfigError

CROP_SECONDS, STRIDE_SECONDS = 2.5, 1.25
"""Crops of the paper's downstream tasks: 7 of a recording of 10 s."""


@dataclass(frozen=True)
class MacroAuc:
    """ROC-AUC of each class (NaN where only one of the two answers occurs) and the mean of those that are known."""

    mean: float
    per_class: tuple[float, ...]
    left_out: tuple[int, ...]
    """Classes without an AUC."""


def macro_auc(scores: Float[np.ndarray, "N K"], labels: Bool[np.ndarray, "N K"]) -> MacroAuc:
    """Mean over classes of the area under the ROC curve.

    Args:
        scores: the higher, the more likely; logits and probabilities give the same.
        labels: which classes each recording belongs to.

    Raises:
        ConfigError: no class has positive and negative recordings, or a score is not finite.
    """
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(scores).all():
        raise ConfigError("scores must be finite")
    known = np.atleast_1d(labels.any(axis=0) & ~labels.all(axis=0))
    if not known.any():
        raise ConfigError(
            f"none of the {labels.shape[1]} classes has recordings with and without it among these {len(labels)}"
        )
    each = [
        float(roc_auc_score(labels[:, k], scores[:, k])) if known[k] else float("nan")
        for k in range(len(known))
    ]
    return MacroAuc(float(np.nanmean(each)), tuple(each), tuple(np.flatnonzero(~known).tolist()))


@torch.no_grad()
def average_logits(
    classify: Callable[[Tensor], Tensor],
    recordings: Float[Tensor, "B C T"],
    *,
    rate: float = 500.0,
    seconds: float = CROP_SECONDS,
    stride: float = STRIDE_SECONDS,
    batch_size: int = 256,
) -> Float[Tensor, "B K"]:
    """Logits of whole recordings: the mean of those of their crops.

    Args:
        classify: logits (S, K) of crops (S, C, L), e.g. ``lambda x: head(method.sequence(x))``.
        recordings: of one length.
        rate: Hz.
        seconds, stride: length of the crops and distance between their starts.
        batch_size: crops at a time.
    """
    crops = sliding_crops(recordings, round(seconds * rate), round(stride * rate))
    logits = torch.cat([classify(part) for part in crops.flatten(0, 1).split(batch_size)])
    return logits.unflatten(0, crops.shape[:2]).mean(dim=1)
