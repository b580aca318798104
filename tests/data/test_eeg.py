"""The reader of EEG: what comes out of files, MNE objects and arrays, and one clear error for each kind of bad input."""

import shutil
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anyjepa.data.eeg import EEGConfig, from_arrays, open_eeg
from anyjepa.data.montage import clean, look_up
from anyjepa.errors import ConfigError, DataError, MissingExtraError

mne = pytest.importorskip("mne", reason="MNE reads EEG: pip install 'anyjepa[eeg]'")

NAMES = ["Fp1", "Cz", "O2"]
PLAIN = EEGConfig(rate=128.0, band=None, samples=256, every=2.0)


def sines(seconds=10.0, rate=128.0, names=NAMES):
    """A sine of 10 uV per channel, 4, 5, 6, ... Hz."""
    t = np.arange(round(seconds * rate)) / rate
    return 10 * np.stack([np.sin(2 * np.pi * (4 + i) * t) for i in range(len(names))])


def raw_of(signal, rate=128.0, names=NAMES, kinds="eeg", marks=()):
    raw = mne.io.RawArray(signal * 1e-6, mne.create_info(names, rate, kinds), verbose="CRITICAL")
    if marks:
        raw.set_annotations(mne.Annotations([m[0] for m in marks], 0.0, [m[1] for m in marks]))
    return raw


def write_edf(path, signal, rate, names):
    """A plain EDF file written by hand: one record per second, whole microvolts."""
    c, seconds = len(names), signal.shape[1] // rate
    field = lambda texts, width: "".join(str(t).ljust(width) for t in texts)  # noqa: E731
    head = field(["0"], 8) + field(["X", "X"], 80) + "01.01.0001.01.01" + field([256 * (c + 1)], 8)
    head += field([""], 44) + field([seconds, 1], 8) + field([c], 4)
    head += field(names, 16) + field([""] * c, 80) + field(["uV"] * c, 8)
    head += field([-32768] * c + [32767] * c + [-32768] * c + [32767] * c, 8)
    head += field([""] * c, 80) + field([rate] * c, 8) + field([""] * c, 32)
    body = np.rint(signal[:, : seconds * rate]).astype("<i2").reshape(c, seconds, rate).transpose(1, 0, 2)
    path.write_bytes(head.encode() + body.tobytes())


def test_names_and_places():
    assert [clean(n) for n in ("Fc5.", "EEG FP1-REF", " Cz ", "EEG O1-LE", "A-B")] == [
        "Fc5",
        "FP1",
        "Cz",
        "O1",
        "A-B",
    ]
    names, places = look_up(["fc5.", "CZ", "EOG left"])
    assert names == ("FC5", "Cz", "EOG left") and np.isnan(places[2]).all()
    np.testing.assert_allclose(places[1], [0.0004009, -0.009167, 0.100244], atol=1e-7)


def test_windows_of_a_continuous_recording():
    windows = open_eeg(raw_of(sines(), marks=[(1.0, "a")]), PLAIN)
    assert len(windows) == 5 and windows.shape == (3, 256) and windows.labels is None
    assert windows.electrodes == tuple(NAMES) and windows.where[:, 1].tolist() == [0, 256, 512, 768, 1024]
    assert windows.read(1).dtype == torch.float32
    np.testing.assert_allclose(windows.read(1), sines()[:, 256:512], atol=1e-4)
    assert torch.equal(windows.batch([1, 3])[1], windows.read(3))
    assert windows.identity(1) == "raw at 2.00 s" and windows.label(1) is None
    assert "5 windows of 256 samples (2 s at 128 Hz) from 1 recordings" in windows.report()


def test_the_paper_takes_one_window_every_16_9_seconds_whatever_its_length():
    counts = {
        samples: len(open_eeg(raw_of(sines(70)), EEGConfig(band=None, samples=samples)))
        for samples in (152, 536)
    }
    assert counts == {152: 5, 536: 4}  # starts at 0, 16.9, 33.8, 50.7 and 67.6 s


