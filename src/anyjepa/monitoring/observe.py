"""The statistics of one training step, read from what the method put into its output."""

from __future__ import annotations

import torch
from torch import Tensor

from anyjepa.contract import Output
from anyjepa.monitoring.statistics import MOST_SAMPLES, Places, prediction, spread

FEWEST_SAMPLES = 8
"""With fewer nothing can be said of the differences between samples."""


@torch.no_grad()
def observe(output: Output) -> dict[str, float]:
    """Statistics of the targets, the context and the predictions, of the first :data:`MOST_SAMPLES` samples of a micro-batch.

    Where the output has masks, tokens are grouped by their place in the layout, and a token that is in several target blocks of
    a sample counts once; without masks (whole views) they are grouped by their place in the output. What a method does not put
    into its output is left out; with fewer than :data:`FEWEST_SAMPLES` samples nothing is said at all.
    """
    parts = [part for part in (output.target, output.context) if part is not None]
    samples = min((len(part) for part in parts), default=0)
    if samples < FEWEST_SAMPLES:
        return {}
    found = {"samples": float(min(samples, MOST_SAMPLES))}
    # Under autocast the products of the statistics would be rounded to bfloat16, and a rank of 2 would read as 16.
    with torch.autocast(parts[0].device.type, enabled=False):
        if output.target is not None:
            found |= _targets(output)
        if output.context is not None:
            found |= _context(output)
    return found


def _targets(output: Output) -> dict[str, float]:
    assert output.target is not None
    target = output.target[:MOST_SAMPLES].float()
    masks = output.masks
    place = _places(None if masks is None else masks.targets[:MOST_SAMPLES], target)
    sample = _samples(target)
    keep = _first_of_each(sample * (int(place.max()) + 1) + place)
    tokens, places = target.flatten(0, -2)[keep], Places.of(place[keep])
    found = spread(tokens, places, sample[keep], "target")
    if output.predicted is not None:
        predicted = output.predicted[:MOST_SAMPLES].float().flatten(0, -2)[keep]
        found |= prediction(predicted, tokens, places)
    return found


def _context(output: Output) -> dict[str, float]:
    assert output.context is not None
    context, masks = output.context[:MOST_SAMPLES].float(), output.masks
    place = _places(None if masks is None else masks.context[:MOST_SAMPLES], context)
    tokens, sample = context.flatten(0, -2), _samples(context)
    if masks is not None and masks.context_valid is not None:
        valid = masks.context_valid[:MOST_SAMPLES].flatten()
        tokens, place, sample = tokens[valid], place[valid], sample[valid]
    return spread(tokens, Places.of(place), sample, "context")


def _places(index: Tensor | None, tokens: Tensor) -> Tensor:
    """The place of each of the flattened tokens: ``index``, or the position along all axes between the batch and the width."""
    if index is not None:
        return index.flatten()
    return torch.arange(tokens[0].numel() // tokens.shape[-1], device=tokens.device).repeat(len(tokens))


def _samples(tokens: Tensor) -> Tensor:
    """The sample of each of the flattened tokens."""
    each = tokens[0].numel() // tokens.shape[-1]
    return torch.arange(len(tokens), device=tokens.device).repeat_interleave(each)


def _first_of_each(keys: Tensor) -> Tensor:
    """Positions of the first of all equal keys, ascending."""
    order = torch.sort(keys, stable=True)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = order.values[1:] != order.values[:-1]
    return order.indices[first].sort().values
