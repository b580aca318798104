"""Tiny settings of every registered method: what the generic suite runs. A new method adds one entry."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from anyjepa.bundle import Bundle, Inputs, Shape


@dataclass(frozen=True)
class Case:
    """A tiny config and the shapes of samples, odd ones among them, that it must encode.

    ``ema``: its target encoder is a moving average of another one. ``masks``: it hides tokens. ``targets``: it predicts
    representations; a baseline that does not has nothing to collapse either. ``drawn``: (samples, shape, generator) to what it
    trains on, where that is not what it encodes.
    """

    fields: dict[str, Any]
    shapes: tuple[Shape, ...]
    ema: bool = True
    masks: bool = True
    targets: bool = True
    variants: tuple[dict[str, Any], ...] = field(default=())
    drawn: Callable[[int, Shape, torch.Generator], Inputs] | None = None


def noise(n: int, shape: Shape, generator: torch.Generator) -> Inputs:
    """``n`` random samples of a shape."""
    if isinstance(shape, tuple):
        return torch.randn(n, *shape, generator=generator)
    return Bundle({name: torch.randn(n, *part, generator=generator) for name, part in shape.items()})


def demonstrated(n: int, shape: Shape, generator: torch.Generator, tasks: int = 50) -> Inputs:
    """``n`` random moments of demonstrations: what is observed now, 6 states and 5 actions, some beyond the end."""
    parts = dict(noise(n, shape, generator))
    parts["task"] = torch.randint(tasks, (n, 1), generator=generator).float()
    for name, length, size in (("state", 6, shape["state"][0]), ("action", 5, 3)):
        parts[name] = torch.randn(n, length, size, generator=generator)
        left = torch.randint(1, length + 1, (n, 1), generator=generator)
        parts[f"{name}_pad"] = (torch.arange(length) >= left).float()
    return Bundle(parts)


_ROBOT = dict(
    size="nano", dim=16, depth=2, heads=2, hidden=32, dropout=0.0, chunk=5, action_size=3, optim={"steps": 20}
)
_ROBOTS = (
    {"state": (4,), "task": (1,), "image": (3, 32, 32)},
    {"state": (7,), "task": (1,)},
    {"state": (2,), "task": (1,), "left": (3, 24, 40), "right": (3, 24, 40)},
)


def sequences(n: int, shape: Shape, generator: torch.Generator) -> Bundle:
    """``n`` random sequences of four views with actions of three numbers."""
    views, actions = (n, 4, *shape), (n, 3, 3)
    return Bundle(
        {
            "views": torch.randn(views, generator=generator),
            "actions": torch.randn(actions, generator=generator),
        }
    )


_SMALL = dict(dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=2)

_HEAD = [
    [0.03, 0.08, 0.0],
    [-0.03, 0.08, 0.0],
    [0.06, -0.01, 0.06],
    [-0.06, -0.01, 0.06],
    [0.0, -0.01, 0.1],
    [0.03, -0.11, 0.01],
    [-0.03, -0.11, 0.01],
]
"""Places of seven electrodes, in metres."""
_REGIONS = [[0.3 * ((7 * r) % 12 - 5.5), 0.1 * ((5 * r) % 12 - 5.5)] for r in range(12)]
"""Coordinates of 12 brain regions on two gradients."""

CASES = {
    "act": Case(
        fields=_ROBOT,
        shapes=_ROBOTS,
        ema=False,
        masks=False,
        targets=False,
        drawn=demonstrated,
        variants=(
            {"latent": 0},
            {"dropout": 0.1},
            {"style_depth": 1, "decoder_depth": 2},
            {"image_norm": "imagenet"},
        ),
    ),
    "act-jepa": Case(
        fields=_ROBOT
        | dict(horizon=6, predictor_width=8, predictor_depth=2, predictor_heads=2, predictor_hidden=16),
        shapes=_ROBOTS,
        masks=False,
        drawn=demonstrated,
        variants=(
            {"dropout": 0.1},
            {"compat": "official"},
            {"trunk": "resnet18"},
            {"trunk": "resnet18", "trunk_norm": "group"},
            {"image_norm": "imagenet"},
            {"action_weight": 0.0},
            {"state_weight": 0.5, "distance": "l2"},
            {"decoder_depth": 2},
            {"tasks": 3},
            {"target": "stopgrad"},
            {"target": "frozen"},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
            {"regularizer": {"kind": "visreg", "on": "prediction", "level": "both"}, "target": "online"},
        ),
    ),
    "brainjepa": Case(
        fields=dict(size="nano", **_SMALL, patch_size=4, gradients=_REGIONS, optim={"steps": 20}),
        shapes=((1, 12, 40), (1, 12, 16), (1, 12, 64)),
        variants=(
            {"masks": {"compat": "official"}, "ema_stretch": 8.0},
            {"masks": {"truncate": "pad"}},
            {"masker": "multiblock"},
            {"masker": "random"},
            {"positions": "index"},
            {"gradients": None},
            {"weighting": "region"},
            {"weighting": "region", "masks": {"truncate": "pad"}, "distance": "l2"},
            {"init": "xavier"},
            {"drop_path": 0.5},
            {"target": "stopgrad"},
            {"target": "frozen"},
            {"distance": "cosine"},
            {"target_norm": False},
            {"regularizer": {"kind": "vicreg", "level": "both"}, "masks": {"truncate": "pad"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
        ),
    ),
    "dmt-jepa": Case(
        fields=dict(size="nano", **_SMALL, optim={"steps": 20}),
        shapes=((3, 32, 32), (1, 28, 28), (5, 24, 40)),
        variants=(
            {"neighbours": {"borders": "wrap"}},
            {"neighbours": {"k_num": 8}},
            {"neighbours": {"k_num": 6, "k_size": 5}, "masks": {"truncate": "pad"}},
            {"query": "official"},
            {"target_kind": "mean"},
            {"target_kind": "mean", "context_head": "none"},
            {"target_kind": "patch"},
            {"target_kind": "patch", "context_head": "none"},
            {"context_head": "none"},
            {"target": "stopgrad"},
            {"target": "frozen"},
            {"target": "online"},
            {"target": "online", "context_head": "none", "query": "official"},
            {"distance": "l2", "target_norm": False},
            {"regularizer": {"kind": "vicreg", "level": "both"}, "masks": {"truncate": "pad"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
            {"stem": "conv", "registers": 2},
        ),
    ),
    "ijepa": Case(
        fields=dict(size="nano", **_SMALL, optim={"steps": 20}),
        shapes=((3, 32, 32), (1, 28, 28), (5, 24, 40)),
        variants=(
            {"masks": {"compat": "official"}},
            {"masks": {"truncate": "pad"}},
            {"masker": "random"},
            {"positions": "rotary"},
            {"positions": "learned", "registers": 3},
            {"positions": "rotary", "registers": 2, "masks": {"truncate": "pad"}},
            {"drop_path": 0.5},
            {"target": "stopgrad"},
            {"target": "frozen"},
            {"target": "online"},
            {"distance": "l1"},
            {"distance": "l2"},
            {"distance": "cosine"},
            {"regularizer": {"kind": "variance"}, "masks": {"truncate": "pad"}},
            {"regularizer": {"kind": "vicreg", "level": "both"}, "masks": {"truncate": "pad"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
            {"regularizer": {"kind": "visreg", "on": "prediction", "level": "both"}, "target": "online"},
            {"regularizer": {"kind": "koleo", "level": "tokens"}, "masks": {"truncate": "pad"}},
            {"target_norm": False},
            {"stem": "conv"},
            {"stem": "conv", "masks": {"truncate": "pad"}},
            {"target": "features"},
            {"target": "features", "features": {"kind": "normalised-pixels"}, "masks": {"truncate": "pad"}},
            {"target": "features", "features": {"kind": "pixels"}, "stem": "conv", "distance": "l2"},
        ),
    ),
    "lejepa": Case(
        fields=dict(size="nano", dim=16, depth=2, heads=2, hidden=16, projection=8, optim={"steps": 20}),
        shapes=((3, 32, 32), (1, 28, 28), (5, 24, 40)),
        ema=False,
        masks=False,
        variants=(
            {"global_views": 2, "local_views": 3},
            {"global_views": 1, "local_views": 1, "positions": "rotary"},
            {"local_views": 1, "local": {"size": [12, 20]}, "positions": "learned", "registers": 2},
            {"projector_norm": "layer"},
            {"visible": 0.5, "local_views": 1},
            {"visible": 0.3, "global_views": 2},
            {"stem": "conv", "local_views": 1},
            {"drop_path": 0.5},
            {"regularizer": {"kind": "vicreg", "weight": 0.5}},
            {"regularizer": {"kind": "none", "weight": 0.0}},
        ),
    ),
    "mlp-policy": Case(
        fields=_ROBOT,
        shapes=_ROBOTS,
        ema=False,
        masks=False,
        targets=False,
        drawn=demonstrated,
        variants=({"dropout": 0.1}, {"depth": 3}, {"trunk": "resnet18", "trunk_norm": "group"}),
    ),
    "sjepa": Case(
        fields=dict(
            size="nano",
            dim=16,
            depth=2,
            heads=2,
            hidden=32,
            predictor_depth=1,
            dropout=0.0,
            positions=_HEAD,
            optim={"steps": 20},
        ),
        shapes=((7, 408), (7, 152), (7, 700)),
        variants=(
            {"dropout": 0.1, "local_dropout": 0.1, "target_dropout": True},
            {"dropout": 0.1},
            {"positions": [*_HEAD[:5], [], []]},
            {"masks": {"per_sample": False}},
            {"masks": {"radius": 0.0}},
            {"masks": {"radius": float("inf")}},
            {"masks": {"radius": 0.09, "length": 2, "blocks": None}},
            {"predictor_join": False},
            {"time_first": True},
            {"target": "stopgrad"},
            {"target": "frozen"},
            {"target": "online"},
            {"distance": "l2"},
            {"distance": "smooth_l1"},
            {"distance": "cosine"},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
            {"regularizer": {"kind": "visreg", "on": "prediction", "level": "both"}, "target": "online"},
        ),
    ),
    "ecg-jepa": Case(
        fields=dict(size="nano", **_SMALL, predictor_heads=2, optim={"steps": 20}),
        shapes=((12, 1000), (1, 250), (3, 625), (8, 500)),
        variants=(
            {"compat": "official"},
            {"init": "xavier", "norm_bias": True, "bias": True},
            {"registers": 0},
            {"registers": 3, "positions": "rotary"},
            {"positions": "learned"},
            {"positions": "sincos", "patch_size": 50},
            {"positions": "none", "drop_path": 0.5},
            {"masks": {"visible": [0.4, 0.6], "min_block": 2}},
            {"target": "stopgrad"},
            {"target": "frozen"},
            {"target": "online", "regularizer": {"kind": "sigreg", "on": "target", "slices": 8}},
            {"target_norm": True, "distance": "smooth_l1"},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
        ),
    ),
    "ecg-jepa-cropa": Case(
        fields=dict(size="nano", **_SMALL, predictor_heads=2, drop_path=0.0, optim={"steps": 20}),
        shapes=((8, 500), (1, 300), (3, 250)),
        variants=(
            {"drop_path": 0.3},
            {"compat": "official", "drop_path": 0.3},
            {"masks": {"kind": "random"}},
            {"masks": {"compat": "official"}},
            {"target": "stopgrad", "target_norm": False},
            {"target": "online", "regularizer": {"kind": "sigreg", "on": "target", "slices": 8}},
            {"regularizer": {"kind": "vicreg", "level": "both"}, "distance": "l1"},
        ),
    ),
    "sar-jepa": Case(
        fields=dict(size="nano", **_SMALL, predictor_heads=2, optim={"steps": 20}),
        shapes=((1, 64, 64), (1, 28, 28), (2, 24, 40)),
        ema=False,
        variants=(
            {"windows": {"compat": "official"}},
            {"windows": {"shared": False, "count": 3, "side": 5}},
            {"relative_scaled": True, "readout": "mean"},
            {"predictor_depth": 0},
            {"features": {"kind": "pixels"}},
            {"features": {"kind": "normalised-pixels"}, "distance": "smooth_l1"},
            {"features": {"kind": "low-pass"}},
            {"features": {"kernel": "gaussian", "radii": [2, 4]}},
            {"features": {"centre": False}},
            {"target": "ema", "distance": "smooth_l1"},
            {"target": "stopgrad", "target_norm": False},
            {"target": "frozen"},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
        ),
    ),
    "tjepa": Case(
        fields=dict(
            size="nano",
            **_SMALL,
            hidden=32,
            predictor_heads=2,
            predictor_hidden=32,
            optim={"steps": 20},
        ),
        shapes=((1, 12), (1, 2), (1, 54), (1, 7)),
        variants=(
            {"cardinalities": [0, 3, 0, 2, 5, 0, 0, 1, 0, 0, 0, 400]},
            {"cardinalities": [3] * 12, "index_embedding": True},
            {"compat": "official"},
            {"compat": "official", "registers": 2, "dropout": 0.1, "predictor_dropout": 0.1},
            {"registers": 0},
            {"registers": 3, "activation": "gelu", "type_embedding": False},
            {"dropout": 0.2, "predictor_dropout": 0.1, "target_dropout": True, "clamp": 0.01},
            {"masks": {"per": "batch", "blocks": 2}},
            {"target": "stopgrad", "distance": "smooth_l1"},
            {"target": "frozen"},
            {"target": "online", "regularizer": {"kind": "sigreg", "on": "target", "slices": 8}},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
        ),
    ),
    "seq-jepa": Case(
        fields=dict(
            size="nano",
            action_dim=3,
            widths=(8, 16),
            blocks=(1, 1),
            action_width=8,
            predictor_hidden=16,
            dropout=0.0,
            optim={"steps": 20},
        ),
        shapes=((3, 32, 32), (1, 28, 28), (5, 64, 70)),
        masks=False,
        drawn=sequences,
        variants=(
            {"actions": "none"},
            {"actions": "aggregator"},
            {"actions": "predictor", "zero_init": False},
            {"action_width": 0},
            {"action_width": 0, "compat": "official"},
            {"stem": "small", "dropout": 0.1},
            {"stem": "standard", "blocks": (2, 1)},
            {"target": "stopgrad"},
            {"target": "frozen", "distance": "l2"},
            {"target": "online", "regularizer": {"kind": "sigreg", "on": "target", "slices": 8}},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
        ),
    ),
    "vjepa": Case(
        fields=dict(
            size="nano",
            **_SMALL,
            patch_size=8,
            short_range={"blocks": 2, "spatial_scale": [0.3, 0.3]},
            long_range={"blocks": 1, "spatial_scale": [0.5, 0.5]},
            optim={"steps": 20},
        ),
        shapes=((3, 4, 32, 32), (1, 6, 24, 40)),
        variants=(
            {"positions": "rotary"},
            {"positions": "rotary_tiled", "mask_tokens": "one"},
            {"ranges": "short"},
            {"short_range": {"blocks": 2, "spatial_scale": [0.3, 0.3], "compat": "official"}},
            {"levels": [0, 1], "context_loss": 0.5, "context_loss_from": [0.0, 0.0]},
            {"context_loss": 0.5, "context_loss_from": [0.0, 0.0], "positions": "rotary"},
            {"depth_rescale": True, "target_norm": False},
            {"target": "stopgrad", "distance": "smooth_l1"},
            {"target": "frozen"},
            {"regularizer": {"kind": "vicreg", "level": "both"}},
            {"regularizer": {"kind": "sigreg", "on": "target", "slices": 8}, "target": "online"},
        ),
    ),
}
