"""Few labels, many draws: ``anyjepa probe --shots --draws`` is --per-class with as many seeds."""

import json

import numpy as np
import pytest

from anyjepa.cli import main
from anyjepa.pretraining import pretrain
from anyjepa.training import RunConfig

MODEL = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2, patch_size=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("shots") / "run"
    model = dict(MODEL, optim=dict(steps=2), masks=dict(target_scale=[0.15, 0.3]))
    train = dict(batch_size=8, workers=0, accelerator="cpu")
    config = dict(
        method="ijepa", model=model, data="digits:train", out=str(out), images=dict(limit=64), train=train
    )
    pretrain(RunConfig.from_mapping(config))
    return out


def scored(run, tmp_path, *words):
    file = tmp_path / "scores.json"
    assert (
        main(
            ["probe", str(run), "--data", "digits:train", "--test", "digits:test", "--out", str(file), *words]
        )
        == 0
    )
    return json.loads(file.read_text())


def test_every_draw_has_labels_of_its_own(run, tmp_path, capsys):
    options = ["--shots", "2", "5", "--draws", "4", "--probes", "linear"]
    found = scored(run, tmp_path, *options)
    assert found["seeds"] == [0, 1, 2, 3]
    raw = {row["labels"]: row["scores"][0]["values"] for row in found["rows"] if row["features"] == "raw"}
    assert set(raw) == {20, 50} and all(len(values) == 4 for values in raw.values())
    assert len(set(raw[20])) > 1, "draws differ"
    assert np.mean(raw[50]) > np.mean(raw[20]), "more labels, better scores"
    told = f"{100 * np.mean(raw[20]):.1f} ± {100 * np.std(raw[20], ddof=1):.1f}"
    assert told in capsys.readouterr().out
    same = scored(run, tmp_path, "--per-class", "2", "5", "--seeds", "0", "1", "2", "3", "--probes", "linear")
    assert same["rows"] == found["rows"]


def test_draws_and_seeds_say_the_same(run, capsys):
    command = ["probe", str(run), "--data", "digits:train", "--draws", "3", "--seeds", "0"]
    assert main(command) != 0
    assert "leave one of the two out" in capsys.readouterr().err
    assert main([*command[:-2][:-1], "0"]) != 0
    assert "at least 1" in capsys.readouterr().err
