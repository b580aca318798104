"""S-JEPA on two small EEG data sets: across montages, masks and windows of several sizes, and against CSP with LDA.

    python benchmarks/eeg.py --data ../shared/data --part montage --seeds 0 1 2
    python benchmarks/eeg.py --table

One line per score is appended to benchmarks/results/eeg.jsonl. Networks are trained by the library's own loop; labels are never
seen in pretraining. Fists against feet is scored on runs 5 and 6, which no pretraining on that data set sees; settings were
chosen on runs 7 and 8 after pretraining on 3 and 4 (``--part pilot``).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anyjepa.config import from_dict
from anyjepa.data import build_loader
from anyjepa.data.eeg import EEGWindows, from_arrays, open_eeg
from anyjepa.data.eeg_config import EEGConfig
from anyjepa.data.eeg_dataset import EEGDataset
from anyjepa.evaluation.within_subject import WithinSubjectConfig, within_subject
from anyjepa.methods.sjepa import SJEPA, SJEPAConfig
from anyjepa.methods.sjepa_heads import SCHEMES, SJEPAClassifier
from anyjepa.monitoring.examine import examine, read_rows
from anyjepa.training import TrainConfig
from anyjepa.training.loop import train
from eeg_classical import CLASSICAL, FOLDS, cross_validated, linear_features
from eeg_table import tables

RESULTS = Path(__file__).parent / "results" / "eeg.jsonl"
MMIDB, BCI2 = "eeg-eegmmidb-s001", "eeg-bci2-sp1s"
UNSEEN = (5, 6)
"""Runs of the first data set that are scored, and that no pretraining sees."""
SHORT = [[8, 25, 6], [32, 2, 2], [64, 2, 2]]
"""Local convolutions for 100 Hz whose first token sees 0.43 s: trials of half a second are too short for the paper's."""
REGULARIZED: dict[str, Any] = dict(regularizer=dict(kind="vicreg", level="both", weight=0.2))
PLAIN: dict[str, Any] = dict(regularizer=dict(kind="none"))
MODEL: dict[str, Any] = dict(size="nano", dropout=0.0, ema=[0.99, 1.0]) | REGULARIZED
DECODER = WithinSubjectConfig(folds=FOLDS, epochs=100, patience=20, batch_size=8)
TOKENS = 64
"""Tokens of a channel in a batch: all trainings see as much in a step, whatever the length of their windows."""
LENGTHS = {1: 152, 4: 536, 16: 2072}
"""Samples at 128 Hz that give so many tokens per channel."""


def mmidb(root: Path, runs: tuple[int, ...], config: EEGConfig, labels: bool = False) -> EEGWindows:
    """Windows of the 64-channel recordings."""
    return open_eeg([root / MMIDB / f"S001R0{run}.edf" for run in runs], config, labels=labels)


def bci2(root: Path, part: str) -> EEGWindows:
    """The half-second trials of 28 channels: ``labelled`` (316), ``unlabelled`` (100) or ``all``."""
    stored = np.load(root / BCI2 / "sp1s_aa.npz", allow_pickle=False)
    parts = {"labelled": ["x_train"], "unlabelled": ["x_test"], "all": ["x_train", "x_test"]}[part]
    x = np.concatenate([stored[key].transpose(2, 1, 0) for key in parts])
    labels = stored["y_train"].astype(int) if part == "labelled" else None
    # Whole trials, as they are: too short to be filtered again, and what tells the hands apart is slow.
    config = EEGConfig(rate=100.0, band=None, samples=None)
    return from_arrays(x, [str(c) for c in stored["channels"]], 100.0, labels=labels, config=config)


