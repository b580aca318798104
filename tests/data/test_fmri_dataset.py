"""Clips of brain scans as batches: the same as the source cuts them, from any number of workers, at any frame rate."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.data import build_loader
from anyjepa.data import fmri_dataset as module
from anyjepa.data.dataset import load_all
from anyjepa.data.fmri import FmriConfig, FmriSource
from anyjepa.data.fmri_dataset import FmriDataset, ScaledScans
from anyjepa.data.roi_scaling import clip_frames
from anyjepa.errors import ConfigError, DataError

TRS = (1.5, 2.5, 0.735, 2.0, 0.8)


@pytest.fixture
def folder(tmp_path):
    """Five scans with repetition times of their own, and the table of the people."""
    place = tmp_path / "scans"
    place.mkdir()
    for i, tr in enumerate(TRS):
        values = np.random.default_rng(i).standard_normal((int(60 / tr) + i, 6)).cumsum(axis=0)
        np.save(place / f"s{i}.npy", values.astype(np.float32))
    rows = "".join(f"s{i},{tr},{20.5 + i},{'MF'[i % 2]},{i // 2}\n" for i, tr in enumerate(TRS))
    (tmp_path / "people.csv").write_text("subject,tr,age,sex,site\n" + rows)
    return place


def opened(folder, column=None, **fields):
    config = FmriConfig(**({"frames": 16} | fields))
    source = FmriSource.open(folder, config, table=folder.parent / "people.csv")
    return FmriDataset(ScaledScans(source, column))


@pytest.mark.parametrize("rate", ["linear", "stride"])
def test_batches_are_those_of_the_source(folder, rate):
    dataset = opened(folder, rate=rate)
    scans = dataset.source.scans
    index = np.array([3, 0, 4, 1, 2, 3])
    for step in range(5):
        expected = scans.batch(torch.from_numpy(index), seed=7, step=step)
        assert torch.equal(dataset.draw(step, index, 7), expected)
    assert torch.equal(dataset.evaluation(index), scans.batch(torch.from_numpy(index), random=False))
    assert dataset.shape == (1, 6, 16) and dataset.draw(0, index, 0).shape == (6, *dataset.shape)
    assert not torch.equal(dataset.draw(0, index, 0), dataset.draw(1, index, 0))


@settings(deadline=None, max_examples=60)
@given(st.floats(0.3, 4.0), st.integers(2, 300))
def test_a_clock_gives_the_frame_rate_back(tr, frames):
    """A rate off by a rounding would make a clip one frame shorter."""
    ratio = 2.0 / tr
    clock = np.arange(frames) / ratio
    found = (frames - 1) / float(clock[-1])
    assert clip_frames(frames, found) == clip_frames(frames, ratio)


def test_workers_change_nothing(folder):
    dataset = opened(folder)
    options = dict(seed=3, batch_size=4, steps=6)
    alone = [b.inputs for b in build_loader(dataset, **options)]
    shared = [b.inputs for b in build_loader(dataset, workers=2, start_method="spawn", **options)]
    assert len(alone) == 6 and all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_a_scan_is_read_once_while_there_is_room(folder, monkeypatch):
    dataset = opened(folder)
    read = []
    original = FmriSource.read
    monkeypatch.setattr(FmriSource, "read", lambda self, i: read.append(i) or original(self, i))
    for step in range(3):
        dataset.draw(step, np.arange(5), 0)
    assert sorted(read) == list(range(5))
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied.source._held == {} and torch.equal(
        copied.draw(1, np.arange(5), 0), dataset.draw(1, np.arange(5), 0)
    )
    monkeypatch.setattr(module, "HELD", 1)
    small = opened(folder)
    small.draw(0, np.arange(5), 0), small.draw(0, np.arange(5), 0)
    assert small.source._held == {}


def test_labels_and_people(folder):
    sex = opened(folder, "sex")
    assert sex.source.labels.tolist() == [1, 0, 1, 0, 1] and sex.source.class_names == ("F", "M")
    age = opened(folder, "age")
    assert age.source.labels.tolist() == [20.5, 21.5, 22.5, 23.5, 24.5] and age.source.class_names is None
    # Three different whole numbers among five people are values rather than classes.
    assert opened(folder, "site").source.class_names is None
    assert sex.source.groups.tolist() == [0, 1, 2, 3, 4]
    loaded = list(load_all(age, batch_size=2))
    assert torch.cat([part.labels for part in loaded]).tolist() == age.source.labels.tolist()
    with pytest.raises(DataError, match=r"no column 'aeg'.*did you mean 'age'"):
        opened(folder, "aeg")


def test_a_scan_that_breaks_while_training_is_replaced_and_counted(folder):
    dataset = opened(folder, max_broken=0.3)
    whole = dataset.draw(0, np.arange(5), 0)
    (folder / "s2.npy").write_bytes(b"torn")
    dataset = pickle.loads(pickle.dumps(dataset))
    batch = dataset.draw(0, np.arange(5), 0)
    assert dataset.broken == [2] and torch.equal(batch[[0, 1, 3, 4]], whole[[0, 1, 3, 4]])
    assert len(next(iter(load_all(dataset))).index) == 4
    (folder / "s3.npy").unlink()
    with pytest.raises(DataError, match=r"2 of 5 scans cannot be read, more than max_broken=30%.*s3"):
        pickle.loads(pickle.dumps(dataset)).draw(0, np.arange(5), 0)


def test_batches_have_no_padding(folder):
    with pytest.raises(ConfigError, match=r"1 scans are shorter than a clip of 31 frames.*frames=30"):
        opened(folder, frames=31, short="pad")
    with pytest.raises(ConfigError, match=r"use frames=30 or less"):
        FmriDataset(opened(folder).source, FmriConfig(frames=32))
    assert opened(folder, frames=30, short="pad").shape == (1, 6, 30)
    with pytest.raises(ConfigError, match="max_broken is a share"):
        FmriConfig(max_broken=2.0)
