"""A download of a ResNet-18 into the trunks of a policy."""

import pytest
import torch
from safetensors.torch import save_file

from anyjepa import create
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.trunk import load_trunk

TINY = dict(size="nano", dim=16, depth=1, heads=2, hidden=16, image_size=(32, 32))


def as_transformers(state):
    """Our names back to those of microsoft/resnet-18."""
    found = {}
    for name, value in state.items():
        words = name.split(".")
        kind = {"conv": "convolution", "bn": "normalization"}
        if words[0] in ("conv1", "bn1"):
            found[f"resnet.embedder.embedder.{kind[words[0][:-1]]}.{words[-1]}"] = value
            continue
        if words[2] == "downsample":
            place = f"shortcut.{('convolution', 'normalization')[int(words[3])]}"
        else:
            place = f"layer.{int(words[2][-1]) - 1}.{kind[words[2][:-1]]}"
        stage = int(words[0].removeprefix("layer")) - 1
        found[f"resnet.encoder.stages.{stage}.layers.{words[1]}.{place}.{words[-1]}"] = value
    return found | {"classifier.1.weight": torch.zeros(3, 512)}


def test_weights_reach_every_trunk(tmp_path):
    method, other = (create("act-jepa", trunk="resnet18", seed=seed, **TINY) for seed in (0, 1))
    save_file(as_transformers(other.context_encoder.trunk.state_dict()), tmp_path / "model.safetensors")
    assert load_trunk(method, tmp_path / "model.safetensors") == 2
    x = torch.rand(2, 3, 32, 32)
    method.eval(), other.eval()
    for trunk in (method.context_encoder.trunk, method.target.copy.trunk):
        assert torch.equal(trunk(x), other.context_encoder.trunk(x))


def test_what_does_not_fit_is_named(tmp_path):
    small = create("act-jepa", **TINY)
    with pytest.raises(ConfigError, match="trunk=resnet18"):
        load_trunk(small, tmp_path / "model.safetensors")
    method = create("act-jepa", trunk="resnet18", **TINY)
    with pytest.raises(CheckpointError, match="not a readable"):
        load_trunk(method, tmp_path / "model.safetensors")
    state = as_transformers(method.context_encoder.trunk.state_dict())
    state["resnet.embedder.embedder.convolution.weight"] = torch.zeros(8, 3, 7, 7)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(
        CheckpointError, match=r"another network: conv1\.weight is \(8, 3, 7, 7\), expected \(64, 3, 7, 7\)"
    ):
        load_trunk(method, tmp_path / "other.safetensors")
