"""Convolutions over time that turn each channel of a signal into tokens, all channels alike and none knowing of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError


def tokens_of(samples: int, layers: Sequence[tuple[int, int, int]]) -> int:
    """Tokens that a stack of convolutions (width, kernel, stride) makes of so many samples; 0 if they are too few."""
    for _, kernel, stride in layers:
        samples = 0 if samples < kernel else (samples - kernel) // stride + 1
    return samples


def reach_of(layers: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Samples one token sees, and samples from one token to the next."""
    seen, step = 1, 1
    for _, kernel, stride in layers:
        seen, step = seen + (kernel - 1) * step, step * stride
    return seen, step


def channel_layout(channels: int, samples: int, layers: Sequence[tuple[int, int, int]]) -> Layout:
    """How the tokens of a window lie: channel by channel, time fastest.

    Raises:
        ConfigError: the window is shorter than what one token sees.
    """
    tokens = tokens_of(samples, layers)
    if tokens < 1:
        seen, step = reach_of(layers)
        raise ConfigError(
            f"a window of {samples} samples is too short: the first token sees {seen} samples, each further one {step} more"
        )
    return Layout((channels, tokens))


class ChannelTokenizer(nn.Module):
    """(B, C, T) to tokens (B, C * t, D): convolutions without bias, each followed by an exact GELU (Signal-JEPA).

    The first convolution is followed by a group norm with one group per filter over the whole window. So the tokens do not
    change when a channel is multiplied by a positive number or shifted: its amplitude is lost.

    Args:
        layers: (width, kernel, stride) of each convolution.
        dropout: rate after each convolution in training.
    """

    def __init__(self, layers: Sequence[tuple[int, int, int]], dropout: float = 0.0) -> None:
        super().__init__()
        self.layers, self.dropout = tuple(layers), dropout
        widths = [1, *(width for width, _, _ in layers)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, width, kernel, stride, bias=False)
            for before, (width, kernel, stride) in zip(widths[:-1], layers, strict=True)
        )
        self.norm = nn.GroupNorm(widths[1], widths[1])
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight)  # type: ignore[arg-type]

    def layout(self, channels: int, samples: int) -> Layout:
        """See :func:`channel_layout`."""
        return channel_layout(channels, samples, self.layers)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B N D"]:
        """Tokens of all channels, channel by channel.

        Raises:
            ConfigError: see :func:`channel_layout`.
        """
        batch, channels, samples = x.shape
        layout = self.layout(channels, samples)
        x = x.reshape(batch * channels, 1, samples)
        for i, convolution in enumerate(self.convolutions):
            x = F.dropout(convolution(x), self.dropout, self.training)
            x = F.gelu(self.norm(x) if i == 0 else x)
        return x.transpose(1, 2).reshape(batch, layout.tokens, -1)
