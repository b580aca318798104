"""Recordings as batches: crops that are a function of seed, step and sample, long recordings that count by their length."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anyjepa.data.dataset import load_all
from anyjepa.data.ecg import EcgConfig, open_ecg
from anyjepa.data.ecg_dataset import EcgDataset, open_ecg_dataset
from anyjepa.data.ecg_segments import EcgSegments
from anyjepa.data.loader import build_loader
from anyjepa.errors import ConfigError, DataError

LEADS = ("I", "II", "V1")
CONFIG = EcgConfig(leads=LEADS, rate=100, seconds=2, file_rate=100)
PLAIN = replace(CONFIG, scaled=False)


def ramps(n: int, t: int, first: float = 0.0) -> np.ndarray:
    """Recording i holds first + i * 10,000 + the number of the sample in every lead, so that a value tells its place."""
    return np.tile((first + 10_000 * np.arange(n)[:, None] + np.arange(t))[:, None], (1, len(LEADS), 1))


def stored(folder: Path, name: str, signals: np.ndarray, **extra) -> Path:
    np.savez(folder / f"{name}.npz", signals=signals, rate=100, leads=LEADS, **extra)
    return folder / f"{name}.npz"


@pytest.fixture
def long_and_short(tmp_path):
    """Two lists: 3 recordings of 4 s and 1 of 61 s."""
    paths = [stored(tmp_path, "short", ramps(3, 400)), stored(tmp_path, "long", ramps(1, 6100, 1e6))]
    return EcgDataset.of([open_ecg(path, CONFIG) for path in paths])


def test_long_recordings_count_by_their_length(long_and_short):
    source = long_and_short.source
    # 4 s are two crops of 2 s, 61 s are 30
    assert len(long_and_short) == 3 * 2 + 30 and long_and_short.shape == (3, 200)
    assert source.rows[:2].tolist() == [[0, 0, 0], [0, 0, 1]] and source.rows[-1].tolist() == [1, 0, 29]
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2] + [3] * 30
    assert source.identity(0) == "short.npz row 0 at 0 s" and source.identity(35).endswith("row 0 at 58 s")


def test_every_start_is_as_likely_as_any_other(long_and_short):
    """The reaches of the segments of a recording cover each start once, and crops are uniform within their reach."""
    starts = []
    for i in range(6, 36):
        x = long_and_short.source.read(i)
        assert x.shape[1] >= 200 and torch.equal(x[0].diff(), torch.ones(x.shape[1] - 1))
        starts += range(int(x[0, 0] - 1e6), int(x[0, -1] - 1e6) - 198)
    assert starts == list(range(6100 - 200 + 1))
    drawn = np.array([long_and_short.draw(step, range(6, 36), seed=0)[:, 0, 0] - 1e6 for step in range(300)])
    assert drawn.min() < 20 and drawn.max() > 5880
    counts = np.histogram(drawn, bins=10, range=(0, 5901))[0]
    # 900 in each bin, standard deviation below 30
    assert np.abs(counts - 900).max() < 110


def test_a_long_recording_need_not_count_by_its_length(long_and_short):
    source = EcgSegments(long_and_short.source.parts, replace(CONFIG, most_of_one=4))
    assert len(source) == 3 * 2 + 4
    reaches = [source.read(i)[0] - 1e6 for i in range(6, 10)]
    assert [int(r[0]) for r in reaches] == [0, 1475, 2950, 4425] and int(reaches[3][-1]) == 6099


def test_a_row_depends_on_seed_step_and_sample_alone(long_and_short):
    together = long_and_short.draw(3, [0, 9, 20], seed=1)
    assert torch.equal(long_and_short.draw(3, np.array([9]), seed=1)[0], together[1])
    assert not torch.equal(long_and_short.draw(4, [9], seed=1)[0], together[1])
    assert not torch.equal(long_and_short.draw(3, [9], seed=2)[0], together[1])
    again = pickle.loads(pickle.dumps(long_and_short))
    assert torch.equal(again.draw(3, [0, 9, 20], seed=1), together)


@pytest.mark.parametrize("workers", [0, 2])
def test_in_the_loader(long_and_short, workers):
    loader = build_loader(long_and_short, seed=5, batch_size=12, steps=4, workers=workers)
    batches = list(loader)
    assert [b.inputs.shape for b in batches] == [(12, 3, 200)] * 4
    for batch in batches:
        assert torch.equal(batch.inputs, long_and_short.draw(batch.step, batch.index, seed=5))
    seen = torch.cat([b.index for b in batches])[:36]
    assert sorted(seen.tolist()) == list(range(36))


def test_evaluation_takes_the_middle(long_and_short):
    found = torch.cat([loaded.inputs for loaded in load_all(long_and_short, [0, 1, 7], batch_size=2)])
    assert found[:, 0, 0].tolist() == [50.0, 150.0, 1e6 + 1 * 5901 // 30 + 98]
    assert torch.equal(found[:, 0, -1] - found[:, 0, 0], torch.full((3,), 199.0))


def test_prepared_recordings_are_kept_up_to_a_limit(tmp_path, monkeypatch):
    signals = np.random.default_rng(0).normal(size=(8, 3, 50_000))
    signals[:, 2] = 0
    source = EcgSegments(open_ecg(stored(tmp_path, "a", signals), replace(CONFIG, cache=1)))
    reads: list[int] = []
    monkeypatch.setattr(
        source.parts[0], "read", lambda i, old=source.parts[0].read: reads.append(i) or old(i)
    )
    first = [row for row in range(len(source)) if source.rows[row, 2] == 0]
    for row in [*first[:2], *first[:2], *first[2:5], first[0]]:
        assert not source.read(row)[2].any()
    # two live leads of 50,000 floats are 0.4 MB: two recordings fit into one megabyte
    assert reads == [0, 1, 2, 3, 4, 0]
    monkeypatch.undo()
    assert len(pickle.dumps(source)) < len(pickle.dumps(source.parts)) + 200_000


def test_each_list_has_a_scale_of_its_own(tmp_path):
    draw = np.random.default_rng(0)
    paths = [
        stored(tmp_path, n, draw.normal(m, s, size=(4, 3, 400))) for n, m, s in (("a", 0, 1), ("b", 3, 20))
    ]
    for dataset, spread in (
        (open_ecg_dataset(paths, CONFIG), 1.0),
        (open_ecg_dataset(paths, PLAIN), 20.0),
    ):
        x = dataset.evaluation(range(8, 16))
        assert x.std().item() == pytest.approx(spread, rel=0.1)


def test_leads_that_one_list_lacks_are_zero(tmp_path):
    draw = np.random.default_rng(0)
    whole = stored(tmp_path, "a", draw.normal(size=(4, 3, 400)))
    np.savez(tmp_path / "b.npz", signals=5 * draw.normal(size=(4, 1, 400)), rate=100, leads=["II"])
    x = open_ecg_dataset([whole, tmp_path / "b.npz"], CONFIG).evaluation(range(16))
    assert x[:8].std().item() == pytest.approx(1, rel=0.1) and not x[8:, [0, 2]].any()
    assert x[8:, 1].std().item() == pytest.approx(1, rel=0.1)


def test_labels_of_several_lists(tmp_path):
    a = stored(tmp_path, "a", ramps(2, 400), labels=["AF", "SR"], patient_id=[7, 7])
    b = stored(tmp_path, "b", ramps(1, 400), labels=["AVB"], patient_id=[7])
    source = open_ecg_dataset([a, b], PLAIN).source
    assert source.class_names == ("AF", "AVB", "SR") and source.labels.tolist() == [0, 0, 2, 2, 1, 1]
    # patient 7 of another data base is another person
    assert source.groups.tolist() == [0, 0, 0, 0, 1, 1]
    several = stored(tmp_path, "c", ramps(2, 400), labels=[[1, 1], [0, 1]])
    source = open_ecg_dataset(several, PLAIN).source
    assert source.labels is None and source.label_sets.tolist() == [[True, True]] * 2 + [[False, True]] * 2


def test_broken_and_short_recordings(tmp_path):
    for i in range(12):
        header = ["I,II,V1"] + ["0.1,0.2,0.3"] * (300 if i else 100)
        (tmp_path / f"{i:02d}.csv").write_text("\n".join(header) + "\n")
    (tmp_path / "11.csv").write_text("I,II,V1\n1,x,3\n")
    dataset = EcgDataset.of(open_ecg(tmp_path, CONFIG))
    with pytest.raises(DataError, match="max_broken=10%"):
        dataset.draw(0, range(12), seed=0)
    dataset = EcgDataset.of(open_ecg(tmp_path, CONFIG), replace(CONFIG, max_broken=0.2))
    assert dataset.draw(0, range(12), seed=0).shape == (12, 3, 200) and dataset.broken == [0, 11]
    with pytest.raises(DataError, match=r"00\.csv has 1 s; expected at least 2: give shorter crops"):
        dataset.source.read(0)


def test_settings_that_cannot_be(tmp_path):
    for changes, message in (
        (dict(seconds=0.001), "no sample"),
        (dict(max_broken=2), "max_broken"),
        (dict(cache=-1), "cache"),
        (dict(most_of_one=0), "most_of_one"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(CONFIG, **changes)
    one, other = (open_ecg(stored(tmp_path, "a", ramps(1, 400)), EcgConfig(rate=r)) for r in (100, 200))
    with pytest.raises(ConfigError, match="same leads and rate"):
        EcgSegments([one, other])
