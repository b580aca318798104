"""What is read from the features: classes, or a measured value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Num
from torch import Tensor

from anyjepa.errors import ConfigError, DataError, nearest
from anyjepa.evaluation.budgets import Labels

CLASSIFY, REGRESS = "classify", "regress"
TASKS = (CLASSIFY, REGRESS)


def task_labels(labels: Labels, task: str | None, named: bool = False) -> tuple[str, Labels]:
    """The task, and the labels as it takes them: whole numbers for ``classify``, floats for ``regress``.

    Args:
        labels: as the source gives them.
        task: ``"classify"``, ``"regress"``, or None: by the kind of the labels.
        named: the labels are names of classes.

    Raises:
        ConfigError: an unknown task, or one that these labels do not allow.
    """
    if task is not None and task not in TASKS:
        raise ConfigError(f"unknown task '{task}': {nearest(task, TASKS)}")
    measured = labels.dtype.kind == "f"
    if task == CLASSIFY and measured:
        raise ConfigError(
            "task=classify needs classes, these labels have fractions: use task=regress, or another label column"
        )
    if task == REGRESS and named:
        raise ConfigError("task=regress needs numbers, these labels are names: use task=classify")
    if task == REGRESS or (task is None and measured):
        return REGRESS, labels.astype(np.float64)
    return CLASSIFY, labels


@dataclass(frozen=True)
class Target:
    """Training labels as the target of a network, and back.

    Attributes:
        task: ``"classify"`` or ``"regress"``.
        classes: (K,) numbers of the classes; empty for ``regress``.
        mean, scale: of the training values; networks see standardised ones.
    """

    task: str
    classes: Int[np.ndarray, "K"]
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, labels: Labels) -> Target:
        """The target of training labels: floats are regressed, whole numbers classified.

        Raises:
            DataError: there is one class, or one value, only.
        """
        different = np.unique(labels)
        if len(different) < 2:
            raise DataError(
                f"a probe needs at least two classes, or two values: all {len(labels)} labels are {different.tolist()}"
            )
        if labels.dtype.kind == "f":
            return cls(REGRESS, np.zeros(0, np.int64), float(labels.mean()), float(labels.std()))
        return cls(CLASSIFY, different)

    @property
    def outputs(self) -> int:
        """Outputs of a network for this target."""
        return len(self.classes) if self.task == CLASSIFY else 1

    def encode(self, labels: Labels) -> Num[Tensor, "n"]:
        """Numbers of the classes, 0..K-1; or standardised values. A class without training label becomes -1."""
        if self.task == REGRESS:
            return torch.from_numpy((labels - self.mean) / self.scale).float()
        place = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        return torch.from_numpy(np.where(self.classes[place] == labels, place, -1))

    def losses(self, outputs: Float[Tensor, "n K"], target: Num[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Cross-entropy, or squared error, of each sample."""
        if self.task == REGRESS:
            return (outputs[:, 0] - target).square()
        return F.cross_entropy(outputs, target, reduction="none")

    def decode(self, outputs: Float[Tensor, "n K"]) -> Labels:
        """The answer of a network: the class with the largest output, or the value."""
        if self.task == REGRESS:
            return outputs[:, 0].double().cpu().numpy() * self.scale + self.mean
        return self.classes[outputs.argmax(dim=1).cpu().numpy()]
