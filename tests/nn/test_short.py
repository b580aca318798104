"""Layers for short sequences: the same numbers as PyTorch's own, dropout at few places included."""

import math

import pytest
import torch
from torch import nn

from anyjepa.nn import short
from anyjepa.nn.short import ShortLayer, drop, places


def pair(activation="relu", dropout=0.0, **changed):
    ours = ShortLayer(
        **{"dim": 12, "heads": 3, "hidden": 20} | changed, dropout=dropout, activation=activation
    )
    theirs = nn.TransformerEncoderLayer(
        ours.linear1.in_features, 3, ours.linear1.out_features, dropout, activation, batch_first=True
    )
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(layer, x):
    x = x.clone().requires_grad_()
    layer(x).sin().sum().backward()
    return [x.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_numbers_and_gradients_are_those_of_pytorch(activation, monkeypatch):
    # Blocks of 64 rows: several of them, the last one shorter
    monkeypatch.setattr(short, "BLOCK", 64 * 20)
    ours, theirs = pair(activation)
    x = torch.randn(31, 5, 12)
    assert ours._suits(x)
    torch.testing.assert_close(ours(x), theirs(x))
    for a, b in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_dropout_is_that_of_a_mask(activation, monkeypatch):
    """All of the layer against the formula with masks that say what was dropped."""
    monkeypatch.setattr(short, "RARE", 0.5)
    monkeypatch.setattr(short, "BLOCK", 64 * 20)
    rate, drawn = 0.3, []

    def recorded(count, rate):
        drawn.append(places(count, rate))
        return drawn[-1]

    monkeypatch.setattr(short, "places", recorded)
    ours, _ = pair(activation, rate)
    x = torch.randn(31, 5, 12, requires_grad=True)
    out = ours(x)
    attended, after, *hidden, last = drawn

    def keep(gone, *shape):
        mask = torch.ones(math.prod(shape)).index_fill(0, gone, 0.0)
        return mask.view(shape) / (1 - rate)

    own = ours.self_attn
    q, k, v = (x @ own.in_proj_weight.T + own.in_proj_bias).view(31, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
    share = (q @ k.mT / 2).softmax(-1) * keep(attended, 31, 3, 5, 5)
    y = own.out_proj((share @ v).transpose(1, 2).flatten(2))
    y = ours.norm1(x + y * keep(after, 31, 5, 12))
    rows = y.flatten(0, 1)
    starts = range(0, len(rows), 64)
    masks = [keep(gone, len(rows[s : s + 64]), 20) for s, gone in zip(starts, hidden, strict=True)]
    wide = ours.linear2(ours.activation(ours.linear1(rows)) * torch.cat(masks)).view_as(y)
    expected = ours.norm2(y + wide * keep(last, 31, 5, 12))
    torch.testing.assert_close(out, expected)
    weights = (x, *ours.parameters())
    for a, b in zip(
        torch.autograd.grad(out.sin().sum(), weights),
        torch.autograd.grad(expected.sin().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_places_are_dropped_with_the_rate_each_on_its_own():
    torch.manual_seed(0)
    counts = torch.zeros(50)
    for _ in range(4000):
        found = places(50, 0.02)
        assert (found.diff() > 0).all() and ((found >= 0) & (found < 50)).all()
        counts[found] += 1
    # Binomial: 80 of 4000 each, standard deviation 8.9; the first and the last like all others
    assert (counts - 80).abs().max() < 5 * 8.9
    assert abs(counts.sum().item() - 4000) < 5 * (4000 * 0.98) ** 0.5
    assert len(places(0, 0.02)) == len(places(50, 0.0)) == 0


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(1000, 100)
    out = drop(x, 0.01)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.99])
    assert out.mean().item() == pytest.approx(1.0, abs=2e-3) and drop(x, 0.0) is x


def test_elsewhere_it_is_the_layer_of_pytorch():
    ours, theirs = pair(dropout=0.2)
    x = torch.randn(4, 5, 12)
    assert not ours._suits(x)
    torch.manual_seed(1)
    found = ours(x)
    torch.manual_seed(1)
    torch.testing.assert_close(found, theirs(x))
    hidden = torch.tensor([False, False, False, True, True]).expand(4, -1)
    ours, theirs = (layer.eval() for layer in pair())
    torch.testing.assert_close(
        ours(x, src_key_padding_mask=hidden)[:, :3], theirs(x, src_key_padding_mask=hidden)[:, :3]
    )
    assert not ours.double()._suits(x.double())


def test_it_learns_the_same_after_steps_in_training_mode_without_dropout():
    ours, theirs = pair()
    x, y = torch.randn(8, 5, 12), torch.randn(8, 5, 12)
    for layer in (ours, theirs):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            (layer(x) - y).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
