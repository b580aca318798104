"""What is hidden of a table, how well each column is predicted from the others, and where representations of rows differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from anyjepa.contract import Batch, Method, Output
from anyjepa.errors import DataError
from anyjepa.report.figures import FigureSection, drawn
from anyjepa.report.samples import Samples

LARGEST = 40
"""Columns that bars are drawn of, the largest first."""
DRAWS = 16
"""Draws of the masks behind the error of a column."""
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#d9dde3"


@torch.no_grad()
def column_masks_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """The masks of step 0: a row of squares for each row of the table.

    Raises:
        DataError: the method hides nothing.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    output, names = _output(method, samples, seed, 0), _names(method, samples)
    masks = output.masks
    assert masks is not None
    rows = samples.shown
    picture = np.zeros((len(rows), len(names)))
    for i, row in enumerate(rows.tolist()):
        picture[i, masks.targets[row].flatten().numpy()] = 2
        picture[i, masks.context[row].numpy()] = 1
    figure = Figure(figsize=(8, 0.6 + 0.28 * len(rows) + (0.9 if len(names) <= LARGEST else 0)))
    axes = figure.add_subplot()
    axes.pcolormesh(
        picture[::-1], cmap=ListedColormap([GREY, BLUE, ORANGE]), vmin=0, vmax=2, edgecolors="white"
    )
    axes.set_yticks([])
    if len(names) <= LARGEST:
        axes.set_xticks(np.arange(len(names)) + 0.5, [_short(name) for name in names], rotation=90)
    else:
        axes.set_xlabel(f"{len(names)} columns")
    k, (blocks, p) = masks.context.shape[1], masks.targets.shape[1:]
    return FigureSection(
        f"Of {len(names)} columns the context encoder sees {k} in this step (blue); from these {blocks} sets of {p} columns are "
        "predicted (orange: in at least one of them). Grey columns are neither.",
        (
            (
                drawn(figure, "Columns that are context and targets, row by row"),
                "Each line is a row of the table.",
            ),
        ),
    )


@torch.no_grad()
def column_errors_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Squared error of the predictions of each column, next to that of one guess for all rows.

    Raises:
        DataError: the method predicts no columns.
    """
    names = _names(method, samples)
    error, guess, count = (np.zeros(len(names)) for _ in range(3))
    for step in range(DRAWS):
        output = _output(method, samples, seed, step)
        assert output.masks is not None and output.predicted is not None and output.target is not None
        where = output.masks.targets.flatten().numpy()
        middle = _per_column(output, len(names))[where]
        target = output.target.flatten(0, 2).float().numpy()
        off = np.square(output.predicted.flatten(0, 2).float().numpy() - target).mean(axis=1)
        np.add.at(error, where, off)
        np.add.at(guess, where, np.square(middle - target).mean(axis=1))
        np.add.at(count, where, 1)
    seen = count > 0
    share = np.where(seen, error / np.maximum(guess, 1e-12), np.nan)
    figure = _bars(names, share, "error / that of the mean of the column", reference=1.0)
    return FigureSection(
        "How much of each column the others do not tell: the squared error of its predicted representation over that of one "
        "guess for all rows, the mean of what is to be predicted. At 1 nothing is predicted; above 1, as long as training is "
        "short, the predictor is worse than that guess.",
        ((drawn(figure, "Error of the predictions of each column"), f"Over {DRAWS} draws of the masks."),),
    )


@torch.no_grad()
def column_spread_section(method: Method, samples: Samples, seed: int) -> FigureSection:
    """Variance over the rows of the representation of each column, by which the paper ranks columns."""
    names = _names(method, samples)
    tokens = method.encode(samples.inputs).tokens.float()
    figure = _bars(names, tokens.var(dim=0).mean(dim=1).numpy(), "variance over rows")
    return FigureSection(
        "How far the representations of a column differ from row to row. The paper takes this for the relevance of a column "
        "(Kendall's tau 0.44 with the importances of XGBoost on Jannis). Bars that are all near 0 mean collapse.",
        ((drawn(figure, "Variance of the representations of each column"), f"Over {len(tokens)} rows."),),
    )


def _output(method: Method, samples: Samples, seed: int, step: int) -> Output:
    output = method(Batch(samples.inputs, torch.from_numpy(samples.index), step=step, seed=seed))
    if output.masks is None:
        raise DataError("this method hides no columns: there is nothing to draw")
    return output


def _per_column(output: Output, columns: int) -> Float[np.ndarray, "N D"]:
    """Mean of the targets of each column over the rows."""
    assert output.masks is not None and output.target is not None
    where = output.masks.targets.flatten().numpy()
    total = np.zeros((columns, output.target.shape[-1]))
    np.add.at(total, where, output.target.flatten(0, 2).float().numpy())
    return total / np.maximum(np.bincount(where, minlength=columns), 1)[:, None]


def _names(method: Method, samples: Samples) -> list[str]:
    """Names of the tokens: of their columns, or [REG]."""
    known: Any = getattr(samples.dataset.source, "columns", ())
    order = getattr(method, "token_columns", tuple(range(len(known))))
    return ["[REG]" if j is None else known[j].name for j in order]


def _bars(names: list[str], values: np.ndarray, label: str, reference: float | None = None) -> Any:
    """Bars, the largest first; with a reference on a logarithmic axis around it."""
    from matplotlib.figure import Figure

    order = np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable")[:LARGEST][::-1]
    figure = Figure(figsize=(7, 0.7 + 0.22 * len(order)))
    axes = figure.add_subplot()
    axes.barh(np.arange(len(order)), values[order], color=BLUE)
    if reference is not None:
        axes.set_xscale("log")
        axes.axvline(reference, color=ORANGE, linewidth=1)
    axes.set_yticks(np.arange(len(order)), [_short(names[i]) for i in order])
    axes.set_xlabel(label + (f" (the {LARGEST} largest of {len(names)})" if len(names) > LARGEST else ""))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _short(name: str) -> str:
    # A dollar would begin a formula.
    return (name if len(name) <= 24 else name[:23] + "…").replace("$", r"\$")
