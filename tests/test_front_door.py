"""Every verb on every kind of data: what holds for images holds for recordings, windows and scans."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import anyjepa
from anyjepa.cli import main
from anyjepa.data.modalities import MODALITIES
from anyjepa.embedding import Embedder
from anyjepa.training import RunConfig
from fields import FIELDS, drawn, words

pytestmark = pytest.mark.parametrize("kind", MODALITIES)


def pairs(values):
    return ["--read", *(f"{k}={v}" for k, v in values.items())] if values else []


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """For each kind a folder with data and a run of a few steps, made by the command line."""
    made = {}

    def make(kind):
        if kind not in made:
            field, folder = FIELDS[kind], tmp_path_factory.mktemp(kind)
            data = field.write(folder)
            arguments = [
                "pretrain",
                field.method,
                "--data",
                str(data),
                "--out",
                str(folder / "run"),
                "--steps",
                "3",
            ]
            arguments += words("model", field.model) + words(kind, field.options)
            arguments += [
                "--batch-size",
                "8",
                "--workers",
                "0",
                "--train.log_every",
                "1",
                "--train.accelerator",
                "cpu",
            ]
            assert main(arguments) == 0
            made[kind] = (folder, data)
        return made[kind]

    return make


@pytest.fixture
def field(walked, kind, monkeypatch):
    folder, data = walked(kind)
    monkeypatch.chdir(folder)
    return FIELDS[kind], folder / "run", data


def test_inspect(field, kind, capsys):
    data = field[2]
    options = {k: v for k, v in field[0].options.items()}
    assert main(["inspect", str(data), "--kind", kind, *(pairs(options) if kind != "images" else [])]) == 0
    assert MODALITIES[kind].noun in capsys.readouterr().out


def test_pretrain_again_gives_the_same_weights(field, kind, tmp_path):
    first = anyjepa.load(field[1])
    config = RunConfig.load(field[1] / "config.yaml")
    anyjepa.pretrain(dataclasses.replace(config, out=str(tmp_path / "again")))
    second = anyjepa.load(tmp_path / "again").state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.state_dict().items())


def test_resume_finds_it_finished(field, kind, capsys):
    assert main(["resume", str(field[1])]) == 0
    assert "is finished" in capsys.readouterr().out


def test_doctor(field, kind, capsys):
    assert main(["doctor", str(field[1])]) in (0, 1)
    assert capsys.readouterr().out


def test_embed(field, kind):
    assert main(["embed", str(field[1]), "--data", str(field[2]), "--out", "vectors.npy"]) == 0
    vectors = np.load("vectors.npy")
    assert len(vectors) >= 16 and np.isfinite(vectors).all() and vectors.std(0).max() > 0


def test_probe(field, kind, capsys):
    known = field[0]
    arguments = ["probe", str(field[1]), "--data", str(field[2]), "--out", "scores.json"]
    assert main([*arguments, *pairs(known.labelled), "--probes", "knn", "linear", "attentive"]) == 0
    scores = json.loads(Path("scores.json").read_text())
    rows = {row["features"] for row in scores["rows"]}
    assert rows == {"pretrained", "untrained", "raw"}


def test_finetune(field, kind):
    known = field[0]
    arguments = ["probe", str(field[1]), "--data", str(field[2]), "--finetune-steps", "2"]
    assert main([*arguments, *pairs(known.labelled), "--probes", "finetune"]) == 0


def test_report(field, kind):
    assert main(["report", str(field[1])]) == 0
    page = (field[1] / "report.html").read_text()
    assert page.count("<section") >= 8 and "data:image" in page


def test_export_and_load(field, kind, tmp_path):
    assert main(["export", str(field[1]), "--to", "anyjepa", "--out", str(tmp_path / "exported")]) == 0
    ours, theirs = anyjepa.load(field[1]), anyjepa.load(tmp_path / "exported")
    x = drawn(ours.input_shape())
    assert torch.equal(ours.encode(x).pooled, theirs.encode(x).pooled)
    out = ["--data", str(field[2]), "--out"]
    assert main(["embed", str(field[1]), *out, str(tmp_path / "a.npy")]) == 0
    assert main(["embed", str(tmp_path / "exported"), *out, str(tmp_path / "b.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


def test_start_from_trained_weights(field, kind, tmp_path):
    known = field[0]
    arguments = [
        "pretrain",
        known.method,
        "--data",
        str(field[2]),
        "--out",
        str(tmp_path / "on"),
        "--steps",
        "1",
    ]
    arguments += [
        "--init",
        str(field[1]),
        "--batch-size",
        "8",
        "--workers",
        "0",
        "--train.accelerator",
        "cpu",
    ]
    assert (
        main(
            [
                *arguments,
                "--model.optim.lr",
                "0",
                "--model.optim.start_lr",
                "0",
                "--model.optim.final_lr",
                "0",
            ]
        )
        == 0
    )
    before, after = anyjepa.load(field[1]), anyjepa.load(tmp_path / "on")
    # Running statistics of batch norms move without any learning.
    moved = dict(after.named_buffers())
    for name, buffer in before.named_buffers():
        moved[name].copy_(buffer)
    x = drawn(before.input_shape())
    # The target encoder has moved a little towards the context encoder, which stands still.
    seen = [method.encode(x, encoder="context").pooled for method in (before, after)]
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-4)


def test_estimator(field, kind):
    known = field[0]
    options = {"model": known.model, kind: known.options}
    made = Embedder(known.method, steps=2, batch_size=8, options=options, random_state=0, device="cpu")
    vectors = made.fit_transform(str(field[2]))
    assert vectors.dtype == np.float32 and len(vectors) >= 16 and vectors.shape[1] == made.n_features_
    again = Embedder(known.method, steps=2, batch_size=8, options=options, random_state=0, device="cpu")
    assert np.array_equal(vectors, again.fit(str(field[2])).transform(str(field[2])))


def test_what_cannot_be_read_is_one_error(field, kind, tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.mkdir()
    endings = sorted(MODALITIES[kind].endings) or [".npz"]
    for i, ending in enumerate(endings[:3]):
        (broken / f"x{i}{ending}").write_bytes(b"\x00\x01 not what it says")
    code = main(
        ["pretrain", field[0].method, "--data", str(broken), "--out", str(tmp_path / "run"), "--steps", "1"]
    )
    told = capsys.readouterr().err
    assert code == 2 and "Traceback" not in told and str(broken) in told
