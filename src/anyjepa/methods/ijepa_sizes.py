"""The encoders and predictors that I-JEPA's dial ``size`` stands for."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "nano": dict(dim=128, depth=4, heads=4, mlp_ratio=4.0, predictor_width=64, predictor_depth=3),
    "tiny": dict(dim=192, depth=12, heads=3, mlp_ratio=4.0, predictor_width=384, predictor_depth=6),
    "small": dict(dim=384, depth=12, heads=6, mlp_ratio=4.0, predictor_width=384, predictor_depth=6),
    "base": dict(dim=768, depth=12, heads=12, mlp_ratio=4.0, predictor_width=384, predictor_depth=6),
    "large": dict(dim=1024, depth=24, heads=16, mlp_ratio=4.0, predictor_width=384, predictor_depth=12),
    "huge": dict(dim=1280, depth=32, heads=16, mlp_ratio=4.0, predictor_width=384, predictor_depth=12),
    "giant": dict(dim=1408, depth=40, heads=16, mlp_ratio=48 / 11, predictor_width=384, predictor_depth=16),
}
"""dim, depth, heads, mlp_ratio of the encoder; width, depth of the predictor. All but nano: the official table."""
