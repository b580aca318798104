"""The rows of the table: every probe on every kind of features, for every budget and seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anyjepa.errors import DataError
from anyjepa.evaluation.budgets import Budget
from anyjepa.evaluation.fits import Fits, Inputs
from anyjepa.evaluation.labelled import Labelled
from anyjepa.evaluation.material import Material
from anyjepa.evaluation.scores import Comparison, Row
from anyjepa.evaluation.scoring import Answers, Pair, score
from anyjepa.evaluation.subjects import Kind


def score_rows(
    material: Material,
    kinds: Sequence[Kind],
    asked: Sequence[Budget],
    probes: Sequence[str],
    seeds: Sequence[int],
    fits: Fits,
    several: bool,
) -> tuple[tuple[Row, ...], tuple[Comparison, ...]]:
    """All rows, and the comparisons between those of the same budget.

    Args:
        material: labels and features.
        kinds: the rows of each budget.
        asked: the budgets.
        probes: their names.
        seeds: each probe is fitted once for each.
        fits: how probes are trained.
        several: more than one run is probed, so that names must tell them apart.

    Raises:
        ConfigError, DataError: a budget that these labels do not allow.
    """
    data = material.data
    # Wrong budgets are found here, before hours of fitting.
    splits = {(budget, seed): _split(data, budget, seed) for budget in asked for seed in seeds}
    todo = [
        (budget, kind, name)
        for budget in asked
        for kind in kinds
        for name in probes
        if material.inputs[kind][0].allow(name)
    ]
    entries: list[tuple[str, Answers]] = []
    done = 0
    for budget, kind, name in todo:
        answers = Answers(data.labels)
        memory: dict[bytes, np.ndarray] = {}
        for i, seed in enumerate(seeds):
            turn = material.inputs[kind]
            inputs: Inputs = turn[i] if kind.seeded else turn[0]
            inside, outside = splits[budget, seed]
            # Without a random choice there is nothing that another seed would change.
            same = (
                b"" if kind.seeded or name not in ("knn", "ridge") else inside.tobytes() + outside.tobytes()
            )
            found = memory.get(same) if same else None
            if found is None:
                found = fits.answers(name, inputs, inside, data.labels[inside], outside, seed)
            if same:
                memory[same] = found
            answers.add(outside, found)
            done += 1
            if fits.progress is not None:
                fits.progress("fitting probes", done, len(todo) * len(seeds))
        entries.append((name, answers))
    used = {budget: len(splits[budget, seeds[0]][0]) for budget in asked}
    pairs = _pairs(todo, used, several)
    scores, comparisons = score(entries, pairs, len(splits[asked[0], seeds[0]][1]), seeds[0])
    rows = tuple(
        Row(
            kind.features,
            used[budget],
            material.inputs[kind][0].values.shape[1],
            kind.run,
            kind.encoder,
            tuple(
                each
                for (b, k, _), part in zip(todo, scores, strict=True)
                if b == budget and k is kind
                for each in part
            ),
        )
        for budget in asked
        for kind in kinds
    )
    return rows, comparisons


def _pairs(todo: Sequence[tuple[Budget, Kind, str]], used: dict[Budget, int], several: bool) -> list[Pair]:
    """Pretrained features against their baselines, the same run's other encoder, and the same encoder of other runs."""
    pairs = []
    for i, (budget, first, name) in enumerate(todo):
        for j, (other, second, probe_name) in enumerate(todo):
            if first.features != "pretrained" or (other, probe_name) != (budget, name) or i == j:
                continue
            if second.features == "pretrained":
                # Each pair once, and not two things changed at the same time.
                related = i < j and (first.run == second.run) != (first.encoder == second.encoder)
            else:
                related = second.belongs_to(first)
            if related:
                names = _names(first, second, several)
                pairs.append(Pair(i, j, names, used[budget], name))
    return pairs


def _names(first: Kind, second: Kind, several: bool) -> tuple[str, str]:
    def name(kind: Kind, other: Kind) -> str:
        words = [kind.run if several and kind.features == "pretrained" else kind.features]
        if several and kind.features != "pretrained" and kind.run:
            words.append(f"({kind.run})")
        if kind.encoder and other.encoder and kind.encoder != other.encoder:
            words.append(kind.encoder)
        return " ".join(words)

    return name(first, second), name(second, first)


def _split(data: Labelled, budget: Budget, seed: int) -> tuple[np.ndarray, np.ndarray]:
    inside, outside = data.split(seed)
    if not len(outside):
        raise DataError(
            f"{len(data.labels)} labelled samples are too few to hold a fifth out: give test data"
        )
    return inside[budget.choose(data.labels[inside], seed)], outside
