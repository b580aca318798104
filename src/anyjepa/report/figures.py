"""Sections made of figures with captions, whatever they show."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyjepa.report.pixels import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureSection:
    """Figures with their captions, under some sentences that say how to read them."""

    summary: str
    figures: tuple[tuple[Picture, str], ...]


def drawn(figure: Figure, alt: str) -> Picture:
    """A Matplotlib figure as a picture of the page. The same figure gives the same bytes each time.

    Make it with ``matplotlib.figure.Figure``: pyplot's figures live until they are closed.

    Args:
        figure: the figure.
        alt: what it shows, for those who cannot see it.
    """
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "anyjepa", "svg.fonttype": "none", "font.family": "sans-serif"}
    ):
        figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    width, height = (round(96 * side) for side in figure.get_size_inches())
    uri = f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(uri, alt, width, height, pixelated=False)