def test_rate_and_band_are_those_of_the_paper():
    fast = sines(20, 512.0) + 10 * np.sin(2 * np.pi * 50 * np.arange(20 * 512) / 512) + 30
    found = open_eeg(raw_of(fast, 512.0), EEGConfig(samples=1280)).read(0)[:, 320:-320]
    np.testing.assert_allclose(found, sines(20)[:, 320:960], atol=0.3)


def test_events_become_labels():
    marks = [(1.0, "left"), (3.0, "right"), (5.0, "rest"), (6.0, "BAD_x"), (9.5, "left")]
    windows = open_eeg(raw_of(sines(), marks=marks), PLAIN, labels=True)
    assert windows.class_names == ("left", "rest", "right") and windows.labels.tolist() == [0, 2, 1]
    assert windows.where[:, 1].tolist() == [128, 384, 640] and windows.skipped == 1
    chosen = EEGConfig(band=None, samples=256, events=("left", "right"), offset=0.5)
    again = open_eeg(raw_of(sines(), marks=marks), chosen, labels=True)
    assert again.where[:, 1].tolist() == [192, 448] and again.labels.tolist() == [0, 1]
    assert "labels: left 1, right 1\nleft out: 1" in again.report()


def test_a_stimulus_channel_stands_in_for_annotations():
    signal = np.vstack([sines(), np.zeros(1280)])
    signal[3, 256:260], signal[3, 512:516] = 7e6, 9e6
    raw = raw_of(signal, names=[*NAMES, "STI"], kinds=["eeg"] * 3 + ["stim"])
    windows = open_eeg(raw, PLAIN, labels=True)
    assert windows.electrodes == tuple(NAMES) and windows.class_names == ("7", "9")
    assert windows.where[:, 1].tolist() == [256, 512]


def test_epochs_of_mne_and_their_file(tmp_path):
    raw = raw_of(sines(), marks=[(1.0, "left"), (4.0, "right"), (6.0, "right")])
    events, ids = mne.events_from_annotations(raw, verbose="CRITICAL")
    epochs = mne.Epochs(raw, events, ids, 0, 2.0, baseline=None, preload=True, verbose="CRITICAL")
    epochs.save(tmp_path / "s1-epo.fif", verbose="CRITICAL")
    for data in (epochs, tmp_path / "s1-epo.fif"):
        windows = open_eeg(data, PLAIN, labels=True)
        assert len(windows) == 3 and windows.class_names == ("left", "right")
        assert windows.labels.tolist() == [0, 1, 1] and len(windows.group_names) == 1
        np.testing.assert_allclose(windows.read(1), sines()[:, 512:768], atol=1e-4)


def test_files_of_several_subjects(tmp_path):
    for subject in ("S01", "S02"):
        (tmp_path / subject).mkdir()
        for run in (1, 2):
            raw_of(sines(5)).save(tmp_path / subject / f"{subject}R{run}_raw.fif", verbose="CRITICAL")
    (tmp_path / "notes.txt").write_text("not EEG")
    for group, names in (
        ("file", 4),
        ("folder", 2),
        ("S[0-9]+", ("S01", "S02")),
        ("R([0-9])", ("1", "2")),
    ):
        windows = open_eeg(tmp_path, EEGConfig(band=None, samples=256, every=2.0, group=group))
        assert len(windows) == 8
        assert windows.group_names == names or len(windows.group_names) == names
    assert windows.groups.tolist() == [0, 0, 1, 1] * 2
    with pytest.raises(ConfigError, match="finds nothing"):
        open_eeg(tmp_path, EEGConfig(band=None, samples=256, group="P[0-9]+"))


