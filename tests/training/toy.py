"""A method of a few hundred parameters with everything training must cope with: two encoders, dropout, buffers."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from anyjepa.contract import Batch, Layout, Method, Output, Representation
from anyjepa.randomness import permutation, uniform
from anyjepa.registry import Entry
from anyjepa.schedules import OptimConfig, ema_momentum

SAMPLES = 50


@dataclass(frozen=True)
class ToyConfig:
    width: int = 8
    dropout: float = 0.0
    explode_at: int | None = None
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(steps=12, warmup_steps=3, lr=0.01, start_lr=0.001)
    )


class Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(torch.tanh(self.linear(self.norm(x))))


class ToyEncoder(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.inlet = nn.Linear(3, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.dropout) for _ in range(2))
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inlet(x) * self.scale
        for block in self.blocks:
            x = block(x)
        return x


class Toy(Method):
    name = "toy"

    def __init__(self, config: ToyConfig | None = None) -> None:
        super().__init__()
        self.config = config or ToyConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.online = ToyEncoder(self.config)
            self.head = nn.Linear(self.config.width, self.config.width)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, batch: Batch) -> Output:
        x = batch.inputs.flatten(2).transpose(1, 2)
        with torch.no_grad():
            target = self.target(x)
        seen = self.online(x)
        difference = (self.head(seen) - target).square().mean()
        spread = (1 - seen.std(1)).relu().mean()
        loss = difference + spread
        if batch.step == self.config.explode_at:
            loss = loss / 0
        return Output(loss, {"difference": difference.detach(), "spread": spread.detach()})

    def after_step(self, step: int) -> None:
        m = ema_momentum(0.9, 1.0, self.optim, step)
        with torch.no_grad():
            for mine, other in zip(self.target.parameters(), self.online.parameters(), strict=True):
                mine.lerp_(other, 1 - m)

    def encode(self, x: Tensor, *, encoder: str = "target", layer: int = -1) -> Representation:
        tokens = self.target(x.flatten(2).transpose(1, 2))
        return Representation(tokens, tokens.mean(1), encoder, layer, Layout((4, 4)))

    def input_shape(self) -> tuple[int, ...]:
        return (3, 4, 4)

    def compile_units(self) -> Iterable[nn.Module]:
        return [*self.online.blocks, *self.target.blocks]


TOY = Entry("toy", Toy, ToyConfig, "", "images", "", "")
"""For the registry of a test; registered for good it would turn up in the generic tests of all methods."""


class Micro(IterableDataset):
    """The micro-batches of one process."""

    def __init__(self, steps: int, size: int, accumulate: int, start: int, rank: int, world: int) -> None:
        self.steps, self.size, self.accumulate = steps, size, accumulate
        self.start, self.rank, self.world = start, rank, world

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        number = 0
        for step in range(self.start, self.steps):
            positions = step * self.size + torch.arange(self.size)
            order = [
                int(permutation(0, "order", int(p) // SAMPLES, SAMPLES)[int(p) % SAMPLES]) for p in positions
            ]
            peers = torch.tensor(order)
            for part in peers.chunk(self.accumulate):
                # DataLoader takes turns between workers: item i of the whole comes from worker i % workers.
                if worker is None or number % worker.num_workers == worker.id:
                    index = part.chunk(self.world)[self.rank]
                    pixels = uniform(0, "pixels", step, index.numpy(), 48).reshape(-1, 3, 4, 4)
                    yield Batch(torch.tensor(pixels, dtype=torch.float32), index, step, 0, peers)
                number += 1


def toy_loader(steps: int, size: int = 8, accumulate: int = 1, workers: int = 0):
    """A loader factory over made-up pixels."""

    def make(start: int, rank: int, world: int) -> DataLoader:
        data = Micro(steps, size, accumulate, start, rank, world)
        return DataLoader(data, batch_size=None, num_workers=workers)

    return make
