"""PyTorch's own transformer (post-norm, ReLU, dropout) in two halves, as methods use it that were built on ``nn.Transformer``."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class PostNormEncoder(nn.Module):
    """Self-attention layers of ``nn.TransformerEncoder`` with a norm at the end (arXiv 1706.03762).

    Args:
        dim, depth, heads, hidden: width, number of layers, attention heads, width inside the feed-forward networks.
        dropout: rate in training.
        activation: ``"relu"`` or ``"gelu"``.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float = 0.1,
        *,
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            self.make_layer(dim, heads, hidden, dropout, activation) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def make_layer(
        dim: int, heads: int, hidden: int, dropout: float, activation: str
    ) -> nn.TransformerEncoderLayer:
        """One layer."""
        return nn.TransformerEncoderLayer(
            dim, heads, hidden, dropout, getattr(F, activation), batch_first=True
        )

    def forward(
        self, x: Float[Tensor, "B N D"], *, valid: Bool[Tensor, "B N"] | None = None, layer: int = -1
    ) -> Float[Tensor, "B N D"]:
        """Representations of tokens.

        Args:
            x: tokens, positions included.
            valid: False where a token is padding: nobody attends to it.
            layer: layer to read, as a Python index; the last one is read after the final norm, others as they are.
        """
        hidden = None if valid is None else ~valid
        last = range(len(self.layers))[layer]
        for block in self.layers[: last + 1]:
            x = block(x, src_key_padding_mask=hidden)
        return self.norm(x) if last == len(self.layers) - 1 else x


class PostNormPredictor(nn.Module):
    """Layers of ``nn.TransformerDecoder`` that predict targets from a context: self-attention, then attention to the context.

    Args:
        dim, depth, heads, hidden, dropout: as for :class:`PostNormEncoder`.
        join: the context also goes in front of the queries through the self-attention.
    """

    def __init__(
        self, dim: int, depth: int, heads: int, hidden: int, dropout: float = 0.1, *, join: bool = True
    ) -> None:
        super().__init__()
        self.join = join
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(dim, heads, hidden, dropout, batch_first=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        context: Float[Tensor, "B K D"],
        queries: Float[Tensor, "B P D"],
        *,
        valid: Bool[Tensor, "B K"] | None = None,
        asked: Bool[Tensor, "B P"] | None = None,
    ) -> Float[Tensor, "B P D"]:
        """Predictions, one for each query.

        Args:
            context: representations of the context tokens.
            queries: the position code of each token to predict.
            valid: False where the context is padding.
            asked: False where the queries are padding.
        """
        x = torch.cat((context, queries), dim=1) if self.join else queries
        hidden = None
        if valid is not None or asked is not None:
            seen = context.new_ones(context.shape[:2], dtype=torch.bool) if valid is None else valid
            wanted = queries.new_ones(queries.shape[:2], dtype=torch.bool) if asked is None else asked
            hidden = ~(torch.cat((seen, wanted), dim=1) if self.join else wanted)
        outside = None if valid is None else ~valid
        for block in self.layers:
            x = block(x, context, tgt_key_padding_mask=hidden, memory_key_padding_mask=outside)
        return self.norm(x[:, -queries.shape[1] :])


def initialise_postnorm(module: nn.Module) -> None:
    """Xavier-uniform matrices in place, as ``nn.Transformer`` does; biases and norms keep PyTorch's own start."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
