"""Views and the actions between them as one sequence: an action projector, an aggregator, a predictor (seq-JEPA)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anyjepa.nn.batchnorm import VectorBatchNorm


class ActionProjector(nn.Module):
    """Linear map without bias and batch normalisation without scale; ``width`` 0: the actions as they are.

    Args:
        actions: A, numbers of one action.
        width: of its embedding; 0: A, and zeros up to the next multiple of ``multiple``.
        multiple: what the width of raw actions is a multiple of.
    """

    def __init__(self, actions: int, width: int, multiple: int = 1) -> None:
        super().__init__()
        self.width = width or -(-actions // multiple) * multiple
        self.linear = nn.Linear(actions, width, bias=False) if width else None
        self.norm = VectorBatchNorm(width, affine=False) if width else None

    def forward(self, actions: Float[Tensor, "B A"]) -> Float[Tensor, "B E"]:
        """Embeddings of a batch, which is normalised over itself in training."""
        if self.linear is None or self.norm is None:
            return F.pad(actions, (0, self.width - actions.shape[1]))
        # Statistics of a batch in half precision would round away small turns.
        return self.norm(self.linear(actions).float())


class Aggregator(nn.Module):
    """A learned token [AGG] in front of the tokens, through a transformer with norms after each part.

    There are no positions: the order of views is carried by the actions alone, so any number of tokens works.

    Args:
        dim: width D of a token.
        depth: layers.
        heads: attention heads.
        ratio: width inside the feed-forward networks as a multiple of D.
        dropout: of the transformer.
    """

    def __init__(self, dim: int, depth: int, heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        # Each layer draws its own weights; nn.TransformerEncoder would copy one.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, int(dim * ratio), dropout, batch_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Float[Tensor, "B M D"]) -> Float[Tensor, "B N D"]:
        """Tokens after the last norm; the first of the N = M + 1 is the aggregate."""
        x = torch.cat((self.token.expand(len(tokens), -1, -1).to(tokens.dtype), tokens), dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class SequencePredictor(nn.Module):
    """Linear, batch norm, ReLU, linear: from the aggregate (and an action) to the representation of the next view."""

    def __init__(self, before: int, hidden: int, after: int) -> None:
        super().__init__()
        self.first = nn.Linear(before, hidden, bias=False)
        self.norm = VectorBatchNorm(hidden)
        self.last = nn.Linear(hidden, after)

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        """The prediction."""
        return self.last(F.relu(self.norm(self.first(x))))
