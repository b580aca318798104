"""Recordings through the front door: from files to scores, and what is said of bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import anyjepa
from anyjepa import cli
from anyjepa.data.ecg import EcgConfig
from anyjepa.data.ecg_modality import Ecg
from anyjepa.errors import ConfigError

LEADS = ("I", "II", "V1")
SMALL = [
    *("--size", "nano", "--model.dim", "16", "--model.depth", "2", "--model.patch_size", "10"),
    *("--ecg.leads", "[I,II,V1]", "--ecg.rate", "100", "--ecg.seconds", "2"),
    *("--steps", "6", "--batch-size", "8", "--train.workers", "0", "--train.checkpoint_every", "3"),
]


def rhythm(rate: float, seconds: float, seed: int) -> np.ndarray:
    """Three leads with a narrow wave ``rate`` times a second, and noise."""
    draw = np.random.default_rng(seed)
    phase = (np.arange(int(100 * seconds)) / 100 * rate + draw.random()) % 1
    beat = np.exp(-(((phase - 0.5) / 0.02) ** 2))
    return np.stack([g * beat for g in (0.8, 1.0, -0.5)]) + 0.03 * draw.normal(size=(3, len(phase)))


def stored(path: Path, people=range(30), seconds=4.0) -> Path:
    """Two recordings of each person; slow or fast, and high or low."""
    x, labels, patients = [], [], []
    for person in people:
        for k in range(2):
            fast, high = person % 2 == 0, person % 3 == 0
            x.append((2 if high else 1) * rhythm(2.5 if fast else 1.0, seconds, 10 * person + k))
            labels.append([fast, high])
            patients.append(person)
    np.savez(path, signals=np.stack(x), leads=LEADS, rate=100, labels=np.array(labels), patient_id=patients)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with recordings and a run on them."""
    folder = tmp_path_factory.mktemp("ecg")
    stored(folder / "a.npz")
    code = cli.main(
        ["pretrain", "ecg-jepa", "--data", str(folder / "a.npz"), "--out", str(folder / "run"), *SMALL]
    )
    assert code == 0
    return folder


def test_a_run_on_recordings(trained, capsys):
    config = anyjepa.training.RunConfig.load(trained / "run/config.yaml")
    assert config.model.channels == 3 and config.model.length == 200 and config.reading.seconds == 2
    # the scale was taken from the data, so that later recordings are read with it
    assert len(config.reading.std) == 3 and 0.05 < config.reading.std[0] < 0.6
    method = anyjepa.load(trained / "run")
    assert method.input_shape() == (3, 200)
    assert cli.main(["resume", str(trained / "run")]) == 0
    assert cli.main(["doctor", str(trained / "run")]) in (0, 1)
    said = capsys.readouterr().out
    assert "is finished: all 6 steps" in said and "TOO EARLY" in said


@pytest.mark.parametrize(
    "options, std", [(["--ecg.std", "[0.2,0.3,0.4]"], (0.2, 0.3, 0.4)), (["--ecg.scaled", "false"], None)]
)
def test_a_scale_that_was_chosen(trained, tmp_path, options, std):
    words = ["pretrain", "ecg-jepa", "--data", str(trained / "a.npz"), "--out", str(tmp_path / "run")]
    assert cli.main([*words, *SMALL, *options]) == 0
    assert anyjepa.training.RunConfig.load(tmp_path / "run/config.yaml").reading.std == std


def test_weights_of_another_run_bring_their_scale(trained):
    kind, theirs = Ecg(), anyjepa.training.RunConfig.load(trained / "run/config.yaml").reading
    mine = replace(theirs, mean=None, std=None)
    assert kind.continued(mine, theirs).std == theirs.std
    chosen = replace(theirs, std=(1.0, 1.0, 1.0))
    assert kind.continued(chosen, theirs) == chosen
    # what was not chosen is as in the run
    assert kind.continued(EcgConfig(), theirs) == replace(theirs, label=None)
    with pytest.raises(ConfigError, match=r"the weights are for ecg\.rate=100: leave ecg\.rate out"):
        kind.continued(replace(mine, rate=50.0), theirs)
    with pytest.raises(ConfigError, match=r"ecg.leads=\[I, II, V1\]"):
        kind.continued(replace(mine, leads=("I",), mean=None, std=None), theirs)


def test_short_recordings_without_a_length(tmp_path):
    """Where none is 10 s long, samples are as long as the shortest."""
    kind, path = Ecg(), stored(tmp_path / "a.npz", range(2), seconds=4.0)
    config = EcgConfig(leads=LEADS, rate=100)
    source = kind.open(path, config)
    assert source.samples == 400 and kind.shape(source, config, None) == (3, 400)
    _, settled = kind.settle(source, config)
    assert settled.seconds == 4 and kind.suit(config, (3, 400)).seconds == 4
    assert kind.open(stored(tmp_path / "b.npz", range(2), seconds=12.0), config).samples == 1000


