"""The local encoder of channels: tokens, sizes, what it keeps and what it loses of a signal."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anyjepa.errors import ConfigError
from anyjepa.tokenizers.channels import ChannelTokenizer, reach_of, tokens_of

LAYERS = ((8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2))


@pytest.mark.parametrize(
    "samples, tokens",
    [(128, 0), (151, 0), (152, 1), (279, 1), (280, 2), (512, 3), (536, 4), (2048, 15), (2072, 16)],
)
def test_tokens_of_a_window(samples, tokens):
    assert tokens_of(samples, LAYERS) == tokens


@given(st.integers(152, 20_000))
def test_tokens_follow_from_reach_and_step(samples):
    assert reach_of(LAYERS) == (152, 128)
    assert tokens_of(samples, LAYERS) == (samples - 152) // 128 + 1


def test_tokens_are_channel_by_channel_and_alone():
    tokenizer, x = ChannelTokenizer(LAYERS), torch.randn(2, 3, 536)
    tokens = tokenizer(x)
    assert tokens.shape == (2, 12, 64) and tokenizer.layout(3, 536).grid == (3, 4)
    torch.testing.assert_close(tokens[:, 4:8], tokenizer(x[:, 1:2]))
    assert sum(p.numel() for p in tokenizer.parameters()) == 13_840


def test_gain_and_offset_of_a_channel_are_lost():
    tokenizer, x = ChannelTokenizer(LAYERS), 20 * torch.randn(2, 3, 300)
    gain, offset = 0.1 + 3 * torch.rand(2, 3, 1), 50 * torch.randn(2, 3, 1)
    torch.testing.assert_close(tokenizer(gain * x + offset), tokenizer(x), rtol=0, atol=2e-3)
    assert not torch.allclose(tokenizer(-x), tokenizer(x), atol=2e-3)


def test_a_short_window_names_what_would_do():
    with pytest.raises(
        ConfigError, match="128 samples is too short: the first token sees 152 samples, each further one 128"
    ):
        ChannelTokenizer(LAYERS)(torch.zeros(1, 2, 128))