def pretrained(
    windows: EEGWindows, jitter: float, fields: dict[str, Any], seed: int, options: argparse.Namespace
) -> tuple[SJEPA, dict[str, Any]]:
    """A model trained on windows by the library's loop, and what the doctor says of it."""
    if not options.steps:
        return untrained(windows, fields, seed), {}
    optim = dict(steps=options.steps, warmup_steps=options.steps // 10, lr=options.lr)
    config = from_dict(SJEPAConfig, MODEL | fields | dict(seed=seed, optim=optim))
    method = SJEPA(config.with_channels(windows.electrodes, windows.positions).fit(windows.shape))
    data = EEGDataset(windows, EEGConfig(jitter=jitter))
    batch = TOKENS // method.layout.grid[1]
    how = TrainConfig(seed=seed, batch_size=batch, workers=0, accelerator="cpu", checkpoint_every=10**6)
    started = time.monotonic()

    def loader(start: int, rank: int, world: int) -> Any:
        return build_loader(
            data,
            seed=seed,
            batch_size=how.batch_size,
            steps=options.steps,
            start_step=start,
            rank=rank,
            world=world,
        )

    with tempfile.TemporaryDirectory() as scratch:
        if not train(method, loader, how, scratch, overwrite=True).finished:
            raise SystemExit("interrupted")
        verdict, last = examine(scratch).verdict, read_rows(scratch)[-1]
    kept = {k: round(v, 4) for k, v in last.items() if "_" in k and isinstance(v, float)}
    facts = dict(verdict=verdict, last=kept, loss=last["loss"], windows=len(windows), steps=options.steps)
    return method.eval(), facts | dict(pretrain_minutes=round((time.monotonic() - started) / 60, 2))


def untrained(windows: EEGWindows, fields: dict[str, Any], seed: int) -> SJEPA:
    """The same model with its first weights."""
    config = from_dict(SJEPAConfig, MODEL | fields | dict(seed=seed))
    return SJEPA(config.with_channels(windows.electrodes, windows.positions).fit(windows.shape)).eval()


def scored(
    method: SJEPA, trials: EEGWindows, seed: int, ways: tuple[str, ...], **facts: Any
) -> Iterator[dict[str, Any]]:
    """A row for each way of using a model: ``frozen`` linear classifiers, or new-/full- and one of the three heads."""
    x, labels = trials.batch(range(len(trials))), trials.labels
    assert labels is not None
    classes = len(np.unique(labels))
    # Codes that were learned for a name go with it; other electrodes get the code of their place.
    moved = method.with_channels(trials.electrodes, trials.positions).eval()
    for way in ways:
        started = time.monotonic()
        if way.startswith("frozen"):
            features = linear_features(moved, x, way.removeprefix("frozen-"))
            scores = cross_validated(CLASSICAL["linear"], features, labels, seed)
        else:
            mode, scheme = way.split("-", 1)
            decoder = replace(DECODER, full=mode == "full", seed=seed)

            def build(number: int, scheme: str = scheme) -> SJEPAClassifier:
                return SJEPAClassifier(moved, classes, scheme, samples=trials.samples, seed=number)

            scores = within_subject(build, x, labels, config=decoder).scores[0]
        yield dict(
            way=way,
            accuracy=round(float(np.mean(scores)), 4),
            folds=np.round(scores, 3).tolist(),
            trials=len(trials),
            seed=seed,
            minutes=round((time.monotonic() - started) / 60, 2),
            **facts,
        )


WAYS = (
    "frozen-mean",
    "frozen-channels",
    *(f"{mode}-{scheme}" for mode in ("new", "full") for scheme in SCHEMES),
)


def pilot(root: Path, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rest against movement on runs 7 and 8 after training on 3 and 4: where settings are chosen."""
    fields = json.loads(options.model)
    samples = LENGTHS[options.tokens]
    windows = mmidb(root, (3, 4), EEGConfig(samples=samples, every=1.0))
    task = mmidb(root, (7, 8), EEGConfig(samples=LENGTHS[4], offset=options.offset), labels=True)
    rest = np.array([task.class_names[i] == "T0" for i in task.labels])
    task = replace(task, labels=rest.astype(int), class_names=("movement", "rest"))
    method, facts = pretrained(windows, 1.0, fields, seed, options)
    told = dict(part="pilot", task="rest/movement", source="runs 3, 4", tokens=options.tokens, fields=fields)
    yield from scored(method, task, seed, options.ways or WAYS, **told, **facts)


def fists_or_feet(root: Path, rate: float, samples: int) -> EEGWindows:
    """Both fists against both feet, executed and imagined: the 30 trials of runs 5 and 6."""
    config = EEGConfig(rate=rate, samples=samples, events=("T1", "T2"))
    return mmidb(root, UNSEEN, config, labels=True)


def sweeps(root: Path, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The paper's network at 128 Hz within one data set: windows of 1, 4, 16 tokens; masks of 40, 60, 80 % of the head."""
    task = fists_or_feet(root, 128.0, LENGTHS[4])
    told = dict(part="sweeps", task="fists/feet")
    ways = options.ways or WAYS
    windows = mmidb(root, (3, 4, 7, 8), EEGConfig(samples=LENGTHS[4], every=1.0))
    yield from scored(untrained(windows, {}, seed), task, seed, ways, **told, source="untrained")
    for tokens, diameter, more in (
        (4, 0.6, REGULARIZED),
        (4, 0.6, PLAIN),
        (4, 0.4, REGULARIZED),
        (4, 0.8, REGULARIZED),
        (1, 0.6, REGULARIZED),
        (16, 0.6, REGULARIZED),
    ):
        windows = mmidb(root, (3, 4, 7, 8), EEGConfig(samples=LENGTHS[tokens], every=1.0))
        fields = dict(masks=dict(diameter=diameter)) | more
        method, facts = pretrained(windows, 1.0, fields, seed, options)
        source = "runs 3, 4, 7, 8" + (", no regularizer" if more is PLAIN else "")
        facts |= dict(source=source, tokens=tokens, diameter=diameter)
        yield from scored(method, task, seed, ways, **told, **facts)


def montage(root: Path, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Trained on 64 channels and used on 28, and the reverse; and each on its own."""
    fields: dict[str, Any] = dict(local=SHORT, rate=100.0)
    long = mmidb(root, (3, 4, 7, 8), EEGConfig(rate=100.0, samples=115, every=0.5))
    sources = {
        "untrained": None,
        "eegmmidb, 64 channels": (long, 0.5),
        "bci2, 28 channels, all": (bci2(root, "all"), 0.0),
        "bci2, 28 channels, unlabelled": (bci2(root, "unlabelled"), 0.0),
    }
    ways = options.ways or tuple(way for way in WAYS if way != "full-contextual")
    tasks = {"fists/feet": fists_or_feet(root, 100.0, 403), "left/right": bci2(root, "labelled")}
    for source, found in sources.items():
        facts: dict[str, Any] = dict(part="montage", source=source)
        if found is None:
            method = untrained(long, fields, seed)
        else:
            method, more = pretrained(*found, fields, seed, options)
            facts |= more
        for name, task in tasks.items():
            if source.endswith("unlabelled") and name != "left/right":
                continue
            yield from scored(method, task, seed, ways, **facts, task=name)


def classical(root: Path, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the field does without pretraining, on the same trials."""
    wide = mmidb(root, UNSEEN, EEGConfig(rate=128.0, samples=LENGTHS[4], events=("T1", "T2")), labels=True)
    for name, task in {"fists/feet": wide, "left/right": bci2(root, "labelled")}.items():
        x = task.batch(range(len(task))).numpy().astype(np.float64)
        ways = [way for way in CLASSICAL if way != "linear" and (name == "left/right" or "slow" not in way)]
        for way in ways:
            scores = cross_validated(CLASSICAL[way], x, task.labels, seed, rate=task.rate)
            yield dict(
                part="classical",
                task=name,
                source="none",
                way=way,
                accuracy=round(float(np.mean(scores)), 4),
                folds=np.round(scores, 3).tolist(),
                trials=len(task),
                seed=seed,
            )


PARTS: dict[str, Callable[[Path, int, argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "pilot": pilot,
    "sweeps": sweeps,
    "montage": montage,
    "classical": classical,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds the two data sets")
    parser.add_argument("--part", choices=PARTS, nargs="+", default=["classical", "montage", "sweeps"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ways", nargs="+", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--model", default="{}", help="model fields as JSON, for the pilot")
    parser.add_argument("--tokens", type=int, default=4, choices=LENGTHS, help="for the pilot")
    parser.add_argument("--offset", type=float, default=0.0, help="seconds after the cue, for the pilot")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results so far")
    options = parser.parse_args()
    if options.table:
        print(tables([json.loads(line) for line in options.results.read_text().splitlines()]))
        return
    hardware = f"2-core x86 CPU, fp32, {torch.get_num_threads()} threads"
    # Paths say nothing to others.
    words = ["DATA" if word == str(options.data) else word for word in sys.argv[1:]]
    command = f"python benchmarks/eeg.py {' '.join(words)}"
    for part in options.part:
        for seed in options.seeds:
            for row in PARTS[part](options.data, seed, options):
                now = datetime.now(UTC).isoformat(timespec="minutes")
                row |= dict(date=now, hardware=hardware, torch=torch.__version__, command=command)
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                shown = {
                    k: row.get(k) for k in ("part", "task", "source", "tokens", "diameter", "seed", "verdict")
                }
                print(row["way"], row["accuracy"], shown, row.get("minutes"), flush=True)


if __name__ == "__main__":
    main()
