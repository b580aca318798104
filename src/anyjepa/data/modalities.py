"""The kinds of data there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from anyjepa.data.ecg_modality import Ecg
from anyjepa.data.eeg_modality import EEG
from anyjepa.data.episodes_modality import Episodes
from anyjepa.data.fmri_modality import Fmri
from anyjepa.data.image_modality import Images
from anyjepa.data.modality import Modality
from anyjepa.data.radar_modality import Radar
from anyjepa.data.tables_modality import Tables
from anyjepa.data.video_modality import Video
from anyjepa.data.views_modality import Views
from anyjepa.errors import ConfigError, nearest

MODALITIES: dict[str, Modality] = {
    one.name: one
    for one in (
        Images(),
        Radar(),
        Ecg(),
        EEG(),
        Fmri(),
        Tables(),
        Video(),
        Views(),
        Episodes(),
    )
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
    """The kind of data at a path: by its layout, by the endings of its files, by what is in them; images where nothing tells."""
    place = Path(path).expanduser()
    claimed = [kind for kind in MODALITIES.values() if kind.claims(place)]
    if claimed:
        return claimed[0]
    for file in _files(place):
        for kind in MODALITIES.values():
            if file.name.lower().endswith(tuple(kind.endings)):
                return kind
    first = next(_files(place), place)
    return next((kind for kind in MODALITIES.values() if kind.holds(first)), MODALITIES["images"])


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
    for folder, _, files in os.walk(place):
        for name in files:
            yield Path(folder, name)
