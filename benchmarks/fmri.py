"""What Brain-JEPA learns from 66 resting-state scans, beside the connectivity matrix that it has to beat.

    python benchmarks/fmri.py --data ABIDE --part gradients
    python benchmarks/fmri.py --data ABIDE --part health --seeds 0 1 2
    python benchmarks/fmri.py --data ABIDE --part probe --seeds 0 1 2
    python benchmarks/fmri.py --part synthetic --seeds 0 1 2
    python benchmarks/fmri.py --table

ABIDE is a folder with ``roi_timeseries.npz`` and ``phenotypes.csv`` of the sites PITT and OHSU. Encoders, gradients and linear
models of a fold never see the people of that fold: ``probe`` pretrains three times per seed. Rows go to results/fmri.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fmri_tables
from anyjepa import Method, create
from anyjepa.config import from_dict
from anyjepa.data import build_loader
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_dataset import FmriDataset
from anyjepa.data.fmri_synthetic import TR as SYNTHETIC_TR
from anyjepa.data.fmri_synthetic import synthetic_scans
from anyjepa.data.gradients import affinity, as_rows, connectivity, diffusion_map, group_connectivity
from anyjepa.data.roi_scaling import fit_scaling
from anyjepa.evaluation import TokenBudget, TokenStore, fit_attentive
from anyjepa.evaluation.scan_features import pool
from anyjepa.evaluation.scans import (
    POOLINGS,
    Scores,
    connectivity_features,
    interval,
    number_scores,
    predict_class,
    predict_number,
    subject_folds,
)
from anyjepa.methods.brainjepa import BrainJEPAConfig
from anyjepa.training.config import TrainConfig
from anyjepa.training.loop import train

RESULTS = Path(__file__).parent / "results" / "fmri.jsonl"
TR = {"PITT": 1.5, "OHSU": 2.5}
"""Seconds from frame to frame; the table of the data has no such column."""
FRAMES, DIMS, PARTS = 64, 10, 3
"""Frames of a clip, gradients, folds."""
PILOTS = np.arange(56) < 16
"""The people of the larger site on whose recognition the settings were chosen; no others are counted as recognised."""

PEOPLE, ROIS = 200, 48
"""Of the made-up scans: people to pretrain on, and as many to ask about; regions."""

MODEL: dict[str, Any] = dict(size="nano", depth=2, ema=(0.99, 1.0))
OPTIM: dict[str, Any] = dict(lr=1e-3, start_lr=1e-4, final_weight_decay=0.04)

SETTINGS: dict[str, tuple[dict[str, Any], str, float]] = {
    # name: (model, scaling, sparsity of the affinity behind the gradients)
    "default": ({}, "zscore", 0.0),
    "index": (dict(positions="index"), "zscore", 0.0),
    "sparse-gradients": ({}, "zscore", 0.9),
    "multiblock": (dict(masker="multiblock"), "zscore", 0.0),
    "vicreg": (dict(regularizer=dict(kind="vicreg", weight=0.2, level="both")), "zscore", 0.0),
    "sigreg": (dict(regularizer=dict(kind="sigreg", weight=0.02)), "zscore", 0.0),
    "official-patch": (dict(patch_std=0.02), "zscore", 0.0),
    "official-masks": (dict(masks=dict(compat="official")), "zscore", 0.0),
    "region-weights": (dict(weighting="region"), "zscore", 0.0),
    "scan": ({}, "scan", 0.0),
    "robust-mean": ({}, "robust-mean", 0.0),
    "robust-mean-official-patch": (dict(patch_std=0.02), "robust-mean", 0.0),
    "untrained": ({}, "zscore", 0.0),
}
POOLED = (("mean", 1), ("mean", 3), ("region", 3), ("covariance", 3), ("pairs", 1), ("pairs", 3))
"""Poolings of the tokens of an encoder, and clips per scan."""


def open_scans(folder: Path, scratch: Path, frames: int = FRAMES) -> FmriSource:
    """All scans; the repetition time of each site is written beside the table's own columns."""
    with (folder / "phenotypes.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (scratch / "people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "TR"])
        writer.writeheader()
        writer.writerows(row | {"TR": TR[row["SITE_ID"]]} for row in rows)
    return FmriSource.open(
        folder / "roi_timeseries.npz", FmriConfig(frames=frames), table=scratch / "people.csv"
    )


