"""A run as a policy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from anyjepa.data.episodes_config import EpisodesConfig
from anyjepa.errors import ConfigError, nearest
from anyjepa.hub.load import read
from anyjepa.policies.chunks import ChunkPolicy
from anyjepa.policies.execution import DECAY, Ensemble, Execution, OpenLoop

EXECUTIONS = ("open-loop", "ensemble")


def load_policy(
    run: str | Path,
    execution: str = "open-loop",
    horizon: int | None = None,
    *,
    decay: float = DECAY,
    task: str | None = None,
    device: str = "cpu",
) -> ChunkPolicy:
    """The policy of a run, one of its checkpoints, or an export.

    Args:
        run: where it is.
        execution: ``"open-loop"`` carries out actions one by one and then looks again (ACT-JEPA); ``"ensemble"`` looks at every
            step and averages what all chunks say of it (ACT).
        horizon: how many actions of a chunk are used; None: all.
        decay: of the weights of the ensemble, oldest first.
        task: name of the task, for a policy of several.
        device: where to compute.

    Raises:
        ConfigError: the run is for other data or cannot act, or a choice is impossible.
        CheckpointError: there is no such run.
    """
    if execution not in EXECUTIONS:
        raise ConfigError(f"unknown execution '{execution}': {nearest(execution, EXECUTIONS)}")
    loaded = read(run)
    reading = loaded.reading
    if not isinstance(reading, EpisodesConfig):
        raise ConfigError(
            f"{run} is a {loaded.method.name} for {loaded.modality.name}: policies are for episodes"
        )
    chunk = reading.actions
    if horizon is not None and not 1 <= horizon <= chunk:
        raise ConfigError(f"horizon must lie in 1..{chunk}, the actions of a chunk, got {horizon}")
    length = horizon or chunk
    make: Callable[[], Execution] = partial(OpenLoop, length)
    if execution == "ensemble":
        make = partial(Ensemble, length, decay)
    return ChunkPolicy(loaded.method, reading, make, task=task, device=device)
