"""Pictures of sequences: the views with the actions between them, and how well transformations are told from representations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anyjepa.contract import Method
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.errors import DataError, MissingExtraError
from anyjepa.evaluation.sequence_features import part
from anyjepa.evaluation.sequence_tasks import Setting, equivariance_scores
from anyjepa.report.figures import FigureSection, drawn
from anyjepa.report.pixels import colours
from anyjepa.report.samples import Samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIPS = 4
"""Sequences that are drawn."""
MOST = 512
"""Samples that the bars are of."""
BLUE, ORANGE = "#2b6cb0", "#dd6b20"


def strip_figures(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Sequences of step 0 as they are trained on.

    Raises:
        DataError: the data have no sequences.
    """
    dataset = _dataset(samples)
    rows = samples.index[samples.shown[:STRIPS]]
    batch = dataset.draw(0, rows, seed)
    views, actions = batch["views"], batch["actions"]
    figures = []
    for row, pictures, told in zip(rows.tolist(), views, actions, strict=True):
        count = len(pictures)
        figure = _figure(1.9 * count, 2.3)
        shown = colours(pictures, dataset.config)
        for k, picture in enumerate(shown):
            axes = figure.add_subplot(1, count, k + 1)
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([]), axes.set_yticks([])
            axes.set_title("predicted" if k == count - 1 else f"seen {k + 1}", fontsize=9)
            if k:
                axes.set_xlabel("after\n" + _words(told[k - 1].numpy(), dataset), fontsize=7)
        name = samples.name(row)
        figures.append((drawn(figure, f"{name}: {count} views"), name))
    return FigureSection(
        "One sequence each. The views that are seen and the actions between them give the aggregate; the representation of the "
        "last view is predicted from it and from the action that leads there.",
        tuple(figures),
    )


def equivariance_figures(method: Method, samples: Samples, seed: int) -> FigureSection:
    """R2 of the transformation between two views, and of what a single view is, by linear heads on some samples.

    Raises:
        DataError: the data have no sequences, or too few samples.
    """
    dataset = _dataset(samples)
    rows = samples.pool[:: max(1, len(samples.pool) // MOST)]
    tests = np.arange(len(rows)) % 4 == 0
    found = equivariance_scores(
        method,
        part(dataset, rows[~tests]),
        part(dataset, rows[tests]),
        Setting(seed=seed, repeats=2, heads=("linear",)),
    )
    scores = {
        kind: {
            f.quantity.split()[1]: f.value
            for f in found
            if f.quantity.startswith(kind) and f.quantity.endswith("uniform")
        }
        for kind in ("relative", "individual")
    }
    names = list(scores["relative"])
    figure = _figure(1.5 + 1.6 * len(names), 2.6)
    axes, place = figure.add_subplot(), np.arange(len(names))
    for k, (kind, colour) in enumerate((("relative", BLUE), ("individual", ORANGE))):
        heights = [max(-0.2, scores[kind][name]) for name in names]
        bars = axes.bar(place + 0.38 * (k - 0.5), heights, 0.36, color=colour, label=kind)
        axes.bar_label(bars, [f"{scores[kind][name]:.2f}" for name in names], fontsize=8)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xticks(place, names), axes.set_ylim(-0.25, 1.1), axes.set_ylabel("R2")
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    caption = f"{int((~tests).sum())} samples to fit, {int(tests.sum())} to score; other views of the same samples or objects"
    return FigureSection(
        "How much of the transformation between two views a linear map tells from their representations, and how much of what "
        "a view is from its own. 1 is all, 0 is nothing. For held-out objects or angles: anyjepa probe --task equivariance.",
        ((drawn(figure, ", ".join(f"{name} {scores['relative'][name]:.2f}" for name in names)), caption),),
    )


def _words(action: np.ndarray, dataset: ViewsDataset) -> str:
    """An action in few words: an angle in degrees where it is a rotation in a plane, else its numbers."""
    names = dataset.maker.parts
    if "rotation" in names and len(names["rotation"]) == 2:
        return f"{np.rad2deg(np.arctan2(action[1], action[0])):.0f} degrees"
    lines, numbers = [], dict(zip(dataset.maker.told, action.tolist(), strict=True))
    for name, columns in names.items():
        if set(columns) <= set(numbers):
            lines.append(f"{name} {' '.join(f'{numbers[c]:.1f}' for c in columns)}")
    return "\n".join(lines)


def _dataset(samples: Samples) -> ViewsDataset:
    if not isinstance(samples.dataset, ViewsDataset):
        raise DataError("these data have no sequences of views")
    return samples.dataset


def _figure(width: float, height: float) -> Figure | Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "views") from None
    return Figure(figsize=(width, height))
