"""Oracles of V-JEPA: counts, schedules, targets, the two kinds of mask, the context loss, parity with transformers."""

import math

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.masking.tubes import TubeMaskConfig
from anyjepa.methods.vjepa import VJEPAConfig
from anyjepa.nn.positions import rotary_table, rotate, sincos_table
from anyjepa.objectives.context import context_loss, nearest_target
from anyjepa.objectives.distances import distance
from anyjepa.schedules import OptimConfig, ema_momentum, learning_rate, weight_decay

SMALL = dict(frames=4, image_size=(16, 16), patch_size=4, dim=24, depth=3, heads=2, mlp_ratio=4.0)
SMALL |= dict(predictor_width=16, predictor_depth=2, predictor_heads=2)
FEW = TubeMaskConfig(blocks=2, spatial_scale=(0.3, 0.3))


def build(**fields):
    return create("vjepa", VJEPAConfig(**(SMALL | dict(short_range=FEW, long_range=FEW) | fields)))


def clips(n=3, seed=0):
    return torch.randn(n, 3, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "size, encoder, predictor",
    [
        ("small", 21_884_544, 21_590_784),
        ("large", 303_885_312, 22_082_944),
        ("huge", 631_648_000, 22_279_808),
    ],
)
def test_parameter_counts_of_the_official_code(size, encoder, predictor):
    with torch.device("meta"):
        method = create("vjepa", VJEPAConfig(size=size))
    assert sum(p.numel() for p in method.context_encoder.parameters()) == encoder
    assert sum(p.numel() for p in method.predictor.parameters()) == predictor


def test_schedules_of_the_paper():
    optim = VJEPAConfig(
        optim=OptimConfig(steps=90_000, warmup_steps=12_000, start_lr=2e-4, lr=6.25e-4, stretch=1.25)
    ).optim
    for step, lr, decay in [
        (1, 2.000354e-4, 0.04),
        (6000, 4.125e-4, 0.042521),
        (12_000, 6.25e-4, 0.050012),
        (45_000, 4.732039e-4, 0.164377),
        (90_000, 7.504222e-5, 0.365623),
    ]:
        assert learning_rate(optim, step) == pytest.approx(lr, rel=2e-6)
        assert weight_decay(optim, step) == pytest.approx(decay, abs=1e-6)
    assert ema_momentum(0.998, 1.0, optim, 11_999) == pytest.approx(0.99821332, abs=1e-8)
    assert ema_momentum(0.998, 1.0, optim, 89_999) == pytest.approx(0.99959998, abs=1e-8)


def test_positions_are_time_row_column():
    """Each axis has 2 ceil(D/6) channels, cut to D in the end."""
    table = sincos_table((2, 3, 4), 32)
    share, token = 12, (1 * 3 + 2) * 4 + 3
    for axis, place in enumerate((1, 2, 3)):
        angles = place * 10_000.0 ** (-torch.arange(6) / 6)
        part = torch.cat((angles.sin(), angles.cos()))[: 32 - axis * share]
        torch.testing.assert_close(table[token, axis * share :][: len(part)], part)


@pytest.mark.parametrize(
    "tiled, wanted",
    [
        (True, [-1.14264, 2.08984, 2.95985, 4.00300, -2.34731, 6.46919, 6.91965, 8.00700]),
        (False, [-1.14264, 1.92208, 2.58568, 4.27952, 4.93975, 6.04970, 6.99197, 8.00700]),
    ],
)
def test_rotary_with_and_without_the_released_slip(tiled, wanted):
    angles = rotary_table((2,), 8, tiled=tiled)
    x = torch.arange(1.0, 9.0).expand(1, 1, 2, 8)
    torch.testing.assert_close(rotate(x, angles)[0, 0, 1], torch.tensor(wanted), atol=5e-5, rtol=0)


