"""I-JEPA with a linear encoder and a linear predictor: the library's own class, tokenizer, target rule, distance and loss.

A sample is a pair of views, two tokens of one pixel with d channels. The first token is the context, the second the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anyjepa.contract import Batch, Masks
from anyjepa.data import build_loader
from anyjepa.methods.ijepa import IJEPA
from anyjepa.nn.linear import Linear
from anyjepa.objectives.regularizers import RegularizerConfig
from anyjepa.schedules import OptimConfig
from anyjepa.theory import Objective, Pairs, aligned_start, plateau
from anyjepa.theory.descent import Descent
from anyjepa.theory.families import Family
from anyjepa.tokenizers.patches import PatchTokenizer
from anyjepa.training import TrainConfig, train

HUGE = 1e6
"""AdamW without momentum divides a gradient by its size plus epsilon: where epsilon is huge and the rate as much larger,
that is plain gradient descent."""


def descent_optim(rate: float, steps: int) -> OptimConfig:
    """Gradient descent of this rate, with the optimizer of the library."""
    rate *= HUGE
    return OptimConfig(
        steps=steps, warmup_steps=0, start_lr=rate, lr=rate, final_lr=rate,
        weight_decay=0.0, final_weight_decay=0.0, betas=(0.0, 0.0), eps=HUGE,
    )  # fmt: skip


@dataclass(frozen=True)
class LinearConfig:
    d: int
    depth: int
    optim: OptimConfig
    objective: Objective = "jepa"
    start: float = 0.05
    target: str = "stopgrad"
    ema: tuple[float, float] = (0.0, 0.0)
    distance: str = "l2"
    target_norm: bool = False
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    seed: int = 0

    @property
    def default_shape(self) -> tuple[int, int]:
        return (self.d, 2)

    def fit(self, shape: tuple[int, ...]) -> LinearConfig:
        return self


class LinearEncoder(nn.Module):
    """The projection of the tokenizer is the first layer."""

    def __init__(self, d: int, depth: int) -> None:
        super().__init__()
        self.tokenizer = PatchTokenizer((2,), (1,), d, d, bias=False)
        self.rest = nn.ModuleList(Linear(d, d, bias=False) for _ in range(depth - 1))

    def layers(self) -> list[nn.Linear]:
        return [self.tokenizer.proj, *self.rest]

    def forward(
        self,
        patches: Tensor,
        keep: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        outputs: Tensor | None = None,
        layer: int = -1,
    ) -> Tensor:
        x = self.tokenizer.embed(patches, keep if outputs is None else outputs)
        for layer_ in self.rest:
            x = layer_(x)
        return x


class LinearPredictor(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.proj = Linear(d, d, bias=False)

    def forward(self, context: Tensor, at: Tensor, targets: Tensor, *, valid: Tensor | None = None) -> Tensor:
        return self.proj(context).unsqueeze(1)


class Views(nn.Module):
    """The target views themselves."""

    def forward(self, patches: Tensor, outputs: Tensor) -> Tensor:
        return patches.gather(1, outputs.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))


class LinearJEPA(IJEPA):
    """With ``objective="mae"`` the targets are the views themselves. Remembers the amplitudes of all steps."""

    name = "linear"

    def __init__(self, config: LinearConfig) -> None:
        super().__init__(config)
        self.views = Views()
        self.amplitudes = [self.norms()]

    def parts(self, c: Any) -> Any:
        return LinearEncoder(c.d, c.depth), LinearPredictor(c.d)

    def initialise(self, c: Any) -> None:
        layers, v = aligned_start(c.objective, c.depth, c.d, c.start, np.random.default_rng(c.seed))
        modules = [*self.context_encoder.layers(), self.predictor.proj]
        with torch.no_grad():
            for module, value in zip(modules, [*layers, v], strict=True):
                module.weight.copy_(torch.from_numpy(value))

    @property
    def target_encoder(self) -> nn.Module:
        return self.views if self.config.objective == "mae" else super().target_encoder

    def draw_masks(self, batch: Batch) -> Masks:
        b = len(batch.inputs)
        return Masks(torch.zeros(b, 1, dtype=torch.long), torch.ones(b, 1, 1, dtype=torch.long))

    def after_step(self, step: int) -> None:
        super().after_step(step)
        self.amplitudes.append(self.norms())

    def matrices(self) -> tuple[list[np.ndarray], np.ndarray]:
        layers = [layer.weight.detach().double().numpy() for layer in self.context_encoder.layers()]
        return layers, self.predictor.proj.weight.detach().double().numpy()

    def norms(self) -> np.ndarray:
        w = np.linalg.multi_dot([*self.matrices()[0][::-1], np.eye(self.config.d)])
        return np.linalg.norm(w, axis=0)


class Population:
    """4 d pairs with exactly the second moments of ``pairs``: a batch of all of them is the expectation."""

    def __init__(self, pairs: Pairs) -> None:
        d, signs = len(pairs.lam), np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
        spread, rho = np.sqrt(d * pairs.variance), pairs.rho
        rest = np.sqrt(d * pairs.variance - (rho * spread) ** 2)
        x = np.einsum("i,s,ij->sij", spread, signs[:, 0], np.eye(d)).reshape(-1, d)
        y = rho * x + np.einsum("i,s,ij->sij", rest, signs[:, 1], np.eye(d)).reshape(-1, d)
        self.views = torch.from_numpy(np.stack((x, y), axis=2)).float()

    def __len__(self) -> int:
        return len(self.views)

    def draw(self, step: int, indices: np.ndarray, seed: int) -> Tensor:
        return self.views[torch.from_numpy(indices.copy())]


class Fresh:
    """New pairs of a family in every step."""

    def __init__(self, family: Family, batch: int) -> None:
        self.family, self.batch = family, batch

    def __len__(self) -> int:
        return self.batch

    def draw(self, step: int, indices: np.ndarray, seed: int) -> Tensor:
        x, y = self.family.sample(len(indices), np.random.default_rng([seed, step]))
        return torch.from_numpy(np.stack((x, y), axis=2)).float()


def trained(
    method: LinearJEPA, data: Population | Fresh, run: Any, unit: float, levels: Sequence[float] | None = None
) -> tuple[Descent, np.ndarray]:
    """Train with the library's loop, and the times at which the amplitudes are at 90 % of the theory's plateaus.

    Args:
        method: the method.
        data: the pairs; every step takes all of them.
        run: directory of the run.
        unit: time of a step.
        levels: amplitudes asked for.
    """

    def loader(start: int, rank: int, world: int) -> Any:
        return build_loader(data, seed=0, batch_size=len(data), steps=method.optim.steps, start_step=start)

    settings = TrainConfig(
        batch_size=len(data), workers=0, accelerator="cpu", log_every=200, checkpoint_every=10**6
    )
    train(method, loader, settings, run)
    amplitudes = np.stack(method.amplitudes)
    descent = Descent(unit * np.arange(len(amplitudes)), amplitudes, *method.matrices())
    return descent, descent.critical_times(levels)


def level(config: LinearConfig, pairs: Pairs) -> np.ndarray:
    """90 % of the plateaus."""
    return 0.9 * plateau(config.objective, config.depth, pairs.rho)
