"""Pictures of recordings as people of the field draw them: all leads in mV over seconds on the usual grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anyjepa.contract import Batch, Masks, Method
from anyjepa.errors import DataError, MissingExtraError
from anyjepa.report.error_map import Tally
from anyjepa.report.figures import FigureSection, drawn
from anyjepa.report.samples import POOL, Samples, affordable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIPS = 3
"""Recordings that are drawn."""
LARGE = (0.2, 0.5)
"""Grid of paper for electrocardiograms: seconds and mV of a large square."""
PAPER, INK, HIDDEN, ERROR = "#f2d6d3", "#1a1a1a", "#8aa4c8", "#b3402e"


@torch.no_grad()
def strip_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """The masks of step 0 over recordings.

    Raises:
        DataError: the method hides nothing.
    """
    rows = samples.shown[:STRIPS]
    inputs = samples.inputs[rows]
    output = method(Batch(inputs, torch.from_numpy(samples.index[rows]), step=0, seed=seed))
    if output.masks is None:
        raise DataError("this method predicts no hidden tokens: there are no masks in its output to draw")
    hidden = hidden_map(output.masks, method, inputs)
    share = float(hidden.mean())
    figures = tuple(
        (_strip(samples, row, inputs[k], hidden[k]), samples.name(int(samples.index[row])))
        for k, row in enumerate(rows.tolist())
    )
    return FigureSection(
        f"One mask each. The context encoder sees what is not shaded; the features of the shaded stretches, {share:.0%} of all, "
        "are predicted from it. A square is 0.2 s wide and 0.5 mV high.",
        figures,
    )


def hidden_map(masks: Masks, method: Method, inputs: Float[Tensor, "B C T"]) -> Bool[np.ndarray, "B C N"]:
    """Which tokens of which lead are predicted. A token that holds all leads hides all of them."""
    grid = method.encode(inputs[:1]).layout.grid
    flat = torch.zeros(len(inputs), int(np.prod(grid)), dtype=torch.bool)
    flat.scatter_(1, masks.targets.flatten(1), True)
    found = flat.unflatten(1, grid) if len(grid) == 2 else flat[:, None].expand(-1, inputs.shape[1], -1)
    return found.numpy()


def _strip(samples: Samples, row: int, x: Float[Tensor, "C T"], hidden: Bool[np.ndarray, "C N"]) -> Any:
    config = samples.dataset.config
    leads, values = config.leads, millivolts(x, config)
    # Leads lie a whole number of large squares apart, so that one grid is right for all.
    reach = float(np.quantile(np.abs(values - np.median(values, axis=1, keepdims=True)), 0.995))
    apart = max(1.0, np.ceil(2 * min(reach, 2.5) / LARGE[1]) * LARGE[1])
    seconds = np.arange(x.shape[1]) / config.rate
    figure = _figure(10, 0.6 + 0.45 * len(leads) * apart)
    axes = figure.add_subplot()
    token = seconds[-1] / hidden.shape[1]
    for k, lead in enumerate(leads):
        base = -k * apart
        for start, stop in _runs(hidden[k]):
            axes.fill_between(
                [start * token, stop * token],
                base - apart / 2,
                base + apart / 2,
                color=HIDDEN,
                alpha=0.45,
                lw=0,
            )
        axes.plot(seconds, base + values[k] - np.median(values[k]), color=INK, lw=0.7)
        axes.text(
            -0.005, base, lead, ha="right", va="center", fontsize=8, transform=axes.get_yaxis_transform()
        )
    _paper(axes, float(seconds[-1]), -(len(leads) - 0.5) * apart, 0.5 * apart)
    name = samples.name(int(samples.index[row]))
    return drawn(figure, f"{name}: {len(leads)} leads, {hidden.mean():.0%} hidden")


def millivolts(x: Float[Tensor, "C T"], config: Any) -> Float[np.ndarray, "C T"]:
    """A sample as it was recorded, but for what was cut off; samples that were not scaled are in mV already."""
    values = x.double().numpy()
    if config.std is None:
        return values
    mean = np.zeros(len(config.std)) if config.mean is None else np.asarray(config.mean)
    return np.where(
        values.any(axis=1, keepdims=True), values * np.asarray(config.std)[:, None] + mean[:, None], 0.0
    )


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "ecg") from None
    return Figure(figsize=(width, height))


def _runs(row: Bool[np.ndarray, "N"]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _paper(axes: Axes, width: float, low: float, high: float) -> None:
    """The grid, in seconds and mV."""
    axes.set_xlim(0, width)
    axes.set_ylim(low, high)
    axes.set_xticks(np.arange(0, width + 1e-6, LARGE[0]), minor=True)
    axes.set_xticks(np.arange(0, width + 1e-6, 1.0))
    axes.set_yticks(np.arange(np.ceil(low / LARGE[1]), np.floor(high / LARGE[1]) + 1) * LARGE[1], minor=True)
    axes.set_yticks([])
    axes.grid(which="both", color=PAPER, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("seconds", fontsize=8)
    axes.tick_params(which="both", length=0, labelsize=8)
    for side in axes.spines.values():
        side.set_visible(False)


@torch.no_grad()
def ecg_error_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Where predictions go wrong, over time and by lead, over many draws of masks.

    Errors are in units of the error made on average by predicting, at every place, the mean of the other recordings there. By
    lead: of tokens of one lead their own error; of tokens of all leads how much the error rises when the context encoder does
    not get that lead.

    Raises:
        DataError: the output of the method does not say where its predictions lie, or there are fewer than two recordings.
    """
    if len(samples.index) < 2:
        raise DataError("errors are relative to the mean of other recordings, and there is only one")
    grid = method.encode(samples.inputs[:1]).layout.grid
    draws = int(np.clip(16 * affordable(method) // POOL[1], 4, 16))
    index = torch.from_numpy(samples.index)
    tally = Tally(len(index), int(np.prod(grid)))
    for step in range(draws):
        tally.add(method(Batch(samples.inputs, index, step=step, seed=seed)))
    unit = float(tally.mean_errors().sum() / tally.count.sum())
    ratio = (tally.errors / tally.count.clamp(min=1) / max(unit, 1e-12)).unflatten(1, grid).numpy()
    count = tally.count.unflatten(1, grid).numpy()
    if len(grid) == 2:
        by_lead = (ratio * count).sum(axis=(0, 2)) / count.sum(axis=(0, 2))
        told = "error of the tokens of each lead"
    else:
        by_lead = _without_each_lead(method, samples, index, seed, unit)
        told = "rise of the error when the context encoder does not get a lead"
    figures = [(_bars(samples.dataset.config.leads, by_lead, told), f"By lead: {told}")]
    for row in samples.shown[:STRIPS].tolist():
        over_time = ratio[row] if ratio.ndim == 2 else ratio[row].mean(axis=0)
        figures.append((_over_time(samples, row, over_time), samples.name(int(samples.index[row]))))
    relative = float(tally.errors.sum() / tally.mean_errors().sum())
    return FigureSection(
        f"Over {draws} masks of {len(index)} recordings the squared error is {relative:.2f} of that made by predicting, at every "
        "place, the mean of the other recordings there: below 1 the predictions know their recording. Over time: the upper trace "
        "is one lead, the lower curve the error of each token.",
        tuple(figures),
    )


def _without_each_lead(
    method: Method, samples: Samples, index: Tensor, seed: int, unit: float
) -> Float[np.ndarray, "C"]:
    whole = method(Batch(samples.inputs, index, step=0, seed=seed))
    if whole.predicted is None or whole.target is None:
        raise DataError("this method predicts no hidden tokens")
    before = float((whole.predicted - whole.target).double().square().sum(-1).mean())
    rises = []
    for lead in range(samples.inputs.shape[1]):
        less = samples.inputs.clone()
        less[:, lead] = 0
        # The same masks, and the targets of the whole recording.
        predicted = method(Batch(less, index, step=0, seed=seed)).predicted
        assert predicted is not None
        rises.append(
            (float((predicted - whole.target).double().square().sum(-1).mean()) - before) / max(unit, 1e-12)
        )
    return np.array(rises)


def _bars(leads: tuple[str, ...], values: Float[np.ndarray, "C"], told: str) -> Any:
    figure = _figure(6, 2.4)
    axes = figure.add_subplot()
    axes.bar(leads, values, color=HIDDEN)
    axes.axhline(0, color=INK, lw=0.6)
    axes.tick_params(labelsize=8)
    axes.set_ylabel("relative error", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return drawn(figure, f"{told}: " + ", ".join(f"{k} {v:.2f}" for k, v in zip(leads, values, strict=True)))


def _over_time(samples: Samples, row: int, error: Float[np.ndarray, "N"]) -> Any:
    config, x = samples.dataset.config, samples.inputs[row]
    values = millivolts(x, config)
    live = np.flatnonzero(values.any(axis=1))
    usual = config.leads.index("II") if "II" in config.leads else 0
    lead = usual if usual in live or not len(live) else int(live[0])
    seconds = np.arange(x.shape[1]) / config.rate
    figure = _figure(10, 2.6)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
    above.plot(seconds, values[lead] - np.median(values[lead]), color=INK, lw=0.8)
    low, high = above.get_ylim()
    _paper(above, float(seconds[-1]), low, high)
    above.set_xlabel("")
    above.set_ylabel(f"{config.leads[lead]}, mV", fontsize=8)
    edges = np.linspace(0, float(seconds[-1]), len(error) + 1)
    below.stairs(error, edges, color=ERROR, lw=1.0)
    below.axhline(1, color=INK, lw=0.5, ls=":")
    below.set_ylim(bottom=0)
    below.set_ylabel("relative\nerror", fontsize=8)
    below.set_xlabel("seconds", fontsize=8)
    below.tick_params(labelsize=8)
    for side in ("top", "right"):
        below.spines[side].set_visible(False)
    name = samples.name(int(samples.index[row]))
    return drawn(figure, f"{name}: error over time, mean {error.mean():.2f}")
