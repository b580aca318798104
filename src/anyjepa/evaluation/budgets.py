"""How many training labels a probe gets: a number, a share, so many of each class, or all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.splits import balanced
from anyjepa.randomness import permutation

Labels = Int[np.ndarray, "n"] | Float[np.ndarray, "n"]
"""Classes (whole numbers) or measured values (floats) of n samples."""


@dataclass(frozen=True)
class Budget:
    """A number of training labels. At most one of the fields is set; none: all labels."""

    count: int | None = None
    """So many labels, as many of each class as can be."""
    share: float | None = None
    """That share of the training labels, 0..1, as many of each class as can be."""
    per_class: int | None = None
    """So many labels of every class."""

    @classmethod
    def parse(cls, given: int | str | None) -> Budget:
        """``100`` or ``"100"``, ``"1%"``, ``"all"`` or None.

        Raises:
            ConfigError: anything else.
        """
        text = "all" if given is None else str(given).strip()
        if text == "all":
            return cls()
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
                if 0 < share <= 1:
                    return cls(share=share)
            elif int(text) > 0:
                return cls(count=int(text))
        except ValueError:
            pass
        raise ConfigError(
            f"labels={given} is not a number of labels: give one like 100, a share like 10%, or all"
        )

    def choose(self, labels: Labels, seed: int) -> Int[np.ndarray, "_"]:
        """Positions of the samples whose labels are used, ascending; classes are balanced, measured values drawn at random.

        Raises:
            ConfigError: fewer labels than classes, or more than there are.
            DataError: a class has fewer samples than ``per_class``.
        """
        if self == Budget():
            return np.arange(len(labels))
        if labels.dtype.kind == "f":
            return self._any(len(labels), seed)
        if self.per_class is None:
            return balanced(labels, self._count(len(labels)), seed)
        classes, counts = np.unique(labels, return_counts=True)
        if self.per_class < 1:
            raise ConfigError(f"per_class must be at least 1, got {self.per_class}")
        if counts.min() < self.per_class:
            raise DataError(
                f"per_class={self.per_class} asks for more than the {counts.min()} training samples of class number "
                f"{classes[counts.argmin()]}: use {counts.min()} or fewer"
            )
        return balanced(labels, self.per_class * len(classes), seed)

    def _count(self, n: int) -> int:
        return round(self.share * n) if self.share is not None else (self.count or n)

    def _any(self, n: int, seed: int) -> Int[np.ndarray, "_"]:
        if self.per_class is not None:
            raise ConfigError("per_class needs classes, these labels are measured values: use labels")
        count = self._count(n)
        if not 2 <= count <= n:
            raise ConfigError(f"labels={count} must lie between 2 and that of labelled training samples, {n}")
        return np.sort(permutation(seed, "evaluation/budget", 0, n)[:count])


def budgets(
    labels: int | str | Sequence[int | str | None] | None = None,
    per_class: int | Sequence[int] | None = None,
) -> list[Budget]:
    """The budgets asked for, each once, in the order given; all labels when nothing was asked for.

    Raises:
        ConfigError: nothing to choose from, or not a budget.
    """
    few = [] if per_class is None else [per_class] if isinstance(per_class, int) else list(per_class)
    given = [labels] if labels is None or isinstance(labels, int | str) else list(labels)
    if labels is None and few:
        given = []
    found = [Budget.parse(each) for each in given] + [Budget(per_class=n) for n in few]
    if not found:
        raise ConfigError("labels is empty: give a number, a share like 10%, or all")
    return list(dict.fromkeys(found))
