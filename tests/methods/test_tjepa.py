"""T-JEPA against the figures of its paper and code: sizes, normalisation, moving average, [REG] tokens, official behaviour."""

import math

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.config import from_dict
from anyjepa.errors import ConfigError
from anyjepa.methods.tjepa import TJEPA, TJEPAConfig
from anyjepa.registry import entry

NANO = dict(size="nano", optim={"steps": 100})


def make(**fields) -> TJEPA:
    method = create("tjepa", from_dict(entry("tjepa").config, NANO | fields))
    assert isinstance(method, TJEPA)
    return method


def count(module, without=()):
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith(without))


def jannis(**fields) -> TJEPA:
    return make(size="small", columns=54, **fields)


def test_parameters_of_the_published_setting():
    """54 columns of numbers; the official modules less what they register and never use."""
    official = jannis(compat="official")
    tokenizer, trunk = official.context_encoder.tokenizer, official.context_encoder.trunk
    assert (tokenizer.weight.numel() + tokenizer.registers.numel(), tokenizer.bias.numel()) == (3520, 3456)
    assert count(trunk.layers[0]) == 25_216 and count(trunk) - 16 * 25_216 == 4_416
    assert count(official.context_encoder) == 414_848
    assert count(official.predictor) == 156_368
    assert count(jannis().context_encoder, without="missing") == 414_848


def test_parameters_of_adult():
    """Six columns of numbers, eight of categories, types: 441 088 officially, 25 216 of them never used."""
    cards = (0, 9, 0, 16, 0, 7, 15, 6, 5, 2, 0, 0, 0, 42)
    assert (
        count(make(size="small", cardinalities=cards, compat="official").context_encoder) == 441_088 - 25_216
    )


def test_shapes_of_the_published_setting():
    x = torch.randn(5, 1, 54)
    paper, official = jannis().eval(), jannis(compat="official").eval()
    assert paper.encode(x).tokens.shape == (5, 54, 64) and paper.layout.tokens == 54
    assert official.encode(x).tokens.shape == (5, 55, 64)
    keep = torch.arange(9).expand(5, 9)
    with torch.no_grad():
        assert official.context_encoder(x, keep).shape == paper.context_encoder(x, keep).shape == (5, 9, 64)
        assert paper.context_encoder.trunk(paper.context_encoder.tokenizer(x)[:, :10]).shape == (5, 10, 64)
        targets = torch.arange(20, 31).expand(5, 4, 11)
        assert paper.predictor(torch.randn(5, 9, 64), keep, targets).shape == (5, 4, 11, 64)


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_tokens_are_normalised_at_the_start(compat):
    tokens = make(columns=10, compat=compat).eval().encode(torch.randn(6, 1, 10)).tokens
    torch.testing.assert_close(tokens.mean(dim=2), torch.zeros(tokens.shape[:2]), atol=1e-5, rtol=0)
    # eps 1e-5 of the last norm lowers the variance a little.
    torch.testing.assert_close(
        tokens.var(dim=2, correction=0), torch.ones(tokens.shape[:2]), atol=2e-2, rtol=0
    )


def test_the_target_after_k_steps():
    """Constant online weights w and target 0: w * (1 - prod m_k), m_0 = 0.996, the last one near 1."""
    method = make(columns=6, optim={"steps": 50})
    with torch.no_grad():
        for online, target in zip(
            method.context_encoder.parameters(), method.target_encoder.parameters(), strict=True
        ):
            online.fill_(1.0)
            target.zero_()
    assert method.momentum(0) == 0.996 and method.momentum(49) == pytest.approx(1 - 0.004 / 50)
    for step in range(20):
        method.after_step(step)
    expected = 1 - math.prod(method.momentum(step) for step in range(20))
    for target in method.target_encoder.parameters():
        torch.testing.assert_close(target, torch.full_like(target, expected))


def test_unrelated_tokens_are_at_a_distance_of_two_and_training_lowers_it():
    method = make(columns=12, registers=1)
    x = torch.randn(64, 1, 12)
    start = method(Batch(x, torch.arange(64))).loss.item()
    a, b = (torch.nn.functional.layer_norm(torch.randn(400, 32), (32,)) for _ in range(2))
    assert (a - b).square().mean().item() == pytest.approx(2.0, abs=0.1)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3, weight_decay=0.0)
    for step in range(60):
        optimizer.zero_grad()
        loss = method(Batch(x, torch.arange(64), step=step)).loss
        loss.backward()
        optimizer.step()
        method.after_step(step)
    assert loss.item() < 0.7 * start
    # Not by forgetting what it sees.
    assert method.eval().encode(x).tokens.std(dim=0).mean() > 0


