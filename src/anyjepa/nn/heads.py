"""Classification heads on sequences of registers and tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError


class QueryHead(nn.Module):
    """One learned query attends to the whole sequence, and the output projection is the classifier (arXiv 2410.13867).

    Keys and values come from the sequence as it is; nothing has a bias. With K classes it has D + 3 D^2 + K D parameters.

    Args:
        dim: width D of the sequence.
        heads: attention heads; the paper takes those of the encoder.
        classes: outputs K.
        std: of the initial weights.

    Raises:
        ConfigError: the heads do not divide the width.
    """

    def __init__(self, dim: int, heads: int, classes: int, std: float = 0.02) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(f"dim={dim} is not divisible by {heads} heads")
        self.heads = heads
        self.query = nn.Parameter(torch.empty(dim))
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, classes, bias=False)
        for weight in (self.query, self.q.weight, self.kv.weight, self.proj.weight):
            nn.init.trunc_normal_(weight, std=std)

    def forward(self, sequence: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Logits."""
        q = self.q(self.query).view(1, self.heads, 1, -1).expand(len(sequence), -1, -1, -1)
        k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.kv(sequence).chunk(2, dim=-1)
        )
        pooled = F.scaled_dot_product_attention(q, k, v)
        return self.proj(pooled.transpose(1, 2).flatten(1))


class FirstTokenHead(nn.Module):
    """A linear layer without bias on the first token of the sequence, e.g. the register of ECG-JEPA when it is fine-tuned.

    Args:
        dim: width D of the sequence.
        classes: outputs K.
        std: of the initial weights.
    """

    def __init__(self, dim: int, classes: int, std: float = 0.02) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, classes, bias=False)
        nn.init.trunc_normal_(self.proj.weight, std=std)

    def forward(self, sequence: Float[Tensor, "B S D"]) -> Float[Tensor, "B K"]:
        """Logits."""
        return self.proj(sequence[:, 0])
