"""Residual trunks."""

import pytest
import torch

from anyjepa.errors import CheckpointError
from anyjepa.nn.resnet import RESNET18, ResNet, from_transformers


def test_resnet_18_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in ResNet(3, *RESNET18).parameters()) == 11_176_512


@pytest.mark.parametrize("stem, side", [("standard", 3), ("half", 6), ("small", 12)])
def test_the_map_is_smaller_by_the_stride(stem, side):
    trunk = ResNet(1, (4, 8, 12, 16), (1, 1, 1, 1), stem=stem, norm="group")
    assert trunk(torch.randn(2, 1, 96, 96)).shape == (2, 16, side, side) and 96 // trunk.stride == side
    assert trunk.width == 16


def test_with_group_norm_samples_do_not_see_each_other():
    x = torch.randn(3, 3, 32, 32)
    for norm, alone in (("group", True), ("batch", False)):
        trunk = ResNet(3, (16, 32), (1, 1), stem="small", norm=norm).train()
        assert torch.allclose(trunk(x)[:1], trunk(x[:1]), atol=1e-5) is alone


def test_weights_of_transformers_give_the_same_map():
    """The model of transformers itself, at its own random start."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24], depths=[2, 1, 2], layer_type="basic", num_labels=3
    )
    theirs = transformers.ResNetForImageClassification(config).eval()
    ours = ResNet(3, (8, 16, 24), (2, 1, 2)).eval()
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.resnet(x).last_hidden_state, rtol=1e-4, atol=1e-5)


def test_other_weights_are_refused():
    with pytest.raises(CheckpointError, match="is no part of a ResNet"):
        from_transformers({"vit.layer.0.weight": torch.zeros(1)})
