"""Runs scored by what their frozen encoders know of the states, or the actions, to come."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anyjepa.data import Dataset
from anyjepa.errors import ConfigError, nearest
from anyjepa.evaluation.features import untrained
from anyjepa.evaluation.future import (
    PARTS,
    FutureConfig,
    FutureScore,
    Moments,
    fit_future,
    moments,
    score,
    split_episodes,
    state_reader,
    token_reader,
)
from anyjepa.evaluation.keep import keep, places
from anyjepa.evaluation.subjects import Subject

RESULT = "probe-{what}.json"
Progress = Callable[[str, int, int], None]
STILL = {"states": "the present state stays", "actions": "the mean action"}


@dataclass(frozen=True)
class FutureRow:
    """The score of one kind of features with one seed; ``features``: pretrained, untrained, state (a head on the present state
    alone), or still (nothing learned: the state stays as it is, or the mean action)."""

    run: str
    features: str
    seed: int
    score: FutureScore


@dataclass(frozen=True)
class FutureResult:
    """All scores. ``str()`` of it is for people."""

    data: str
    what: str
    encoder: str
    rows: tuple[FutureRow, ...]

    def to_json(self) -> str:
        """For machines."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def __str__(self) -> str:
        first = self.rows[0].score
        lines = [
            f"{self.what} to come after {first.frames} frames of {first.episodes} held-out episodes of {self.data}, scaled units",
            f"a fresh head on frozen tokens of the {self.encoder} encoder, which sees the present alone",
            f"state: a head on the present state alone; still: {STILL[self.what]}",
            "",
        ]
        kinds = list(dict.fromkeys((row.run, row.features) for row in self.rows))
        width = max(len(f"{run} {features}") for run, features in kinds)
        lines.append(f"{'':<{width}}  {'RMSE':>15}  {'ATE':>15}  {'L1':>15}")
        for run, features in kinds:
            found = [row.score for row in self.rows if (row.run, row.features) == (run, features)]
            cells = [_cell([getattr(s, name) for s in found]) for name in ("rmse", "ate", "l1")]
            lines.append(f"{f'{run} {features}':<{width}}  " + "  ".join(f"{cell:>15}" for cell in cells))
        return "\n".join(lines)


def _cell(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


def probe_future(
    runs: Sequence[str | Path],
    data: str | Path,
    test: str | Path | None = None,
    *,
    what: str = "states",
    config: FutureConfig | None = None,
    encoder: str = "context",
    seeds: Sequence[int] = (0,),
    baselines: bool = True,
    read: Mapping[str, Any] | None = None,
    read_test: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> FutureResult:
    """Score frozen encoders by a fresh head on their tokens; the result is also written to ``RUN/probe-WHAT.json``.

    Args:
        runs: runs, checkpoints or exports of methods for episodes.
        data: demonstrations to fit the head on.
        test: demonstrations that give the score; None: a share of the episodes of ``data``.
        what: ``"states"`` or ``"actions"``.
        config: the head.
        encoder: ``"context"``, with which policies act, or ``"target"``.
        seeds: of the split, the head and the untrained encoder.
        baselines: score the untrained encoder, the state alone and standing still beside it.
        read: options by which ``data`` are read, instead of those of the runs.
        read_test: options by which ``test`` is read; None: as ``read``.
        out: a file to write the result to as well.
        progress: called with (what is done, how much, of how much).

    Raises:
        ConfigError: an unknown ``what``.
        DataError: the data are no demonstrations, or one episode only.
    """
    if what not in PARTS:
        raise ConfigError(f"unknown task '{what}': {nearest(what, PARTS)}")
    c = config or FutureConfig()
    rows: list[FutureRow] = []
    for run in runs:
        subject = Subject.load(run, read)
        fitted = _frames(subject, data)
        scored = fitted if test is None else _frames(Subject.load(run, read_test or read), test)
        for seed in seeds:
            split = _split(fitted, scored, c, seed)
            readers: dict[str, Any] = {"pretrained": token_reader(subject.method, encoder)}
            if baselines:
                readers["untrained"] = token_reader(untrained(subject.method, seed), encoder)
                readers["state"] = state_reader
            episodes = len(np.unique(_groups(scored)[split[1]]))
            parts: tuple[Moments, Moments] | None = None
            for features, reader in readers.items():
                say = partial(progress, f"{features} {what}") if progress is not None else None
                parts = (
                    moments(reader, fitted, split[0], what, c.frames, say),
                    moments(reader, scored, split[1], what, max(1, c.frames // 2), say),
                )
                found = fit_future(*parts, what, c, seed, episodes=episodes, progress=say)  # type: ignore[arg-type]
                rows.append(FutureRow(str(run), features, seed, found))
            if baselines and parts is not None:
                rows.append(FutureRow(str(run), "still", seed, _still(*parts, what, episodes)))
    result = FutureResult(str(data if test is None else test), what, encoder, tuple(rows))
    keep(result, places(runs, RESULT.format(what=what), out))
    return result


def _still(train: Moments, test: Moments, what: str, episodes: int) -> FutureScore:
    """What costs nothing: the state stays, or the mean action."""
    guess = test.values[:, :1] if what == "states" else train.values[train.valid].mean(dim=0)
    return score(guess.expand_as(test.values), test, episodes=episodes)


def _frames(subject: Subject, path: str | Path) -> Dataset:
    reading = subject.modality.suit(subject.reading, subject.method.input_shape())
    return subject.modality.dataset(subject.modality.open(path, reading), reading)


def _groups(dataset: Dataset) -> np.ndarray:
    groups = dataset.source.groups
    return np.zeros(len(dataset), dtype=np.int64) if groups is None else groups


def _split(
    fitted: Dataset, scored: Dataset, config: FutureConfig, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if scored is not fitted:
        return np.arange(len(fitted)), np.arange(len(scored))
    return split_episodes(_groups(fitted), config.held_out, seed)
