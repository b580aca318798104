"""Oracles of the I-JEPA sheet that are about the method as a whole."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa import Batch, create
from anyjepa.contract import Masks
from anyjepa.errors import ConfigError
from anyjepa.methods.ijepa import IJEPA, IJEPAConfig

TINY = dict(
    dim=32, depth=3, heads=2, predictor_width=16, predictor_depth=3, image_size=[32, 32], patch_size=4
)


def build(**fields):
    return create("ijepa", **(TINY | fields))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "size, patch, encoder, predictor",
    [
        ("tiny", 16, 5_486_400, 10_795_968),
        ("small", 16, 21_589_632, 10_943_616),
        ("base", 16, 85_646_592, 11_238_912),
        ("large", 16, 303_098_880, 22_082_560),
        ("huge", 14, 630_434_560, 22_279_424),
        ("huge", 16, 630_664_960, 22_279_424),
        ("giant", 16, 1_011_092_608, 29_475_712),
    ],
)
def test_parameter_counts_of_the_paper(size, patch, encoder, predictor):
    with torch.device("meta"):
        method = create("ijepa", size=size, patch_size=patch, target="stopgrad")
    assert count(method.context_encoder) == encoder
    assert count(method.predictor) == predictor


def test_sequence_lengths_of_vit_b():
    with torch.device("meta"):
        method = create("ijepa", size="base", target="stopgrad")
    assert method.layout.tokens == 196 and method.config.predictor_heads == 12


def test_target_rows_are_normalised():
    target = build()(torch.randn(8, 3, 32, 32)).target
    assert target.mean(-1).abs().max() < 1e-5
    assert target.square().mean(-1).sub(1).abs().max() < 1e-2


def test_expected_loss_at_the_start():
    # Smooth L1 of a zero prediction against N(0, 1) is 0.4247.
    normal = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    assert F.smooth_l1_loss(torch.zeros_like(normal), normal).item() == pytest.approx(0.4247, abs=1e-3)
    method = create("ijepa", size="nano", image_size=[32, 32], patch_size=4)
    assert method(torch.randn(16, 3, 32, 32)).loss.item() == pytest.approx(0.42, abs=0.08)


def test_loss_is_the_mean_over_every_element_of_a_plain_computation():
    """The shortcuts of the step (pruned last blocks, shared projection) against the equation written out."""
    method = build(masks={"truncate": "pad"})
    with torch.no_grad():
        for p in method.parameters():  # far from the start, where everything is nearly linear
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    x = torch.randn(5, 3, 32, 32)
    output = method(x)
    hidden = F.layer_norm(method.encode(x).tokens, (32,))
    total, elements = 0.0, 0
    for b in range(5):
        valid = slice(None) if output.masks.context_valid is None else output.masks.context_valid[b]
        context_index = output.masks.context[b][valid][None]
        patches = method.context_encoder.tokenizer.cut(x[b : b + 1])
        context = method.context_encoder(patches, context_index)
        for block in output.masks.targets[b]:
            predicted = method.predictor(context, context_index, block[None, None])[0, 0]
            total += F.smooth_l1_loss(predicted, hidden[b, block], reduction="sum")
            elements += predicted.numel()
    torch.testing.assert_close(output.loss, total / elements, rtol=2e-5, atol=1e-6)


def test_hidden_pixels_cannot_reach_the_context():
    method = build().eval()
    x = torch.randn(4, 3, 32, 32)
    first = method(x)
    changed = x.clone()
    for b in range(4):
        for token in first.masks.targets[b].flatten().tolist():
            row, column = token // 8 * 4, token % 8 * 4
            changed[b, :, row : row + 4, column : column + 4] += 10.0
    second = method(changed)
    assert torch.equal(first.context, second.context)
    assert torch.equal(first.predicted, second.predicted)
    assert not torch.equal(first.target, second.target)


def test_gradients_reach_encoder_and_predictor_only():
    method = build()
    method(torch.randn(4, 3, 32, 32)).loss.backward()
    assert all(
        p.grad is not None for p in [*method.context_encoder.parameters(), *method.predictor.parameters()]
    )
    assert all(p.grad is None for p in method.target.parameters())


def test_moving_average_after_one_step():
    method = build(optim={"steps": 100})
    start = [p.clone() for p in method.target_encoder.parameters()]
    with torch.no_grad():
        for p in method.context_encoder.parameters():
            p.add_(1.0)
    method.after_step(0)
    for before, online, target in zip(
        start, method.context_encoder.parameters(), method.target_encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(target, before + (1 - 0.996) * (online - before), rtol=1e-6, atol=1e-7)


def test_momentum_one_keeps_the_target():
    method = build(ema=[1.0, 1.0])
    start = [p.clone() for p in method.target_encoder.parameters()]
    with torch.no_grad():
        for p in method.context_encoder.parameters():
            p.add_(1.0)
    method.after_step(5)
    assert all(torch.equal(a, b) for a, b in zip(start, method.target_encoder.parameters(), strict=True))


def test_initial_weights():
    method = create("ijepa", size="tiny", image_size=[64, 64], patch_size=8)
    last = method.context_encoder.blocks[-1]
    assert last.attn.proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not last.attn.proj.bias.any()
    rescaled = create("ijepa", size="tiny", image_size=[64, 64], patch_size=8, depth_rescale=True)
    # sqrt(2 * 12) = 4.9: the sheet measured 0.0041 after the official constructor
    assert rescaled.context_encoder.blocks[-1].attn.proj.weight.std().item() == pytest.approx(
        0.0041, abs=1e-4
    )


@pytest.mark.parametrize("patch, channels, std", [(16, 3, 0.02), (4, 3, 0.08), (8, 1, 0.02 * 12**0.5)])
def test_tokens_start_at_the_size_they_have_in_the_paper(patch, channels, std):
    method = create("ijepa", size="tiny", image_size=[16 * patch] * 2, patch_size=patch, channels=channels)
    weight = method.context_encoder.tokenizer.proj.weight
    assert weight.std().item() == pytest.approx(std, rel=0.03)
    plain = create("ijepa", size="tiny", image_size=[16 * patch] * 2, patch_size=patch, patch_std=0.02)
    assert plain.context_encoder.tokenizer.proj.weight.std().item() == pytest.approx(0.02, rel=0.03)


def test_mask_token_is_decayed_and_biases_are_not():
    decay, plain = build().parameter_groups()
    assert any(p.shape == (1, 1, 16) for p in decay["params"]) and all(p.ndim == 1 for p in plain["params"])


def test_given_masks_are_used():
    method = build()
    masks = Masks(torch.arange(20).repeat(2, 1), torch.arange(30, 42).view(1, 2, 6).repeat(2, 1, 1))
    output = method(Batch(torch.randn(2, 3, 32, 32), torch.arange(2)), masks)
    assert output.predicted.shape == (2, 2, 6, 32) and torch.equal(output.masks.context, masks.context)


@pytest.mark.parametrize(
    "shape, patch",
    [
        ((3, 224, 224), 16),
        ((3, 500, 375), 16),
        ((3, 96, 96), 12),
        ((3, 64, 64), 8),
        ((1, 28, 28), 4),
        ((1, 8, 8), 1),
    ],
)
def test_the_patch_is_chosen_from_the_image(shape, patch):
    config = IJEPAConfig().fit(shape)
    assert config.patch_size == patch and f"patch {patch}" in config.summary()


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(image_size=[30, 30], patch_size=4), "use size 28 or 32, or patch 3 or 5"),
        (dict(image_size=[32, 32], patch_size=8), "min_keep"),
        (dict(dim=30, heads=4), "not divisible by 4 heads"),
        (dict(size="smal"), "did you mean 'small'"),
        (dict(image_size=[5, 5]), "too small"),
    ],
)
def test_impossible_settings_name_what_would_work(fields, message):
    base = {k: v for k, v in TINY.items() if k not in ("image_size", "patch_size")}
    if "image_size" in fields and "min_keep" in message:
        fields = fields | {"masks": {"min_keep": 10}}
    with pytest.raises(ConfigError, match=message):
        create("ijepa", **(base | fields))


def test_samples_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match="needs images"):
        IJEPAConfig().fit((12, 5000))


def test_without_a_config_it_is_the_paper():
    with torch.device("meta"):
        method = IJEPA()
    assert method.input_shape() == (3, 224, 224) and method.config.masks.min_keep == 10


@pytest.mark.parametrize("name", ["ijepa", "brainjepa"])
def test_stochastic_depth_leaves_the_targets_alone(name):
    """Half the branches are dropped from the context encoder; what is asked for stays the same at every look."""
    shape = (
        dict(image_size=(16, 16), channels=3, patch_size=2)
        if name == "ijepa"
        else dict(rois=12, frames=16, patch_size=4)
    )
    method = create(name, size="nano", dim=16, depth=3, heads=2, predictor_width=8, drop_path=0.5, **shape)
    x = torch.randn(4, *method.input_shape())
    for part in (method, method.train()):
        a, b = part(x), part(x)
        assert torch.equal(a.target, b.target) and not torch.equal(a.context, b.context)
    assert torch.equal(method.eval()(x).context, method(x).context)
    assert method.train().training and method.predictor.training and not method.target.copy.training
