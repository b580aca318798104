"""Facts of the other ECG-JEPA: cross-pattern attention, a predictor per lead, smooth L1 to normalised targets."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa import create
from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.methods.ecg_jepa_cropa import Cropa, CropaConfig
from anyjepa.nn.cross_pattern import cross_pattern

TINY = dict(
    size="nano", dim=16, depth=2, heads=2, predictor_width=8, predictor_heads=2, channels=3, length=500
)


def build(**fields):
    return create("ecg-jepa-cropa", **(TINY | fields))


def test_parameter_counts_of_the_official_code():
    with torch.device("meta"):
        method = Cropa(CropaConfig(target="stopgrad"))
    assert sum(p.numel() for p in method.context_encoder.parameters()) == 85_067_520
    assert sum(p.numel() for p in method.predictor.parameters()) == 11_232_000
    assert method.layout.grid == (8, 50) and method.optim.warmup == 13_600


def test_attention_along_leads_and_times():
    allowed = cross_pattern(Layout((8, 50)))
    assert (allowed.sum(dim=1) == 57).all() and int(allowed.sum()) == 22_800
    assert (
        allowed[3 * 50 + 7, 3 * 50 + 40]
        and allowed[3 * 50 + 7, 6 * 50 + 7]
        and not allowed[3 * 50 + 7, 6 * 50 + 8]
    )
    assert torch.equal(allowed, allowed.T)


@torch.no_grad()
def test_information_flows_along_leads_and_times_only():
    """After one block a token knows its own lead and its own time."""
    method = build(depth=1).eval()
    x = torch.randn(1, 3, 500)
    changed = x.clone()
    # lead 1, token 4
    changed[0, 1, 200:250] += 3.0
    moved = (method.encode(x).tokens != method.encode(changed).tokens).any(dim=-1)[0].view(3, 10)
    wanted = torch.zeros(3, 10, dtype=torch.bool)
    wanted[1], wanted[:, 4] = True, True
    assert torch.equal(moved, wanted)


@torch.no_grad()
def test_the_encoder_written_out_for_some_tokens():
    encoder = build(depth=3).eval().context_encoder
    patches, keep = (
        encoder.tokenizer.cut(torch.randn(2, 1, 3, 500)),
        torch.tensor([[0, 2, 5, 12, 25], [1, 2, 3, 4, 29]]),
    )
    x, places = encoder.tokenizer.embed(patches, keep), encoder.table[keep]
    for block in encoder.blocks:
        rows = []
        for b in range(2):
            allowed = encoder.allowed[keep[b]][:, keep[b]]
            y = (x[b] + places[b])[None]
            q, k, v = block.attn.qkv(block.norm1(y)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            weight = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill(~allowed, float("-inf")).softmax(-1)
            y = y + block.attn.proj((weight @ v).transpose(1, 2).flatten(2))
            rows.append(y + block.mlp(block.norm2(y)))
        x = torch.cat(rows)
    torch.testing.assert_close(encoder(patches, keep), encoder.norm(x), rtol=1e-4, atol=1e-5)
    wanted = torch.tensor([[4, 0], [1, 1]])
    some = encoder(patches, keep, outputs=wanted)
    torch.testing.assert_close(
        some, encoder.norm(x).gather(1, wanted[..., None].expand(-1, -1, 16)), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_a_lead_is_predicted_from_itself():
    method = build().eval()
    masks = method(torch.randn(2, 3, 500)).masks
    k, p = masks.context.shape[1] // 3, masks.targets.shape[2] // 3
    context = torch.randn(2, 3 * k, 16)
    before = method.predictor(context, masks.context, masks.targets)
    context[:, k : 2 * k] += 1.0
    moved = (method.predictor(context, masks.context, masks.targets) != before).any(-1)[:, 0].view(2, 3, p)
    assert moved[:, 1].all() and not moved[:, 0].any() and not moved[:, 2].any()


def test_loss_and_hidden_samples():
    method = build(drop_path=0.0)
    x = torch.randn(3, 3, 500)
    first = method(x)
    hidden = F.layer_norm(method.encode(x).tokens, (16,))
    index = first.masks.targets[:, 0, :, None].expand(-1, -1, 16)
    torch.testing.assert_close(first.loss, F.smooth_l1_loss(first.predicted[:, 0], hidden.gather(1, index)))
    changed = x.clone()
    for token in first.masks.targets[0, 0].tolist():
        lead, time = divmod(token, 10)
        changed[:, lead, 50 * time : 50 * time + 50] += 9.0
    second = method(changed)
    assert torch.equal(first.predicted, second.predicted) and not torch.equal(first.target, second.target)


@pytest.mark.parametrize("compat, same", [("fixed", True), ("official", False)])
def test_targets_are_noisy_in_the_official_code_alone(compat, same):
    method = build(drop_path=0.9, compat=compat)
    x = torch.randn(6, 3, 500)
    method.train()
    assert torch.equal(method(x).target, method(x).target) == same


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="needs recordings"):
        CropaConfig().fit((3, 32, 32))
    with pytest.raises(ConfigError, match="one token"):
        build(length=50)
    with pytest.raises(ConfigError, match="dim=18 must be divisible by 4"):
        build(dim=18)
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        build(size="bas")
