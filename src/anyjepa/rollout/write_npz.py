"""Demonstrations as one .npz archive.

Keys: ``NN/observation.state``, ``NN/observation.image``, ``NN/action``, ``NN/reward``, ``NN/seed``, ``NN/task``.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from anyjepa.rollout.demonstrations import Episode


def write_npz(path: Path, episodes: Iterable[Episode], task: str) -> int:
    """Write episodes one by one as they come; the file exists whole or not at all.

    Returns:
        How many there are.
    """
    part = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            for count, episode in enumerate(episodes, 1):
                arrays = {f"observation.{name}": values for name, values in episode.observations.items()}
                arrays |= {"action": episode.actions, "reward": episode.rewards}
                arrays |= {"seed": np.array(episode.seed), "task": np.array(task)}
                for name, values in arrays.items():
                    with archive.open(f"{count - 1:03d}/{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, values, allow_pickle=False)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count
