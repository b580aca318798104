"""Heads seen from above: which electrodes are hidden, where predictions go wrong, and the signals themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from anyjepa.contract import Batch, Masks, Method
from anyjepa.data.eeg import EEGWindows
from anyjepa.errors import DataError
from anyjepa.report.error_map import Tally
from anyjepa.report.figures import FigureSection, drawn
from anyjepa.report.samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = 16
"""Masks of each window for the errors."""
STRIP = 4
"""Windows whose signals are shown."""
SEEN, HIDDEN, UNKNOWN = "#2166ac", "#e08214", "#999999"
LINES = 20
"""Channels of a strip: more would lie on one another."""


def flat_places(positions: Float[np.ndarray, "C 3"]) -> Float[np.ndarray, "C 2"]:
    """Electrodes as seen from above: distance from the crown is the angle there, 1 at the rim (a right angle).

    Args:
        positions: x (right), y (front), z (up) in metres; NaN where unknown.
    """
    known = np.isfinite(positions).all(axis=1)
    centre = _centre(positions[known])
    x, y, z = (positions - centre).T
    around, angle = np.arctan2(y, x), np.arctan2(np.hypot(x, y), z)
    radius = angle / (np.pi / 2)
    return np.stack((radius * np.cos(around), radius * np.sin(around)), axis=1)


def _centre(positions: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "3"]:
    """Centre of the sphere that fits best; the origin where electrodes do not determine one."""
    if len(positions) < 8:
        return np.zeros(3)
    system = np.concatenate((2 * positions, np.ones((len(positions), 1))), axis=1)
    found, _, rank, _ = np.linalg.lstsq(system, (positions**2).sum(1), rcond=None)
    # Electrodes of one strip of the head leave the centre open.
    return found[:3] if rank == 4 and np.abs(found[:3]).max() < 0.1 else np.zeros(3)


@torch.no_grad()
def hidden_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """The masks of step 0 on the head.

    Raises:
        DataError: the method hides nothing, or no place of an electrode is known.
    """
    from matplotlib.figure import Figure

    windows, masks = _windows(samples), _masks(method, samples, seed)
    places = flat_places(windows.positions)
    tokens = method.encode(samples.inputs[:1]).layout.grid[1]
    shares = _hidden_shares(masks, windows.channels, tokens)
    columns = min(4, len(shares))
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.8 * rows))
    for i, (share, row) in enumerate(zip(shares, samples.shown.tolist(), strict=True)):
        axes = figure.add_subplot(rows, columns, i + 1)
        head(axes)
        colours = [HIDDEN if s > 0 else SEEN for s in share]
        axes.scatter(places[:, 0], places[:, 1], c=colours, s=30, linewidths=0)
        _name(axes, places, windows.electrodes, share > 0)
        axes.set_title(f"{int((share > 0).sum())} of {len(share)} hidden", fontsize=8)
        axes.set_gid(f"window-{int(samples.index[row])}")
    alt = f"{len(shares)} heads from above, hidden electrodes in orange and visible ones in blue"
    names = "; ".join(samples.name(int(samples.index[row])) for row in samples.shown)
    hidden = float((shares > 0).mean())
    whole = bool(((shares == 0) | (shares == 1)).all())
    return FigureSection(
        f"A head from above for each window, the nose on top. The context encoder sees the blue electrodes and predicts what the "
        f"target encoder makes of the orange ones, {hidden:.0%} of all on average"
        f"{', for the whole window' if whole else ', each for a part of the window'}. In training every window gets new masks in "
        "every step; these are of step 0.",
        ((drawn(figure, alt), names),),
    )


@torch.no_grad()
def electrode_errors(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Squared prediction errors of each electrode, over many masks.

    Raises:
        DataError: the method predicts no hidden tokens, or there is one window only.
    """
    from matplotlib.figure import Figure

    windows = _windows(samples)
    if len(samples.index) < 2:
        raise DataError("errors are relative to the mean of other windows, and there is only one window")
    channels, tokens = method.encode(samples.inputs[:1]).layout.grid
    tally = Tally(len(samples.index), channels * tokens)
    for step in range(DRAWS):
        tally.add(method(Batch(samples.inputs, torch.from_numpy(samples.index), step=step, seed=seed)))
    own, mean = (
        total.unflatten(1, (channels, tokens)).sum((0, 2)) for total in (tally.errors, tally.mean_errors())
    )
    count = tally.count.unflatten(1, (channels, tokens)).sum((0, 2))
    ratio = np.where((count > 0).numpy(), (own / mean.clamp(min=1e-12)).numpy(), np.nan)
    relative = float(own.sum() / mean.sum())
    places = flat_places(windows.positions)
    figure = Figure(figsize=(5.2, 4.6))
    axes = figure.add_subplot()
    head(axes)
    never = places[count.numpy() == 0]
    axes.scatter(never[:, 0], never[:, 1], c=UNKNOWN, s=60, linewidths=0)
    dots = axes.scatter(
        places[:, 0],
        places[:, 1],
        c=ratio,
        cmap="RdBu_r",
        vmin=0,
        vmax=2,
        s=120,
        edgecolors="#555",
        linewidths=0.4,
    )
    _name(axes, places, windows.electrodes, np.ones(channels, dtype=bool), above=True)
    bar = figure.colorbar(dots, ax=axes, shrink=0.7)
    bar.set_label("error; 1: as the mean of the other windows", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    ranked = [windows.electrodes[i] for i in np.argsort(ratio, kind="stable") if np.isfinite(ratio[i])]
    told = f"predicted best: {', '.join(ranked[:3])}; worst: {ranked[-1]}"
    alt = f"head from above, prediction error of each electrode; {told}; over all {relative:.2f}"
    return FigureSection(
        f"Squared error of the predictions, over {DRAWS} masks of each of {len(samples.index)} windows. The unit is what it costs"
        " to predict, at every electrode and second, the mean of the other windows, which knows the place alone. Over all it is "
        f"{relative:.2f}. Blue electrodes are predicted from their neighbours, red ones are not: a whole region in red may be"
        " the rim, where neighbours are few; a single red one among blue may be a bad electrode.",
        ((drawn(figure, alt), told),),
    )


@torch.no_grad()
def strips(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Signals of some windows, hidden ones in another colour."""
    from matplotlib.figure import Figure

    windows, masks = _windows(samples), _masks(method, samples, seed)
    tokens = method.encode(samples.inputs[:1]).layout.grid[1]
    shares = _hidden_shares(masks, windows.channels, tokens)
    # From the front of the head to its back, as an EEG is read.
    order = np.argsort(-np.nan_to_num(windows.positions[:, 1], nan=-1.0), kind="stable")
    order = order[np.arange(min(LINES, len(order))) * len(order) // min(LINES, len(order))]
    figures = []
    seconds = np.arange(windows.samples) / windows.rate
    for i, row in enumerate(samples.shown[:STRIP].tolist()):
        x = samples.inputs[row].numpy()[order]
        x = x - x.mean(axis=1, keepdims=True)
        scale = float(np.quantile(np.abs(x), 0.99)) or 1.0
        figure = Figure(figsize=(8.5, 0.22 * len(order) + 0.7))
        axes = figure.add_subplot()
        for line, (channel, signal) in enumerate(zip(order, x, strict=True)):
            colour = HIDDEN if shares[i, channel] > 0 else SEEN
            axes.plot(seconds, 0.7 * np.clip(signal / scale, -1.5, 1.5) - line, color=colour, linewidth=0.6)
        axes.set_yticks(-np.arange(len(order)), [windows.electrodes[c] for c in order], fontsize=7)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_xlabel("seconds", fontsize=8)
        axes.set_xlim(0, seconds[-1])
        axes.spines[["top", "right", "left"]].set_visible(False)
        name = samples.name(int(samples.index[row]))
        alt = f"{len(order)} channels of {name}, {int((shares[i][order] > 0).sum())} of them hidden"
        figures.append((drawn(figure, alt), f"{name}; the distance of two lines is {scale / 0.7:.0f} uV"))
    more = (
        "" if len(order) == windows.channels else f" {len(order)} of {windows.channels} channels are shown."
    )
    return FigureSection(
        "The windows as the model sees them, front of the head on top: blue ones are context, orange ones are predicted."
        + more,
        tuple(figures),
    )


def head(axes: Axes) -> None:
    """Outline of a head from above: skull, nose, ears."""
    round_ = np.linspace(0, 2 * np.pi, 100)
    axes.plot(np.cos(round_), np.sin(round_), color="#666", linewidth=1)
    axes.plot([-0.12, 0, 0.12], [0.993, 1.13, 0.993], color="#666", linewidth=1)
    for side in (-1, 1):
        ear = np.linspace(-0.9, 0.9, 30)
        axes.plot(side * (1 + 0.07 * np.cos(ear * 1.7)), 0.18 * ear, color="#666", linewidth=1)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _name(
    axes: Axes, places: np.ndarray, names: tuple[str, ...], which: np.ndarray, above: bool = False
) -> None:
    for name, place, wanted in zip(names, places, which, strict=True):
        if wanted and np.isfinite(place).all():
            axes.annotate(
                name,
                place,
                xytext=(0, 7 if above else 4),
                textcoords="offset points",
                ha="center",
                fontsize=5,
            )


def _windows(samples: Samples) -> EEGWindows:
    source: Any = samples.dataset.source
    if not isinstance(source, EEGWindows):
        raise DataError(f"electrodes are known of windows of EEG alone, these are {samples.modality.noun}")
    if not np.isfinite(source.positions).all(axis=1).any():
        raise DataError("no place of an electrode is known: there is no head to draw them on")
    return source


def _masks(method: Method, samples: Samples, seed: int) -> Masks:
    rows = samples.shown
    output = method(Batch(samples.inputs[rows], torch.from_numpy(samples.index[rows]), step=0, seed=seed))
    if output.masks is None:
        raise DataError("this method predicts no hidden tokens: there are no masks in its output to draw")
    return output.masks


def _hidden_shares(masks: Masks, channels: int, tokens: int) -> Float[np.ndarray, "V C"]:
    """Share of the time for which each channel is hidden."""
    hidden = torch.zeros(len(masks.targets), channels * tokens)
    hidden.scatter_(1, masks.targets.flatten(1).cpu(), 1.0)
    return hidden.unflatten(1, (channels, tokens)).mean(2).double().numpy()
