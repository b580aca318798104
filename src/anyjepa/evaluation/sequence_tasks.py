"""What an encoder of views and its aggregate are worth: what they leave out, what they keep, what they can tell beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.bundle import Bundle
from anyjepa.contract import Method
from anyjepa.data.pose_source import PoseSource
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.linear import STRENGTHS, fit_linear
from anyjepa.evaluation.regression import HIDDEN, fit_regression, global_r2, uniform_r2
from anyjepa.evaluation.sequence_features import Part, Read, batches, read

CANDIDATES = 50
"""Views among which a prediction is looked for, as many as an object of 3DIEBench has."""


@dataclass(frozen=True)
class Setting:
    """How sequences are scored.

    Attributes:
        lengths: numbers of observed views.
        seed: names the sequences, the folds of the heads and their weights.
        repeats: sequences of each training sample that the regressions are fitted on.
        heads: ``"linear"``, ``"mlp"``.
        hidden: hidden layers of the MLP.
        strengths: L2 strengths tried by the probes of classes.
        encoder: ``"target"`` or ``"context"``.
        device: where to compute.
    """

    lengths: tuple[int, ...] = (1, 3, 5)
    seed: int = 0
    repeats: int = 4
    heads: tuple[str, ...] = ("linear", "mlp")
    hidden: tuple[int, ...] = HIDDEN
    strengths: tuple[float, ...] = STRENGTHS
    encoder: str = "target"
    device: str = "cpu"


@dataclass(frozen=True)
class Found:
    """One number.

    Attributes:
        quantity: what it is, e.g. ``"accuracy of z_AGG"``.
        length: observed views; 0 where that says nothing.
        value: the score.
    """

    quantity: str
    length: int
    value: float


def sequence_scores(method: Method, train: Part, test: Part, setting: Setting) -> list[Found]:
    """Accuracy of a linear probe of z_AGG for each number of observed views, and of one of single views.

    Raises:
        DataError: there are no labels.
    """
    if train.dataset.source.labels is None or test.dataset.source.labels is None:
        raise DataError("the task sequence tells classes, and the data have no labels")
    found = []
    for length in setting.lengths:
        inside, outside = (_read(method, side, length, setting) for side in (train, test))
        fit = fit_linear(inside.aggregate, train.labels, seed=setting.seed, strengths=setting.strengths)
        found.append(Found("accuracy of z_AGG", length, fit.accuracy(outside.aggregate, test.labels)))
    inside, outside = (_read(method, side, 1, setting) for side in (train, test))
    fit = fit_linear(inside.single[:, 0], train.labels, seed=setting.seed, strengths=setting.strengths)
    return [*found, Found("accuracy of z", 1, fit.accuracy(outside.single[:, 0], test.labels))]


def equivariance_scores(
    method: Method, train: Part, test: Part, setting: Setting, *others: Part
) -> list[Found]:
    """R2 of the relative transformation told from the representations of two views, and of the absolute one from a single view.

    The same heads are scored on ``others``, whose quantities are called ``"others: ..."``.
    """
    inside = _repeated(method, train, 2, setting)
    sides = [("", _read(method, test, 2, setting))]
    sides += [("others: ", _read(method, other, 2, setting)) for other in others]
    maker = train.dataset.maker
    questions: dict[str, Callable[[Read], tuple[np.ndarray, np.ndarray]]] = {
        "relative": lambda r: (
            r.single.reshape(len(r.single), -1),
            maker.relate(r.parameters[:, 0], r.parameters[:, 1]).double().numpy(),
        ),
        "individual": lambda r: (r.single[:, 0], maker.absolute(r.parameters[:, 0]).double().numpy()),
    }
    found = []
    for question, ask in questions.items():
        x, y = ask(inside)
        for name, numbers in maker.parts.items():
            columns = list(numbers)
            for head in setting.heads:
                tell = fit_regression(head, x, y[:, columns], seed=setting.seed, hidden=setting.hidden)
                for whose, side in sides:
                    x_test, y_test = ask(side)
                    told = tell(x_test)
                    for flavour, score in (("uniform", uniform_r2), ("global", global_r2)):
                        quantity = f"{whose}{question} {name} R2, {head}, {flavour}"
                        found.append(Found(quantity, 0, score(y_test[:, columns], told)))
    return found


def path_scores(method: Method, train: Part, test: Part, setting: Setting) -> list[Found]:
    """R2 of the direct transformation from the first view to the next one, told from z_AGG and the last action; and what is left
    of it where all actions, or all views, are taken away from the trained head's inputs."""
    maker, found = train.dataset.maker, []

    def ask(r: Read, last: bool = True) -> np.ndarray:
        return np.concatenate([r.aggregate, r.actions[:, -1] * last], axis=1)

    for length in setting.lengths:
        inside = _repeated(method, train, length, setting, unseen=1)
        y = maker.relate(inside.parameters[:, 0], inside.parameters[:, -1]).double().numpy()
        for head in setting.heads:
            tell = fit_regression(head, ask(inside), y, seed=setting.seed, hidden=setting.hidden)
            for without in (None, "actions", "views"):
                outside = _read(method, test, length, setting, unseen=1, without=without)
                truth = maker.relate(outside.parameters[:, 0], outside.parameters[:, -1]).double().numpy()
                name = "path R2" if without is None else f"path R2 without {without}"
                score = uniform_r2(truth, tell(ask(outside, without != "actions")))
                found.append(Found(f"{name}, {head}", length, score))
    return found


