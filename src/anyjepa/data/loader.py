"""Batches in an order that is a pure function of (seed, step).

The sample at global position p = step * batch_size + slot is ``permutation(seed, epoch)[p mod n]`` with epoch
= p div n: the stream runs over the epochs without dropping a sample. Processes and accumulated micro-batches
share the slots of a step contiguously, so that neither their number nor that of the workers, nor a resume,
changes what a step trains on.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from anyjepa.bundle import Inputs
from anyjepa.contract import Batch
from anyjepa.errors import AnyjepaError, ConfigError
from anyjepa.randomness import permutation


@runtime_checkable
class Drawable(Protocol):
    """What can be loaded: any data set that draws a batch of its samples as a pure function."""

    def __len__(self) -> int: ...

    def draw(self, step: int, indices: np.ndarray, seed: int) -> Inputs:
        """The samples ``indices`` as drawn in optimizer step ``step`` of the run ``seed``."""
        ...


class Request(NamedTuple):
    """A micro-batch to be made: optimizer step, number within the step, its samples, all of the step's."""

    step: int
    micro: int
    indices: Int[np.ndarray, "B"]
    peers: Int[np.ndarray, "G"]


@functools.lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    order = permutation(seed, "data/order", epoch, n)
    order.flags.writeable = False  # shared by everybody who asks for it
    return order


def step_indices(seed: int, step: int, batch_size: int, n: int) -> Int[np.ndarray, "G"]:
    """Indices of all samples of one optimizer step, over all processes, in the order of their slots.

    Args:
        seed: seed of the run.
        step: optimizer step.
        batch_size: samples per optimizer step.
        n: samples in the data set.
    """
    position, stop, parts = step * batch_size, (step + 1) * batch_size, []
    while position < stop:
        epoch, start = divmod(position, n)
        parts.append(_epoch_order(seed, epoch, n)[start : start + stop - position])
        position += len(parts[-1])
    return np.concatenate(parts)


class StepSampler(Sampler[Request]):
    """The requests of one process: ``accumulate`` for each optimizer step.

    Args:
        n: samples in the data set.
        seed: seed of the run.
        batch_size: samples per optimizer step over all processes and micro-batches.
        steps: number of the last optimizer step, excluded; None: without end.
        start_step: first optimizer step; starting late costs nothing.
        rank: number of this process.
        world: number of processes.
        accumulate: micro-batches per optimizer step.

    Raises:
        ConfigError: ``batch_size`` cannot be shared evenly by processes and micro-batches.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        batch_size: int,
        steps: int | None = None,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        if not 0 <= rank < world or accumulate < 1:
            raise ConfigError(
                f"expected 0 <= rank < world and accumulate >= 1, got {rank=}, {world=}, {accumulate=}"
            )
        if n < 1 or start_step < 0:
            raise ConfigError(f"expected at least one sample and start_step >= 0, got {n=}, {start_step=}")
        shares = world * accumulate
        if batch_size < 1 or batch_size % shares:
            below, above = batch_size // shares * shares, (batch_size // shares + 1) * shares
            raise ConfigError(
                f"batch_size={batch_size} cannot be shared evenly by {world} processes x {accumulate}"
                f" micro-batches: use {f'{below} or {above}' if below > 0 else max(above, shares)}"
            )
        self.n, self.seed, self.batch_size = n, seed, batch_size
        self.steps, self.start_step = steps, start_step
        self.rank, self.world, self.accumulate = rank, world, accumulate

    def __iter__(self) -> Iterator[Request]:
        share = self.batch_size // (self.world * self.accumulate)
        for step in (
            itertools.count(self.start_step) if self.steps is None else range(self.start_step, self.steps)
        ):
            peers = step_indices(self.seed, step, self.batch_size, self.n)
            for micro in range(self.accumulate):
                first = (micro * self.world + self.rank) * share
                yield Request(step, micro, peers[first : first + share], peers)

    def __len__(self) -> int:
        if self.steps is None:
            raise TypeError("a stream without end has no length")
        return max(0, self.steps - self.start_step) * self.accumulate


class _Item(NamedTuple):
    # What travels from a worker: a tuple of tensors and numbers, and what pins itself, is what DataLoader knows how to pin.
    inputs: Inputs
    samples: Tensor
    step: int
    seed: int
    peers: Tensor


class _Failure(NamedTuple):
    kind: type[AnyjepaError]
    text: str


class _Maker:
    """Makes finished micro-batches inside the worker."""

    def __init__(self, data: Drawable, seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, request: Request) -> _Item | _Failure:
        try:
            inputs = self.data.draw(request.step, request.indices, self.seed)
        except AnyjepaError as error:
            # Raised here it would arrive wrapped in a worker's traceback; carried over, it keeps its class
            # and text.
            return _Failure(type(error), str(error))
        index, peers = torch.from_numpy(request.indices.copy()), torch.from_numpy(request.peers.copy())
        return _Item(inputs, index, request.step, self.seed, peers)


def _as_is(item: Any) -> Any:
    return item


class BatchLoader(DataLoader):
    """DataLoader that yields :class:`~anyjepa.contract.Batch`; made by :func:`build_loader`."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for item in super().__iter__():
            if isinstance(item, _Failure):
                raise item.kind(item.text)
            yield Batch(item.inputs, item.samples, item.step, item.seed, item.peers)


def build_loader(
    data: Drawable,
    *,
    seed: int,
    batch_size: int,
    steps: int | None = None,
    start_step: int = 0,
    rank: int = 0,
    world: int = 1,
    accumulate: int = 1,
    workers: int = 0,
    pin_memory: bool | None = None,
    start_method: str | None = None,
) -> BatchLoader:
    """A loader of finished micro-batches, ``accumulate`` per step; their order: see the head of this file.

    Args:
        data: what to load, e.g. an ImageDataset.
        seed: seed of the run; names all draws.
        batch_size: samples per optimizer step over all processes and micro-batches.
        steps: stop before this optimizer step; None: never.
        start_step: first optimizer step.
        rank: number of this process.
        world: number of processes.
        accumulate: micro-batches per optimizer step.
        workers: processes that make batches; 0: make them here. Each uses one thread.
        pin_memory: put batches where a GPU fetches them fastest; None: when there is a GPU.
        start_method: how workers are started, ``"fork"``, ``"spawn"`` or ``"forkserver"``; None: Python's
            choice.

    Raises:
        ConfigError: ``batch_size`` cannot be shared evenly.
        DataError: while iterating, raised by the data set in whichever process.
    """
    sampler = StepSampler(
        len(data),
        seed=seed,
        batch_size=batch_size,
        steps=steps,
        start_step=start_step,
        rank=rank,
        world=world,
        accumulate=accumulate,
    )
    return BatchLoader(
        _Maker(data, seed),  # type: ignore[arg-type]
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_as_is,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        # The stream is one pass over all epochs, so workers live as long as it does. Outliving it, they would
        # be ended by the garbage collector, which waits five seconds for each.
        persistent_workers=False,
        multiprocessing_context=start_method if workers > 0 else None,
        # DataLoader draws a seed for its workers; from here, so that it does not advance torch's global
        # generator.
        generator=torch.Generator().manual_seed(0),
    )
