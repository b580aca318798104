"""Demonstrations on the page: what is seen, what is done against what would be done, and how far ahead states are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from anyjepa.bundle import Bundle
from anyjepa.contract import Batch, Method
from anyjepa.data.episodes_dataset import EpisodesDataset
from anyjepa.errors import DataError
from anyjepa.report.figures import FigureSection, drawn
from anyjepa.report.samples import Samples

SHOWN = 4
"""Frames whose chunks are drawn, and columns of the action that are."""
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#8a94a3"


@torch.no_grad()
def frames_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Pictures of some frames; the state of an episode where there are no cameras."""
    from matplotlib.figure import Figure

    data = _dataset(samples)
    names = [samples.name(int(i)) for i in samples.index[samples.shown]]
    if data.cameras:
        figure = Figure(figsize=(8, 1.4 * len(data.cameras) + 0.3))
        grid = figure.subplots(len(data.cameras), len(names), squeeze=False)
        for row, camera in zip(grid, data.cameras, strict=True):
            seen = samples.inputs[camera][samples.shown]
            for place, picture in zip(row, seen, strict=True):
                place.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy())
                place.set_axis_off()
            row[0].set_title(camera, fontsize=8, loc="left")
        caption = "Frames, left to right: " + "; ".join(names)
        return FigureSection(
            "What the policy sees, at the size it sees it.",
            ((drawn(figure, "Pictures of the cameras"), caption),),
        )
    episode = data.source.episodes[0]
    figure = Figure(figsize=(8, 2.6))
    place = figure.add_subplot()
    place.plot(data.state[: len(episode)], linewidth=0.8)
    place.set_xlabel("frame")
    place.set_ylabel("state, scaled")
    return FigureSection(
        "There are no cameras: the policy feels the state alone.",
        ((drawn(figure, "The state over an episode"), f"{episode.name}, each value of the state a line."),),
    )


@torch.no_grad()
def chunks_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Chunks of actions as they were demonstrated, and as the policy would act.

    Raises:
        DataError: the method does not act.
    """
    from matplotlib.figure import Figure

    data = _dataset(samples)
    act: Any = getattr(method, "actions", None)
    if act is None:
        raise DataError("this method predicts no actions")
    parts = data.sequences(samples.index)
    said, done = act(samples.inputs), parts["action"]
    inside = parts["action_pad"] < 0.5
    rows = samples.shown[:SHOWN]
    columns = torch.argsort(done.flatten(0, 1).std(dim=0), descending=True)[:SHOWN].sort().values
    figure = Figure(figsize=(8, 1.5 * len(rows) + 0.4))
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True)
    for line, row in zip(axes, rows.tolist(), strict=True):
        for place, column in zip(line, columns.tolist(), strict=True):
            place.plot(done[row, inside[row], column], color=GREY, linewidth=2)
            place.plot(said[row, :, column], color=BLUE, linewidth=1.2)
            place.tick_params(labelsize=6)
    for place, column in zip(axes[0], columns.tolist(), strict=True):
        place.set_title(f"action {column}", fontsize=8)
    error = (said - done).abs()[inside].mean().item()
    guess = (done - done[inside].mean(dim=0)).abs()[inside].mean().item()
    return FigureSection(
        f"Actions of the next {done.shape[1]} moments, scaled: grey as demonstrated, blue as the policy would act. Over "
        f"{len(done)} frames the mean absolute error is {error:.3f}; that of one action for all is {guess:.3f}. These frames may "
        "be those of the training.",
        (
            (
                drawn(figure, "Demonstrated and predicted actions"),
                "A frame in each line, a column of the action beside another.",
            ),
        ),
    )


@torch.no_grad()
def horizon_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Error of the predicted abstract states by how far ahead they lie, next to that of one guess for all frames.

    Raises:
        DataError: the method predicts no states.
    """
    from matplotlib.figure import Figure

    parts = _dataset(samples).sequences(samples.index)
    output = method(Batch(parts, torch.from_numpy(samples.index), seed=seed))
    if output.predicted is None or output.target is None:
        raise DataError("this method predicts no states")
    predicted, target = output.predicted[:, 0].float(), output.target[:, 0].float()
    weight = (parts["state_pad"] < 0.5).float()[..., None]
    count = weight.sum(dim=0).clamp(min=1)
    middle = (target * weight).sum(dim=0) / count
    errors = [
        ((value - target).abs().mean(dim=2, keepdim=True) * weight).sum(dim=0).div(count)[:, 0].numpy()
        for value in (predicted, middle.expand_as(target))
    ]
    figure = Figure(figsize=(8, 2.6))
    axes = figure.add_subplot()
    ahead = np.arange(len(errors[0]))
    axes.plot(ahead, errors[0], color=BLUE, label="predicted from the present observation")
    axes.plot(ahead, errors[1], color=GREY, label="one guess for all frames")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("moments ahead")
    axes.set_ylabel("mean absolute error")
    axes.legend(fontsize=7, frameon=False)
    return FigureSection(
        "How well the abstract states to come are told from what is seen now. Where the lines meet nothing is told; both near 0 "
        "mean collapse.",
        ((drawn(figure, "Error of abstract states by moments ahead"), f"Over {len(target)} frames."),),
    )


def _dataset(samples: Samples) -> EpisodesDataset:
    if not isinstance(samples.dataset, EpisodesDataset) or not isinstance(samples.inputs, Bundle):
        raise DataError(f"chunks are known of demonstrations alone, these are {samples.modality.noun}")
    return samples.dataset