@torch.inference_mode()
def retrieval_scores(method: Method, train: Part, test: Part, setting: Setting) -> list[Found]:
    """How far up the true view stands among all views of the same object (or 50 of the same image), by likeness to the predicted
    one: mean reciprocal rank, share within the first 1 and 5, and for poses the error of the first one's rotation (PRE).

    Raises:
        ConfigError: the method predicts nothing from actions.
    """
    world = _world(method.eval().to(setting.device))
    found = []
    for length in setting.lengths:
        views = _candidates(test, length)
        ranks, errors = [], []
        for one in batches(test, views, setting.seed, max(1, 2048 // views)):
            inputs = one.inputs.to(setting.device)
            pictures, actions = inputs["views"], inputs["actions"]
            seen = Bundle({"views": pictures[:, :length], "actions": actions[:, : length - 1]})
            imagined = world.latent(world.advance(world.start(seen), actions[:, length - 1]))
            every = world.goal(pictures.flatten(0, 1)).unflatten(0, (len(pictures), -1))
            likeness = torch.nn.functional.cosine_similarity(imagined[:, None], every, dim=2)
            ahead, equal = (
                of(likeness, likeness[:, length, None]).sum(dim=1).cpu() for of in (torch.gt, torch.eq)
            )
            # Among equals the middle, so that a method that tells nothing gains nothing.
            ranks.append(1 + ahead + (equal - 1) / 2)
            errors.append(_rotation_error(one.parameters, length, likeness.argmax(dim=1).cpu(), test))
        found += _ranked(torch.cat(ranks).double(), length, views)
        if (error := torch.cat(errors)).numel():
            found.append(Found("PRE", length, float(error.mean())))
    return found


TASKS: dict[str, Callable[[Method, Part, Part, Setting], list[Found]]] = {
    "sequence": sequence_scores,
    "equivariance": equivariance_scores,
    "retrieval": retrieval_scores,
    "path": path_scores,
}
"""By name."""


def _read(method: Method, side: Part, length: int, setting: Setting, **more: Any) -> Read:
    return read(
        method, side, length, seed=setting.seed, encoder=setting.encoder, device=setting.device, **more
    )


def _repeated(method: Method, side: Part, length: int, setting: Setting, unseen: int = 0) -> Read:
    """Several sequences of each sample, one after the other."""
    parts = [
        read(
            method,
            side,
            length,
            unseen=unseen,
            seed=setting.seed + 1000 * (i + 1),
            encoder=setting.encoder,
            device=setting.device,
        )
        for i in range(setting.repeats)
    ]
    return Read(
        np.concatenate([p.aggregate for p in parts]),
        np.concatenate([p.single for p in parts]),
        torch.cat([p.parameters for p in parts]),
        np.concatenate([p.actions for p in parts]),
    )


def _world(method: Method) -> Any:
    make = getattr(method, "world_model", None)
    if make is None:
        raise ConfigError(f"{method.name} predicts nothing from actions, which retrieval needs")
    return make()


def _candidates(side: Part, length: int) -> int:
    source = side.dataset.source
    views = source.fewest[1] if isinstance(source, PoseSource) else length + CANDIDATES
    if views <= length:
        raise DataError(f"an object has {views} views, {length} observed ones leave none to be looked for")
    return views


def _ranked(ranks: Float[Tensor, "n"], length: int, views: int) -> list[Found]:
    chance = sum(1 / k for k in range(1, views + 1)) / views
    return [
        Found("MRR", length, float((1 / ranks).mean())),
        Found("H@1", length, float((ranks <= 1).double().mean())),
        Found("H@5", length, float((ranks <= 5).double().mean())),
        Found(f"MRR by chance among {views}", length, chance),
    ]


def _rotation_error(parameters: Tensor, length: int, nearest: Tensor, side: Part) -> Float[Tensor, "_"]:
    """1 - <p, q>^2 of the rotations that are looked for and found, both as quaternions; empty without poses."""
    form = getattr(side.dataset.source, "form", None)
    if form is None:
        return torch.zeros(0)
    true, got = parameters[:, length], parameters[torch.arange(len(nearest)), nearest]
    if form == "angle":
        return ((got[:, 0] - true[:, 0]) / 2).sin().square().double()
    return 1 - (got[:, :4] * true[:, :4]).sum(dim=1).square().double()
