"""An encoder read at several depths at once."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from anyjepa.nn.attention import take
from anyjepa.nn.transformer import Encoder
from anyjepa.tokenizers.patches import PatchTokenizer


class LevelEncoder(Encoder):
    """A transformer whose blocks ``levels`` are read side by side, each through a norm of its own (V-JEPA 2.1, arXiv 2603.14482).

    Args:
        tokenizer: cuts inputs into patches and projects them to ``dim``.
        dim: width.
        levels: blocks, ascending, the last one among them; empty: the last alone.
        rest: as for :class:`~anyjepa.nn.transformer.Encoder`.
    """

    def __init__(
        self, tokenizer: PatchTokenizer, *, dim: int, levels: tuple[int, ...] = (), **rest: Any
    ) -> None:
        super().__init__(tokenizer, dim=dim, **rest)
        self.levels = levels
        self.level_norms = nn.ModuleList(nn.LayerNorm(dim, eps=self.norm.eps) for _ in levels[:-1])

    def read(
        self,
        patches: Float[Tensor, "B N patch"],
        keep: Int[Tensor, "B K"] | None = None,
        *,
        outputs: Int[Tensor, "B Q"] | None = None,
    ) -> Float[Tensor, "B Q E"]:
        """Representations of all levels, joined: E is the width times their number; the last level stands last.

        Args:
            patches: all patches of each sample.
            keep: the tokens that enter the network; None: all.
            outputs: positions, within the tokens that entered, whose representations are wanted; None: all.
        """
        if not self.level_norms:
            return self(patches, keep, outputs=outputs)
        x = self.positions(self.tokenizer.embed(patches, keep), keep)
        rotary, found = self._angles(keep, 0), []
        norms = dict(zip(self.levels, self.level_norms, strict=False))
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            x = block(x, rotary=rotary, keep=outputs if i == last else None)
            if i in norms:
                found.append(norms[i](x if outputs is None else take(x, outputs)))
        return torch.cat([*found, self.norm(x)], dim=-1)
