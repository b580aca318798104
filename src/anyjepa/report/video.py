"""Strips of frames: what of a clip is seen, what is predicted, and where predictions go wrong."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8

from anyjepa.contract import Batch, Method
from anyjepa.errors import DataError
from anyjepa.report.error_map import OPACITY, Tally
from anyjepa.report.figures import FigureSection
from anyjepa.report.masks import HIDDEN, TINT
from anyjepa.report.pixels import PALETTE, colours, error_colours, picture
from anyjepa.report.samples import Samples

SHOWN = 4
"""Clips that are drawn."""
SIDE = 128
"""Side of a frame to which small ones are enlarged."""
WIDEST = 1000
"""Pixels of a strip."""
DRAWS = 8
"""Draws of the masks for the errors."""


@torch.no_grad()
def clip_masks(method: Method, samples: Samples, seed: int) -> FigureSection:
    """The masks of step 0: for each clip its frames, what the context encoder sees of them, and what is predicted.

    Raises:
        DataError: the method hides nothing, or its tokens do not lie in times, rows and columns.
    """
    rows, grid = samples.shown[:SHOWN], _grid(method, samples)
    output = method(Batch(samples.inputs[rows], torch.from_numpy(samples.index[rows]), step=0, seed=seed))
    masks = output.masks
    if masks is None:
        raise DataError("this method predicts no hidden tokens: there are no masks in its output to draw")
    figures, tokens = [], int(np.prod(grid))
    for i, frames in enumerate(_frames(samples, grid)[:SHOWN]):
        kept = masks.context[i] if masks.context_valid is None else masks.context[i][masks.context_valid[i]]
        seen, asked = np.zeros(tokens, dtype=bool), np.zeros(tokens, dtype=bool)
        seen[kept.numpy()], asked[masks.targets[i].flatten().numpy()] = True, True
        pale = 0.5 * frames + 0.5 * frames.mean(axis=3, keepdims=True)
        shown = np.where(_spread(seen, frames, grid)[..., None], frames, HIDDEN)
        tinted = np.where(
            _spread(asked, frames, grid)[..., None], (1 - TINT) * pale + TINT * PALETTE[0], pale
        )
        name = samples.name(int(samples.index[rows[i]]))
        strip = _strip(frames, shown, tinted)
        caption = f"{name}: context {seen.mean():.0%}, predicted {asked.mean():.0%} of the tokens"
        figures.append((picture(strip, caption, WIDEST), caption))
    return FigureSection(
        f"Clips are cut into {grid[0]} x {grid[1]} x {grid[2]} tokens (times, rows, columns); a frame is drawn of each time. "
        "First row: the clip. Second: what the context encoder sees under the first kind of mask. Third: what is predicted under "
        "any of them.",
        tuple(figures),
    )


@torch.no_grad()
def clip_errors(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Squared prediction errors by place and time, over what the mean of the other clips would cost on average.

    Raises:
        DataError: there are fewer than two clips, or the output does not say where predictions lie.
    """
    if len(samples.index) < 2:
        raise DataError("errors are relative to the mean of other clips, and there is only one clip")
    grid, index = _grid(method, samples), torch.from_numpy(samples.index)
    tally = Tally(len(index), int(np.prod(grid)))
    for step in range(DRAWS):
        tally.add(method(Batch(samples.inputs, index, step=step, seed=seed)))
    means = tally.mean_errors()
    unit = means.sum() / tally.count.sum()
    ratio = (tally.errors / tally.count.clamp(min=1) / unit.clamp(min=1e-12)).numpy()
    figures = []
    for row, frames in zip(samples.shown[:SHOWN].tolist(), _frames(samples, grid), strict=False):
        grey = frames.mean(axis=3, keepdims=True).repeat(3, axis=3)
        colour = error_colours(_spread(ratio[row], frames, grid))
        known = _spread((tally.count[row] > 0).numpy(), frames, grid)[..., None]
        mixed = np.where(known, (1 - OPACITY) * grey + OPACITY * colour, grey)
        caption = f"{samples.name(int(samples.index[row]))}: error {float(ratio[row].mean()):.2f}"
        figures.append((picture(_strip(frames, mixed), caption, WIDEST), caption))
    relative = float(tally.errors.sum() / means.sum())
    return FigureSection(
        "Where predictions are good (blue), as good as the mean of other clips (white, 1), or worse (red). All in all the error "
        f"is {relative:.2f} of that of the mean, over {len(index)} clips and {DRAWS} draws of the masks.",
        tuple(figures),
    )


def _grid(method: Method, samples: Samples) -> tuple[int, int, int]:
    grid = method.encode(samples.inputs[:1]).layout.grid
    if len(grid) != 3 or samples.inputs.ndim != 5:
        raise DataError(
            f"strips are drawn of one clip per video with tokens in times, rows, columns; here they lie as {grid}"
        )
    return grid[0], grid[1], grid[2]


def _frames(samples: Samples, grid: tuple[int, int, int]) -> UInt8[np.ndarray, "V T h w 3"]:
    """A frame of each time of tokens of the clips that are shown, enlarged where they are small."""
    clips = samples.inputs[samples.shown]
    every = clips.shape[2] // grid[0]
    chosen = clips[:, :, ::every].transpose(1, 2)
    frames = colours(chosen.flatten(0, 1), samples.dataset.config)
    times = max(1, SIDE // max(frames.shape[1:3]))
    return (
        frames.repeat(times, axis=1)
        .repeat(times, axis=2)
        .reshape(*chosen.shape[:2], *(times * s for s in frames.shape[1:3]), 3)
    )


def _spread(values: np.ndarray, frames: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Values (N,) of tokens as maps (T, h, w)."""
    rows, columns = ((np.arange(s) * g) // s for s, g in zip(frames.shape[1:3], grid[1:], strict=True))
    return values.reshape(grid)[:, rows][:, :, columns]


def _strip(*rows: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """Rows (T, h, w, 3) of frames below each other, with white between them."""
    gap = 2
    lines = []
    for row in rows:
        padded = np.pad(row, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.concatenate(lines, axis=0).round().astype(np.uint8)
