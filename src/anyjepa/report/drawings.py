"""Which sections with pictures a page has, by the kind of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyjepa.contract import Method
from anyjepa.report.columns import column_errors_section, column_masks_section, column_spread_section
from anyjepa.report.ecg import ecg_error_section, strip_section
from anyjepa.report.episodes import chunks_section, frames_section, horizon_section
from anyjepa.report.error_map import error_section
from anyjepa.report.fmri import error_figures, gradient_figures, mask_figures
from anyjepa.report.groups import group_section
from anyjepa.report.heads import electrode_errors, hidden_section, strips
from anyjepa.report.masks import mask_section
from anyjepa.report.patches import patch_section
from anyjepa.report.samples import Samples
from anyjepa.report.video import clip_errors, clip_masks
from anyjepa.report.views import equivariance_figures, strip_figures


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
        Drawing("Groups", "Which patches belong together", "figures", group_section),
    ),
    "radar": (
        Drawing("Masks", "What is hidden", "masks", mask_section),
        Drawing("Errors", "Where predictions go wrong", "errors", error_section),
        Drawing("Features", "What the features show", "features", patch_section),
    ),
    "ecg": (
        Drawing("Masks", "What is hidden", "figures", strip_section),
        Drawing("Errors", "Where predictions go wrong", "figures", ecg_error_section),
    ),
    "eeg": (
        Drawing("Electrodes", "Which electrodes are hidden", "figures", hidden_section),
        Drawing("Signals", "What is hidden of the signals", "figures", strips),
        Drawing("Errors", "Where on the head predictions go wrong", "figures", electrode_errors),
    ),
    "fmri": (
        Drawing("Masks", "What is hidden", "figures", mask_figures),
        Drawing("Errors", "Which regions are hard to predict", "figures", error_figures),
        Drawing("Gradients", "Where the regions lie", "figures", gradient_figures),
    ),
    "views": (
        Drawing("Sequences", "What is seen and what is predicted", "figures", strip_figures),
        Drawing("Transformations", "What is known of the transformations", "figures", equivariance_figures),
    ),
    "tables": (
        Drawing("Masks", "What is hidden", "figures", column_masks_section),
        Drawing("Errors", "Which columns are told by the others", "figures", column_errors_section),
        Drawing("Features", "Where representations differ", "figures", column_spread_section),
    ),
    "video": (
        Drawing("Masks", "What is hidden", "figures", clip_masks),
        Drawing("Errors", "Where predictions go wrong", "figures", clip_errors),
    ),
    "episodes": (
        Drawing("Frames", "What the policy sees", "figures", frames_section),
        Drawing("Actions", "What it would do", "figures", chunks_section),
        Drawing("States", "How far ahead it tells", "figures", horizon_section),
    ),
}
"""By the name of the kind of data."""
