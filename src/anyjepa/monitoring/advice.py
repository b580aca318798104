"""What to change after a verdict, in the keys of the run's own config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def advise(verdict: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Advice for a verdict; keys the config does not have are not named. Empty where nothing is to be done."""
    if verdict == "too early to say":
        return ("look again after more steps: anyjepa doctor RUN",)
    if verdict in ("complete collapse", "dimensional collapse"):
        return tuple(_against_collapse(config))
    if verdict == "diverged":
        return tuple(_against_divergence(config))
    if verdict == "not learning":
        return tuple(_against_standstill(config))
    return ()


def _get(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def _against_collapse(config: Mapping[str, Any]) -> list[str]:
    found = []
    kind, weight = _get(config, "model.regularizer.kind"), _get(config, "model.regularizer.weight")
    if kind == "none" and _get(config, "model.target") is None:
        found.append(
            "set model.regularizer.kind=sigreg and model.regularizer.weight=0.02 (or train with --on-collapse regularize)"
        )
    elif kind == "none":
        found.append(
            "set model.regularizer.kind=vicreg, model.regularizer.level=both and model.regularizer.weight=0.2: it keeps "
            "samples and features apart, at any size (or train with --on-collapse regularize)"
        )
    elif kind in ("variance", "koleo"):
        found.append(f"set model.regularizer.kind=vicreg: {kind} alone lets all features say the same")
    elif kind is not None:
        # Without a target rule the weight is a share of the loss.
        most = math.inf if _get(config, "model.target") else 0.5
        found.append(f"raise model.regularizer.weight from {weight:g} to {min(3 * weight or 0.1, most):.2g}")
        covariance = _get(config, "model.regularizer.covariance")
        if kind == "vicreg" and covariance:
            found.append(
                f"raise model.regularizer.covariance from {covariance:g} to {5 * covariance:.2g}: it keeps features apart"
            )
    if _get(config, "model.target") == "stopgrad":
        found.append("set model.target=ema: a moving target is harder to follow into collapse")
    lr = _get(config, "model.optim.lr")
    if lr is not None:
        found.append(f"lower model.optim.lr from {lr:g} to {lr / 3:.1g} if it comes back")
    return found


def _against_divergence(config: Mapping[str, Any]) -> list[str]:
    found = []
    lr, clip = _get(config, "model.optim.lr"), _get(config, "model.optim.clip")
    if lr is not None:
        found.append(f"lower model.optim.lr from {lr:g} to {lr / 3:.1g}")
    if _get(config, "model.optim") is not None and clip is None:
        found.append("set model.optim.clip=1.0")
    if _get(config, "train.precision") not in (None, "32-true"):
        found.append("set train.precision=32-true")
    found.append("look at the data for values that are not finite or far too large")
    return found


def _against_standstill(config: Mapping[str, Any]) -> list[str]:
    found = []
    if _get(config, "model.target") == "frozen":
        found.append(
            "set model.target=ema: the random targets of an untrained encoder carry little that can be predicted"
        )
    lr = _get(config, "model.optim.lr")
    if lr is not None:
        found.append(f"raise model.optim.lr from {lr:g} to {3 * lr:.1g}, or train longer: model.optim.steps")
    weight = _get(config, "model.regularizer.weight")
    if _get(config, "model.regularizer.kind") not in (None, "none") and weight:
        found.append(
            f"lower model.regularizer.weight from {weight:g} to {weight / 3:.2g}: it may drown the prediction"
        )
    found.append("look at the data: samples that are noise, or all alike, leave nothing to predict")
    return found
