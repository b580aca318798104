"""Pretraining that starts from trained weights."""

import shutil
from pathlib import Path

import pytest
import torch
from trained import SHAPE, pictures, save, shaken, train

from anyjepa import export, load, pretrain, resume
from anyjepa.config import read_yaml
from anyjepa.contract import Method
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub import start as hub_start
from anyjepa.registry import entry
from anyjepa.training import RunConfig

STILL = {"lr": 1e-12, "start_lr": 1e-12, "final_lr": 1e-12, "weight_decay": 0.0, "final_weight_decay": 0.0}
"""Rates at which a training leaves the weights where they were, to rounding."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("first"), "ijepa")


def go_on(first: Path, out: Path, init: Path, method: str = "ijepa", **more) -> Path:
    """Two steps at a vanishing rate, started from ``init``, without a word on sizes."""
    model = {"optim": {"steps": 2, "warmup_steps": 1, **STILL}, **more.pop("model", {})}
    if method == "ijepa":
        model |= {"ema": [1.0, 1.0], "masks": {"min_keep": 1}}
    settings = {"batch_size": 8, "workers": 0, "accelerator": "cpu", "log_every": 1, "checkpoint_every": 1}
    values = {
        "method": method,
        "data": str(first.parent / "pictures.npy"),
        "out": str(out),
        "init": str(init),
    }
    pretrain(RunConfig.from_mapping({**values, "model": model, "train": settings, **more}))
    return out


def gap(a: Method, b: Method) -> float:
    theirs = b.state_dict()
    return max((t - theirs[name]).abs().max().item() for name, t in a.state_dict().items())


def test_all_weights_and_sizes_are_taken_over(first: Path, tmp_path: Path) -> None:
    for i, init in enumerate([first, tmp_path / "whole"]):
        if i:
            export(first, "anyjepa", init)
        run = go_on(first, tmp_path / f"run{i}", init)
        assert gap(load(run), load(first)) < 1e-6
        config = read_yaml(run / "config.yaml")
        assert config["init"] == str(init) and config["model"]["image_size"] == list(SHAPE[1:])
        assert config["images"]["mean"] == [0.5, 0.4, 0.3]


def test_an_encoder_alone_gets_a_new_predictor(first: Path, tmp_path: Path) -> None:
    export(first, "hf", tmp_path / "hf")
    model = {"predictor_width": 12, "predictor_depth": 1, "predictor_heads": 1}
    method = load(go_on(first, tmp_path / "run", tmp_path / "hf", model=model))
    assert method.config.predictor_width == 12
    x = pictures(method)
    with torch.no_grad():
        for role in ("target", "context"):
            wanted = load(first).encode(x).tokens
            torch.testing.assert_close(method.encode(x, encoder=role).tokens, wanted, rtol=0, atol=1e-5)


def test_another_method_takes_the_encoder(first: Path, tmp_path: Path) -> None:
    sizes = {"hidden": 8, "projection": 4, "global_views": 2}
    method = load(go_on(first, tmp_path / "run", first, "lejepa", model=sizes))
    x = pictures(method)
    with torch.no_grad():
        torch.testing.assert_close(method.encode(x).tokens, load(first).encode(x).tokens, rtol=0, atol=1e-5)


def test_another_image_size_and_target_rule(first: Path, tmp_path: Path) -> None:
    method = load(
        go_on(first, tmp_path / "run", first, model={"target": "stopgrad"}, images={"size": [32, 32]})
    )
    assert method.input_shape() == (3, 32, 32)
    theirs = load(first)
    for name, tensor in method.target_encoder.state_dict().items():
        torch.testing.assert_close(tensor, theirs.target_encoder.state_dict()[name], rtol=0, atol=1e-6)


def test_a_resume_reads_the_runs_own_checkpoints(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyjepa.pretraining as room

    asked = []
    real = room.read
    monkeypatch.setattr(room, "read", lambda source: asked.append(source) or real(source))
    init = save(load(first), tmp_path / "init")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # Killed before its first checkpoint: it starts once more from the weights it was to start from.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(room, "train", stop)
        go_on(first, tmp_path / "run", init)
    assert resume(tmp_path / "run").finished and len(asked) == 2
    assert gap(load(tmp_path / "run"), load(first)) < 1e-6
    # With a checkpoint the weights are not needed any more.
    shutil.rmtree(max((tmp_path / "run" / "checkpoints").iterdir()))
    asked.clear()
    assert resume(tmp_path / "run").finished and not asked


@pytest.mark.parametrize(
    "model, expected",
    [
        ({"dim": 48}, "model.dim=48, but the weights have 24"),
        (
            {"depth": 3, "heads": 2},
            "model.depth=3, but the weights have 2; model.heads=2, but the weights have 3",
        ),
        ({"stem": "conv"}, "model.stem=conv, but the weights have patch"),
        ({"predictor_width": 16}, "model.predictor_width=16, but the weights have 8"),
        ({"size": "base"}, "model.size=base, but the weights have tiny"),
    ],
)
def test_contradictions_are_named(first: Path, tmp_path: Path, model: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        go_on(first, tmp_path / "run", first, model=model)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_learned_positions_bind_the_image_size(tmp_path: Path) -> None:
    from anyjepa.config import from_dict
    from anyjepa.hub.load import read

    weights = read(save(shaken("ijepa", positions="learned"), tmp_path / "run"))
    config = from_dict(entry("ijepa").config, {"image_size": [32, 32]})
    with pytest.raises(ConfigError, match=r"model.image_size=\(32, 32\), but the weights have \(24, 32\)"):
        hub_start.adopt(config, "ijepa", weights)
    fitting = hub_start.adopt(from_dict(entry("ijepa").config, {}), "ijepa", weights)
    assert fitting.positions == "learned" and fitting.image_size == (24, 32)


def test_what_cannot_be_loaded_costs_nothing(first: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not there"):
        go_on(first, tmp_path / "run", tmp_path / "absent")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="lies in the directory of the new run"):
        go_on(first, first, first / "checkpoints")
    with pytest.raises(
        ConfigError, match=r"weights take 3 channels .* the data have 1: .* images\.channels=3"
    ):
        go_on(first, tmp_path / "grey", first, images={"channels": 1})
