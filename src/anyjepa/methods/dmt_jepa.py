"""DMT-JEPA: I-JEPA that predicts, of each hidden patch, what its most similar neighbours have in common.

Mo, Yun: DMT-JEPA: Discriminative Masked Targets for Joint-Embedding Predictive Architecture, arXiv 2405.17995.

    h       = layer_norm(target_encoder(x))
    X_n     = the 4 of the 8 neighbours of patch n whose h are most similar to its own (cosine)
    loss    = smooth_l1( predictor(head(context_encoder(x[context])), positions[target]),  ema_head(mean(h); X_n) )

The head is two blocks of attention from one query; its moving average makes the targets. A patch's own features are not among
what its target is made of. Where paper and official code differ the code is followed (smooth L1, a sequence and no single vector
for the context); where the code slips it is repaired; ``query=official`` and ``neighbours.borders=wrap`` bring the slips back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from anyjepa.contract import Masks
from anyjepa.masking.wanted import gather_targets
from anyjepa.methods.ijepa import IJEPA, IJEPAConfig
from anyjepa.nn.aggregation import LocalAggregationHead
from anyjepa.nn.transformer import initialise
from anyjepa.objectives.neighbours import NeighbourConfig, most_similar, neighbour_mean, neighbour_table
from anyjepa.objectives.targets import TargetRule
from anyjepa.registry import register
from anyjepa.tokenizers.patches import patch_layout


@dataclass(frozen=True)
class DMTJEPAConfig(IJEPAConfig):
    """The constants of I-JEPA and those of the neighbours. None means: chosen from ``size`` or from the data, and printed."""

    target_kind: Literal["dmt", "mean", "patch"] = "dmt"
    """What is predicted of a patch: the aggregate of its neighbours by the head, their mean (layer-normalised; no parameters), or
    the patch itself, as in I-JEPA."""
    context_head: Literal["dmt", "none"] = "dmt"
    """Whether the context goes through the head before the predictor gets it. With ``none`` and ``target_kind=dmt`` the head
    never learns (unless the targets do, ``target=online``) and aggregates by its first weights; with ``none`` and
    ``target_kind=patch`` the method is I-JEPA, bit for bit."""
    neighbours: NeighbourConfig = field(default_factory=NeighbourConfig)
    """Which neighbours a target is made of."""
    query: Literal["own_image", "official"] = "own_image"
    """Where the aggregation starts: at the mean over the patch's own image, or, by a slip of the official code, at that of image
    (b N + n) mod B for patch n of image b."""

    def fit(self, shape: tuple[int, ...] = (3, 224, 224)) -> DMTJEPAConfig:
        """As :meth:`IJEPAConfig.fit`.

        Raises:
            ConfigError: as there, or the grid has too few neighbours.
        """
        filled: Any = super().fit(shape)
        self.neighbours.check(patch_layout(filled.image_size, (filled.patch_size, filled.patch_size)).grid)
        return filled

    def summary(self) -> str:
        """What a fitted config stands for, in one line."""
        n = self.neighbours
        of = {
            "dmt": f"the {n.k_num} most similar of {n.k_size}x{n.k_size} neighbours, aggregated",
            "mean": f"the mean of the {n.k_num} most similar of {n.k_size}x{n.k_size} neighbours",
            "patch": "patches",
        }
        return f"{super().summary()}; targets: {of[self.target_kind]}"


@register(
    "dmt-jepa",
    config=DMTJEPAConfig,
    summary="I-JEPA whose targets are aggregates of each patch's most similar neighbours, for features that tell regions apart",
    modality="images",
    citation="Mo, Yun, DMT-JEPA: Discriminative Masked Targets for JEPA, 2024, arXiv 2405.17995",
    licence="no official weights; official code: CC BY-NC 4.0 (not used)",
)
class DMTJEPA(IJEPA):
    """DMT-JEPA as a module. See the file header for the equation.

    Args:
        config: what is None in it is filled in by :meth:`DMTJEPAConfig.fit`.
    """

    config: DMTJEPAConfig
    head: Any  # a LocalAggregationHead, or None where nothing goes through it
    head_target: Any  # its target rule, or None
    table: Tensor
    inside: Tensor

    def __init__(self, config: DMTJEPAConfig | None = None) -> None:
        super().__init__(config or DMTJEPAConfig())
        # Made of the online head after its first weights are drawn, as the target encoder is of the encoder.
        self.head_target = (
            None if self.config.target_kind != "dmt" else TargetRule(self.head, self.config.target)
        )

    def build(self, c: Any) -> None:
        """Encoder and predictor, with the first weights that I-JEPA gives them, and then the head."""
        super().build(c)
        self.head = None
        if "dmt" in (c.target_kind, c.context_head):
            self.head = LocalAggregationHead(c.dim, c.heads)
            initialise(self.head)
            self.head.requires_grad_(c.context_head == "dmt" or c.target == "online")
        table, inside = neighbour_table(self.layout.grid, c.neighbours)
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("inside", inside, persistent=False)

    def make_targets(self, x: Tensor, patches: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
        """What is to be predicted, (B, M, P, D); see :meth:`IJEPA.make_targets`."""
        if self.config.target_kind == "patch":
            return super().make_targets(x, patches, wanted, where)
        h = self.target_encoder(patches)
        if self.config.target_norm:
            h = F.layer_norm(h.float(), h.shape[-1:])
        return gather_targets(self.aggregate(h, wanted), where)

    def aggregate(
        self, h: Float[Tensor, "B N D"], wanted: Int[Tensor, "B W"] | None = None
    ) -> Float[Tensor, "B W D"]:
        """Targets of tokens, from the features of all tokens of their images.

        Args:
            h: features of all tokens, layer-normalised.
            wanted: which tokens of each image; None: all, W = N.
        """
        c = self.config
        chosen, valid = most_similar(h, self.layout.grid, self.table, self.inside, c.neighbours, wanted)
        if self.head_target is None:
            mean = neighbour_mean(h, chosen, valid)
            return F.layer_norm(mean, mean.shape[-1:])
        some = None if c.neighbours.borders == "wrap" else valid
        return self.head_target.encoder(self.head).of_neighbours(self._queries(h, wanted), h, chosen, some)

    def _queries(self, h: Tensor, wanted: Tensor | None) -> Tensor:
        b, n = h.shape[:2]
        mean = h.mean(1)
        if self.config.query == "own_image":
            return mean.unsqueeze(1).expand(-1, n if wanted is None else wanted.shape[1], -1)
        patch = self.table.new_tensor(range(n)).expand(b, -1) if wanted is None else wanted
        image = self.table.new_tensor(range(b)).unsqueeze(1)
        return mean[(image * n + patch) % b]

    def tell(self, context: Tensor, masks: Masks) -> Tensor:
        """What the predictor is told of the context tokens, (B, K, D): what the head makes of their representations."""
        if self.config.context_head == "none" or self.head is None:
            return context
        return self.head.of_context(context, masks.context_valid)

    def after_step(self, step: int) -> None:
        """Moves the target encoder and the head that makes the targets by the same momentum."""
        super().after_step(step)
        if self.head_target is not None:
            self.head_target.update(self.head, self.momentum(step))
