"""A figure as numbers, and as a picture of the same numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from anyjepa.errors import MissingExtraError

Kind = Literal["theory", "simulation"]


@dataclass(frozen=True, eq=False)
class Line:
    """One curve.

    Attributes:
        label: what it is of; a theory and a simulation of the same thing have the same label, and are drawn in one colour.
        kind: theory is drawn as a line, a simulation as dots.
        x, y: its points.
    """

    label: str
    kind: Kind
    x: Float[np.ndarray, "n"]
    y: Float[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes.

    Attributes:
        title: above the axes.
        x, y: names of the axes.
        lines: what is drawn.
        whole: whether x takes whole numbers only.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Figure:
    """Panels that belong together.

    Attributes:
        name: F1, F2, ...
        title: what it shows.
        panels: drawn two in a row.
        deviation: the largest relative difference between a simulated critical time and the closed form.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    deviation: float

    def csv(self) -> str:
        """Every point: panel, label, kind, x, y."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("panel", "x_axis", "y_axis", "label", "kind", "x", "y"))
        for panel in self.panels:
            for line in panel.lines:
                for x, y in zip(line.x, line.y, strict=True):
                    row = (panel.title, panel.x, panel.y, line.label, line.kind, f"{x:.8g}", f"{y:.8g}")
                    writer.writerow(row)
        return text.getvalue()

    def png(self) -> bytes:
        """The picture.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        require_matplotlib()
        from matplotlib.figure import Figure as Canvas

        rows = -(-len(self.panels) // 2)
        canvas = Canvas(figsize=(11, 3.8 * rows + 0.4), layout="constrained")
        canvas.suptitle(f"{self.name}: {self.title}")
        for axes, panel in zip(canvas.subplots(rows, 2, squeeze=False).flat, self.panels, strict=True):
            colours = {label: f"C{i}" for i, label in enumerate(dict.fromkeys(o.label for o in panel.lines))}
            named: set[str] = set()
            for line in panel.lines:
                style = dict(linestyle="", marker="o", markersize=4) if line.kind == "simulation" else {}
                label = None if line.label in named else line.label
                named.add(line.label)
                axes.plot(line.x, line.y, color=colours[line.label], label=label, **style)
            axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
            if panel.whole:
                axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(fontsize="small")
            axes.grid(alpha=0.3)
        canvas.supxlabel("lines: closed form; dots: gradient descent on whole matrices", fontsize="small")
        picture = io.BytesIO()
        canvas.savefig(picture, format="png", dpi=110)
        return picture.getvalue()


def require_matplotlib() -> None:
    """Raise MissingExtraError when there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtraError("matplotlib", "theory") from None