def test_edf_written_by_hand_and_cut_off(tmp_path):
    signal = np.rint(100 * sines(6, 160))
    write_edf(tmp_path / "a.edf", signal, 160, ["Fp1.", "Cz..", "O2.."])
    windows = open_eeg(tmp_path / "a.edf", EEGConfig(rate=160.0, band=None, samples=400, every=100.0))
    assert windows.electrodes == tuple(NAMES)
    np.testing.assert_allclose(windows.read(0), signal[:, :400], atol=1e-3)
    whole = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "a.edf").write_bytes(whole[:-100])
    with pytest.raises(
        DataError, match=f"cut off: its header promises {len(whole)} bytes, it has {len(whole) - 100}"
    ):
        open_eeg(tmp_path / "a.edf")
    (tmp_path / "a.edf").write_bytes(b"nonsense" * 100)
    with pytest.raises(DataError, match="header is not that of an EDF"):
        open_eeg(tmp_path / "a.edf")


@pytest.mark.parametrize("name", ["a_raw.fif", "a.vhdr", "a.gdf", "a.set", "a.bdf", "a.npz", "a.npy"])
def test_a_torn_file_of_any_kind_is_one_error(tmp_path, name):
    for content in (b"", b"\x00\x01nonsense" * 50):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"cannot read .*a[_.]|is empty \(0 bytes\)"):
            open_eeg(tmp_path / name)


def test_a_truncated_fif_file_is_an_error(tmp_path):
    raw_of(sines(60)).save(tmp_path / "a_raw.fif", verbose="CRITICAL")
    whole = (tmp_path / "a_raw.fif").read_bytes()
    (tmp_path / "a_raw.fif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot read"):
        open_eeg(tmp_path / "a_raw.fif", PLAIN)


def test_arrays_in_files(tmp_path):
    trials = np.stack([sines(2), sines(2) + 1])
    np.savez(
        tmp_path / "t.npz", data=trials, channels=NAMES, rate=128.0, labels=["b", "a"], groups=["s2", "s1"]
    )
    windows = open_eeg(tmp_path / "t.npz", PLAIN, labels=True)
    assert windows.labels.tolist() == [1, 0] and windows.group_names == ("s1", "s2")
    np.testing.assert_allclose(windows.read(1), trials[1], atol=1e-5)
    np.save(tmp_path / "c.npy", sines(4) * 1e-6)
    named = EEGConfig(band=None, samples=256, channels=tuple(NAMES), source_rate=128.0, unit="V")
    np.testing.assert_allclose(open_eeg(tmp_path / "c.npy", named).read(0), sines(2), atol=1e-4)
    with pytest.raises(DataError, match=r"does not name its channels.*eeg\.channels"):
        open_eeg(tmp_path / "c.npy", PLAIN)
    with pytest.raises(DataError, match=r"no sampling rate.*eeg\.source_rate"):
        open_eeg(tmp_path / "c.npy", EEGConfig(channels=tuple(NAMES)))
    np.savez(tmp_path / "n.npz", other=trials)
    with pytest.raises(DataError, match=r"no signals: expected a key data, x, signals; its keys: other"):
        open_eeg(tmp_path / "n.npz", PLAIN)
    np.savez(tmp_path / "o.npz", data=np.array([object()], dtype=object))
    with pytest.raises(DataError, match="cannot read"):
        open_eeg(tmp_path / "o.npz", PLAIN)


def test_places_from_the_file_or_given():
    raw = raw_of(sines(), names=["A", "B", "C"])
    places = {"A": [0.01, 0.02, 0.09], "B": [0.0, 0.0, 0.1], "C": [0.05, 0.0, 0.06]}
    raw.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
    windows = open_eeg(raw, EEGConfig(band=None, samples=256, montage="file"))
    np.testing.assert_allclose(windows.positions, list(places.values()), atol=1e-6)
    given_places = from_arrays(sines()[None], ["A", "B", "C"], 128.0, positions=np.eye(3), config=PLAIN)
    assert (given_places.positions == np.eye(3)).all()
    with pytest.raises(DataError, match="no place known for 3 of 3"):
        open_eeg(raw, PLAIN)


