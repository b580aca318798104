"""``anyjepa export``: a trained encoder in the form that another program reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anyjepa.data import ImageConfig
from anyjepa.errors import ConfigError, nearest
from anyjepa.hub.card import card
from anyjepa.hub.encoder import encoder_of
from anyjepa.hub.layouts import describe, hf_files, own_files, timm_files
from anyjepa.hub.load import read
from anyjepa.hub.official import save_official
from anyjepa.hub.program import save_onnx, save_torch
from anyjepa.hub.write import CARD, CONFIG, check_free, write_directory, write_file
from anyjepa.training.checkpoint import FOLDER

LAYOUTS = ("anyjepa", "hf", "timm", "torch", "onnx", "official")
_DIRECTORIES = ("anyjepa", "hf", "timm")
_WHOLE = ("anyjepa", "official")
"""Layouts that hold both encoders and the predictor."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    """The directory or file."""
    layout: str
    """One of :data:`LAYOUTS`."""
    difference: float | None = None
    """Programs only: the largest difference of a token from what the encoder computes here, measured on random images."""

    def __str__(self) -> str:
        checked = (
            "" if self.difference is None else f"; checked: tokens differ by at most {self.difference:.1e}"
        )
        return f"wrote {self.path} ({self.layout}){checked}"


def export(
    source: str | Path,
    to: str,
    out: str | Path,
    *,
    encoder: str = "target",
    licence: str | None = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write what ``source`` holds in the layout ``to``.

    Args:
        source: anything that :func:`anyjepa.load` reads: usually a run directory.
        to: ``"hf"``, ``"timm"`` (one encoder, a directory), ``"torch"``, ``"onnx"`` (one encoder, a program in a file),
            ``"anyjepa"`` (everything, a directory), ``"official"`` (everything, I-JEPA only, a file).
        out: the directory or file to write.
        encoder: ``"target"`` (the one to use) or ``"context"``.
        licence: identifier of the licence of the weights for the model card, e.g. ``"apache-2.0"``; None: that of the source.
        input_size: height and width of the input of a program; None: that of the model.
        overwrite: replace what is at ``out``.

    Raises:
        ConfigError: the layout is unknown or cannot hold the model, or ``out`` is there already.
        CheckpointError: the source cannot be loaded, or ``out`` not be written.
        MissingExtraError: a package is needed that is not installed.
    """
    if to not in LAYOUTS:
        raise ConfigError(f"unknown layout '{to}': {nearest(to, LAYOUTS)}")
    if input_size is not None and to not in ("torch", "onnx"):
        raise ConfigError(
            f"input_size is for programs (torch, onnx); the {to} layout keeps the size of the model"
        )
    if encoder != "target" and to in _WHOLE:
        raise ConfigError(f"the {to} layout holds all encoders: leave encoder={encoder} out")
    out = Path(out)
    # Before the weights are read, which may take long.
    check_free(out, overwrite, directory=to in _DIRECTORIES)
    loaded = read(source)
    method, run = loaded.method, _run_of(source)
    if to == "official":
        write_file(out, partial(save_official, method), overwrite)
        return Exported(out, to)
    if to in ("torch", "onnx"):
        module = encoder_of(method, encoder)
        if input_size is not None:
            module = module.resized(input_size)
        about: dict[str, Any] = {**describe(loaded, encoder), "input_size": list(module.tokenizer.size)}
        save: Callable[..., float] = save_torch if to == "torch" else save_onnx
        measured: list[float] = []
        write_file(out, lambda path: measured.append(save(module.eval(), path, about)), overwrite)
        return Exported(out, to, measured[0])
    held = None if to == "anyjepa" else encoder
    writers = {"hf": hf_files, "timm": timm_files}
    files = own_files(loaded) if held is None else writers[to](loaded, held)
    text = card(
        method,
        to,
        out.resolve().name,
        encoder=held,
        licence=licence or loaded.licence,
        run=run,
        given=loaded.given,
        image=isinstance(loaded.reading, ImageConfig),
    )
    # The config last: a directory with a config is a whole one.
    config = files.pop(CONFIG)
    write_directory(out, {**files, CARD: text, CONFIG: config}, overwrite)
    return Exported(out, to)


def _run_of(source: str | Path) -> Path | None:
    """The run directory that a source is, or whose checkpoint it is."""
    path = Path(source)
    run = path.parent.parent if path.parent.name == FOLDER else path
    return run if (run / "config.yaml").is_file() else None
