"""A little data set of every kind of data, on disk in a format of its field, and a tiny method to train on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from anyjepa.bundle import Bundle


@dataclass(frozen=True)
class Field:
    """One kind of data.

    Attributes:
        method: a method for it.
        write: writes samples of two classes, of several persons, and returns the path.
        options: options of the kind of data; those for labels in ``labelled``.
        model: fields of a tiny model.
        command: words of ``anyjepa pretrain`` for the same.
    """

    method: str
    write: Callable[[Path], Path]
    model: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    labelled: dict[str, Any] = field(default_factory=dict)


_SMALL = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=2)
RATE = 100
EEG_CHANNELS = ("F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2")


def images(folder: Path) -> Path:
    """Two classes of pictures in folders."""
    from PIL import Image

    draws = np.random.default_rng(0)
    for i in range(24):
        place = folder / "images" / ("bright", "dark")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 128, (16, 16, 3)) + 127 * (i % 2 == 0)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
    return folder / "images"


def radar(folder: Path) -> Path:
    """Two classes of targets in speckle, chips of several sizes in folders, some of 16 bits."""
    from PIL import Image

    draws = np.random.default_rng(0)
    for i in range(24):
        place = folder / "radar" / ("plane", "ship")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        height, width = 18 + i % 3, 20 + i % 4
        target = np.full((height, width), 20.0)
        target[6:12, 6 : 8 + 6 * (i % 2)] = 160
        amplitude = target * np.sqrt(draws.gamma(4.0, 0.25, target.shape))
        if i % 4 < 2:
            Image.fromarray(amplitude.clip(0, 255).astype(np.uint8)).save(place / f"{i}.png")
        else:
            Image.fromarray((257 * amplitude.clip(0, 255)).astype(np.uint16)).save(place / f"{i}.tif")
    return folder / "radar"


def ecg(folder: Path) -> Path:
    """WFDB records of 12 leads with a diagnosis in the header, two of each patient."""
    wfdb = pytest.importorskip("wfdb", reason="wfdb is the extra 'ecg'")
    from anyjepa.data.ecg_leads import STANDARD_LEADS

    place = folder / "ecg"
    place.mkdir(parents=True)
    draws, seconds = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    for i in range(24):
        fast = i // 2 % 2
        beat = np.maximum(0, np.sin(2 * np.pi * (1 + fast) * seconds + draws.uniform(0, 6))) ** 20
        signal = beat[:, None] * np.linspace(0.5, 1.5, 12) + 0.05 * draws.standard_normal((len(seconds), 12))
        wfdb.wrsamp(
            f"r{i:02d}",
            fs=RATE,
            units=["mV"] * 12,
            sig_name=list(STANDARD_LEADS),
            p_signal=signal,
            fmt=["16"] * 12,
            comments=[f"Dx: {'fast' if fast else 'slow'}", f"Patient: p{i // 2}"],
            write_dir=str(place),
        )
    return place


def eeg(folder: Path) -> Path:
    """Trials of eight channels with classes and subjects in one .npz."""
    pytest.importorskip("mne", reason="MNE is the extra 'eeg'")
    draws, seconds = np.random.default_rng(0), np.arange(256) / 128
    labels, groups = np.arange(32) % 2, np.repeat([f"s{i}" for i in range(8)], 4)
    wave = np.sin(2 * np.pi * np.where(labels, 10, 20)[:, None] * seconds)[:, None]
    data = 10 * wave + draws.standard_normal((32, 8, 256))
    (folder / "eeg").mkdir(parents=True)
    path = folder / "eeg" / "trials.npz"
    np.savez(
        path, data=data.astype(np.float32), channels=EEG_CHANNELS, rate=128.0, labels=labels, groups=groups
    )
    return path


def fmri(folder: Path) -> Path:
    """Series of 12 regions in one .npz, and a table with the sex of each subject."""
    place = folder / "fmri"
    place.mkdir(parents=True)
    draws = np.random.default_rng(0)
    series, lines = {}, ["subject,sex"]
    for i in range(24):
        mixing = draws.standard_normal((12, 4)) if i % 2 else np.eye(12, 4)
        walk = np.cumsum(draws.standard_normal((40, 4)), axis=0) @ mixing.T
        series[f"sub-{i:02d}"] = walk + draws.standard_normal((40, 12))
        lines.append(f"sub-{i:02d},{'FM'[i % 2]}")
    np.savez(place / "scans.npz", **series)
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return place / "scans.npz"


def tables(folder: Path) -> Path:
    """A .csv with numbers, categories, missing values, a label and a group."""
    draws = np.random.default_rng(0)
    lines = ["age,income,town,member,empty,label,household"]
    for i in range(48):
        old = i % 2
        town = "" if i % 7 == 0 else ("Rome", "Oslo", "Bonn")[draws.integers(3)]
        income = "?" if i % 5 == 0 else f"{20 + 30 * old + draws.normal():.3f}"
        age, member = f"{30 + 30 * old + draws.normal():.2f}", bool(draws.integers(2))
        lines.append(f"{age},{income},{town},{member},,{('young', 'old')[old]},h{i // 4}")
    (folder / "tables").mkdir(parents=True)
    path = folder / "tables" / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def views(folder: Path) -> Path:
    """Eight objects of two classes from eight angles, in one .npz."""
    draws, rows = np.random.default_rng(0), np.arange(64)
    objects, angles = rows // 8, 45.0 * (rows % 8)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    shapes = draws.uniform(0.2, 1.0, 8)[objects]
    along = x * np.cos(np.deg2rad(angles))[:, None, None] + y * np.sin(np.deg2rad(angles))[:, None, None]
    images = np.where(objects % 2, 0.5, 1.0)[:, None, None] / (1 + np.exp(-4 * along / shapes[:, None, None]))
    (folder / "views").mkdir(parents=True)
    path = folder / "views" / "turntable.npz"
    np.savez(path, images=(255 * images).astype(np.uint8), object=objects, angle=angles, labels=objects % 2)
    return path


def video(folder: Path) -> Path:
    """Films of a bright square on the move, in folders named after its direction."""
    av = pytest.importorskip("av", reason="PyAV is the extra 'video'")
    draws = np.random.default_rng(0)
    for i in range(24):
        place = folder / "video" / ("left", "right")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        top = int(draws.integers(0, 11))
        with av.open(str(place / f"{i:02d}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            for k in range(8):
                pixels = draws.integers(0, 60, (32, 32, 3), dtype=np.uint8)
                left = 3 * k if i % 2 else 21 - 3 * k
                pixels[top : top + 10, left : left + 10] += 180
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    container.mux(packet)
            container.mux(stream.encode())
    return folder / "video"


def episodes(folder: Path) -> Path:
    """Demonstrations of two tasks in one .npz: a point goes left or right, with a small picture of where it is."""
    draws, arrays = np.random.default_rng(0), {}
    for e in range(6):
        side = 1 if e % 2 else -1
        place = np.cumsum(side + 0.3 * draws.standard_normal((12, 1)), axis=0)
        picture = (
            draws.integers(0, 60, (12, 16, 16, 3))
            + 150 * (np.arange(16) < 8 + place[:, :, None, None] / 2)[..., None][:, 0]
        )
        arrays |= {
            f"{e}/observation.state": np.concatenate([place, draws.standard_normal((12, 2))], axis=1).astype(
                np.float32
            ),
            f"{e}/action": (side + 0.1 * draws.standard_normal((12, 2))).astype(np.float32),
            f"{e}/observation.image": picture.astype(np.uint8),
            f"{e}/task": np.array(("left", "right")[e % 2]),
        }
    (folder / "episodes").mkdir(parents=True)
    np.savez(folder / "episodes" / "demos.npz", **arrays)
    return folder / "episodes" / "demos.npz"


FIELDS = {
    "images": Field("ijepa", images, dict(size="nano", **_SMALL, patch_size=4)),
    "radar": Field(
        "sar-jepa", radar, dict(size="nano", **_SMALL, predictor_heads=2, patch_size=2), {"fit": "squeeze"}
    ),
    "ecg": Field(
        "ecg-jepa",
        ecg,
        dict(size="nano", **_SMALL, predictor_heads=2, patch_size=10),
        {"rate": float(RATE), "seconds": 3.0},
    ),
    "eeg": Field(
        "sjepa",
        eeg,
        dict(size="nano", dim=16, depth=2, heads=2, hidden=32, predictor_depth=1, dropout=0.0),
        {"samples": 152, "every": 1.0},
        {"samples": 152},
    ),
    "fmri": Field(
        "brainjepa",
        fmri,
        dict(size="nano", **_SMALL, patch_size=4),
        {"frames": 24},
        {"table": "people.csv", "label_column": "sex"},
    ),
    "tables": Field(
        "tjepa",
        tables,
        dict(size="nano", **_SMALL, hidden=16, predictor_hidden=16),
        {"group_column": "household"},
        {"label_column": "label"},
    ),
    "views": Field(
        "seq-jepa",
        views,
        dict(size="nano", widths=[8, 16], blocks=[1, 1], action_width=8, predictor_hidden=16, dropout=0.0),
    ),
    "video": Field(
        "vjepa",
        video,
        dict(size="nano", **_SMALL, patch_size=8, long_range={"blocks": 1, "spatial_scale": [0.5, 0.5]}),
        {"frames": 4, "frame_step": 1.0},
    ),
    "episodes": Field(
        "act-jepa",
        episodes,
        dict(size="nano", dim=16, depth=2, heads=2, hidden=16, predictor_width=8, predictor_depth=1),
        {"actions": 4, "states": 5},
    ),
}


def words(group: str, values: dict[str, Any]) -> list[str]:
    """Options of the command line."""
    return [
        word
        for key, value in values.items()
        for word in (f"--{group}.{key}", yaml.safe_dump(value, default_flow_style=True).splitlines()[0])
    ]


def drawn(shape: Any, samples: int = 2) -> Any:
    """Random samples of a shape, or of each part of one."""
    if isinstance(shape, tuple):
        return torch.randn(samples, *shape)
    return Bundle({name: torch.randn(samples, *part) for name, part in shape.items()})
