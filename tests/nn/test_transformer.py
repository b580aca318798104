"""Blocks and encoder: subsets of tokens, padding, registers, stochastic depth, layers, initialisation."""

import copy

import pytest
import torch
import torch.nn.functional as F

from anyjepa.errors import ConfigError
from anyjepa.nn.attention import take
from anyjepa.nn.transformer import Block, DropPath, Encoder, initialise
from anyjepa.tokenizers.patches import PatchTokenizer

POSITIONS = ["sincos", "learned", "rotary", "none"]


def encoder(**changes) -> Encoder:
    tokenizer = PatchTokenizer((8, 12), (4, 4), 2, 24)
    made = Encoder(tokenizer, **dict(dim=24, depth=3, heads=2) | changes).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return made


@pytest.fixture
def patches() -> torch.Tensor:
    return torch.randn(2, 6, 32)


@torch.no_grad()
def test_block_against_the_formula() -> None:
    block = Block(12, 3, mlp_ratio=2.5)
    assert block.mlp.fc1.out_features == 30 and block.norm1.eps == block.norm2.eps == 1e-6
    x = torch.randn(2, 5, 12)
    middle = x + block.attn(F.layer_norm(x, (12,), block.norm1.weight, block.norm1.bias, 1e-6))
    hidden = F.linear(F.layer_norm(middle, (12,), None, None, 1e-6), block.mlp.fc1.weight, block.mlp.fc1.bias)
    gelu = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    expected = middle + F.linear(gelu, block.mlp.fc2.weight, block.mlp.fc2.bias)
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_block_keeps_rows_of_the_full_output() -> None:
    block = Block(12, 3)
    x = 2 * torch.randn(2, 5, 12)
    full = block(x)
    for keep in (slice(-2, None), torch.tensor([[4, 1], [0, 0]])):
        torch.testing.assert_close(block(x, keep=keep), take(full, keep), rtol=1e-5, atol=1e-6)
    qkv = block.attn.project(block.norm1(x))
    torch.testing.assert_close(block(x, qkv=qkv), full)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_outputs_are_rows_of_the_full_output(patches: torch.Tensor, positions: str, registers: int) -> None:
    model = encoder(positions=positions, registers=registers)
    full = model(patches)
    assert full.shape == (2, 6, 24)
    wanted = torch.tensor([[5, 0], [1, 1]])
    torch.testing.assert_close(model(patches, outputs=wanted), take(full, wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_all_tokens_kept_in_another_order(patches: torch.Tensor, positions: str, registers: int) -> None:
    """Tokens carry their positions with them: the order in which they enter does not matter."""
    model = encoder(positions=positions, registers=registers)
    full = model(patches)
    everything = torch.arange(6).expand(2, -1)
    torch.testing.assert_close(model(patches, everything), full, rtol=1e-5, atol=1e-5)
    order = torch.tensor([[3, 1, 0, 5, 4, 2], [5, 4, 3, 2, 1, 0]])
    torch.testing.assert_close(model(patches, order), take(full, order), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", ["sincos", "learned", "rotary"])
@torch.no_grad()
def test_positions_matter(patches: torch.Tensor, positions: str) -> None:
    """The same content at other places gives something else; without positions it does not."""
    swapped = patches[:, [1, 0, 2, 3, 4, 5]]
    back = torch.tensor([[1, 0, 2, 3, 4, 5]] * 2)
    blind = encoder(positions="none")
    torch.testing.assert_close(take(blind(swapped), back), blind(patches), rtol=1e-4, atol=1e-5)
    model = encoder(positions=positions)
    assert (take(model(swapped), back) - model(patches)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_dropped_tokens_never_enter(patches: torch.Tensor, positions: str) -> None:
    model = encoder(positions=positions)
    keep = torch.tensor([[0, 2, 5], [1, 2, 3]])
    out = model(patches, keep)
    dropped = torch.ones(2, 6, dtype=torch.bool).scatter_(1, keep, False)
    changed = torch.where(dropped[..., None], torch.full_like(patches, 1e3), patches)
    assert torch.equal(model(changed, keep), out)
    assert (out - take(model(patches), keep)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("registers", [0, 2])
@torch.no_grad()
def test_padding_is_invisible(patches: torch.Tensor, positions: str, registers: int) -> None:
    model = encoder(positions=positions, registers=registers)
    keep = torch.tensor([[0, 2, 5, 4], [1, 3, 0, 0]])
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    padded = model(patches, keep, valid=valid)
    torch.testing.assert_close(padded[:1], model(patches[:1], keep[:1]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(padded[1:, :2], model(patches[1:], keep[1:, :2]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_registers_take_part(patches: torch.Tensor) -> None:
    model = encoder(registers=2)
    before = model(patches)
    model.registers[:, 0] += 3.0  # a constant over all channels would be lost in the norm
    assert model.registers.shape == (2, 24)
    assert before.shape == (2, 6, 24) and (model(patches) - before).abs().max() > 1e-3


def test_registers_start_different_and_learn_different_things(patches: torch.Tensor) -> None:
    """Equal registers would get equal gradients for ever."""
    model = Encoder(PatchTokenizer((8, 12), (4, 4), 2, 24), dim=24, depth=2, heads=2, registers=2)
    initialise(model)
    (gradient,) = torch.autograd.grad(model(patches).square().sum(dim=-1)[:, 0].sum(), model.registers)
    assert not torch.equal(model.registers[0], model.registers[1])
    assert (gradient[0] - gradient[1]).norm() > 1e-3 * gradient.norm() > 0


@pytest.mark.parametrize("registers", [0, 1])
@torch.no_grad()
def test_layers(patches: torch.Tensor, registers: int) -> None:
    """A layer that is not the last equals a shorter encoder read before its norm."""
    model = encoder(registers=registers)
    assert torch.equal(model(patches, layer=2), model(patches))
    for layer in (0, 1, -2):
        shorter = copy.deepcopy(model)
        shorter.blocks = shorter.blocks[: range(3)[layer] + 1]
        shorter.norm = torch.nn.Identity()
        torch.testing.assert_close(model(patches, layer=layer), shorter(patches), rtol=1e-5, atol=1e-6)
    with pytest.raises(IndexError):
        model(patches, layer=3)


def test_drop_path_statistics() -> None:
    drop = DropPath(0.3)
    x = torch.ones(20_000, 2, 3)
    out = drop(x)
    alive = out[:, 0, 0] != 0
    assert torch.equal(out, (alive.float() / 0.7)[:, None, None].expand_as(out))  # whole samples, rescaled
    assert abs(alive.float().mean().item() - 0.7) < 0.015  # 4.6 standard deviations
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)


def test_drop_path_grows_with_depth(patches: torch.Tensor) -> None:
    model = encoder(drop_path=0.4)
    assert [block.drop_path.rate for block in model.blocks] == pytest.approx([0.0, 0.2, 0.4])
    assert torch.equal(model(patches), model(patches))
    many = patches[:1].expand(64, -1, -1)
    assert model.train()(many).std(dim=0).max() > 1e-3  # some samples lose a branch, others do not


def test_initialise() -> None:
    model = Encoder(PatchTokenizer((8, 8), (4, 4), 3, 128), dim=128, depth=4, heads=4)
    initialise(model)
    for block in model.blocks:
        for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            assert linear.weight.std().item() == pytest.approx(0.02, rel=0.03)
            assert linear.weight.mean().item() == pytest.approx(0.0, abs=1e-3)
            assert not linear.bias.any()
        assert (block.norm1.weight == 1).all() and not block.norm1.bias.any()
    initialise(model, depth_rescale=True)
    for number, block in enumerate(model.blocks, start=1):
        for linear in (block.attn.proj, block.mlp.fc2):
            assert linear.weight.std().item() == pytest.approx(0.02 / (2 * number) ** 0.5, rel=0.03)
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.03)


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{"positions": p, "registers": r} for p in POSITIONS[::2] for r in (0, 2)]
)
def test_resized_equals_one_that_was_built_for_the_size(changes: dict) -> None:
    small = encoder(**changes)
    built = Encoder(PatchTokenizer((16, 4), (4, 4), 2, 24), dim=24, depth=3, heads=2, **changes).eval()
    built.load_state_dict(small.state_dict())
    x = torch.randn(2, 2, 16, 4)
    resized = small.resized((16, 4))
    assert torch.equal(resized(resized.tokenizer.cut(x)), built(built.tokenizer.cut(x)))
    assert small.tokenizer.size == (8, 12)


def test_learned_positions_and_broken_patches_cannot_be_resized() -> None:
    with pytest.raises(ConfigError, match="learned for inputs of"):
        encoder(positions="learned").resized((16, 4))
    with pytest.raises(ConfigError, match="not divisible by patch"):
        encoder().resized((10, 4))


def test_without_biases_there_is_none(patches) -> None:
    tokenizer = PatchTokenizer((8, 12), (4, 4), 2, 24, bias=False)
    made = Encoder(tokenizer, dim=24, depth=2, heads=2, qkv_bias=False, bias=False, norm_bias=False)
    initialise(made, residual_depth=2)
    assert not [name for name, _ in made.named_parameters() if "bias" in name]
    assert made(patches).shape == (2, 6, 24)


def test_one_depth_for_all_output_projections() -> None:
    blocks = torch.nn.ModuleList(Block(64, 2) for _ in range(3))
    initialise(blocks, residual_depth=8)
    for block in blocks:
        for part in (block.attn.proj, block.mlp.fc2):
            assert part.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)


@torch.no_grad()
def test_registers_stand_in_front_when_asked_for(patches) -> None:
    made = encoder(registers=2)
    both = made(patches, with_registers=True)
    assert both.shape == (2, 8, 24)
    torch.testing.assert_close(both[:, 2:], made(patches))
