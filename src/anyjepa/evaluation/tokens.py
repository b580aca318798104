"""Frozen tokens kept for many passes over them, in memory or, when they are too many, in a temporary file."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.errors import DataError

IN_MEMORY = 2**30
"""Bytes of tokens that are kept in memory, over all stores of one probe; the others go to a temporary file."""


class TokenBudget:
    """Hands out memory for stores until it is used up.

    Args:
        most: bytes to hand out.
    """

    def __init__(self, most: int = IN_MEMORY) -> None:
        self._left = most

    def grant(self, wanted: int) -> bool:
        """Whether that many bytes were still to be had; they are taken if so."""
        granted = wanted <= self._left
        self._left -= wanted if granted else 0
        return granted


class TokenStore:
    """Tokens of up to ``capacity`` samples, in the order they were added, as half precision.

    Half precision halves the memory; it is as fine as one part in two thousand, far below what a probe can tell apart.

    Args:
        capacity: samples that may be added.
        budget: memory to take from.
        views: views of each sample, whose tokens follow each other; see :meth:`middle`.
    """

    def __init__(self, capacity: int, budget: TokenBudget, views: int = 1) -> None:
        self._capacity, self._budget, self.views = capacity, budget, views
        self._data: np.ndarray | None = None
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def width(self) -> int:
        """D of the tokens that were added."""
        assert self._data is not None
        return self._data.shape[2]

    def add(self, tokens: Float[Tensor, "B N D"]) -> None:
        """Keep the tokens of some more samples.

        Raises:
            DataError: a value is too large for half precision, or the temporary file cannot be written.
        """
        half = tokens.detach().cpu().half().numpy()
        if not np.isfinite(half).all():
            raise DataError(
                f"tokens reach {float(tokens.abs().max()):.3g}, the attentive probe takes values up to 65504: read the last "
                "block, which is normalised, or check that the training did not diverge"
            )
        if self._data is None:
            self._data = self._room((self._capacity, *half.shape[1:]))
        self._data[self._size : self._size + len(half)] = half
        self._size += len(half)

    def take(self, positions: np.ndarray) -> Float[Tensor, "B N D"]:
        """Tokens of these samples, numbered in the order they were added."""
        assert self._data is not None
        return torch.from_numpy(self._data[positions]).float()

    def middle(self, positions: np.ndarray) -> Float[Tensor, "B M D"]:
        """Tokens of the middle view of each of these samples: of the whole sample where there is one view."""
        assert self._data is not None
        each = self._data.shape[1] // self.views
        start = self.views // 2 * each
        return torch.from_numpy(self._data[positions, start : start + each]).float()

    def _room(self, shape: tuple[int, ...]) -> np.ndarray:
        size = 2 * int(np.prod(shape, dtype=np.int64))
        if self._budget.grant(size):
            return np.empty(shape, np.float16)
        try:
            with tempfile.TemporaryFile() as file:
                # Written out, not only made longer: a disk too full must be an error here, not a crash at the first access.
                block = bytes(2**22)
                for start in range(0, size, len(block)):
                    file.write(block[: size - start])
                file.flush()
                return np.memmap(file, np.float16, "r+", shape=shape)
        except OSError as error:
            raise DataError(
                f"cannot keep {size / 2**30:.1f} GiB of tokens in {tempfile.gettempdir()} ({error.strerror}): free some space, "
                "set TMPDIR to another disk, or use fewer samples"
            ) from error
