"""Recordings, splits and labels of benchmarks/ecg.py: who is in the test, which rhythm, which beat, which wave."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anyjepa.data.ecg import EcgConfig, EcgRecords, open_ecg

TEST_PATIENTS = ("106", "208")
"""Of MIT-BIH. The other three (109, 119, 201) are for training."""
RHYTHMS = {
    "Sinus rhythm": "sinus rhythm",
    "Sinus bradycardia": "bradycardia",
    "Sinus tachycardia": "tachycardia",
    "Atrial fibrillation": "fibrillation or flutter",
    "Atrial flutter": "fibrillation or flutter",
    # SNOMED CT
    "426783006": "sinus rhythm",
    "426177001": "bradycardia",
    "427084000": "tachycardia",
    "164889003": "fibrillation or flutter",
    "164890007": "fibrillation or flutter",
}
VENTRICULAR, NORMAL = "VE", "NLRej"
"""Beat symbols of the AAMI groups V and N."""
MARKS_RATE = 500
"""Hz of the marks of LUDB."""
WAVES = ("none", "P", "QRS", "T")
SHARE = 3
"""One person in so many is for the test."""


@dataclass(frozen=True)
class Part:
    """One data base, split by person. ``labels``: rhythm of each recording, or empty."""

    records: EcgRecords
    labels: list[str]
    test: np.ndarray
    name: str

    def rows(self, test: bool) -> np.ndarray:
        """Recordings for the test, or for training."""
        return np.flatnonzero(self.test == test)


def open_parts(root: Path, scratch: Path, config: EcgConfig, inner: bool = False) -> dict[str, Part]:
    """The three data bases, each scaled by its training recordings.

    Args:
        root: folder of ecg-12lead, ecg-ludb and ecg-mitbih.
        scratch: LUDB is unpacked there.
        config: how to read them.
        inner: leave the test persons out altogether and test on some of the training persons, to choose settings.
    """
    ludb = scratch / "ludb"
    with zipfile.ZipFile(root / "ecg-ludb/records.zip") as archive:
        archive.extractall(ludb)
    opened = {
        "ludb": open_ecg(ludb, replace(config, label_key="Rhythm")),
        "mix": open_ecg(root / "ecg-12lead", config),
        "mitbih": open_ecg(root / "ecg-mitbih", config),
    }
    parts = {}
    for name, records in opened.items():
        labels = [_rhythm(records, i) for i in range(len(records))]
        names = [records.identity(i) for i in range(len(records))]
        rank = _ranks(names, labels)
        test = np.array([n in TEST_PATIENTS for n in names]) if name == "mitbih" else rank % SHARE == 0
        if inner:
            again = np.array([n == "201" for n in names]) if name == "mitbih" else rank % SHARE == 1
            keep = np.flatnonzero(~test)
            records, labels, test = records.subset(keep), [labels[i] for i in keep], again[keep]
        parts[name] = Part(records.normalised(np.flatnonzero(~test), absent="zero"), labels, test, name)
    return parts


def _rhythm(records: EcgRecords, i: int) -> str:
    if records.labels is None:
        return ""
    found = {
        RHYTHMS.get(records.label_names[k].strip('" .'), "") for k in np.flatnonzero(records.labels[i])
    } - {""}
    return found.pop() if len(found) == 1 else ""


def _ranks(names: list[str], labels: list[str]) -> np.ndarray:
    """Each recording's place among those of its class, in an order that has nothing to do with the file names."""
    order = np.random.default_rng(20).permutation(len(names))
    rank = np.zeros(len(names), dtype=np.int64)
    for label in set(labels):
        own = [i for i in order if labels[i] == label]
        rank[own] = np.arange(len(own))
    return rank


@dataclass(frozen=True)
class Task:
    """Labelled samples. ``x``: (N, C, T); ``person``: (N,) whose they are; ``extra``: classical features (N, F)."""

    x: Tensor
    labels: np.ndarray
    person: np.ndarray
    train: np.ndarray
    extra: np.ndarray
    classes: tuple[str, ...]


def rhythm_task(parts: list[Part], seconds: float) -> Task:
    """Rhythm from the first ``seconds`` of each recording; classes with fewer than five persons on either side are left out."""
    length = round(seconds * parts[0].records.rate)
    found = [(p, i) for p in parts for i in range(len(p.records)) if p.labels[i]]
    count = {
        (c, t): sum(p.labels[i] == c and p.test[i] == t for p, i in found)
        for c in set(RHYTHMS.values())
        for t in (0, 1)
    }
    classes = tuple(sorted(c for c in set(RHYTHMS.values()) if min(count[c, 0], count[c, 1]) >= 4))
    found = [(p, i) for p, i in found if p.labels[i] in classes]
    x = torch.stack([p.records.read(i)[:, :length] for p, i in found])
    return Task(
        x,
        np.array([classes.index(p.labels[i]) for p, i in found]),
        np.arange(len(found)),
        np.array([not p.test[i] for p, i in found]),
        np.stack(
            [rhythm_features(each.numpy(), p.records.rate) for each, (p, _) in zip(x, found, strict=True)]
        ),
        classes,
    )


