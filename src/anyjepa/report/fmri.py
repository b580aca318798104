"""Pictures of a run on brain scans: what is hidden, which regions are hard to predict, and where their gradients place them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Batch, Layout, Masks, Method
from anyjepa.errors import DataError
from anyjepa.masking.roi_time import regions
from anyjepa.report.error_map import Tally
from anyjepa.report.figures import FigureSection, drawn
from anyjepa.report.masks import grid_of
from anyjepa.report.samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCANS = 3
"""Scans whose masks are drawn."""
DRAWS = 8
"""Draws of masks that errors are averaged over."""
NAMED = 12
"""Regions that are called by name: so many of the hardest, so many of the easiest."""
KINDS = (
    "neither",
    "seen",
    "Cross-ROI: other region, same time",
    "Cross-Time: same region, other time",
    "Double-Cross: both other",
)
COLOURS = ("#eeeeee", "#999999", "#e69f00", "#56b4e9", "#009e73")
"""Of the KINDS."""
NETWORKS = ("Vis", "SomMot", "DorsAttn", "SalVentAttn", "Limbic", "Cont", "Default", "TempPar")
"""Networks in the names of Schaefer's regions."""


@torch.no_grad()
def mask_figures(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Regions by times: what the context encoder sees, and the kinds of target.

    Raises:
        DataError: the method hides nothing, or its tokens are not regions by times.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    rows = samples.shown[:SCANS]
    grid = grid_of(method, samples.inputs)
    batch = Batch(samples.inputs[rows], torch.from_numpy(samples.index[rows]), step=0, seed=seed)
    masks = method(batch).masks
    if masks is None:
        raise DataError("this method predicts no hidden tokens: there are no masks in its output to draw")
    maps = kinds_of(masks, grid)
    figure, axes = _figure(len(rows), (2.2 * len(rows) + 0.6, 4.6))
    for k, (axis, row) in enumerate(zip(axes, rows.tolist(), strict=True)):
        axis.imshow(
            maps[k], aspect="auto", interpolation="nearest", cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=4.5
        )
        axis.set_title(samples.name(int(samples.index[row])), fontsize=9)
        axis.set_xticks(range(grid[1]))
        axis.set_xlabel("time, patches")
        if k:
            axis.set_yticks([])
    axes[0].set_ylabel("region, in the order of the data")
    present = [k for k in range(len(KINDS)) if (maps == k).any()]
    figure.legend(
        handles=[Patch(color=COLOURS[k], label=KINDS[k]) for k in present],
        loc="lower center",
        bbox_to_anchor=(0.5, -0.16),
        fontsize=8,
        ncols=2,
        frameon=False,
    )
    seen, asked = float((maps == 1).mean()), float((maps > 1).mean())
    return FigureSection(
        f"A clip is cut into {grid[0]} regions x {grid[1]} times. In step 0 the context encoder sees {seen:.0%} of the tokens of "
        f"these scans, and {asked:.0%} are predicted from them.",
        (
            (
                drawn(figure, "Masks of some scans, regions by times"),
                "What is seen of a scan and what is asked for.",
            ),
        ),
    )


def kinds_of(masks: Masks, grid: tuple[int, int]) -> np.ndarray:
    """(B, R, T) number of the kind in KINDS of every token."""
    found = torch.zeros(len(masks.context), grid[0] * grid[1], dtype=torch.long)
    seen = torch.ones_like(masks.context) if masks.context_valid is None else masks.context_valid.long()
    found.scatter_reduce_(1, masks.context, seen, "amax")
    kind = regions(masks, Layout(grid)).flatten(1)
    found.scatter_(1, masks.targets.flatten(1), kind + 2)
    return found.view(-1, *grid).numpy()


def error_figures(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Which regions are hard to predict.

    Raises:
        DataError: the method predicts nothing, or there is one scan only.
    """
    error, count = region_errors(method, samples, seed)
    names, grid = region_names(samples), grid_of(method, samples.inputs)
    order = np.argsort(-error)
    known = order[count[order] > 0]
    figure, axes = _figure(2, (8.4, 3.6))
    axes[0].bar(np.arange(len(error)), error, width=1.0, color="#56b4e9")
    axes[0].axhline(1.0, color="black", linewidth=0.8)
    axes[0].set_xlabel("region, in the order of the data")
    axes[0].set_ylabel("error / that of the mean")
    ends = known[: 2 * NAMED] if len(known) <= 2 * NAMED else np.concatenate([known[:NAMED], known[-NAMED:]])
    axes[1].barh(np.arange(len(ends))[::-1], error[ends], color="#56b4e9")
    axes[1].set_yticks(np.arange(len(ends))[::-1], [names[i] for i in ends], fontsize=6)
    axes[1].axvline(1.0, color="black", linewidth=0.8)
    axes[1].set_title("hardest and easiest", fontsize=9)
    figure.subplots_adjust(wspace=0.5)
    return FigureSection(
        f"Squared prediction errors of {grid[0]} regions over {len(samples.index)} scans and {DRAWS} draws of masks, over the "
        "error of whoever predicts the mean of the other scans at the same place. Below 1 the predictor knows the "
        f"scan; at 1 it knows the place alone. On average: {np.average(error, weights=count):.2f}.",
        (
            (
                drawn(figure, "Prediction error of each region"),
                "Error of each region; by name those at both ends.",
            ),
        ),
    )


def gradient_figures(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Where the gradients of connectivity place the regions.

    Raises:
        DataError: the regions are placed by their number.
    """
    table = getattr(method.config, "gradients", None)
    if getattr(method.config, "positions", None) != "gradient" or not table or len(table[0]) < 2:
        raise DataError("the regions are placed by their number: the run has no two gradients to draw")
    places = np.array(table)
    error, _ = region_errors(method, samples, seed)
    figure, axes = _figure(2, (8.6, 3.8))
    dots = axes[0].scatter(places[:, 0], places[:, 1], c=error, cmap="viridis", s=14)
    figure.colorbar(dots, ax=axes[0], label="error / that of the mean")
    axes[0].set_title("by prediction error", fontsize=9)
    names = region_names(samples)
    groups = networks(names)
    _coloured(axes[1], places, groups)
    for axis in axes:
        axis.set_xlabel("gradient 1")
        axis.set_ylabel("gradient 2")
    figure.subplots_adjust(wspace=0.6)
    ends = "; ".join(
        f"gradient {k + 1} runs from {names[int(places[:, k].argmin())]} to {names[int(places[:, k].argmax())]}"
        for k in range(2)
    )
    return FigureSection(
        f"Each dot is a region; regions of like connectivity lie near each other. {places.shape[1]} gradients are given to the "
        f"model, the first two are drawn: {ends}.",
        ((drawn(figure, "Regions on the first two gradients"), "The first two gradients of connectivity."),),
    )


def region_errors(
    method: Method, samples: Samples, seed: int
) -> tuple[Float[np.ndarray, "R"], Float[np.ndarray, "R"]]:
    """Error of each region over that of the mean of the other scans, on average over regions, and how many tokens were asked."""
    if len(samples.index) < 2:
        raise DataError("errors are relative to the mean of other scans, and there is only one scan")
    grid = grid_of(method, samples.inputs)
    tally = Tally(len(samples.index), grid[0] * grid[1])
    index = torch.from_numpy(samples.index)
    with torch.no_grad():
        for step in range(DRAWS):
            tally.add(method(Batch(samples.inputs, index, step=step, seed=seed)))

    def per_region(values: Tensor) -> np.ndarray:
        return values.view(-1, *grid).sum(dim=(0, 2)).numpy()

    count, mean = per_region(tally.count), per_region(tally.mean_errors())
    unit = mean.sum() / count.sum()
    return per_region(tally.errors) / np.maximum(count, 1) / max(unit, 1e-12), count


def region_names(samples: Samples) -> list[str]:
    """Names of the regions where the files have them, else their numbers from 1."""
    source: Any = samples.dataset.source
    known = getattr(getattr(source, "scans", None), "roi_names", None)
    return list(known or (str(i + 1) for i in range(samples.inputs.shape[2])))


def networks(names: list[str]) -> list[str]:
    """The group of each region by its name: a network of Schaefer's, else the first word; empty where that says nothing."""
    found = []
    for name in names:
        words = name.replace("-", "_").replace(" ", "_").split("_")
        network = next((n for n in NETWORKS for w in words if w.startswith(n)), None)
        found.append(network or words[0])
    kinds = set(found)
    return found if 1 < len(kinds) <= len(names) // 3 else [""] * len(names)


def _coloured(axis: Axes, places: np.ndarray, groups: list[str]) -> None:
    from matplotlib import colormaps

    kinds = sorted(set(groups))
    if kinds == [""]:
        # Nothing is known of the regions: their number at least shows whether neighbours in the atlas are neighbours here.
        axis.scatter(places[:, 0], places[:, 1], c=np.arange(len(places)), cmap="twilight", s=14)
        axis.set_title("by number in the atlas", fontsize=9)
        return
    for k, kind in enumerate(kinds):
        inside = [g == kind for g in groups]
        axis.scatter(places[inside, 0], places[inside, 1], s=14, color=colormaps["tab20"](k % 20), label=kind)
    axis.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axis.set_title("by network or lobe", fontsize=9)


def _figure(columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    axes: Any = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])
