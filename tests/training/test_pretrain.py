"""From a config to a run directory and on, with the real I-JEPA on real images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from children import rows

from anyjepa.config import read_yaml
from anyjepa.errors import CheckpointError, ConfigError, DataError
from anyjepa.pretraining import pretrain, resume
from anyjepa.training import RunConfig, load_method

MODEL = dict(size="nano", dim=16, depth=1, heads=2, predictor_width=16, predictor_depth=1, patch_size=1)
TRAIN = dict(batch_size=4, workers=0, log_every=1, checkpoint_every=2, accelerator="cpu")


def config(out, **more) -> RunConfig:
    values = dict(
        method="ijepa", data="digits", out=str(out), model=MODEL | dict(optim=dict(steps=4)), train=TRAIN
    )
    return RunConfig.from_mapping(values | dict(images=dict(limit=20)) | more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    pretrain(config(run))
    return run


def test_the_run_directory_says_everything(finished):
    assert {"config.yaml", "run.json", "log.jsonl", "log.csv", "checkpoints"} == {
        p.name for p in finished.iterdir()
    }
    values = read_yaml(finished / "config.yaml")
    assert values["model"]["image_size"] == [8, 8] and values["model"]["channels"] == 1
    assert values["images"]["size"] == [8, 8] and values["train"]["batch_size"] == 4
    info = json.loads((finished / "run.json").read_text())
    assert info["samples"] == 20 and info["versions"]["torch"] == torch.__version__
    assert [row["step"] for row in rows(finished)] == [1, 2, 3, 4]
    state = json.loads((finished / "checkpoints/step-00000004/state.json").read_text())
    assert state["config"] == values


def test_the_saved_config_is_the_config(finished):
    loaded = RunConfig.load(finished / "config.yaml")
    loaded.save(finished.parent / "again.yaml")
    assert RunConfig.load(finished.parent / "again.yaml") == loaded


def test_the_trained_method_loads(finished):
    method = load_method(finished)
    assert method.name == "ijepa" and not method.training
    assert method.encode(torch.rand(2, 1, 8, 8)).pooled.shape == (2, 16)


def test_the_report_comes_before_the_training(tmp_path, capsys):
    pretrain(config(tmp_path / "run"))
    assert "20 images, grey" in capsys.readouterr().out


def test_resuming_a_finished_run_says_so(finished, capsys):
    before = (finished / "log.jsonl").read_bytes()
    assert resume(finished).finished
    assert "is finished: all 4 steps" in capsys.readouterr().out
    assert (finished / "log.jsonl").read_bytes() == before


def test_a_second_run_in_the_same_place_is_refused_before_anything_changes(finished):
    before = (finished / "config.yaml").read_text()
    with pytest.raises(ConfigError, match="already holds a run"):
        pretrain(config(finished))
    assert (finished / "config.yaml").read_text() == before and load_method(finished)


def test_overwrite(tmp_path):
    pretrain(config(tmp_path / "run"))
    pretrain(config(tmp_path / "run", train=TRAIN | dict(seed=1)), overwrite=True)
    assert len(rows(tmp_path / "run")) == 4
    assert RunConfig.load(tmp_path / "run/config.yaml").train.seed == 1


def test_a_moved_run_goes_on_where_it_is(tmp_path):
    pretrain(config(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    newest = tmp_path / "new/checkpoints/step-00000004"
    (newest / "state.json").unlink()
    assert resume(tmp_path / "new").checkpoint == newest
    assert not (tmp_path / "old").exists()


def test_resume_needs_a_run_and_the_same_data(tmp_path):
    with pytest.raises(CheckpointError, match="not a run directory"):
        resume(tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    pretrain(config(tmp_path / "run", data=str(tmp_path / "images.npy"), images={}))
    (tmp_path / "run/checkpoints/step-00000004/state.json").unlink()
    np.save(tmp_path / "images.npy", images[:10])
    with pytest.raises(DataError, match="10 samples, it had 12"):
        resume(tmp_path / "run")


def test_sizes_come_from_where_they_are_given(tmp_path):
    images = pretrain(config(tmp_path / "a", images=dict(limit=20, size=10)))
    assert load_method(images.run).input_shape() == (1, 10, 10)
    model = pretrain(config(tmp_path / "b", model=MODEL | dict(image_size=[9, 9], optim=dict(steps=2))))
    assert load_method(model.run).input_shape() == (1, 9, 9)
    both = config(tmp_path / "c", images=dict(size=10), model=MODEL | dict(image_size=[9, 9]))
    with pytest.raises(ConfigError, match="leave one of the two out"):
        pretrain(both)
    with pytest.raises(ConfigError, match="model expects 3 x 8 x 8"):
        pretrain(replace(config(tmp_path / "d"), model=replace(config(tmp_path).model, channels=3)))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (dict(method="ijepa", data="digits"), "'out' is missing"),
        (dict(method="ijpea", data="digits", out="x"), "did you mean 'ijepa'"),
        (dict(method="ijepa", data="digits", out="x", tran={}), "did you mean 'train'"),
        (dict(method="ijepa", data="digits", out="x", model=dict(dimm=3)), "model.dimm.*did you mean 'dim'"),
        (
            dict(method="ijepa", data="digits", out="x", train=dict(batch_size="many")),
            "train.batch_size must be int",
        ),
    ],
)
def test_wrong_configs_say_what_is_wrong(values, text):
    with pytest.raises(ConfigError, match=text):
        RunConfig.from_mapping(values)
