"""Which sections with pictures a page has, by the kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyjepa.contract import Method
from anyjepa.report.columns import column_errors_section, column_masks_section, column_spread_section
from anyjepa.report.error_map import error_section
from anyjepa.report.masks import mask_section
from anyjepa.report.patches import patch_section
from anyjepa.report.samples import Samples


@dataclass(frozen=True)
class Drawing:
    """A section with pictures.

    Attributes:
        short: name in the list of sections.
        title: its heading.
        template: macro of ``templates/sections.html`` that lays it out; ``"figures"`` for a
            :class:`~anyjepa.report.figures.FigureSection`.
        make: its content, from the method, the samples and the seed of the run. DataError where it cannot be drawn.
    """

    short: str
    title: str
    template: str
    make: Callable[[Method, Samples, int], Any]


DRAWINGS: dict[str, tuple[Drawing, ...]] = {
    "images": (
        Drawing("Masks", "What is hidden", "masks", mask_section),
        Drawing("Errors", "Where predictions go wrong", "errors", error_section),
        Drawing("Features", "What the features show", "features", patch_section),
    ),
    "tables": (
        Drawing("Masks", "What is hidden", "figures", column_masks_section),
        Drawing("Errors", "Which columns are told by the others", "figures", column_errors_section),
        Drawing("Features", "Where representations differ", "figures", column_spread_section),
    ),
}
"""By the name of the kind of data."""
