"""The kinds of data there are."""

from __future__ import annotations

import os
from pathlib import Path

from anyjepa.data.ecg_modality import Ecg
from anyjepa.data.eeg_modality import EEG
from anyjepa.data.fmri_modality import Fmri
from anyjepa.data.image_modality import Images
from anyjepa.data.modality import Modality
from anyjepa.data.tables_modality import Tables
from anyjepa.data.views_modality import Views
from anyjepa.errors import ConfigError, nearest

MODALITIES: dict[str, Modality] = {
    one.name: one for one in (Images(), Ecg(), EEG(), Fmri(), Tables(), Views())
}
"""By the name under which methods are registered for them."""


def modality(name: str) -> Modality:
    """The kind of data of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in MODALITIES:
        raise ConfigError(f"unknown kind of data '{name}': {nearest(name, MODALITIES)}")
    return MODALITIES[name]


def recognise(path: str | Path) -> Modality:
    """The kind of data whose files lie at a path, by their endings; images where nothing tells."""
    place = Path(path).expanduser()
    for _, _, files in os.walk(place) if place.is_dir() else [("", [], [place.name])]:
        for name in files:
            for kind in MODALITIES.values():
                if name.lower().endswith(tuple(kind.endings)):
                    return kind
    return MODALITIES["images"]
