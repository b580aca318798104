"""What models of tables take: rows as columns of numbers and codes, or the token matrices of an encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from anyjepa.data.tables_modality import one_hot


@dataclass(frozen=True)
class Inputs:
    """N samples for a model, as rows or as tokens, never both."""

    rows: Float[np.ndarray, "N d"] | None = None
    """Scaled numbers, codes of categories 0, 1, ..., NaN where a value is missing."""
    cardinalities: tuple[int, ...] = ()
    """Codes of each column of ``rows``; 0 for numbers."""
    tokens: Float[np.ndarray, "N d h"] | None = None
    """A vector for each column, as a frozen encoder makes them."""

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.tokens is None):
            raise TypeError("Inputs are rows or tokens: give one of the two")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def values(self) -> Shaped[np.ndarray, "N ..."]:
        """The array that is there."""
        found = self.rows if self.tokens is None else self.tokens
        assert found is not None
        return found

    def take(self, index: Int[np.ndarray, "n"]) -> Inputs:
        """Some of the samples."""
        if self.tokens is not None:
            return replace(self, tokens=self.tokens[index])
        return replace(self, rows=self.values[index])


@dataclass(frozen=True)
class Columns:
    """What a network is told of rows it will see."""

    cardinalities: tuple[int, ...]
    """Codes of each column, 0 for numbers."""
    gaps: tuple[int, ...]
    """Columns of numbers that lack values in the training rows: they get a column of marks."""

    @classmethod
    def of(cls, inputs: Inputs) -> Columns:
        """Those of training rows."""
        absent = np.isnan(inputs.values).any(axis=0)
        kinds = inputs.cardinalities
        return cls(kinds, tuple(j for j, size in enumerate(kinds) if not size and absent[j]))

    @property
    def numbers(self) -> int:
        """Columns of :meth:`numeric`."""
        return sum(1 for size in self.cardinalities if not size) + len(self.gaps)

    @property
    def categories(self) -> list[int]:
        """Codes of each column of :meth:`codes`, the one for missing included."""
        return [size + 1 for size in self.cardinalities if size]

    def numeric(self, rows: Float[Tensor, "B d"]) -> Float[Tensor, "B n"]:
        """Numbers with 0, their training mean, where one is missing; then the marks of those that lack values."""
        where = [j for j, size in enumerate(self.cardinalities) if not size]
        return torch.cat((torch.nan_to_num(rows[:, where]), rows[:, list(self.gaps)].isnan().float()), dim=1)

    def codes(self, rows: Float[Tensor, "B d"]) -> Int[Tensor, "B c"]:
        """Codes of the categories; a missing value has the one after the last."""
        where = [j for j, size in enumerate(self.cardinalities) if size]
        last = torch.tensor([self.cardinalities[j] for j in where], dtype=rows.dtype, device=rows.device)
        found = rows[:, where]
        return torch.where(found.isnan(), last, found).long()

    def vector(self, rows: Float[Tensor, "B d"]) -> Float[Tensor, "B F"]:
        """Numbers and one feature for each category, and marks of what is missing, as probes of raw rows see them."""
        return one_hot(self.cardinalities)(rows[:, None])

    @property
    def width(self) -> int:
        """F of :meth:`vector`."""
        return self.vector(torch.zeros(1, len(self.cardinalities))).shape[1]
