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
        if words[0] in ("stem", "stem_norm"):
            part = "convolution" if words[0] == "stem" else "normalization"
            found[f"resnet.embedder.embedder.{part}.{words[-1]}"] = value
            continue
        if words[3] == "shortcut":
            place = f"shortcut.{('convolution', 'normalization')[int(words[4])]}"
        else:
            part = "convolution" if words[3].startswith("conv") else "normalization"
            place = f"layer.{int(words[3][-1]) - 1}.{part}"
        found[f"resnet.encoder.stages.{words[1]}.layers.{words[2]}.{place}.{words[-1]}"] = value
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
        CheckpointError, match=r"another network: stem\.weight is \(8, 3, 7, 7\), expected \(64, 3, 7, 7\)"
    ):
        load_trunk(method, tmp_path / "other.safetensors")
