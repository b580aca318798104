"""Oracles of the Brain-JEPA sheet that are about the method as a whole."""

import math

import pytest
import torch
import torch.nn.functional as F

from anyjepa import Batch, create
from anyjepa.contract import Masks
from anyjepa.errors import ConfigError
from anyjepa.masking.roi_time import regions
from anyjepa.methods.brainjepa import BrainJEPA, BrainJEPAConfig
from anyjepa.nn.roi_time import RoiTimePositions
from anyjepa.schedules import OptimConfig

ROIS, DIMS = 14, 5


def table(rois=ROIS, dims=DIMS):
    generator = torch.Generator().manual_seed(rois)
    rows = 0.05 * torch.randn(rois, dims, generator=generator)
    return tuple(tuple(row) for row in rows.tolist())


def build(**fields):
    small = dict(dim=32, depth=3, heads=2, predictor_width=16, predictor_depth=2)
    shape = dict(rois=ROIS, frames=40, patch_size=4, gradients=table())
    return create("brainjepa", BrainJEPAConfig(**(small | shape | fields)))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "size, encoder, encoder_frozen, predictor, predictor_frozen",
    [
        ("small", 21_306_816, 864_000, 2_820_768, 432_000),
        ("base", 85_080_960, 1_728_000, 11_244_864, 864_000),
        ("large", 302_344_704, 2_304_000, 22_088_512, 864_000),
    ],
)
def test_parameter_counts_of_the_official_code(size, encoder, encoder_frozen, predictor, predictor_frozen):
    config = BrainJEPAConfig(size=size, gradients=table(450, 30), target="stopgrad")
    with torch.device("meta"):
        method = create("brainjepa", config)
    assert count(method.context_encoder) == encoder and count(method.predictor) == predictor
    # The frozen half of the positions: 4500 tokens, half of the width.
    assert 4500 * method.config.dim // 2 == encoder_frozen
    assert 4500 * method.config.predictor_width // 2 == predictor_frozen
    assert method.layout.grid == (450, 10) and method.config.predictor_heads == method.config.heads
    if size == "base":
        assert count(method.context_encoder.tokenizer) == 13_056
        assert count(method.context_encoder.positions) == 11_904
        assert count(method.predictor.positions) == 5_952


def test_tokens_are_those_of_the_official_convolution():
    """A convolution (1 -> d, kernel and stride (1, 16)), token = region * times + time."""
    method = build(frames=64, patch_size=16)
    tokenizer = method.context_encoder.tokenizer
    x = torch.randn(2, 1, ROIS, 64)
    weight = tokenizer.proj.weight.view(-1, 1, 1, 16)
    expected = F.conv2d(x, weight, tokenizer.proj.bias, stride=(1, 16)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokenizer(x), expected)


def test_positions_of_the_sheet():
    positions = RoiTimePositions(torch.tensor(table(450, 30)), 450, 10, 384)
    torch.nn.init.trunc_normal_(positions.proj.weight, std=0.02)
    p = positions.whole()
    time, region = p[:, :192], p[:, 192:]
    assert p.shape == (4500, 384)
    assert torch.equal(time[:-10], time[10:])
    assert torch.equal(region.view(450, 10, 192), region[::10, None].expand(-1, 10, -1))
    assert region.min().item() == -1.0 and region.max().item() == 1.0
    assert not time[0, :96].any() and (time[0, 96:] == 1).all()
    assert time[1, :4].tolist() == pytest.approx([0.8415, 0.7886, 0.7348, 0.6816], abs=1e-4)
    assert time[1, 5].item() == pytest.approx(math.sin(10000 ** (-5 / 96)), abs=1e-6)


def test_rescaled_positions_carry_gradient_and_survive_equal_regions():
    positions = RoiTimePositions(torch.tensor(table()), ROIS, 3, 16)
    (positions.whole() * torch.randn(ROIS * 3, 16)).sum().backward()
    assert positions.proj.weight.grad.abs().sum() > 0
    same = RoiTimePositions(torch.ones(ROIS, 2), ROIS, 3, 16)
    torch.nn.init.zeros_(same.proj.weight), torch.nn.init.zeros_(same.proj.bias)
    assert torch.isfinite(same.whole()).all()