def test_unknown_channels_are_named_dropped_or_kept():
    raw = raw_of(sines(names=[*NAMES, "X"]), names=[*NAMES, "EOGx"])
    with pytest.raises(DataError, match=r"no place known for 1 of 4 channels: EOGx.*eeg\.unknown"):
        open_eeg(raw, PLAIN)
    drop = open_eeg(raw, EEGConfig(band=None, samples=256, unknown="drop"))
    assert drop.electrodes == tuple(NAMES)
    keep = open_eeg(raw, EEGConfig(band=None, samples=256, unknown="keep"))
    assert keep.electrodes[3] == "EOGx" and np.isnan(keep.positions[3]).all()
    chosen = open_eeg(raw, EEGConfig(band=None, samples=256, channels=("o2", "Cz")))
    assert chosen.electrodes == ("O2", "Cz")
    np.testing.assert_allclose(chosen.read(0), sines()[[2, 1], :256], atol=1e-4)
    with pytest.raises(DataError, match="has no channel Fp2: did you mean 'Fp1'"):
        open_eeg(raw, EEGConfig(band=None, samples=256, channels=("Fp2",)))


def test_doubled_channels():
    raw = raw_of(sines(), names=["Cz", "EEG Cz-REF", "O2"])
    with pytest.raises(DataError, match=r"2 channels Cz \(Cz, EEG Cz-REF\)"):
        open_eeg(raw, PLAIN)
    assert open_eeg(raw, EEGConfig(band=None, samples=256, channels=("O2",))).electrodes == ("O2",)


def test_recordings_with_other_channels():
    two = [raw_of(sines()), raw_of(sines(names=["a", "b"]), names=["O2", "Cz"])]
    with pytest.raises(DataError, match=r"without Fp1, with none on top; 2 are in both"):
        open_eeg(two, PLAIN)
    seen = []
    both = [raw_of(sines()), raw_of(sines()[::-1], names=NAMES[::-1])]
    turned = open_eeg(both, PLAIN, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert len(turned) == 10 and torch.equal(turned.read(0), turned.read(5))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value):
    signal = sines()
    signal[1, 320] = value
    with pytest.raises(DataError, match=r"channel Cz holds a value that is not finite at 2\.500 s \(1 such"):
        open_eeg(raw_of(signal), PLAIN)


@pytest.mark.parametrize(
    "data, says",
    [
        ("nowhere.edf", "does not exist"),
        ([], "empty list"),
        (3, "got int"),
        (np.zeros((3, 4)), "for arrays use from_arrays"),
    ],
)
def test_what_is_no_eeg(data, says):
    with pytest.raises(DataError, match=says):
        open_eeg(data)


