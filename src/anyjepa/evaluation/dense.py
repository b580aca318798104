"""Tokens that lie in rows and columns, and the table of what they score."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anyjepa.contract import Method
from anyjepa.errors import ConfigError

Tokens = Callable[[Tensor], Tensor]
"""Images (B, C, H, W) to features of their patches (B, N, D)."""


@dataclass(frozen=True)
class DenseScore:
    """What one kind of features scored with one seed."""

    run: str
    features: str
    seed: int
    values: dict[str, float]


@dataclass(frozen=True)
class DenseResult:
    """All scores, and how they came about. ``str()`` of it is for people."""

    task: str
    train: str
    test: str
    protocol: tuple[str, ...]
    scores: tuple[DenseScore, ...]

    def values(self, quantity: str, features: str = "pretrained", run: str | None = None) -> list[float]:
        """A quantity with each seed."""
        return [
            s.values[quantity] for s in self.scores if s.features == features and run in (None, s.run, "")
        ]

    def to_json(self) -> str:
        """For machines."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: mean and spread over the seeds, in percent."""
        kinds = list(dict.fromkeys((s.run, s.features) for s in self.scores))
        quantities = list(self.scores[0].values)
        rows = []
        for run, features in kinds:
            cells = [run, features]
            for quantity in quantities:
                found = [
                    100 * s.values[quantity] for s in self.scores if (s.run, s.features) == (run, features)
                ]
                spread = f" ± {np.std(found, ddof=1):.1f}" if len(found) > 1 else ""
                cells.append(f"{np.mean(found):.1f}{spread}")
            rows.append(cells)
        return ["run", "features", *(TITLES.get(q, q) for q in quantities)], rows

    def __str__(self) -> str:
        header, rows = self.table()
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [*self.protocol, ""]
        for row in [header, *rows]:
            padded = [
                c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)


TITLES = {
    "miou": "mIoU %",
    "pixels": "pixels %",
    "patches": "patches %",
    "j": "J %",
    "f": "F %",
    "jf": "J&F %",
}


def rows_and_columns(method: Method) -> tuple[int, int]:
    """The grid of a method's tokens.

    Raises:
        ConfigError: it takes no images, or its tokens do not lie in rows and columns.
    """
    shape = method.input_shape()
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ConfigError(f"this task needs images, {method.name} takes samples of shape {shape}")
    with torch.inference_mode():
        device = next(method.parameters()).device
        grid = method.encode(torch.zeros(1, *shape, device=device)).layout.grid
    if len(grid) != 2:
        raise ConfigError(
            f"this task needs tokens in rows and columns, those of {method.name} lie in {len(grid)} axes {grid}"
        )
    if shape[1] % grid[0] or shape[2] % grid[1]:
        raise ConfigError(
            f"images of {shape[1]}x{shape[2]} cannot be cut into the {grid[0]}x{grid[1]} tokens of {method.name}"
        )
    return grid[0], grid[1]


def token_reader(
    method: Method, encoder: str = "target", layers: Sequence[int] = (-1,), device: str = "cpu"
) -> Tokens:
    """Reads the tokens of some blocks, joined, of a method that is put into eval mode on ``device``."""
    method = method.eval().to(device)

    def read(images: Tensor) -> Tensor:
        with torch.inference_mode():
            images = images.to(device)
            try:
                found = [method.encode(images, encoder=encoder, layer=layer).tokens for layer in layers]
            except IndexError:
                raise ConfigError(
                    f"layers={tuple(layers)} are not all in the encoder: -1 is its last block"
                ) from None
            return torch.cat(found, dim=2).float().cpu()

    return read


def patch_reader(grid: tuple[int, int]) -> Tokens:
    """Reads the pixels of each patch: what a token is worth that has learned nothing and sees no other."""

    def read(images: Tensor) -> Float[Tensor, "B N D"]:
        b, c, height, width = images.shape
        cut = images.reshape(b, c, grid[0], height // grid[0], grid[1], width // grid[1])
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(b, grid[0] * grid[1], -1)

    return read
