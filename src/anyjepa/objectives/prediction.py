"""The loss of methods that predict hidden tokens: a distance to the targets, plus a regularizer where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from anyjepa.errors import ConfigError
from anyjepa.objectives.regularizers import RegularizerConfig, regularize

RESCUE = RegularizerConfig(kind="vicreg", weight=1.0, level="both")
"""What is switched on in a collapse; see docs/small-scale.md for what it does to small models."""


def rescued(config: Any) -> tuple[Any, str | None]:
    """The config with VICReg's terms where no regularizer is at work, and what was done, in words; else as it is, and None."""
    if config.regularizer.kind != "none":
        return config, None
    told = f"switched on model.regularizer: kind={RESCUE.kind}, level={RESCUE.level}, weight={RESCUE.weight}"
    return replace(config, regularizer=RESCUE), told


def check_regularizer(regularizer: RegularizerConfig, target: str) -> None:
    """Raise ConfigError when ``regularizer`` is on targets that the rule ``target`` gives no gradient."""
    if regularizer.kind != "none" and regularizer.on == "target" and target != "online":
        raise ConfigError(
            f"regularizer.on=target needs target=online: with target={target} the targets carry no gradient; "
            "set target=online, or regularizer.on to context or prediction"
        )


def prediction_loss(
    measure: Callable[[Tensor, Tensor], Tensor],
    regularizer: RegularizerConfig,
    *,
    predicted: Float[Tensor, "B M P E"],
    target: Float[Tensor, "B M P E"],
    context: Float[Tensor, "B K D"],
    valid: Bool[Tensor, "B K"] | None = None,
    seed: int = 0,
    step: int = 0,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The loss and its named parts, detached: ``prediction``, and ``regularizer`` without its weight if there is one.

    Args:
        measure: distance of predictions and targets, both (B, M, P, E) float32, as a scalar.
        regularizer: which one, how strong, and on which of the three.
        predicted, target: predictions and what they should be, of all target blocks.
        context: representations of the context.
        valid: False where the context is padding.
        seed, step: name the random directions of a regularizer.
    """
    prediction = measure(predicted.float(), target.float())
    losses = {"prediction": prediction.detach()}
    tokens = {"context": context, "target": target.flatten(1, 2), "prediction": predicted.flatten(1, 2)}
    term = regularize(
        regularizer,
        tokens[regularizer.on].float(),
        valid if regularizer.on == "context" else None,
        seed=seed,
        step=step,
    )
    if term is None:
        return prediction, losses
    return prediction + regularizer.weight * term, losses | {"regularizer": term.detach()}
