"""Names of electrodes and their places on the head."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from anyjepa.errors import DataError, MissingExtraError, nearest

STANDARD = "standard_1005"
"""MNE's montage of 343 electrodes of the extended 10-05 system, in metres: the one Signal-JEPA was trained with."""

_RENAMED = {"standard_1005": "colin27_1005", "standard_1020": "colin27_1020"}
"""Names that MNE 1.13 gave to montages."""
_DRESS = re.compile(r"^(EEG[ _-]+)?(.*?)([-_ ](REF|LE|AVG|AVE|AR))?$", re.IGNORECASE)


def clean(name: str) -> str:
    """A channel name without what recorders put around it.

    >>> clean("Fc5."), clean("EEG FP1-REF"), clean(" Cz ")
    ('Fc5', 'FP1', 'Cz')
    """
    found = _DRESS.match(name.strip(" .\t\0"))
    return (found.group(2) if found else name).strip(" .") or name


def standard_places(montage: str = STANDARD) -> dict[str, tuple[float, float, float]]:
    """Place of every electrode of a montage that MNE knows, in metres, in the montage's own frame.

    Raises:
        MissingExtraError: MNE is not installed.
        DataError: MNE knows no such montage.
    """
    try:
        import mne
    except ImportError:
        raise MissingExtraError("mne", "eeg") from None
    known = mne.channels.get_builtin_montages()
    name = montage if montage in known else _RENAMED.get(montage, montage)
    if name not in known:
        raise DataError(
            f"unknown montage '{montage}': {nearest(montage, [*_RENAMED, *known])}, or 'file' for the places in the file"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    return {key: (float(v[0]), float(v[1]), float(v[2])) for key, v in found.items()}


def look_up(
    names: Sequence[str], montage: str = STANDARD
) -> tuple[tuple[str, ...], Float[np.ndarray, "C 3"]]:
    """Channels as a montage spells them, and their places in metres.

    Letter case and what :func:`clean` takes off do not matter. A name the montage does not know stays as it is, with NaN.

    Raises:
        MissingExtraError, DataError: see :func:`standard_places`.
    """
    table = standard_places(montage)
    spelling = {key.casefold(): key for key in table}
    found = [spelling.get(clean(name).casefold()) for name in names]
    nowhere = (np.nan,) * 3
    rows = [nowhere if key is None else table[key] for key in found]
    return (
        tuple(clean(name) if key is None else key for name, key in zip(names, found, strict=True)),
        np.array(rows, dtype=np.float64).reshape(-1, 3),
    )


def suggestions(names: Sequence[str], montage: str = STANDARD) -> str:
    """For each of some unknown names the nearest one of a montage, as text."""
    import difflib

    table = {key.casefold(): key for key in standard_places(montage)}
    near = [difflib.get_close_matches(clean(name).casefold(), table, n=1, cutoff=0.5) for name in names]
    return ", ".join(
        f"{name} ({table[close[0]]}?)" if close else name for name, close in zip(names, near, strict=True)
    )