def pretrain(
    source: FmriSource, name: str, seed: int, arguments: argparse.Namespace
) -> tuple[Method, FmriSource, dict[str, Any]]:
    """A method trained on these scans, their scaling, and what the doctor says."""
    model, scaling, sparsity = copy.deepcopy(SETTINGS[name])
    source = source.with_scaling(fit_scaling(scaling, source.scans()))  # type: ignore[arg-type]
    table = diffusion_map(
        affinity(group_connectivity(source.scans()), sparsity=sparsity), min(DIMS, source.rois - 1)
    )[0]
    fields = MODEL | model | arguments.set | {"seed": seed, "gradients": as_rows(table)}
    fields["optim"] = OPTIM | {"steps": arguments.steps, "warmup_steps": arguments.steps // 10}
    config = from_dict(BrainJEPAConfig, fields).fit((1, source.rois, source.config.clip))
    method = create("brainjepa", config)
    if name == "untrained":
        return method, source, {}
    dataset = FmriDataset(source)
    settings = TrainConfig(
        seed=seed, batch_size=arguments.batch_size, workers=0, accelerator="cpu", checkpoint_every=10**6
    )
    with tempfile.TemporaryDirectory() as run:
        result = train(
            method,
            lambda start_step, rank, world: build_loader(
                dataset,
                seed=seed,
                batch_size=arguments.batch_size,
                steps=arguments.steps,
                start_step=start_step,
                rank=rank,
                world=world,
            ),
            settings,
            run,
            overwrite=True,
        )
        if not result.finished or result.diagnosis is None:
            raise SystemExit("interrupted")
        log = [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]
    kept = {k: round(v, 4) for k, v in log[-1].items() if isinstance(v, float) and k not in ("lr", "time")}
    return method, source, {"verdict": str(result.diagnosis.verdict), "last": kept}


# ---------------------------------------------------------------------------------------------------------- gradients

SENSORY = (
    "Precentral", "Postcentral", "Paracentral_Lobule", "Rolandic_Oper", "Calcarine", "Cuneus", "Lingual",
    "Occipital_Sup", "Occipital_Mid", "Occipital_Inf", "Heschl", "Temporal_Sup", "Supp_Motor_Area",
)  # fmt: skip
"""Regions of the AAL atlas that are motor, somatosensory, visual or auditory."""
ASSOCIATION = (
    "Frontal_Sup", "Frontal_Mid", "Frontal_Sup_Medial", "Frontal_Sup_Orb", "Frontal_Mid_Orb", "Frontal_Inf_Orb",
    "Frontal_Inf_Tri", "Rectus", "Cingulum_Ant", "Cingulum_Post", "Angular", "Precuneus", "Temporal_Mid",
    "Temporal_Inf", "Parietal_Inf",
)  # fmt: skip
"""Regions of the default-mode and control networks."""


def gradients(arguments: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """Which properties of functional gradients these scans show."""
    source = open_scans(arguments.data, scratch)
    with (arguments.data / "Risk_ROI_List.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    matrices = np.stack([connectivity(scan) for scan in source.scans()])
    usable = np.isfinite(matrices).all(axis=(1, 2))
    rng = np.random.default_rng(0)
    for sparsity in (0.0, 0.9):

        def table_of(chosen: np.ndarray, sparsity: float = sparsity) -> tuple[np.ndarray, np.ndarray]:
            scans = (source.read(int(i)) for i in chosen)
            return diffusion_map(affinity(group_connectivity(scans), sparsity=sparsity), DIMS)

        table, values = table_of(np.arange(len(source)))
        halves = []
        for _ in range(20):
            order = rng.permutation(len(source))
            a, b = (table_of(part)[0] for part in np.array_split(order, 2))
            halves.append(matched(a, b))
        sites = np.array(source.sites)
        across = matched(
            table_of(np.flatnonzero(sites == "PITT"))[0], table_of(np.flatnonzero(sites == "OHSU"))[0]
        )
        left = [i for i, n in enumerate(names) if n.endswith("_L")]
        right = [names.index(names[i][:-2] + "_R") for i in left]
        kinds = np.array([1 if n[:-2] in ASSOCIATION else 0 if n[:-2] in SENSORY else -1 for n in names])
        yield {
            "sparsity": sparsity,
            "scans": len(source),
            "scans without flat regions": int(usable.sum()),
            "eigenvalues": [round(v, 4) for v in values.tolist()],
            "deviations": [round(v, 4) for v in table.std(axis=0).tolist()],
            "largest correlation of two gradients": round(
                float(np.abs(np.corrcoef(table.T) - np.eye(DIMS)).max()), 4
            ),
            "halves": spread(np.array(halves)),
            "sites": [round(v, 3) for v in across.tolist()],
            "left and right": [
                round(float(np.corrcoef(table[left, k], table[right, k])[0, 1]), 3) for k in range(DIMS)
            ],
            "left and right, pairs shuffled, 95 %": round(shuffled_pairs(table[left], table[right], rng), 3),
            "sensory to association": [separation(table[:, k], kinds, rng) for k in range(3)],
            "ends": [[names[i] for i in (*order[:4], *order[-4:])] for order in table.argsort(axis=0).T[:3]],
            "regions": [int((kinds == 0).sum()), int((kinds == 1).sum())],
        }


def matched(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each gradient of one table the largest |r| with one of another, none used twice."""
    from scipy.optimize import linear_sum_assignment

    r = np.abs(np.corrcoef(a.T, b.T)[: a.shape[1], a.shape[1] :])
    return r[linear_sum_assignment(-r)]


def shuffled_pairs(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> float:
    """The 95 % point of |r| when left regions are paired with any right one."""
    found = [
        abs(np.corrcoef(a[:, k], b[rng.permutation(len(b)), k])[0, 1])
        for k in range(a.shape[1])
        for _ in range(200)
    ]
    return float(np.quantile(found, 0.95))


def separation(values: np.ndarray, kinds: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """How well a gradient tells association from sensory regions: area under the ROC curve, and p of shuffled regions."""
    known = kinds >= 0

    def area(labels: np.ndarray) -> float:
        high, low = values[known][labels == 1], values[known][labels == 0]
        each = float(np.mean(high[:, None] > low))
        return max(each, 1 - each)

    found = area(kinds[known])
    chance = [area(rng.permutation(kinds[known])) for _ in range(2000)]
    return {"auroc": round(found, 3), "p": round((1 + sum(c >= found for c in chance)) / 2001, 4)}


def spread(values: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation of columns."""
    return {
        "mean": [round(v, 3) for v in values.mean(0).tolist()],
        "sd": [round(v, 3) for v in values.std(0, ddof=1).tolist()],
    }


# -------------------------------------------------------------------------------------------------------------- probe


def health(arguments: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """What the doctor says of each setting, pretrained on all scans without their labels, and what it has learned of people."""
    source = open_scans(arguments.data, scratch)
    people = People(source, arguments.seeds)
    halves = [half(people.source, u) for u in (0.0, 1.0)]
    for name in arguments.settings or [n for n in SETTINGS if n != "untrained"]:
        for seed in arguments.seeds:
            start = time.monotonic()
            method, seen, told = pretrain(source, name, seed, arguments)
            spent, scaling = minutes(start), seen.config.scaling
            clips = [pooled(method, people.source.with_scaling(scaling), u) for u in (0.0, 0.5, 1.0)]
            first, last = (pooled(method, h.with_scaling(scaling), 0.5) for h in halves)
            row: dict[str, Any] = {"setting": name, "seed": seed, "minutes": spent} | told
            for how in ("mean", "pairs"):
                x = np.mean([c[how] for c in clips], axis=0)
                found = {
                    task: round(people.score(task, seed, x).mean(score), 4)
                    for task, score in fmri_tables.TASKS.items()
                }
                row[how] = found | {"recognised": recognised(first[how], last[how], ~PILOTS, ~PILOTS)}
            yield row


class People:
    """The people of the larger site, their labels, and their folds for each seed."""

    def __init__(self, source: FmriSource, seeds: Sequence[int]) -> None:
        self.everybody = source
        self.rows = np.flatnonzero(np.array(source.sites) == "PITT")
        self.others = np.setdiff1d(np.arange(len(source)), self.rows)
        self.source = source.subset(self.rows)
        self.subjects = self.source.subjects
        self.diagnosis, self.sex = (self.source.classes(c)[0] for c in ("diagnosis", "sex"))
        self.age = self.source.numbers("age")
        strata = 2 * self.diagnosis + self.sex
        self.folds = {seed: subject_folds(self.subjects, strata, parts=PARTS, seed=seed) for seed in seeds}

    def training(self, seed: int, fold: int) -> FmriSource:
        """Scans that may be used in a fold: of its training people, and of the other site."""
        mine = self.rows[self.folds[seed] != fold]
        return self.everybody.subset(np.concatenate([mine, self.others]))

    def score(self, task: str, seed: int, features: Any) -> Scores:
        """Linear models of one task."""
        fold = self.folds[seed]
        if task == "age":
            return predict_number(features, self.age, self.subjects, fold, seed=seed)
        return predict_class(features, getattr(self, task), self.subjects, fold, seed=seed)


def probe(arguments: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """Sex, diagnosis and age, and recognition of people, of each setting beside connectivity."""
    source = open_scans(arguments.data, scratch)
    people = People(source, arguments.seeds)
    halves = [half(people.source, u) for u in (0.0, 1.0)]
    reference = classical(people, arguments.seeds)
    known = connectivity_of(people.source)
    base = {task: [people.score(task, s, known) for s in arguments.seeds] for task in fmri_tables.TASKS}

    def row_of(
        setting: str, features: str, runs: dict[str, list[Scores]], more: dict[str, Any]
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"setting": setting, "features": features, "seeds": arguments.seeds} | more
        for task, score in fmri_tables.TASKS.items():
            at = interval(runs[task], people.subjects, score)
            row[task] = {k: [round(one.mean(k), 4) for one in runs[task]] for k in runs[task][0].values} | {
                "interval": [round(v, 3) for v in (at.value, at.low, at.high)]
            }
            if runs is not base:
                off = interval(runs[task], people.subjects, score, against=base[task])
                row[task]["against connectivity"] = [round(v, 3) for v in (off.value, off.low, off.high)]
        return row

    if not arguments.settings:
        yield row_of(
            "connectivity",
            "all pairs of regions",
            base,
            {
                "recognised": recognised_pairs(
                    [[connectivity_of(h)] * PARTS for h in halves], people, arguments.seeds
                )
            },
        )
        for name, each in reference.items():
            runs = {
                task: [people.score(task, s, each[s]) for s in arguments.seeds] for task in fmri_tables.TASKS
            }
            yield row_of(name, "", runs, {})
    for name in arguments.settings or ["default", "untrained"]:
        start = time.monotonic()
        found: dict[tuple[str, int], dict[int, list[np.ndarray]]] = {}
        attended = Attended(people)
        verdicts: list[str] = []
        pairs: dict[str, tuple[list, list]] = {how: ([], []) for how, _ in POOLED}
        for seed in arguments.seeds:
            for fold in range(PARTS):
                method, seen, told = pretrain(people.training(seed, fold), name, seed, arguments)
                verdicts.append(told.get("verdict", ""))
                mine = people.source.with_scaling(seen.config.scaling)
                clips = {u: pooled(method, mine, u) for u in (0.0, 0.5, 1.0)}
                for how, count in POOLED:
                    chosen = [0.5] if count == 1 else list(clips)
                    x = np.mean([clips[u][how] for u in chosen], axis=0)
                    found.setdefault((how, count), {}).setdefault(seed, []).append(x)
                if name in ATTENTIVE:
                    attended.add(method, mine, seed, fold)
                for side, scans in enumerate(halves):
                    for how, x in pooled(method, scans.with_scaling(seen.config.scaling), 0.5).items():
                        pairs[how][side].append(x)
        spent = minutes(start)
        if name in ATTENTIVE:
            row = {
                "setting": name,
                "features": "attentive probe",
                "seeds": arguments.seeds,
            } | attended.scores(arguments.seeds)
            yield row
        for (how, count), features in found.items():
            runs = {
                task: [people.score(task, s, features[s]) for s in arguments.seeds]
                for task in fmri_tables.TASKS
            }
            more: dict[str, Any] = {
                "clips": count,
                "minutes": spent,
                "verdicts": sorted(set(verdicts)),
                "runs": len(verdicts),
            }
            if count == max(c for h, c in POOLED if h == how):
                more["recognised"] = recognised_pairs(pairs[how], people, arguments.seeds)
            yield row_of(name, how, runs, more)


ATTENTIVE = ("default", "untrained")
"""Settings that an attentive probe is fitted on too."""


class Attended:
    """Predictions of attentive probes on the tokens of the middle clips, fold by fold."""

    def __init__(self, people: People) -> None:
        self.people = people
        self.guesses: dict[tuple[str, int], np.ndarray] = {}

    def add(self, method: Method, source: FmriSource, seed: int, fold: int) -> None:
        """Fit and predict one fold."""
        store = TokenStore(len(source), TokenBudget())
        with torch.inference_mode():
            for at in range(0, len(source), 8):
                index = torch.arange(at, min(at + 8, len(source)))
                store.add(method.encode(source.batch(index, random=False)).tokens)
        held = self.people.folds[seed] == fold
        for task in ("diagnosis", "age"):
            labels = getattr(self.people, task)
            fitted = fit_attentive(store, np.flatnonzero(~held), labels[~held], seed=seed)
            guess = self.guesses.setdefault((task, seed), np.empty(len(labels)))
            guess[held] = fitted.predict(store, np.flatnonzero(held))

    def scores(self, seeds: Sequence[int]) -> dict[str, Any]:
        """Accuracy and r, each the mean over folds, for each seed."""
        found: dict[str, Any] = {"diagnosis": {"accuracy": []}, "age": {"r": []}}
        for seed in seeds:
            folds = [self.people.folds[seed] == k for k in range(PARTS)]
            dx, age = self.guesses["diagnosis", seed], self.guesses["age", seed]
            found["diagnosis"]["accuracy"].append(
                round(float(np.mean([(dx[f] == self.people.diagnosis[f]).mean() for f in folds])), 4)
            )
            found["age"]["r"].append(
                round(float(np.mean([number_scores(age[f], self.people.age[f])["r"] for f in folds])), 4)
            )
        return found


def pooled(method: Method, source: FmriSource, u: float) -> dict[str, np.ndarray]:
    """One clip of every scan, under every pooling."""
    found: dict[str, list[np.ndarray]] = {how: [] for how in POOLINGS}
    method.eval()
    with torch.inference_mode():
        for at in range(0, len(source), 8):
            clips = torch.stack([source.clip(i, u)[0] for i in range(at, min(at + 8, len(source)))])
            tokens = method.encode(clips[:, None]).tokens
            for how, parts in found.items():
                parts.append(pool(tokens, source.rois, how).numpy())
    return {how: np.concatenate(parts) for how, parts in found.items()}


def half(source: FmriSource, u: float) -> FmriSource:
    """The first (u = 0) or the last (u = 1) clip of every scan, as scans of their own."""
    return HalfSource(source, u)


class HalfSource(FmriSource):
    """Scans cut to one clip at the rate of the scan."""

    def __init__(self, source: FmriSource, u: float) -> None:
        self.__dict__.update(source.__dict__)
        self._u = u

    def read(self, i: int) -> np.ndarray:
        whole = super().read(i)
        length = int(np.ceil((self.config.clip - 1) * self.ratio(i))) + 1
        start = int(self._u * (whole.shape[1] - length))
        return whole[:, start : start + length]

    def with_scaling(self, scaling: Any) -> FmriSource:
        return HalfSource(super().with_scaling(scaling), self._u)


def recognised_pairs(
    pairs: Sequence[Sequence[np.ndarray]], people: People, seeds: Sequence[int]
) -> list[float]:
    """Share of held-out people whose last clip is most like their own first one, for each seed: the mean over folds.

    The people the settings were chosen on are left out.
    """
    found = []
    for s, seed in enumerate(seeds):
        shares = []
        for fold in range(PARTS):
            at = fold if len(pairs[0]) == PARTS else s * PARTS + fold
            a, b = pairs[0][at], pairs[1][at]
            inside, held = people.folds[seed] != fold, people.folds[seed] == fold
            shares.append(recognised(a, b, inside, held & ~PILOTS))
        found.append(round(float(np.mean(shares)), 4))
    return found


def recognised(a: np.ndarray, b: np.ndarray, inside: np.ndarray, held: np.ndarray) -> float:
    """Top-1 recognition among ``held`` by correlation, features standardised on ``inside``."""
    both = np.concatenate([a[inside], b[inside]])
    mean, deviation = both.mean(0), both.std(0) + 1e-8
    x, y = ((part[held] - mean) / deviation for part in (a, b))
    r = np.corrcoef(x, y)[: len(x), len(x) :]
    return float((r.argmax(1) == np.arange(len(x))).mean())


def connectivity_of(source: FmriSource) -> np.ndarray:
    """Fisher z of all pairs of regions."""
    return connectivity_features(source)


def classical(people: People, seeds: Sequence[int]) -> dict[str, dict[int, Any]]:
    """Other features without learning: the scaled frames of the middle clip, connectivity in the tangent space of the fold."""
    clips = np.stack([people.source.clip(i)[0].numpy().ravel() for i in range(len(people.rows))])
    found: dict[str, dict[int, Any]] = {"frames": {s: clips for s in seeds}}
    try:
        from nilearn.connectome import ConnectivityMeasure
    except ImportError:
        print("nilearn is not there: no tangent space", file=sys.stderr)
        return found
    scans = [people.source.config.scaling.apply(scan).T for scan in people.source.scans()]
    found["tangent"] = {}
    for seed in seeds:
        parts = []
        for fold in range(PARTS):
            measure = ConnectivityMeasure(
                kind="tangent", vectorize=True, discard_diagonal=True, standardize=False
            )
            measure.fit([scans[i] for i in np.flatnonzero(people.folds[seed] != fold)])
            parts.append(np.asarray(measure.transform(scans), dtype=np.float32))
        found["tangent"][seed] = parts
    return found


def synthetic(arguments: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """Two couplings between networks of made-up scans, from encoders that never met the people they are asked about."""
    for seed in arguments.seeds:
        made = synthetic_scans(2 * PEOPLE, ROIS, 96, seed=seed)
        source = FmriSource.of(made.scans, FmriConfig(frames=FRAMES, tr=SYNTHETIC_TR))
        held = source.subset(range(PEOPLE, 2 * PEOPLE))
        group, age = made.group[PEOPLE:], made.age[PEOPLE:]
        fold = subject_folds(held.subjects, group, parts=4, seed=seed)

        def scores(
            x: np.ndarray, group: np.ndarray = group, age: np.ndarray = age, fold: np.ndarray = fold
        ) -> dict[str, float]:
            people = [str(i) for i in range(PEOPLE)]
            return {
                "group": round(predict_class(x, group, people, fold).mean("auroc"), 4),
                "age": round(predict_number(x, age, people, fold).mean("r"), 4),
            }

        if not arguments.settings:
            yield {"setting": "connectivity", "seed": seed, "pairs": scores(connectivity_of(held))}
        for name in arguments.settings or ("untrained", "default", "index", "multiblock", "vicreg"):
            start = time.monotonic()
            method, seen, told = pretrain(source.subset(range(PEOPLE)), name, seed, arguments)
            row: dict[str, Any] = {"setting": name, "seed": seed, "minutes": minutes(start)} | told
            clips = [pooled(method, held.with_scaling(seen.config.scaling), u) for u in (0.0, 1.0)]
            yield row | {how: scores(np.mean([c[how] for c in clips], axis=0)) for how in ("mean", "pairs")}


def pilot(arguments: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    """Recognition of the pilot people, by an encoder that was trained on the other site and on other people; no labels."""
    source = open_scans(arguments.data, scratch)
    everybody = np.flatnonzero(np.array(source.sites) == "PITT")
    mine = source.subset(everybody)
    held = PILOTS
    training = source.subset(np.setdiff1d(np.arange(len(source)), everybody[PILOTS]))
    halves = [half(mine, u) for u in (0.0, 1.0)]
    a, b = (connectivity_of(h) for h in halves)
    yield {"setting": "connectivity", "recognised": recognised(a, b, ~held, held)}
    for name in arguments.settings or ["untrained", "default"]:
        for seed in arguments.seeds:
            start = time.monotonic()
            method, seen, told = pretrain(training, name, seed, arguments)
            spent = minutes(start)
            first, last = (pooled(method, h.with_scaling(seen.config.scaling), 0.5) for h in halves)
            shares = {how: recognised(first[how], last[how], ~held, held) for how in POOLINGS}
            yield {"setting": name, "seed": seed, "minutes": spent, "recognised": shares} | told


def minutes(start: float) -> float:
    """Since then, rounded."""
    return round((time.monotonic() - start) / 60, 2)


PARTS_OF: dict[str, Callable[[argparse.Namespace, Path], Iterator[dict[str, Any]]]] = {
    "gradients": gradients,
    "health": health,
    "probe": probe,
    "synthetic": synthetic,
    "pilot": pilot,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the ABIDE scans")
    parser.add_argument("--part", choices=PARTS_OF)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, help="of SETTINGS in this file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--set", type=json.loads, default={}, metavar="JSON", help="model fields, for pilots")
    parser.add_argument("--table", action="store_true", help="print the results so far")
    arguments = parser.parse_args()
    if arguments.table:
        print(fmri_tables.table([json.loads(line) for line in RESULTS.read_text().splitlines()]))
        return
    torch.set_num_threads(1)
    words = ["ABIDE" if word == str(arguments.data) else word for word in sys.argv[1:]]
    about = {
        "part": arguments.part,
        "command": " ".join(["python benchmarks/fmri.py", *words]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": f"2-core {platform.machine()} CPU, 1 thread, fp32, torch {torch.__version__}",
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
    }
    with tempfile.TemporaryDirectory() as scratch:
        for row in PARTS_OF[arguments.part](arguments, Path(scratch)):
            print(json.dumps(row), flush=True)
            if arguments.part != "pilot":
                with RESULTS.open("a") as file:
                    file.write(json.dumps(about | row) + "\n")


if __name__ == "__main__":
    main()