def test_positions_follow_the_regions_wherever_they_stand():
    order = torch.randperm(ROIS)
    rows = torch.tensor(table())
    a, b = RoiTimePositions(rows, ROIS, 3, 16), RoiTimePositions(rows[order], ROIS, 3, 16)
    b.proj.load_state_dict(a.proj.state_dict())
    torch.testing.assert_close(a.whole().view(ROIS, 3, 16)[order], b.whole().view(ROIS, 3, 16))


def test_encoder_does_not_care_for_the_order_of_the_regions():
    """With gradients as positions a permuted atlas is the same brain: the pooled features are the same."""
    order = torch.randperm(ROIS).tolist()
    rows = table()
    a, b = build(), build(gradients=tuple(rows[i] for i in order))
    b.load_state_dict(a.state_dict())
    x = torch.randn(3, 1, ROIS, 40)
    torch.testing.assert_close(a.encode(x).pooled, b.encode(x[:, :, order]).pooled, rtol=1e-4, atol=1e-5)
    c = build(positions="index")
    assert not torch.allclose(c.encode(x).pooled, c.encode(x[:, :, order]).pooled, atol=1e-3)


def test_three_projections_of_the_gradients():
    method = build()
    method(torch.randn(4, 1, ROIS, 40)).loss.backward()
    own = [method.context_encoder.positions.proj, method.predictor.positions.proj]
    assert all(p.weight.grad.abs().sum() > 0 for p in own)
    assert method.target_encoder.positions.proj.weight.grad is None
    assert not torch.equal(own[0].weight[:8], own[1].weight)


def test_expected_loss_at_the_start():
    # Smooth L1 of a zero prediction against N(0, 1) is 0.4247.
    method = build(dim=64, heads=4)
    assert method(torch.randn(16, 1, ROIS, 40)).loss.item() == pytest.approx(0.4247, abs=0.03)


def test_momentum_fixed_and_official():
    steps = 800
    fixed, official = (
        build(optim=OptimConfig(steps=steps)),
        build(optim=OptimConfig(steps=steps), ema_stretch=8.0),
    )
    for n in (0, 1, 100, 799):
        assert fixed.momentum(n) == pytest.approx(0.996 + 0.004 * n / steps)
        assert official.momentum(n) == pytest.approx(0.996 + 0.004 * n / (8 * steps))
    assert fixed.momentum(steps) == 1.0 and official.momentum(steps) == pytest.approx(0.9965)


def test_schedules_of_the_paper():
    optim = BrainJEPAConfig().optim
    assert (optim.start_lr, optim.lr, optim.final_lr) == (5e-5, 1e-3, 1e-6)
    assert (optim.weight_decay, optim.final_weight_decay, optim.clip) == (0.04, 0.4, None)
    assert optim.warmup == optim.steps * 40 // 300


def test_moving_average_reaches_the_projection_of_the_gradients():
    method = build()
    before = method.target_encoder.positions.proj.weight.clone()
    with torch.no_grad():
        method.context_encoder.positions.proj.weight.add_(1.0)
    method.after_step(0)
    torch.testing.assert_close(method.target_encoder.positions.proj.weight, before + 0.004)


def test_hidden_values_cannot_reach_the_context():
    method = build().eval()
    x = torch.randn(4, 1, ROIS, 40)
    first = method(x)
    changed = x.clone()
    for b in range(4):
        for token in first.masks.targets[b].flatten().tolist():
            roi, time = divmod(token, 10)
            changed[b, :, roi, 4 * time : 4 * time + 4] += 10.0
    second = method(changed)
    assert torch.equal(first.context, second.context) and torch.equal(first.predicted, second.predicted)
    assert not torch.equal(first.target, second.target)


def test_token_and_region_weighting():
    x = torch.randn(6, 1, ROIS, 40)
    by_token, by_region = build(distance="l2")(x), build(distance="l2", weighting="region")(x)
    error = (by_token.predicted - by_token.target).square().mean(-1)
    torch.testing.assert_close(by_token.loss, error.mean())
    kind = regions(by_region.masks, build().layout)
    means = [error[kind == k].mean() for k in kind.unique()]
    assert len(means) == 3
    torch.testing.assert_close(by_region.loss, torch.stack(means).mean())
    assert by_region.loss.item() != by_token.loss.item()


