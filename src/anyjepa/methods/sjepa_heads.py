"""The three ways S-JEPA's authors classify with a pretrained model (arXiv 2403.11772, section 2.4).

``"contextual"``   local encoder, positions, context encoder; V mixtures of the channels; one linear layer.
``"post-local"``   local encoder; V mixtures of the channels; one linear layer.
``"pre-local"``    V mixtures of the channels of the raw signal, each through the local encoder; one linear layer. The best.

The mixtures of the channels and the linear layer are new, everything else is copied from the pretrained model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anyjepa.errors import ConfigError, nearest
from anyjepa.methods.sjepa import SJEPA

SCHEMES = ("contextual", "post-local", "pre-local")


class SJEPAClassifier(nn.Module):
    """Class scores of EEG windows. See the file header for the schemes.

    Args:
        method: the pretrained model; its parts are copied, it stays as it is.
        classes: number of classes.
        scheme: one of :data:`SCHEMES`.
        samples: length of a window; None: as in pretraining. It need not be the same.
        virtual: mixtures V of the channels (4 in the official code).
        encoder: ``"context"`` (official weights) or ``"target"``, for the contextual scheme.
        full: all weights are trained (the paper's full-); else the two new layers alone (new-). :meth:`unfreeze` changes it.
        seed: of the new layers.

    Raises:
        ConfigError: an unknown scheme, fewer than two classes, or a window that is too short.
    """

    def __init__(
        self,
        method: SJEPA,
        classes: int,
        scheme: str = "pre-local",
        *,
        samples: int | None = None,
        virtual: int = 4,
        encoder: Literal["context", "target"] = "context",
        full: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if scheme not in SCHEMES:
            raise ConfigError(f"unknown scheme '{scheme}': {nearest(scheme, SCHEMES)}")
        if classes < 2 or virtual < 1:
            raise ConfigError(
                f"expected at least 2 classes and 1 mixture of channels, got {classes} and {virtual}"
            )
        channels, trained = method.input_shape()
        self.scheme, self.shape = scheme, (channels, samples or trained)
        self.layout = method.tokenizer.layout(*self.shape)
        self.pretrained = nn.ModuleDict({"tokenizer": copy.deepcopy(method.tokenizer)})
        if scheme == "contextual":
            self.pretrained["positions"] = copy.deepcopy(method.positions)
            source = method.context_encoder if encoder == "context" else method.target_encoder
            self.pretrained["encoder"] = copy.deepcopy(source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # A convolution over the channel axis alone is a linear layer of it.
            self.mixtures = nn.Linear(channels, virtual)
            self.classes = nn.Linear(virtual * self.layout.grid[1] * (method.config.dim or 0), classes)
        self.full = full
        self.unfreeze(full)

    def unfreeze(self, full: bool = True) -> None:
        """Train all weights, or the two new layers alone; frozen parts also stay without dropout."""
        self.full = full
        self.pretrained.requires_grad_(full)
        self.train(self.training)

    def train(self, mode: bool = True) -> SJEPAClassifier:
        """Training mode; frozen parts stay in eval mode."""
        super().train(mode)
        self.pretrained.train(mode and self.full)
        return self

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the two new layers."""
        yield from self.mixtures.parameters()
        yield from self.classes.parameters()

    def pretrained_features(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C *rest"]:
        """What the new layers start from, as far as no new layer has a say in it: for pre-local the windows themselves.

        Raises:
            ConfigError: ``x`` has another shape than the classifier was made for.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ConfigError(f"expected input (B, {self.shape[0]}, {self.shape[1]}), got {tuple(x.shape)}")
        if self.scheme == "pre-local":
            return x
        tokens = self.pretrained["tokenizer"](x)
        if self.scheme == "contextual":
            tokens = self.pretrained["encoder"](tokens + self.pretrained["positions"](self.layout.grid[1]))
        return tokens.unflatten(1, self.layout.grid)

    def classify(self, features: Float[Tensor, "B C *rest"]) -> Float[Tensor, "B classes"]:
        """Scores (logits) of the classes from :meth:`pretrained_features`."""
        mixed = self.mixtures(features.movedim(1, -1)).movedim(-1, 1)
        if self.scheme == "pre-local":
            mixed = self.pretrained["tokenizer"](mixed)
        return self.classes(mixed.flatten(1))

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B classes"]:
        """Scores (logits) of the classes."""
        return self.classify(self.pretrained_features(x))
