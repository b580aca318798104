"""AutoInt: columns as vectors that attend to one another.

Song, Shi, Xiao, Duan, Xu, Zhang, Tang: AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks,
CIKM 2019, arXiv 1810.11921. A layer (their equations 5 to 8), for each head and then joined:

    a = softmax(q k^T),   e' = relu( a v + W_res e )

Products of queries and keys are divided by the root of their length, as in every transformer; the paper does not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class InteractingLayer(nn.Module):
    """Attention between columns with a linear residual.

    Args:
        width: D of a column.
        heads: number of heads, which divides D.
        dropout: of the attention weights.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.residual = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Float[Tensor, "B d D"]) -> Float[Tensor, "B d D"]:
        queries, keys, values = self.project(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        return F.relu(found.transpose(1, 2).flatten(2) + self.residual(tokens))


class AutoInt(nn.Module):
    """Vectors of columns, interacting layers, and a linear head on all of them.

    Args:
        numbers: columns of numbers.
        categories: codes of each column of categories.
        outputs: K.
        layers: interacting layers.
        width: D of a column.
        heads: attention heads, which divide D.
        dropout: of the attention weights.
    """

    def __init__(
        self,
        numbers: int,
        categories: list[int],
        outputs: int,
        *,
        layers: int,
        width: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))
        # Without it a number at its mean would be the zero vector, of which nothing can be told.
        self.bias = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in categories)
        for table in self.tables.parameters():
            nn.init.uniform_(table, -bound, bound)
        self.layers = nn.Sequential(*(InteractingLayer(width, heads, dropout) for _ in range(layers)))
        self.head = nn.Linear((numbers + len(categories)) * width, outputs)

    def forward(
        self, numbers: Float[Tensor, "B n"] | None, codes: Int[Tensor, "B c"] | None = None
    ) -> Float[Tensor, "B K"]:
        tokens = [] if numbers is None else [numbers[:, :, None] * self.weight + self.bias]
        if codes is not None:
            tokens += [table(codes[:, j])[:, None] for j, table in enumerate(self.tables)]
        return self.head(self.layers(torch.cat(tokens, dim=1)).flatten(1))
