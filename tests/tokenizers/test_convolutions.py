"""Tokens through convolutions: the same places as linear patches, and no word of what is hidden."""

from __future__ import annotations

import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.tokenizers.convolutions import ConvTokenizer


def tokenizer(size=(16, 24), patch=4, channels=3) -> ConvTokenizer:
    made = ConvTokenizer(size, (patch, patch), channels, 32)
    made.initialise(0.05)
    return made


@pytest.mark.parametrize(("size", "patch", "channels"), [((16, 24), 4, 3), ((32, 32), 8, 1), ((6, 10), 2, 5)])
def test_one_token_per_patch(size, patch, channels):
    made = tokenizer(size, patch, channels)
    x = torch.randn(2, channels, *size)
    tokens = made(x)
    assert tokens.shape == (2, size[0] * size[1] // patch**2, 32)
    assert torch.equal(made._paste(made.cut(x)), x)
    keep = torch.arange(made.layout.tokens).expand(2, -1)
    torch.testing.assert_close(made.embed(made.cut(x), keep), tokens)


def test_tokens_know_their_neighbours_but_not_the_hidden_ones():
    made, x = tokenizer(), torch.randn(1, 3, 16, 24)
    keep = torch.tensor([[0, 1, 6, 7]])  # the upper left 2 x 2 patches
    other = x.clone()
    other[:, :, 8:] = 99.0
    other[:, :, :, 8:] = -99.0
    assert torch.equal(made.embed(made.cut(x), keep), made.embed(made.cut(other), keep))
    inside = x.clone()
    inside[:, :, :4, 4:8] += 1.0  # patch 1
    changed = (made.embed(made.cut(x), keep) - made.embed(made.cut(inside), keep)).abs().amax(-1)[0]
    assert (changed > 1e-4).all()  # patch 0 among them, by the convolutions and by their norms
    assert not torch.equal(made.embed(made.cut(x))[:, 0], made.embed(made.cut(x), keep)[:, 0])


def test_padding_hides_too():
    made, x = tokenizer(), torch.randn(2, 3, 16, 24)
    other = x.clone()
    other[1, :, :4, :4] = 50.0  # patch 0, which is padding in the second sample
    keep, valid = torch.tensor([[0, 5], [5, 0]]), torch.tensor([[True, True], [True, False]])
    first, second = (made.embed(made.cut(images), keep, valid) for images in (x, other))
    assert torch.equal(first[valid], second[valid])


def test_size_of_the_tokens_is_that_of_linear_patches():
    tokens = tokenizer((32, 32), 8)(torch.randn(64, 3, 32, 32))
    assert 0.5 < tokens.std() / (0.05 * (3 * 64) ** 0.5) < 1.5


@pytest.mark.parametrize("patch", [(6, 6), (4, 8), (1, 1)])
def test_impossible_patches(patch):
    with pytest.raises(ConfigError, match="stem=conv needs square patches"):
        ConvTokenizer((24, 24), patch, 3, 16)
