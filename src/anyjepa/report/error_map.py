"""Where in an image predictions go wrong, over many draws of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Batch, Method, Output
from anyjepa.errors import DataError
from anyjepa.report.masks import grid_of
from anyjepa.report.pixels import Picture, enlarge, error_colours, picture, spread_tokens
from anyjepa.report.samples import POOL, Samples, affordable

OPACITY = 0.75
"""Share of the error's colour over the grey image."""


@dataclass(frozen=True)
class ErrorCard:
    """One image, its errors over it, their mean, and the mean error of whoever predicts the mean."""

    image: Picture
    errors: Picture
    error: float
    mean_error: float
    caption: str


@dataclass(frozen=True)
class ErrorSection:
    """All cards, and the error over all images looked at; ``draws`` masks of each.

    Errors are in units of the error made on average by predicting, at every place, the mean of the other images there.
    """

    cards: tuple[ErrorCard, ...]
    relative: float
    images: int
    draws: int
    missed: int


@torch.no_grad()
def error_section(method: Method, samples: Samples, seed: int) -> ErrorSection:
    """Squared prediction errors by place, over what predicting the mean of the other images there costs on average.

    The average is over all images and places: at a place where nothing varies the mean is perfect, and an error divided by its
    own would look huge where it hardly counts.

    Raises:
        DataError: the output of the method does not say where its predictions lie, or there are fewer than two images.
    """
    if len(samples.index) < 2:
        raise DataError("errors are relative to the mean of other images, and there is only one image")
    grid = grid_of(method, samples.inputs)
    draws = int(np.clip(16 * affordable(method) // POOL[1], 4, 16))
    tally = Tally(len(samples.index), grid[0] * grid[1])
    index = torch.from_numpy(samples.index)
    for step in range(draws):
        tally.add(method(Batch(samples.inputs, index, step=step, seed=seed)))
    count, mean_errors = tally.count, tally.mean_errors()
    unit = mean_errors.sum() / count.sum()
    ratio = tally.errors / count.clamp(min=1) / unit.clamp(min=1e-12)
    cards = []
    for row, image in zip(samples.shown.tolist(), samples.pictures(), strict=True):
        large = enlarge(image)
        size = (large.shape[0], large.shape[1])
        grey = large.mean(axis=2, keepdims=True).repeat(3, axis=2)
        colour = error_colours(spread_tokens(ratio[row].numpy(), grid, size))
        known = spread_tokens((count[row] > 0).numpy(), grid, size)[..., None]
        mixed = np.where(known, (1 - OPACITY) * grey + OPACITY * colour, grey).round().astype(np.uint8)
        error, mean_error = (
            float(total[row].sum() / count[row].sum() / unit) for total in (tally.errors, mean_errors)
        )
        name = samples.name(int(samples.index[row]))
        drawn = picture(mixed, f"{name}: error {error:.2f}, that of the mean {mean_error:.2f}")
        cards.append(ErrorCard(picture(image, name), drawn, error, mean_error, name))
    relative = float(tally.errors.sum() / mean_errors.sum())
    return ErrorSection(tuple(cards), relative, len(index), draws, int((count == 0).sum()))


class Tally:
    """Sums over draws, by sample and place, in memory that does not grow with the draws.

    Args:
        samples: B.
        tokens: N.

    Attributes:
        errors: (B, N) sum of squared prediction errors.
        count: (B, N) how often a token was predicted.
    """

    def __init__(self, samples: int, tokens: int) -> None:
        self.errors = torch.zeros(samples, tokens, dtype=torch.float64)
        self.count = torch.zeros(samples, tokens, dtype=torch.float64)
        self._squares = torch.zeros(samples, tokens, dtype=torch.float64)
        self._sums: Float[Tensor, "B N E"] | None = None

    def add(self, output: Output) -> None:
        """Count one output.

        Raises:
            DataError: it has no predictions, or does not say where they lie.
        """
        if output.masks is None or output.predicted is None or output.target is None:
            raise DataError(
                "this method predicts no hidden tokens: it does not say where in an image its predictions lie, so there is no "
                "map of their errors"
            )
        place = output.masks.targets.flatten(1)
        predicted, target = (t.double().flatten(1, 2) for t in (output.predicted, output.target))
        if self._sums is None:
            self._sums = torch.zeros(*self.errors.shape, target.shape[-1], dtype=torch.float64)
        self.count.scatter_add_(1, place, torch.ones_like(place, dtype=torch.float64))
        self.errors.scatter_add_(1, place, (predicted - target).square().sum(-1))
        self._squares.scatter_add_(1, place, target.square().sum(-1))
        self._sums.scatter_add_(1, place.unsqueeze(-1).expand_as(target), target)

    def mean_errors(self) -> Float[Tensor, "B N"]:
        """(B, N) the same sum for whoever predicts, at every place, the mean of the other samples there."""
        assert self._sums is not None
        own = self._sums / self.count.clamp(min=1).unsqueeze(-1)
        there = (self.count > 0).double()
        others = (there.sum(0) - there).clamp(min=1).unsqueeze(-1)
        guess = ((own * there.unsqueeze(-1)).sum(0) - own * there.unsqueeze(-1)) / others
        error = self._squares - 2 * (guess * self._sums).sum(-1) + self.count * guess.square().sum(-1)
        # Rounding must not make an error negative, and without another sample there is nothing to compare with.
        alone = (there.sum(0) < 2).expand_as(error)
        return torch.where(alone, self.errors, error.clamp(min=0))