def test_inspect_says_what_is_there(trained, capsys):
    words = ["inspect", str(trained / "a.npz"), "--kind", "ecg", "--read", "rate=100", "seconds=2"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "60 recordings of 30 persons, 4 s" in said and "samples: 120 of 2 s at 100 Hz" in said
    assert "missing, zero instead, in how many of 60 looked at: V2 60" in said
    assert "computed from I and II, in how many of 60 looked at: III 60, aVR 60, aVL 60, aVF 60" in said
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["patients"] == 30


def test_scores_of_one_label_and_of_all(trained, capsys):
    base = ["probe", str(trained / "run"), "--data", str(trained / "a.npz")]
    assert cli.main([*base, "--probes", "ridge", "--read", "label=0"]) == 0
    said = capsys.readouterr().out
    assert "pretrained" in said and "untrained" in said and "whole groups" in said
    assert cli.main([*base, "--task", "sets", "--seeds", "0", "1"]) == 0
    said = capsys.readouterr().out
    assert "2 labels of" in said and "70, 15 and 15 % of the persons" in said
    found = json.loads((trained / "run/probe-sets.json").read_text())
    raw = [s["macro"] for s in found["scores"] if s["features"] == "raw"]
    # fast and high can be seen without learning
    assert len(raw) == 2 and min(raw) > 0.9
    assert cli.main(base) != 0
    assert "several labels each" in capsys.readouterr().err


def test_a_patient_in_both_sets_is_refused(trained, tmp_path, capsys):
    other = stored(tmp_path / "b.npz", range(11, 20))
    words = ["probe", str(trained / "run"), "--data", str(trained / "a.npz"), "--test", str(other)]
    assert cli.main([*words, "--probes", "ridge", "--read", "label=0"]) != 0
    assert "patient 11" in capsys.readouterr().err


def test_vectors_and_pictures(trained, capsys):
    pytest.importorskip("matplotlib", reason="draws the recordings: anyjepa[ecg]")
    out = trained / "vectors.parquet"
    assert cli.main(["embed", str(trained / "run"), "--data", str(trained / "a.npz"), "--out", str(out)]) == 0
    table = pq.read_table(out)
    assert table.num_rows == 120 and "a.npz row 0 at 0 s" in table.column("id").to_pylist()
    assert cli.main(["report", str(trained / "run")]) == 0
    page = (trained / "run/report.html").read_text()
    assert page.count("data:image/svg+xml") >= 7
    for words in (
        "3 leads",
        "rise of the error when the context encoder does not get a lead",
        "error over time",
    ):
        assert words in page


def test_in_a_pipeline():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from anyjepa.embedding import Embedder

    x = np.stack([rhythm(2.5 if i % 2 else 1.0, 2, i) for i in range(24)]).astype(np.float32)
    options = {
        "ecg": {"leads": LEADS, "rate": 100.0, "seconds": 2.0},
        "model": {"patch_size": 10, "dim": 16, "depth": 1},
    }
    embedder = Embedder(method="ecg-jepa", size="nano", steps=4, batch_size=8, options=options)
    model = make_pipeline(embedder, StandardScaler(), LogisticRegression())
    assert cross_val_score(model, x, np.arange(24) % 2, cv=2).shape == (2,)


def wfdb_record(folder: Path, name: str, x: np.ndarray, leads=LEADS) -> None:
    np.round(x.T * 1000).astype("<i2").tofile(folder / f"{name}.dat")
    lines = [
        f"{name} {len(leads)} 100 {x.shape[1]}",
        *[f"{name}.dat 16 1000/mV 16 0 0 0 0 {n}" for n in leads],
    ]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


BAD = {
    "cut off": (
        lambda f: (f / "bad.dat").write_bytes((f / "bad.dat").read_bytes()[:100]),
        "bytes where the header promises",
    ),
    "wrong header": (lambda f: (f / "bad.hea").write_text("bad three leads\n"), "not a WFDB header"),
    "no samples": (lambda f: (f / "bad.hea").write_text("bad 3 100 0\n"), "no samples"),
    "same lead twice": (
        lambda f: wfdb_record(f, "bad", rhythm(1, 3, 0), ("I", "II", "ii")),
        "lead II is there twice",
    ),
    "other channels": (
        lambda f: wfdb_record(f, "bad", rhythm(1, 3, 0), ("RESP", "PLETH", "ABP")),
        "none of the leads",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_record_is_named_once(tmp_path, capsys, what):
    pytest.importorskip("wfdb", reason="the reader of WFDB records: anyjepa[ecg]")
    damage, message = BAD[what]
    for name in ("bad", "good"):
        wfdb_record(tmp_path, name, rhythm(1, 3, 0))
    damage(tmp_path)
    assert cli.main(["inspect", str(tmp_path), "--read", "rate=100", "seconds=2", "leads=[I, II]"]) == 0
    said = capsys.readouterr().out
    assert "1 recordings" in said or "2 recordings" in said
    assert said.count(message) == 1 and "cannot be read: 1; the first: " in said
    words = ["pretrain", "ecg-jepa", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *SMALL]
    assert cli.main(words) != 0
    error = capsys.readouterr().err
    assert "bad" in error and message in error and "Traceback" not in error


def test_values_that_are_not_finite_are_told(tmp_path, capsys):
    x = np.stack([rhythm(1, 3, i) for i in range(4)])
    # four values of II, and of the four leads that are computed from it
    x[0, 1, 5:9] = np.inf
    np.savez(tmp_path / "a.npz", signals=x, leads=LEADS, rate=100)
    words = ["inspect", str(tmp_path / "a.npz"), "--kind", "ecg", "--read", "rate=100", "seconds=2"]
    assert cli.main(words) == 0
    assert "not finite, interpolated: 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--ecg.leads", "[I,II,V7]"], "unknown lead 'V7'"),
        (["--ecg.seconds", "20"], "shorter than 20 s"),
        (["--model.length", "100"], "set ecg.seconds=1"),
        (["--model.channels", "2"], "expects 2 x 200 (leads, samples)"),
        (["--model.patch_size", "7"], "not divisible by patch"),
    ],
)
def test_settings_that_do_not_fit_are_one_clear_error(trained, tmp_path, capsys, options, message):
    words = ["pretrain", "ecg-jepa", "--data", str(trained / "a.npz"), "--out", str(tmp_path / "run")]
    assert cli.main([*words, *SMALL, *options]) != 0
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
