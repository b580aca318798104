"""What a single token knows: a linear layer on patch tokens that names the class of every pixel.

The layer is fitted on patches, with the shares of the classes in a patch as its label. Its scores are enlarged to pixels
(bilinearly) and the best class of each pixel is compared with the mask.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from anyjepa.data.masked import IGNORE
from anyjepa.errors import DataError
from anyjepa.evaluation.standard import scaling
from anyjepa.randomness import permutation

STRENGTHS = (1e-2, 1e-3, 1e-4)
"""L2 strengths tried: the weight of |w|^2 / 2 next to the mean log loss."""
ITERATIONS = 300
SMALLEST_SHARE = 0.05
"""Classes with less of a patch are no label of it."""
NEVER = -1e4
"""Score of a class without training label."""


def patch_shares(
    masks: Int[np.ndarray, "n H W"], grid: tuple[int, int], classes: int
) -> Float[np.ndarray, "n N K"]:
    """Share of each class among all pixels of each patch; ignored pixels are of none.

    Args:
        masks: classes 0..K-1 of pixels, or 255.
        grid: patches down and across.
        classes: their number K.

    Raises:
        DataError: the patches do not divide the pixels, or a class is not below K.
    """
    n, height, width = masks.shape
    if height % grid[0] or width % grid[1]:
        raise DataError(f"masks of {height}x{width} pixels cannot be cut into {grid[0]}x{grid[1]} patches")
    ignored = masks == IGNORE
    if masks.min() < 0 or (masks[~ignored] >= classes).any():
        raise DataError(f"masks hold numbers beyond 0..{classes - 1} and {IGNORE}")
    size = height // grid[0] * (width // grid[1])
    cut = masks.reshape(n, grid[0], height // grid[0], grid[1], -1).transpose(0, 1, 3, 2, 4)
    cut = cut.reshape(n, grid[0] * grid[1], size)
    # Ignored pixels fall into a last class that is cut off.
    flat = np.where(cut == IGNORE, classes, cut) + (classes + 1) * np.arange(n * cut.shape[1]).reshape(
        n, -1, 1
    )
    counts = np.bincount(flat.ravel(), minlength=n * cut.shape[1] * (classes + 1))
    return (counts.reshape(n, -1, classes + 1)[..., :classes] / size).astype(np.float32)


@dataclass(frozen=True)
class PatchProbe:
    """A linear layer on standardised tokens: weight (D, K), bias (K,)."""

    weight: Float[Tensor, "D K"]
    bias: Float[Tensor, "K"]
    strength: float

    def scores(self, tokens: Float[Tensor, "n N D"]) -> Float[Tensor, "n N K"]:
        """Scores of the classes of each patch."""
        return tokens @ self.weight + self.bias

    def pixels(
        self, tokens: Float[Tensor, "n N D"], grid: tuple[int, int], size: tuple[int, int]
    ) -> Int[Tensor, "n H W"]:
        """The best class of each pixel."""
        maps = self.scores(tokens).mT.unflatten(2, grid)
        return F.interpolate(maps, size, mode="bilinear", align_corners=False).argmax(1)


def fit_patches(
    tokens: Float[np.ndarray, "n N D"], shares: Float[np.ndarray, "n N K"], *, seed: int = 0
) -> PatchProbe:
    """Logistic regression of the classes in each patch, each weighed by its share.

    The L2 strength with the least log loss on a fifth of the images that is held out is taken; the layer is then fitted again on
    all of them.

    Args:
        tokens, shares: of the training images.
        seed: of the fifth.

    Raises:
        DataError: there is only one class.
    """
    n, patches, dims = tokens.shape
    classes = shares.shape[-1]
    flat = tokens.reshape(-1, dims)
    mean, scale = scaling(flat)
    standard = ((flat - mean) / scale).astype(np.float32)
    row, label = np.nonzero(shares.reshape(-1, classes) > SMALLEST_SHARE)
    weight = shares.reshape(-1, classes)[row, label]
    if len(np.unique(label)) < 2:
        raise DataError(
            f"a probe needs at least two classes: the training masks hold {np.unique(label).tolist()}"
        )
    held = np.zeros(n, bool)
    held[permutation(seed, "evaluation/segmentation", 0, n)[: n // 5]] = True
    inside = ~held[row // patches]
    strength = STRENGTHS[0]
    if inside.any() and not inside.all() and len(np.unique(label[inside])) > 1:
        losses = []
        model = None
        for tried in STRENGTHS:
            model = _fit(standard, row[inside], label[inside], weight[inside], tried, model)
            losses.append(_loss(model, standard, row[~inside], label[~inside], weight[~inside], classes))
        strength = STRENGTHS[int(np.argmin(losses))]
    model = None
    for step in STRENGTHS[: STRENGTHS.index(strength) + 1]:
        model = _fit(standard, row, label, weight, step, model)
    layer, bias = _all_classes(model, classes, dims)
    layer = layer / scale[:, None]
    return PatchProbe(
        torch.from_numpy(layer).float(), torch.from_numpy(bias - mean @ layer).float(), strength
    )


@dataclass
class Counts:
    """Pixels by true and told class, and patches told right: enough for all scores, and small."""

    table: Int[np.ndarray, "K K"]
    patches: int = 0
    right: int = 0

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Nothing counted yet."""
        return cls(np.zeros((classes, classes), np.int64))

    def add(self, truth: Int[np.ndarray, "n H W"], told: Int[np.ndarray, "n H W"]) -> None:
        """Count pixels."""
        classes, known = len(self.table), truth != IGNORE
        pairs = truth[known] * classes + told[known]
        self.table += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def add_patches(self, shares: Float[np.ndarray, "n N K"], told: Int[np.ndarray, "n N"]) -> None:
        """Count patches: the class with the largest share is the true one."""
        known: Bool[np.ndarray, "n N"] = shares.sum(-1) > 0
        self.patches += int(known.sum())
        self.right += int((shares.argmax(-1) == told)[known].sum())

    def iou(self) -> Float[np.ndarray, "K"]:
        """Intersection over union of each class; NaN for one that is neither there nor told."""
        both = np.diagonal(self.table)
        union = self.table.sum(0) + self.table.sum(1) - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)

    @property
    def scores(self) -> dict[str, float]:
        """``miou``, ``pixels`` (accuracy) and ``patches`` (accuracy), all 0..1."""
        return {
            "miou": float(np.nanmean(self.iou())),
            "pixels": float(np.diagonal(self.table).sum() / max(1, self.table.sum())),
            "patches": self.right / max(1, self.patches),
        }