def test_rotary_positions_stretched_to_a_span():
    """Rows and columns of any number lie in 0..15, times are counted; the outer corners turn alike on every grid."""
    small, large = (rotary_table((3, n, n), 12, span=15.0) for n in (4, 16))
    for one, two in zip(small, large, strict=True):
        torch.testing.assert_close(one[-1], two[-1])
        torch.testing.assert_close(one[16], two[256])
    plain = rotary_table((3, 16, 16), 12)
    torch.testing.assert_close(large[0], plain[0])
    method = build(positions="rotary", rotary_span=15.0)
    stretched = rotary_table((2, 4, 4), 12, span=15.0)[0]
    torch.testing.assert_close(method.context_encoder.cos, stretched)
    torch.testing.assert_close(method.predictor.cos, rotary_table((2, 4, 4), 8)[0])


def test_the_loss_is_the_mean_over_kinds_of_the_l1_distance():
    method = build().eval()
    batch = Batch(clips(), torch.arange(3))
    masks = method.draw_masks(batch)
    with torch.no_grad():
        output = method(batch, masks)
        whole = method.target_encoder(method.context_encoder.tokenizer.cut(batch.inputs))
        whole = torch.nn.functional.layer_norm(whole, whole.shape[-1:])
        losses = []
        for kind, m in enumerate(masks):
            context = method.context_encoder(method.context_encoder.tokenizer.cut(batch.inputs), m.context)
            predicted = method.predictor(context, m.context, m.targets, kind=kind)
            target = whole.gather(1, m.targets[:, 0, :, None].expand(-1, -1, 24))
            losses.append((predicted[:, 0] - target).abs().mean())
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    assert output.predicted.shape[2] == sum(m.targets.shape[2] for m in masks)


def test_zero_predictions_of_unit_targets_cost_the_mean_of_a_normal():
    """All predictions are zero when the last projection is, and layer-normed targets of random weights are nearly normal."""
    target = torch.randn(4000, 50, generator=torch.Generator().manual_seed(0))
    assert distance(VJEPAConfig().distance)(torch.zeros_like(target), target).item() == pytest.approx(
        math.sqrt(2 / math.pi), abs=0.005
    )
    method = build()
    torch.nn.init.zeros_(method.predictor.proj.weight)
    output = method(clips())
    assert not output.predicted.any() and output.loss.item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.1)
    torch.testing.assert_close(
        output.target.var(-1, correction=0).mean(), torch.tensor(1.0), atol=1e-3, rtol=0
    )


def test_hidden_pixels_cannot_reach_the_context():
    method, batch = build().eval(), Batch(clips(), torch.arange(3))
    masks = method.draw_masks(batch)
    before = method(batch, masks)
    other = batch.inputs.clone()
    hidden = torch.ones(method.layout.tokens, dtype=torch.bool)
    hidden[masks[0].context[0]] = False
    grid = hidden.view(2, 4, 4)
    pixels = grid.repeat_interleave(2, 0).repeat_interleave(4, 1).repeat_interleave(4, 2)
    other[0, :, pixels] += 5.0
    after = method(Batch(other, torch.arange(3)), masks)
    torch.testing.assert_close(before.context[0], after.context[0])
    assert not torch.allclose(before.target[0], after.target[0])


def test_each_kind_has_its_own_mask_token_that_starts_at_zero():
    method = build()
    assert method.predictor.mask_token.shape[0] == 2 and not method.predictor.mask_token.any()
    method(Batch(clips(), torch.arange(3))).loss.backward()
    assert (method.predictor.mask_token.grad.flatten(1).abs().sum(1) > 0).all()
    assert build(mask_tokens="one").predictor.mask_token.shape[0] == 1
    assert build(ranges="long").predictor.mask_token.shape[0] == 1


def test_a_still_picture_differs_over_time_by_positions_alone():
    method = build().eval()
    picture = torch.randn(2, 3, 16, 16)
    clip = picture.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(method.encode(picture).tokens, method.encode(clip).tokens)
    tokenizer = method.context_encoder.tokenizer
    first, second = tokenizer(clip).unflatten(1, (2, 16)).unbind(1)
    torch.testing.assert_close(first, second)
    assert not torch.allclose(*method.encode(picture).tokens.unflatten(1, (2, 16)).unbind(1))


