"""anyjepa: joint-embedding predictive architectures for any data.

The whole job in Python::

    config = anyjepa.RunConfig.from_mapping({"method": "ijepa", "data": "photos/", "out": "runs/photos"})
    anyjepa.pretrain(config)
    method = anyjepa.load("runs/photos")
    print(anyjepa.probe("runs/photos", "labelled/", "held-out/"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from anyjepa.contract import Batch, Layout, Masks, Method, Output, Representation
from anyjepa.registry import create, names

if TYPE_CHECKING:
    from anyjepa.embedding import Embedder, embed
    from anyjepa.evaluation.probe import probe
    from anyjepa.pretraining import pretrain, resume
    from anyjepa.training import RunConfig
    from anyjepa.training import load_method as load

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Embedder",
    "Layout",
    "Masks",
    "Method",
    "Output",
    "Representation",
    "RunConfig",
    "create",
    "embed",
    "load",
    "names",
    "pretrain",
    "probe",
    "resume",
]

# Imported at first use: a method in a plain loop needs neither Lightning nor scikit-learn.
_LATER = {
    "Embedder": ("anyjepa.embedding", "Embedder"),
    "RunConfig": ("anyjepa.training", "RunConfig"),
    "embed": ("anyjepa.embedding", "embed"),
    "load": ("anyjepa.training", "load_method"),
    "pretrain": ("anyjepa.pretraining", "pretrain"),
    "probe": ("anyjepa.evaluation", "probe"),
    "resume": ("anyjepa.pretraining", "resume"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'anyjepa' has no attribute '{name}'")
    module, attribute = _LATER[name]
    return getattr(importlib.import_module(module), attribute)