def _fit(
    x: np.ndarray,
    row: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    strength: float,
    start: LogisticRegression | None,
) -> LogisticRegression:
    model = LogisticRegression(C=1.0 / (strength * weight.sum()), max_iter=ITERATIONS, warm_start=True)
    if start is not None:
        model.coef_, model.intercept_, model.classes_ = start.coef_, start.intercept_, start.classes_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x[row], label, sample_weight=weight)
    return model


def _loss(
    model: LogisticRegression,
    x: np.ndarray,
    row: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    classes: int,
) -> float:
    layer, bias = _all_classes(model, classes, x.shape[1])
    scores = torch.from_numpy(x[row] @ layer + bias)
    losses = F.cross_entropy(scores, torch.from_numpy(label), reduction="none").clamp(max=-np.log(1e-6))
    return float((losses.numpy() * weight).sum() / weight.sum())


def _all_classes(model: LogisticRegression, classes: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (D, K) and bias (K,) with a column for every class, seen or not."""
    rows, intercept = model.coef_, model.intercept_
    if len(rows) == 1:  # two classes share one row
        rows, intercept = np.concatenate((-rows, rows)) / 2, np.concatenate((-intercept, intercept)) / 2
    weight, bias = np.zeros((dims, classes)), np.full(classes, NEVER)
    weight[:, model.classes_], bias[model.classes_] = rows.T, intercept
    return weight, bias