def test_first_weights():
    method = build(dim=128, heads=4)
    block = method.context_encoder.blocks[-1]
    assert block.attn.proj.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert method.context_encoder.positions.proj.weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert not block.mlp.fc1.bias.any()
    # Tokens of 4 values get the size those of a colour patch of 16 x 16 have.
    tokenizer = method.context_encoder.tokenizer
    assert tokenizer.proj.weight.std().item() == pytest.approx(0.02 * math.sqrt(768 / 4), rel=0.1)
    assert build(patch_std=0.02).context_encoder.tokenizer.proj.weight.std().item() == pytest.approx(
        0.02, rel=0.15
    )
    xavier = build(init="xavier", dim=128, heads=4).context_encoder.blocks[0].attn.proj.weight
    assert xavier.abs().max().item() == pytest.approx(math.sqrt(6 / 256), rel=0.01)


def test_padded_frames_do_not_count():
    method = build().eval()
    x = torch.randn(3, 1, ROIS, 40)
    valid = torch.ones(3, 40, dtype=torch.bool)
    torch.testing.assert_close(method.encode(x, valid=valid).pooled, method.encode(x).pooled)
    valid[1, 24:] = False
    valid[2, 27:] = False  # the patch of frames 24..27 is not whole: it does not count either
    other = x.clone()
    other[1:, :, :, 24:] = 100.0
    for encoder in ("target", "context"):
        a = method.encode(x, encoder=encoder, valid=valid)
        b = method.encode(other, encoder=encoder, valid=valid)
        torch.testing.assert_close(a.pooled, b.pooled)
    assert not torch.allclose(a.pooled[1], method.encode(x).pooled[1], atol=1e-4)
    with pytest.raises(ConfigError, match="valid must be"):
        method.encode(x, valid=valid[:, :10])
    valid[0] = False
    with pytest.raises(ConfigError, match="no representation"):
        method.encode(x, valid=valid)
    with pytest.raises(ConfigError, match="did you mean 'target'"):
        method.encode(x, valid=valid, encoder="targte")


def test_given_masks_are_used():
    method = build()
    masks = Masks(torch.arange(20).repeat(2, 1), torch.arange(30, 42).view(1, 1, 12).repeat(2, 1, 1))
    output = method(Batch(torch.randn(2, 1, ROIS, 40), torch.arange(2)), masks)
    assert output.predicted.shape == (2, 1, 12, 32) and torch.equal(output.masks.context, masks.context)


@pytest.mark.parametrize(
    "fields, shape, message",
    [
        (dict(), (3, 32, 32), "needs clips"),
        (dict(), (1, 116), "needs clips"),
        (dict(), (1, 116, 150), "use size 116 or 232|use size"),
        (dict(gradients=table()), (1, 20, 160), "those of 14 regions, the scans have 20"),
        (dict(), (1, 2, 160), "2 regions are too few"),
        (dict(dim=30, heads=4), (1, 116, 160), "not divisible by 4 heads"),
    ],
)
def test_data_that_do_not_fit_name_what_would(fields, shape, message):
    with pytest.raises(ConfigError, match=message):
        BrainJEPAConfig(**fields).fit(shape)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(size="bas"), "did you mean 'base'"),
        (dict(positions="gradient"), "needs model.gradients"),
        (dict(gradients=((1.0, 2.0), (3.0,))), "equal length"),
        (dict(gradients=((1.0,), (float("nan"),))), "not finite"),
        (dict(ema=(0.9, 1.1)), "ema must lie"),
        (dict(ema_stretch=0.5), "ema_stretch"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(ConfigError, match=message):
        BrainJEPAConfig(**fields)


def test_the_summary_says_what_places_the_regions():
    assert "5 gradients" in build().config.summary() and "14x10 tokens" in build().config.summary()
    assert "no gradients" in BrainJEPAConfig(size="nano").fit((1, 116, 160)).summary()


def test_without_a_config_it_is_the_paper():
    with torch.device("meta"):
        method = BrainJEPA()
    assert method.input_shape() == (1, 450, 160) and method.layout.grid == (450, 10)
