"""The statistics of one training step, read from what the method put into its output."""

from __future__ import annotations

import torch
from torch import Tensor

from anyjepa.contract import Output
from anyjepa.monitoring.statistics import MOST_SAMPLES, Places, prediction, spread


@torch.no_grad()
def observe(output: Output) -> dict[str, float]:
    """Statistics of the targets, the context and the predictions, of the first :data:`MOST_SAMPLES` samples of the batch.

    Where the output has masks, tokens are grouped by their place in the layout; without masks (whole views) by their place in
    the output. What a method does not put into its output is left out.
    """
    masks, found = output.masks, dict[str, float]()
    if output.target is not None:
        target = output.target[:MOST_SAMPLES].float()
        places = _places(None if masks is None else masks.targets[:MOST_SAMPLES], target)
        found |= spread(target.flatten(0, -2), places, _samples(target), "target")
        if output.predicted is not None:
            predicted = output.predicted[:MOST_SAMPLES].float()
            found |= prediction(predicted.flatten(0, -2), target.flatten(0, -2), places)
    if output.context is not None:
        context = output.context[:MOST_SAMPLES].float()
        place = _places(None if masks is None else masks.context[:MOST_SAMPLES], context).place
        tokens, sample = context.flatten(0, -2), _samples(context)
        if masks is not None and masks.context_valid is not None:
            valid = masks.context_valid[:MOST_SAMPLES].flatten()
            tokens, place, sample = tokens[valid], place[valid], sample[valid]
        found |= spread(tokens, Places.of(place), sample, "context")
    return found


def _samples(tokens: Tensor) -> Tensor:
    """The sample of each token, in the order of the flattened tokens."""
    each = tokens[0].numel() // tokens.shape[-1]
    return torch.arange(len(tokens), device=tokens.device).repeat_interleave(each)


def _places(index: Tensor | None, tokens: Tensor) -> Places:
    """Groups by ``index``, or by the position along all axes between the batch and the width."""
    if index is None:
        per_sample = tokens[0].numel() // tokens.shape[-1]
        index = torch.arange(per_sample, device=tokens.device).repeat(len(tokens))
    return Places.of(index.flatten())
