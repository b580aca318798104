"""Windows of EEG as a data set: what a batch is a function of, where windows may begin, what happens to unusable recordings."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from anyjepa.data import build_loader
from anyjepa.data.dataset import load_all
from anyjepa.data.eeg import EEGConfig, from_arrays, open_eeg
from anyjepa.data.eeg_dataset import EEGDataset
from anyjepa.errors import ConfigError, DataError

PLACES = np.array([[-0.07, 0.0, 0.06], [0.07, 0.0, 0.06]])
PLAIN = EEGConfig(rate=100.0, band=None, samples=40, every=0.5, jitter=0.5)


def counting(path, seconds=4, start=0.0, **changed):
    """A recording at 100 Hz whose values are the numbers of its samples."""
    x = start + np.arange(seconds * 100, dtype=np.float64) * [[1.0], [-1.0]]
    np.savez(path, **(dict(data=x, channels=["C3", "C4"], rate=100.0, positions=PLACES) | changed))


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        counting(tmp_path / f"S{i}.npz", start=1000.0 * i)
    return tmp_path


def test_a_window_begins_up_to_the_jitter_later_and_stays_in_its_recording(folder):
    windows = open_eeg(folder, PLAIN)
    data = EEGDataset(windows, PLAIN)
    first = np.array([windows.read(i)[0, 0] for i in range(len(windows))])
    late = np.stack([data.draw(s, range(len(data)), 0)[:, 0, 0].numpy() - first for s in range(200)])
    assert data.shape == (2, 40) and late.min() == 0 and set(late[:, 0]) == set(range(51))
    # The last window of a recording of 400 samples begins at 350 and has room for 10 more.
    last = np.flatnonzero(windows.where[:, 1] == windows.where[:, 1].max())
    assert (late[:, last] <= windows.room[last]).all() and windows.room[last].tolist() == [10] * 3
    assert torch.equal(data.draw(3, [4], 1)[0, 1], -data.draw(3, [4], 1)[0, 0])


def test_each_row_is_a_pure_function_of_seed_step_and_index(folder):
    data = EEGDataset(open_eeg(folder, PLAIN), PLAIN)
    whole = data.draw(7, [3, 1, 9], 5)
    assert torch.equal(data.draw(7, [9], 5)[0], whole[2]) and torch.equal(data.draw(7, [1], 5)[0], whole[1])
    assert not torch.equal(data.draw(8, [3, 1, 9], 5), whole)
    assert not torch.equal(data.draw(7, [3, 1, 9], 6), whole)


def test_without_jitter_and_with_labels_windows_are_as_they_are(folder):
    windows = open_eeg(folder, PLAIN)
    data = EEGDataset(windows, replace(PLAIN, jitter=0.0))
    assert torch.equal(data.draw(0, [2, 5], 0), windows.batch([2, 5]))
    trials = from_arrays(
        np.zeros((4, 2, 50)), ["C3", "C4"], 100.0, labels=[0, 1, 0, 1], positions=PLACES, config=PLAIN
    )
    assert (EEGDataset(trials, PLAIN)._late == 0).all()


def test_workers_change_nothing_and_evaluation_has_everything_once(folder):
    data = EEGDataset(open_eeg(folder, PLAIN), PLAIN)
    plain, parallel = (
        [b.inputs for b in build_loader(data, seed=1, batch_size=8, steps=6, workers=w)] for w in (0, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, parallel, strict=True))
    parts = list(load_all(data, batch_size=5))
    assert torch.cat([p.index for p in parts]).tolist() == list(range(len(data)))
    assert torch.equal(torch.cat([p.inputs for p in parts]), data.source.batch(range(len(data))))


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"data": np.full((2, 400), np.inf)}, "C3 holds a value that is not finite"),
        ({"data": np.zeros((2, 0))}, "is empty"),
        ({"channels": ["C3", "Xx"], "positions": PLACES}, "has other channels"),
        ({"channels": ["C3", "C3"]}, "2 channels C3"),
        ({"data": np.zeros((3, 400))}, "2 channel names for a signal"),
    ],
)
def test_an_unusable_recording_among_many_is_left_out_and_named(folder, changed, says):
    counting(folder / "S9.npz", **changed)
    with pytest.raises(DataError, match=says) as found:
        open_eeg(folder, PLAIN)
    assert "S9.npz" in str(found.value)
    windows = open_eeg(folder, replace(PLAIN, max_broken=0.25))
    assert len(windows.signals) == 3 and len(windows.broken) == 1
    assert "S9.npz" in windows.report() and "left out" in windows.report()
    counting(folder / "S8.npz", **changed)
    with pytest.raises(DataError, match=r"2 of 5 recordings cannot be used, more than eeg\.max_broken=25%"):
        open_eeg(folder, replace(PLAIN, max_broken=0.25))


def test_an_unknown_montage_is_not_blamed_on_the_recordings(folder):
    pytest.importorskip("mne", reason="MNE knows the montages: pip install 'anyjepa[eeg]'")
    with pytest.raises(DataError, match="unknown montage 'standard_105'"):
        open_eeg(folder, replace(PLAIN, montage="standard_105", max_broken=1.0))


@pytest.mark.parametrize("fields, says", [({"jitter": -1.0}, "jitter"), ({"max_broken": 2.0}, "max_broken")])
def test_impossible_settings_of_the_data_set(fields, says):
    with pytest.raises(ConfigError, match=says):
        replace(PLAIN, **fields)