def test_clips_of_a_video_are_read_one_by_one_and_joined():
    method = build().eval()
    both = torch.stack([clips(2, 0), clips(2, 1)], dim=1)
    found = method.encode(both)
    assert found.layout.grid == (4, 4, 4) and found.tokens.shape == (2, 64, 24)
    torch.testing.assert_close(found.tokens[:, 32:], method.encode(both[:, 1]).tokens)
    views = method.encode(torch.stack([both, both.flip(1)], dim=1))
    assert views.layout.grid == (8, 4, 4)
    torch.testing.assert_close(views.tokens[:, 64:96], found.tokens[:, 32:])


def test_the_first_weights_are_those_of_the_official_code():
    """Normal 0.02 for tubelets of 2x16x16 colours, biases and mask tokens zero; wider for smaller tubelets."""
    large = build(image_size=(112, 112), patch_size=16, dim=192, heads=3)
    for tokenizer, std in (
        (large.context_encoder.tokenizer, 0.02),
        (build().context_encoder.tokenizer, 0.08),
    ):
        assert (
            tokenizer.proj.weight.std().item() == pytest.approx(std, rel=0.05)
            and not tokenizer.proj.bias.any()
        )
    assert not build(mask_tokens="one").predictor.mask_token.any()


def test_distance_to_the_nearest_target():
    """The sheet's example: a row of four grid columns, context 0..3, targets 5 and 6 of a 4 x 4 grid."""
    masks = Masks(torch.tensor([[0, 1, 2, 3]]), torch.tensor([[[5, 6]]]))
    far = nearest_target(masks, Layout((1, 4, 4)))
    torch.testing.assert_close(far.sqrt()[0], torch.tensor([1.1892, 1.0, 1.0, 1.1892]), atol=1e-4, rtol=0)
    ones, zeros = torch.ones(1, 4, 6), torch.zeros(1, 4, 6)
    assert context_loss(ones, zeros, far).item() == pytest.approx((2 + 2 / 1.1892) / 4, abs=1e-4)


def test_the_context_loss_grows_in_and_trains_its_own_projection():
    method = build(
        context_loss=0.5, context_loss_from=(0.1, 0.2), levels=(0, 2), optim=OptimConfig(steps=100)
    )
    assert [method.context_weight(s) for s in (0, 10, 15, 20, 99)] == pytest.approx([0, 0, 0.25, 0.5, 0.5])
    early = method(Batch(clips(), torch.arange(3), step=0))
    late = method(Batch(clips(), torch.arange(3), step=50))
    assert "context" not in early.losses and late.losses["context"] > 0
    assert late.predicted.shape[-1] == 48
    late.loss.backward()
    assert method.predictor.proj_seen.weight.grad.abs().sum() > 0


def test_levels_have_norms_of_their_own_and_the_last_is_the_encoder():
    method = build(levels=(0, 2)).eval()
    patches = method.context_encoder.tokenizer.cut(clips())
    joined = method.target_encoder.read(patches)
    torch.testing.assert_close(joined[..., 24:], method.encode(clips()).tokens)
    torch.testing.assert_close(joined[..., :24].mean(-1), torch.zeros(3, 32), atol=1e-5, rtol=0)
    some = torch.tensor([[3, 9]]).expand(3, -1)
    torch.testing.assert_close(method.target_encoder.read(patches, outputs=some), joined[:, [3, 9]])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"size": "smal"}, "did you mean 'small'"),
        ({"levels": (0, 1)}, "end with the last block"),
        ({"levels": (2, 0)}, "ascend"),
        ({"ema": (0.5, 1.5)}, "must lie in"),
        ({"context_loss_from": (0.5, 0.1)}, "ascend"),
        ({"frames": 5}, "use size"),
        ({"rotary_span": 15.0}, "needs rotary positions"),
        ({"short_range": TubeMaskConfig(spatial_scale=(1.0, 1.0))}, "leaves no context"),
        ({"regularizer": {"kind": "vicreg", "on": "target"}}, "target=online"),
    ],
)
def test_impossible_settings(fields, message):
    from anyjepa.config import from_dict

    with pytest.raises(ConfigError, match=message):
        create("vjepa", from_dict(VJEPAConfig, SMALL | fields))


def test_samples_that_are_no_clips():
    with pytest.raises(ConfigError, match="needs clips"):
        VJEPAConfig().fit((3, 32, 32))
