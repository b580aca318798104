"""What a trained method says about sequences of views: aggregates, single views, predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle
from anyjepa.contract import Method
from anyjepa.data.pose_source import PoseSource
from anyjepa.data.views_dataset import Sequences, ViewsDataset
from anyjepa.errors import ConfigError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """Samples of one side of a split.

    Attributes:
        dataset: where their sequences come from; with poses it holds these samples alone, so that no view of the other side
            gets into a sequence.
        rows: positions of the samples in it.
    """

    dataset: ViewsDataset
    rows: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Classes of the samples."""
        assert self.dataset.source.labels is not None
        return self.dataset.source.labels[self.rows]


def part(dataset: ViewsDataset, rows: np.ndarray) -> Part:
    """Some samples of a data set, as one side of a split."""
    if not isinstance(dataset.source, PoseSource):
        return Part(dataset, rows)
    return Part(ViewsDataset(dataset.source.take(rows), dataset.config), np.arange(len(rows)))


@dataclass(frozen=True)
class Read:
    """What was read of one sequence for each sample.

    Attributes:
        aggregate: (n, E) z_AGG of the observed views.
        single: (n, V, D) representation of each view.
        parameters: (n, V, P) what each view is.
        actions: (n, V - 1, A) what the model is told.
    """

    aggregate: Float[np.ndarray, "n E"]
    single: Float[np.ndarray, "n V D"]
    parameters: Float[Tensor, "n V P"]
    actions: Float[np.ndarray, "n _ A"]


def batches(some: Part, views: int, seed: int, size: int = 256) -> Iterator[Sequences]:
    """Sequences of the samples, one each, in their order."""
    for start in range(0, len(some.rows), size):
        yield some.dataset.sequences(some.rows[start : start + size], views, seed)


@torch.inference_mode()
def read(
    method: Method,
    some: Part,
    observed: int,
    *,
    unseen: int = 0,
    seed: int = 0,
    encoder: str = "target",
    device: str = "cpu",
    without: str | None = None,
) -> Read:
    """Read a sequence of each sample.

    Args:
        method: in eval mode afterwards.
        some: the samples.
        observed: views that the aggregate is of.
        unseen: views after these, which are only read one by one.
        seed: names the draws.
        encoder: ``"target"`` or ``"context"``.
        device: where to compute.
        without: ``"actions"`` or ``"views"``: the aggregate is read with their embeddings put to 0.
    """
    method = method.eval().to(device)
    found: dict[str, list[np.ndarray]] = {"aggregate": [], "single": [], "actions": []}
    parameters = []
    for one in batches(some, observed + unseen, seed):
        inputs = one.inputs.to(device)
        views, actions = inputs["views"], inputs["actions"]
        seen = Bundle({"views": views[:, :observed], "actions": actions[:, : observed - 1]})
        with silenced(method, without):
            found["aggregate"].append(method.encode(seen, encoder=encoder).pooled.cpu().numpy())
        single = method.encode(views.flatten(0, 1), encoder=encoder).pooled
        found["single"].append(single.unflatten(0, tuple(views.shape[:2])).cpu().numpy())
        found["actions"].append(actions.cpu().numpy())
        parameters.append(one.parameters)
    whole = {name: np.concatenate(pieces) for name, pieces in found.items()}
    return Read(parameters=torch.cat(parameters), **whole)


def silenced(method: Method, what: str | None) -> AbstractContextManager[Any]:
    """A stretch in which the embeddings of actions or views are 0.

    Raises:
        ConfigError: the method has no such switch.
    """
    if what is None:
        return nullcontext()
    switch = getattr(method, "without", None)
    if switch is None:
        raise ConfigError(f"{method.name} has no way to leave {what} out: it needs a method without(what)")
    return switch(what)