def test_the_register_is_seen_and_never_predicted():
    """Each column's output depends on the register; no output token is its own."""
    method = make(columns=6).eval()
    x = torch.randn(3, 1, 6)
    before = method.encode(x, encoder="context").tokens
    with torch.no_grad():
        method.context_encoder.tokenizer.registers.add_(1.0)
    after = method.encode(x, encoder="context").tokens
    assert before.shape[1] == 6 and (before - after).abs().amax(dim=(0, 2)).min() > 0
    assert method.token_columns == tuple(range(6))


def test_official_masks_treat_the_register_as_a_column_and_forget_the_last_column():
    method = make(columns=12, cardinalities=(0, 3) * 6, compat="official")
    assert method.token_columns == (None, 0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11)
    x = torch.where(torch.arange(12) % 2 == 0, torch.randn(8, 1, 12), torch.randint(0, 3, (8, 1, 12)).float())
    seen, asked = set(), set()
    for step in range(20):
        output = method(Batch(x, torch.arange(8), step=step))
        seen |= set(output.masks.context.flatten().tolist())
        asked |= set(output.masks.targets.flatten().tolist())
        assert (output.masks.targets == output.masks.targets[:, :1]).all()
    assert seen == asked == set(range(12))


def test_the_clamp_bounds_every_element_of_a_gradient():
    method = make(columns=8, clamp=1e-6)
    method(Batch(torch.randn(16, 1, 8), torch.arange(16))).loss.backward()
    largest = max(p.grad.abs().max().item() for p in method.context_encoder.parameters())
    assert largest == pytest.approx(1e-6)
    assert max(p.grad.abs().max().item() for p in method.predictor.parameters()) > 1e-6
    assert make(columns=8, compat="official").config.clamp == 1.0 and make(columns=8).config.clamp is None


def test_columns_have_places():
    """Exchanging columns together with their weights changes the output: positions are absolute."""
    method, other = make(columns=6).eval(), make(columns=6).eval()
    swap = torch.tensor([1, 0, 2, 3, 4, 5])
    with torch.no_grad():
        for name in ("weight", "bias", "missing"):
            getattr(other.target_encoder.tokenizer, name).copy_(
                getattr(method.target_encoder.tokenizer, name)[swap]
            )
    x = torch.randn(3, 1, 6)
    moved = other.encode(x[:, :, swap]).tokens[:, swap]
    assert not torch.allclose(moved, method.encode(x).tokens, atol=1e-3)


def test_missing_values_are_learned_from():
    method = make(columns=6, cardinalities=(0, 0, 0, 4, 0, 0))
    x = torch.randn(16, 1, 6)
    x[:, :, 3] = 1.0
    x[::2, 0, 0] = float("nan")
    x[1::2, 0, 3] = float("nan")
    for step in range(10):
        method(Batch(x, torch.arange(16), step=step)).loss.backward()
    gradient = method.context_encoder.tokenizer.missing.grad.abs().sum(dim=1)
    assert (gradient[[0, 3]] > 0).all() and not gradient[[1, 2, 4, 5]].any()


@pytest.mark.parametrize(
    "fields, said",
    [
        (dict(columns=1), "more columns"),
        (dict(columns=5, cardinalities=(0, 0)), "leave the two out"),
        (dict(columns=5, dim=15), "divisible"),
        (dict(columns=5, dropout=1.5), "dropout"),
        (dict(registers=-1), "registers"),
        (dict(size="huge"), "nano"),
        (dict(compat="official", index_embedding=True), "cannot run"),
        (dict(cardinalities=(0, -1)), "categories"),
    ],
)
def test_what_cannot_be_is_named(fields, said):
    with pytest.raises(ConfigError, match=said):
        make(**fields)


def test_rows_are_asked_for():
    with pytest.raises(ConfigError, match="rows"):
        TJEPAConfig().fit((3, 8, 8))


def test_categories_start_as_loud_as_numbers_but_not_officially():
    for compat, least, most in (("paper", 0.3, 3.0), ("official", 0.0, 0.3)):
        tokenizer = make(columns=2, cardinalities=(0, 50), compat=compat).context_encoder.tokenizer
        ratio = tokenizer.embedding.weight.std() / tokenizer.weight.std()
        assert least < ratio < most