def rhythm_features(x: np.ndarray, rate: float) -> np.ndarray:
    """Statistics of the RR intervals that a detector finds in lead II, and log powers of five bands."""
    from scipy import signal
    from wfdb import processing

    beats = processing.xqrs_detect(x[1].astype(np.float64), fs=rate, verbose=False)
    rr = np.diff(beats) / rate
    if len(rr) < 2:
        rr = np.full(2, x.shape[1] / rate)
    step = np.diff(rr)
    times = [rr.mean(), np.median(rr), rr.std(), rr.min(), rr.max(), rr.std() / rr.mean()]
    times += [np.sqrt(np.mean(step**2)), np.mean(np.abs(step) > 0.05), 60 / np.median(rr)]
    frequency, power = signal.welch(x[[1, 6]], rate, nperseg=min(x.shape[1], 1024))
    edges = ((0.5, 3), (3, 5), (5, 9), (9, 15), (15, 40))
    bands = [power[:, (frequency >= a) & (frequency < b)].mean(axis=1) for a, b in edges]
    return np.concatenate([times, np.log(np.concatenate(bands) + 1e-6)]).astype(np.float32)


def beat_task(part: Part, root: Path, seconds: float, most: int = 1200) -> Task:
    """Ventricular against normal beats: windows around the mark of each beat, at most ``most`` of each class and patient."""
    import wfdb

    rate, half = part.records.rate, round(seconds * part.records.rate / 2)
    windows, labels, person, train, extra = [], [], [], [], []
    for i in range(len(part.records)):
        name = part.records.identity(i)
        marks = wfdb.rdann(str(root / "ecg-mitbih" / name), "atr")
        x = part.records.read(i).numpy()
        beat = [s in "NLRejAaJSVEF/fQ" for s in marks.symbol]
        places = np.asarray(marks.sample)[beat] * rate / marks.fs
        symbols = np.asarray(marks.symbol)[beat]
        chosen: list[int] = []
        for kind in (NORMAL, VENTRICULAR):
            own = [
                k
                for k in range(2, len(places) - 2)
                if symbols[k] in kind and half <= places[k] < x.shape[1] - half
            ]
            chosen += [own[j] for j in np.unique(np.linspace(0, len(own) - 1, most).astype(int))]
        for k in chosen:
            at = round(places[k])
            windows.append(x[:, at - half : at + half])
            labels.append(int(symbols[k] in VENTRICULAR))
            person.append(i)
            train.append(not part.test[i])
            extra.append(beat_features(x, places, k, rate))
    stacked = torch.from_numpy(np.stack(windows))
    return Task(
        stacked,
        np.array(labels),
        np.array(person),
        np.array(train),
        np.stack(extra),
        ("normal", "ventricular"),
    )


def beat_features(x: np.ndarray, places: np.ndarray, k: int, rate: float) -> np.ndarray:
    """Intervals to the beats before and after, and the shape of 0.5 s of both leads in 25 points each."""
    before, after = places[k] - places[k - 1], places[k + 1] - places[k]
    usual = np.median(np.diff(places[max(0, k - 10) : k + 10]))
    times = [before / rate, after / rate, before / usual, after / usual]
    at, half = round(places[k]), round(0.25 * rate) // 25 * 25
    shape = x[[1, 6], at - half : at + half].reshape(2, 25, -1).mean(axis=2)
    return np.concatenate([times, shape.ravel(), np.ptp(shape, axis=1)]).astype(np.float32)


@dataclass(frozen=True)
class Waves:
    """Recordings (N, C, T) whose waves are marked. ``labels``: (N, T) number in ``WAVES``, -1 where nobody marked."""

    x: Tensor
    labels: np.ndarray
    train: np.ndarray


def wave_task(part: Part, scratch: Path, lead: str = "ii") -> Waves:
    """The marks of lead II of LUDB. Beats at both ends of a recording are unmarked: what is outside the marks is left out."""
    import wfdb

    x, labels = [], []
    for i in range(len(part.records)):
        signal = part.records.read(i)
        marks = wfdb.rdann(str(scratch / "ludb" / part.records.identity(i)), lead)
        wave = np.full(signal.shape[1], -1)
        places = np.round(np.asarray(marks.sample) * part.records.rate / MARKS_RATE).astype(int)
        wave[places[0] : places[-1] + 1] = 0
        kinds = {"p": 1, "N": 2, "t": 3}
        start = None
        for place, symbol in zip(places, marks.symbol, strict=True):
            if symbol == "(":
                start, kind = place, 0
            elif symbol in kinds:
                kind = kinds[symbol]
            elif symbol == ")" and start is not None:
                wave[start : place + 1], start = kind, None
        x.append(signal)
        labels.append(wave)
    return Waves(torch.stack(x), np.stack(labels), ~part.test)
