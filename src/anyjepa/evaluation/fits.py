"""The probes by name: each fits on training samples and answers for test samples it has no labels of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from anyjepa.contract import Method
from anyjepa.errors import ConfigError, nearest
from anyjepa.evaluation.attentive import AttentiveConfig, fit_attentive
from anyjepa.evaluation.budgets import Labels
from anyjepa.evaluation.finetune import FinetuneConfig, fit_finetune
from anyjepa.evaluation.knn import NEIGHBOURS, TEMPERATURE, knn_predict, knn_regress
from anyjepa.evaluation.linear import STRENGTHS, fit_linear
from anyjepa.evaluation.ridge import STRENGTHS as RIDGE_STRENGTHS
from anyjepa.evaluation.ridge import fit_ridge
from anyjepa.evaluation.samples import Samples
from anyjepa.evaluation.task import CLASSIFY
from anyjepa.evaluation.tokens import TokenStore

PROBES = ("knn", "linear", "ridge", "attentive", "finetune")
DEFAULT = {"classify": ("knn", "linear"), "regress": ("knn", "ridge")}

Progress = Callable[[str, int, int], None]
"""Called with (what is done, parts done, parts in all)."""


@dataclass(frozen=True)
class Inputs:
    """One kind of features, in every form a probe may ask for.

    Attributes:
        values: (n, F) pooled vectors of all samples, training and test.
        store: tokens of the same samples; None for raw pixels, or when no probe needs them.
        method: what the features are of; None for raw pixels.
        encoder: ``"target"`` or ``"context"``.
        scratch: the method is untrained.
        samples: the images.
    """

    values: Float[np.ndarray, "n F"]
    store: TokenStore | None
    method: Method | None
    encoder: str
    scratch: bool
    samples: Samples

    def allow(self, probe: str) -> bool:
        """Whether a probe can be fitted on these features."""
        if probe == "attentive":
            return self.store is not None
        return probe != "finetune" or self.method is not None


@dataclass(frozen=True)
class Fits:
    """How the probes are trained where there is a choice."""

    attentive: AttentiveConfig
    finetune: FinetuneConfig
    device: torch.device | str = "cpu"
    progress: Progress | None = None

    def answers(
        self,
        probe: str,
        inputs: Inputs,
        inside: Int[np.ndarray, "k"],
        known: Labels,
        outside: Int[np.ndarray, "m"],
        seed: int,
    ) -> Int[np.ndarray, "m"] | Float[np.ndarray, "m"]:
        """Classes or values for the test samples.

        Args:
            probe: which.
            inputs: the features of all samples.
            inside: positions of the training samples.
            known: their labels. Labels of other samples are not given, so they cannot choose anything.
            outside: positions of the test samples.
            seed: of everything random.
        """
        values = inputs.values
        if probe == "knn":
            read = knn_regress if known.dtype.kind == "f" else knn_predict
            return read(values[inside], known, values[outside])
        if probe == "linear":
            return fit_linear(values[inside], known, seed=seed).predict(values[outside])
        if probe == "ridge":
            return fit_ridge(values[inside], known).predict(values[outside])
        if probe == "attentive":
            assert inputs.store is not None
            fitted = fit_attentive(
                inputs.store, inside, known, seed=seed, config=self.attentive, device=self.device
            )
            return fitted.predict(inputs.store, outside)
        assert inputs.method is not None
        config = replace(self.finetune, layer_decay=1.0) if inputs.scratch else self.finetune
        tuned = fit_finetune(
            inputs.method,
            inputs.samples,
            inside,
            known,
            encoder=inputs.encoder,
            seed=seed,
            config=config,
            device=self.device,
            progress=self._steps,
        )
        return tuned.predict(inputs.samples, outside)

    def _steps(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress("fine-tuning", done, total)

    def protocol(self, probes: Sequence[str], task: str, raw: str) -> tuple[str, ...]:
        """What was done, a sentence for each probe."""
        a, f = self.attentive, self.finetune
        answer = "vote" if task == CLASSIFY else "mean value"
        sentences = {
            "knn": f"kNN: {NEIGHBOURS} neighbours (all, when there are fewer labels), cosine similarity, {answer} at "
            f"temperature {TEMPERATURE}",
            "linear": "linear: logistic regression on standardised features, its L2 strength chosen among "
            f"{len(STRENGTHS)} on held-out training labels, fitted again on all",
            "ridge": "ridge: least squares in closed form on standardised features, its L2 strength chosen among "
            f"{len(RIDGE_STRENGTHS)} by leave-one-out error on the training labels",
            "attentive": "attentive: one learned query pools standardised tokens by cross-attention, then a linear layer; AdamW, "
            f"{len(a.lrs)} learning rates x {len(a.weight_decays)} weight decays tried on held-out training labels, the best "
            "trained again on all",
            "finetune": "fine-tuned: the whole encoder and a linear layer on mean-pooled tokens of the last block, random crops, "
            f"AdamW, {f.epochs} epochs within {f.min_steps}..{f.max_steps} steps, learning rate {f.lr:g} x {f.layer_decay} per "
            "block downwards (untrained encoder: the same network from scratch, without that decay)",
        }
        lines = [sentences[probe] for probe in probes]
        if raw:
            lines.append(f"raw: {raw}")
        return tuple(lines)


def check_probes(probes: Sequence[str] | None, task: str | None) -> None:
    """Raise ConfigError for a probe that does not exist, or is not one for the task."""
    for name in probes or ():
        if name not in PROBES:
            raise ConfigError(f"unknown probe '{name}': {nearest(name, PROBES)}")
    if task == "regress" and "linear" in (probes or ()):
        raise ConfigError(
            "the linear probe is logistic regression, which needs classes: for measured values use ridge"
        )
    if probes is not None and not probes:
        raise ConfigError(f"probes is empty: choose of {', '.join(PROBES)}")
