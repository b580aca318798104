"""The command line on EEG, as its users meet it: other channels, persons on both sides, and one clear message for bad files."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from anyjepa.cli import main

pytest.importorskip("mne", reason="MNE is the extra 'eeg'")

NAMES = ["F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"]
MODEL = shlex.split("--size nano --model.dim 16 --model.heads 2 --model.hidden 32 --model.dropout 0")
FAST = shlex.split(
    "--steps 2 --batch-size 8 --workers 0 --train.accelerator cpu --eeg.samples 280 --eeg.every 1"
)


def trials(path, names=NAMES, persons=range(6), rate=128.0, seconds=2.5, **changed):
    """Twelve trials of each person, of two classes that differ in their rhythm."""
    draws = np.random.default_rng(0)
    n = 12 * len(persons)
    labels = np.arange(n) % 2
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * np.where(labels, 6, 20)[:, None] * time + draws.uniform(0, 6, (n, 1)))
    data = 10 * wave[:, None] + draws.normal(size=(n, len(names), len(time)))
    content = dict(data=data, channels=names, rate=rate, labels=np.array(["slow", "fast"])[1 - labels])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **(content | dict(groups=np.repeat([f"person {p}" for p in persons], 12)) | changed))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eeg-run")
    data = trials(folder / "data" / "trials.npz")
    out = folder / "run"
    assert main(["pretrain", "sjepa", "--data", str(data), "--out", str(out), *MODEL, *FAST]) == 0
    return out, data


def test_a_run_is_probed_and_embedded_on_other_channels(run, tmp_path, capsys):
    out, _ = run
    other = trials(tmp_path / "other.npz", ["Cz", "c4", "CP1", "CP2", "Oz"])
    assert (
        main(
            ["probe", str(out), "--data", str(other), "--probes", "linear", "--out", str(tmp_path / "s.json")]
        )
        == 0
    )
    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert {r["features"] for r in rows} == {"pretrained", "untrained", "raw"}
    assert main(["embed", str(out), "--data", str(other), "--out", str(tmp_path / "v.npy")]) == 0
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.shape == (72, 16) and np.isfinite(vectors).all()


def test_persons_are_not_on_both_sides(run, tmp_path, capsys):
    out, data = run
    arguments = ["probe", str(out), "--data", str(data), "--probes", "linear"]
    assert main([*arguments, "--out", str(tmp_path / "s.json")]) == 0
    assert "whole groups" in capsys.readouterr().out
    test = trials(tmp_path / "test.npz", persons=[5, 7])
    assert main([*arguments, "--test", str(test)]) == 2
    assert "person 5" in capsys.readouterr().err


def test_inspect_tells_what_a_person_of_the_field_wants_to_know(run, capsys):
    assert main(["inspect", str(run[1]), "--kind", "eeg", "--read", "samples=280"]) == 0
    told = capsys.readouterr().out
    assert "72 windows of 280 samples (2.1875 s at 128 Hz)" in told and "of 6 groups" in told
    assert "8 channels: F3, F4" in told


def test_a_wrong_unit_and_a_flat_channel_are_seen(tmp_path, capsys):
    data = np.random.default_rng(0).normal(size=(12, 8, 320)) * 1e-5
    data[:, 3] = 0
    path = trials(tmp_path / "volts.npz", data=data, persons=[0])
    assert main(["inspect", str(path), "--kind", "eeg", "--read", "samples=280"]) == 0
    told = capsys.readouterr().out
    assert "is the unit right" in told and "flat in some recording: C4" in told


def broken(path: Path, kind: str) -> str:
    """Write one bad file; what the message must say beside its name."""
    good = np.random.default_rng(0).normal(size=(4, 8, 400))
    save = lambda **changed: trials(path, persons=[0], labels=[0, 1] * 2, groups=["a"] * 4, **changed)  # noqa: E731
    if kind == "truncated":
        save(data=good)
        path.write_bytes(path.read_bytes()[:-2000])
        return "cannot read"
    if kind == "not finite":
        good[2, 1, 100] = np.inf
        save(data=good)
        return "F4 holds a value that is not finite at 0.781 s"
    if kind == "doubled":
        save(data=good, channels=[*NAMES[:7], "EEG O1-REF"])
        return "2 channels O1"
    if kind == "unknown":
        save(data=good, channels=[*NAMES[:7], "Q9"])
        return "no place known for 1 of 8 channels: Q9"
    if kind == "header":
        save(data=good, channels=NAMES[:5])
        return "5 channel names for a signal of shape"
    save(data=good[..., :0])
    return "is empty"


@pytest.mark.parametrize("kind", ["truncated", "not finite", "doubled", "unknown", "header", "empty"])
def test_a_bad_file_is_one_message_with_its_name(tmp_path, capsys, kind):
    path = tmp_path / "data" / "night.npz"
    says = broken(path, kind)
    code = main(["pretrain", "sjepa", "--data", str(path), "--out", str(tmp_path / "run"), *MODEL, *FAST])
    told = capsys.readouterr().err
    assert code == 2 and says in told and "night.npz" in told and "Traceback" not in told
    assert len(told.splitlines()) == 1


def test_an_unknown_montage_is_one_message(run, tmp_path, capsys):
    arguments = ["pretrain", "sjepa", "--data", str(run[1]), "--out", str(tmp_path / "run"), *MODEL, *FAST]
    assert main([*arguments, "--eeg.montage", "standard1005"]) == 2
    assert "unknown montage 'standard1005': did you mean 'standard_1005'" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_weights_go_on_only_with_data_as_they_were_trained(run, tmp_path, capsys):
    out, data = run
    arguments = [
        "pretrain",
        "sjepa",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "on"),
        *FAST,
        "--init",
        str(out),
    ]
    assert main([*arguments, "--eeg.band", "[1, 30]"]) == 2
    assert "the weights are for eeg.band=[0.5, 40]" in capsys.readouterr().err
    fewer = [*arguments, "--eeg.channels", "[C3, C4]", "--overwrite"]
    assert main(fewer) == 2
    assert "the weights take 8 channels (channels, samples), the data have 2" in capsys.readouterr().err