def test_empty_short_and_eventless(tmp_path):
    with pytest.raises(DataError, match="holds no EEG files"):
        open_eeg(tmp_path)
    with pytest.raises(DataError, match=r"is empty: its signal has the shape \(2, 3, 0\)"):
        from_arrays(np.zeros((2, 3, 0)), NAMES, 128.0, config=PLAIN)
    with pytest.raises(DataError, match="expected trials of shape"):
        from_arrays(np.zeros((3, 10)), NAMES, 128.0)
    with pytest.raises(DataError, match="2 channel names for a signal"):
        from_arrays(np.zeros((1, 3, 10)), NAMES[:2], 128.0)
    with pytest.raises(DataError, match="1 labels for a signal"):
        from_arrays(np.zeros((2, 3, 10)), NAMES, 128.0, labels=[0])
    with pytest.raises(
        DataError, match=r"no window of 2072 samples \(16.1875 s\) fits: the longest recording has 1280"
    ):
        open_eeg(raw_of(sines()), EEGConfig(band=None))
    with pytest.raises(DataError, match="hold no events"):
        open_eeg(raw_of(sines()), PLAIN, labels=True)
    with pytest.raises(DataError, match="none of the events lft is there: did you mean 'left'"):
        chosen = EEGConfig(band=None, samples=256, events=("lft",))
        open_eeg(raw_of(sines(), marks=[(1.0, "left")]), chosen, labels=True)
    with pytest.raises(DataError, match="has no EEG channels"):
        open_eeg(raw_of(sines(), kinds="ecg"), PLAIN)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"rate": 0.0}, "rate must be above 0"),
        ({"band": (40.0, 0.5)}, "low < high"),
        ({"group": "("}, "no regular expression"),
    ],
)
def test_impossible_settings(fields, says):
    with pytest.raises(ConfigError, match=says):
        EEGConfig(**fields)
    config = EEGConfig()
    object.__setattr__(config, "unit", "mv")  # past the checks of types, which only tests have
    with pytest.raises(ConfigError, match=r"unknown eeg\.unit 'mv': did you mean 'mV'"):
        config.__post_init__()
    with pytest.raises(DataError, match="unknown montage 'standard_1055'"):
        look_up(["Cz"], "standard_1055")


def test_without_mne_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(MissingExtraError, match=r"anyjepa\[eeg\]"):
        from_arrays(sines()[None], NAMES, 128.0, config=PLAIN)
    with pytest.raises(MissingExtraError, match=r"anyjepa\[eeg\]"):
        from_arrays(sines()[None], NAMES, 128.0, positions=np.eye(3))  # the default filters
    plain = from_arrays(sines()[None], NAMES, 128.0, positions=np.eye(3), config=PLAIN)
    assert len(plain) == 5, "with places, the right rate and no filter MNE is not needed"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.floats(2.0, 60.0),
    samples=st.integers(1, 256),
    every=st.floats(0.1, 30.0),
)
def test_windows_lie_within_their_recording_and_in_order(seconds, samples, every):
    signal = np.arange(round(seconds * 128), dtype=np.float64)[None, None].repeat(3, axis=1)
    config = EEGConfig(band=None, samples=samples, every=every)
    windows = from_arrays(signal, NAMES, 128.0, positions=np.eye(3), config=config)
    step = max(1, round(every * 128))
    assert len(windows) == (signal.shape[2] - samples) // step + 1
    for i in {0, len(windows) // 2, len(windows) - 1}:
        expected = np.arange(i * step, i * step + samples, dtype=np.float32)
        assert (windows.read(i).numpy() == expected).all()


def test_the_recordings_of_eegmmidb(require_data, tmp_path):
    folder = require_data("eeg-eegmmidb-s001")
    for run in ("03", "06"):
        shutil.copy(folder / f"S001R{run}.edf", tmp_path)
    config = EEGConfig(samples=536, events=("T1", "T2"), channels=("C3", "Cz", "C4"), group="R[0-9]+")
    windows = open_eeg(tmp_path, config, labels=True)
    assert len(windows) == 30 and windows.electrodes == ("C3", "Cz", "C4") and windows.rate == 128.0
    assert windows.group_names == ("R03", "R06") and windows.class_names == ("T1", "T2")
    assert sorted(np.bincount(windows.labels)) == [14, 16] or sorted(np.bincount(windows.labels)) == [15, 15]
    assert 5 < float(windows.batch(range(30)).std()) < 100, "microvolts"


def test_the_trials_of_bci_competition_2(require_data):
    with np.load(require_data("eeg-bci2-sp1s") / "sp1s_aa.npz", allow_pickle=False) as stored:
        x, labels, names = (stored[k] for k in ("x_train", "y_train", "channels"))
    windows = from_arrays(x.transpose(2, 1, 0), names.tolist(), 100.0, labels=labels)
    assert windows.shape == (28, 64) and len(windows) == 316 and np.isfinite(windows.positions).all()
    assert np.bincount(windows.labels).tolist() == [159, 157]
