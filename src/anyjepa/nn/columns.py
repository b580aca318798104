"""Encoder and predictor of table rows: post-norm transformers over one token per column (T-JEPA, arXiv 2410.05016)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from anyjepa.nn.positions import sincos_table
from anyjepa.nn.postnorm import PostNormEncoder
from anyjepa.nn.short import ShortLayer
from anyjepa.tokenizers.columns import ColumnTokenizer

Activation = Literal["relu", "gelu"]
BASE = 100.0
"""Base of the sinusoids of the encoder (10000 in texts)."""


class PostNormTail(PostNormEncoder):
    """Post-norm layers, then norm, linear layer, and a norm once more: the output is normalised token by token.

    Args:
        dim, depth, heads, hidden, dropout, activation: as for :class:`~anyjepa.nn.postnorm.PostNormEncoder`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        *,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(dim, depth, heads, hidden, dropout, activation=activation)
        self.drop = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, dim)
        self.norm_out = nn.LayerNorm(dim)

    @staticmethod
    def make_layer(dim: int, heads: int, hidden: int, dropout: float, activation: str) -> ShortLayer:
        """A layer for many short sequences."""
        return ShortLayer(dim, heads, hidden, dropout, activation=activation)

    def forward(self, x: Float[Tensor, "B N D"], *, layer: int = -1) -> Float[Tensor, "B N D"]:  # type: ignore[override]
        """Representations of tokens; the last layer is read after the tail, others as they are."""
        last = range(len(self.layers))[layer]
        for block in self.layers[: last + 1]:
            x = block(x)
        if last < len(self.layers) - 1:
            return x
        return self.norm_out(self.drop(self.linear(self.norm(self.drop(x)))))


class ColumnEncoder(nn.Module):
    """Tokens of rows, with fixed sinusoids for their places, through a post-norm transformer.

    Args:
        tokenizer: makes the tokens.
        trunk: reads them.
        apart: registers are always there, and leave before the output; else they are tokens like all others.
        amplitude: of the sinusoids.
    """

    table: Tensor

    def __init__(
        self, tokenizer: ColumnTokenizer, trunk: PostNormTail, *, apart: bool = True, amplitude: float = 1.0
    ) -> None:
        super().__init__()
        self.tokenizer, self.trunk = tokenizer, trunk
        self.front = tokenizer.registers_first if apart else 0
        places = (tokenizer.registers_first + tokenizer.columns,)
        table = sincos_table(places, tokenizer.dim, interleaved=True, base=BASE)
        self.register_buffer("table", amplitude * table, persistent=False)

    def forward(
        self, x: Float[Tensor, "B 1 d"], keep: Int[Tensor, "B K"] | None = None, *, layer: int = -1
    ) -> Float[Tensor, "B Q D"]:
        """Representations of some tokens that see each other and the registers alone.

        Args:
            x: rows.
            keep: which tokens; where registers are apart they are not counted. None: all.
            layer: layer to read.
        """
        tokens = self.tokenizer(x) + self.table
        if keep is not None:
            tokens = torch.cat((tokens[:, : self.front], pick(tokens[:, self.front :], keep)), dim=1)
        return self.trunk(tokens, layer=layer)[:, self.front :]


def pick(tokens: Float[Tensor, "B N D"], index: Int[Tensor, "B *sets"]) -> Float[Tensor, "B *sets D"]:
    """Tokens of each row by their positions; whole vectors are copied, and added up going back, not number by number."""
    b, n = tokens.shape[:2]
    start = torch.arange(b, device=index.device).view(-1, *[1] * (index.ndim - 1)) * n
    return tokens.flatten(0, 1).index_select(0, (index + start).flatten()).unflatten(0, index.shape)


class ColumnPredictor(nn.Module):
    """Predicts M sets of columns, each in a sequence of its own behind the shared context.

    Nothing of a column is known to it but its position.

    Args:
        columns: positions there are.
        dim: width of the encoder.
        width, depth, heads, hidden, dropout, activation: of the predictor's own layers.
    """

    table: Tensor

    def __init__(
        self,
        columns: int,
        *,
        dim: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.register_buffer("table", sincos_table((columns,), width), persistent=False)
        self.trunk = PostNormTail(width, depth, heads, hidden, dropout, activation=activation)
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, dim)

    def forward(
        self,
        context: Float[Tensor, "B K D"],
        context_index: Int[Tensor, "B K"],
        targets: Int[Tensor, "B M P"],
    ) -> Float[Tensor, "B M P D"]:
        """Predicted representations of the target columns.

        Args:
            context: representations of the context columns.
            context_index: their positions.
            targets: positions of the columns of each set.
        """
        b, m, p = targets.shape
        seen = self.embed(context) + F.embedding(context_index, self.table)
        asked = self.mask_token + F.embedding(targets.flatten(0, 1), self.table)
        seen = seen.unsqueeze(1).expand(-1, m, -1, -1).flatten(0, 1)
        x = self.trunk(torch.cat((seen, asked), dim=1))[:, -p:]
        return self.proj(self.norm(x)).unflatten(0, (b, m))


def initialise_columns(module: nn.Module, std: float = 0.02, *, categories: bool = False) -> None:
    """Truncated normal weights of linear layers and embeddings, zero biases, in place; the joint projection of queries, keys and
    values, which is no linear layer by itself, keeps PyTorch's Xavier-uniform start, as in the official code.

    Args:
        module: what to initialise.
        std: standard deviation of the weights.
        categories: that of the vectors of categories too (official code), which is a tenth of what numbers start with; else the
            start of the tokenizer stays.
    """
    own = [part.embedding for part in module.modules() if isinstance(part, ColumnTokenizer)]
    for part in module.modules():
        if isinstance(part, nn.Linear) or (
            isinstance(part, nn.Embedding) and (categories or part not in own)
        ):
            nn.init.trunc_normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, ColumnPredictor):
            nn.init.trunc_normal_(part.mask_token, std=std)
