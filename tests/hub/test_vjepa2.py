"""VJEPA2Model of transformers computes the same, encoder and predictor, in both directions."""

import pytest
import torch

from anyjepa import create
from anyjepa.errors import CheckpointError, ConfigError
from anyjepa.hub.vjepa2 import from_vjepa2, to_vjepa2
from anyjepa.masking.tubes import TubeMaskConfig
from anyjepa.methods.vjepa import VJEPAConfig

transformers = pytest.importorskip("transformers")
FEW = dict(
    short_range=TubeMaskConfig(blocks=2, spatial_scale=(0.3, 0.3)),
    long_range=TubeMaskConfig(blocks=1, spatial_scale=(0.5, 0.5)),
)


def published(**fields):
    config = dict(
        patch_size=4,
        crop_size=16,
        frames_per_clip=4,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=3,
    )
    config |= dict(
        pred_hidden_size=16, pred_num_attention_heads=2, pred_num_hidden_layers=2, pred_num_mask_tokens=3
    )
    torch.manual_seed(0)
    return randomised(transformers.VJEPA2Model(transformers.VJEPA2Config(**(config | fields))))


def randomised(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@torch.no_grad()
def assert_same(model, method, encoder="target"):
    x = torch.randn(2, 3, *method.input_shape()[1:], generator=torch.Generator().manual_seed(0))
    order = torch.stack(
        [torch.randperm(method.layout.tokens, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    )
    context, target = order[:, :9].sort(1).values, order[:, 9:25].sort(1).values
    theirs = model(x.transpose(1, 2), context_mask=[context], target_mask=[target])
    tokens = method.encode(x, encoder=encoder).tokens
    torch.testing.assert_close(theirs.last_hidden_state, tokens, rtol=0, atol=1e-5)
    seen = tokens.gather(1, context[..., None].expand(-1, -1, tokens.shape[-1]))
    predicted = method.predictor(seen, context, target[:, None])[:, 0]
    torch.testing.assert_close(theirs.predictor_output.last_hidden_state, predicted, rtol=0, atol=1e-5)


def test_what_is_read_computes_the_same():
    model = published()
    assert_same(model, from_vjepa2(model, **FEW))


def test_what_is_written_computes_the_same(tmp_path):
    config = VJEPAConfig(size="nano", frames=4, image_size=(16, 16), patch_size=4, dim=36, depth=2, heads=3)
    from dataclasses import replace

    config = replace(
        config, predictor_width=12, predictor_depth=2, positions="rotary_tiled", mask_tokens="one", **FEW
    )
    method = randomised(create("vjepa", config))
    for encoder in ("target", "context"):
        model = to_vjepa2(method, encoder)
        assert_same(model, method, encoder)
    model.save_pretrained(tmp_path)
    assert_same(model, from_vjepa2(tmp_path, **FEW))


def test_what_the_layout_cannot_hold():
    config = VJEPAConfig(size="nano", frames=4, image_size=(16, 16), patch_size=4, **FEW)
    with pytest.raises(ConfigError, match="rotary_tiled"):
        to_vjepa2(create("vjepa", config))
    with pytest.raises(CheckpointError, match="hidden_act"):
        from_vjepa2(published(hidden_act="relu"))
    with pytest.raises(CheckpointError, match="expected a transformers"):
        from_vjepa2(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="no VJEPA2Model"):
        from_vjepa2("/nowhere/at/all")
