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

if TYPE_CHECKING:
    from anyjepa.contract import Batch, Layout, Masks, Method, Output, Representation
    from anyjepa.embedding import Embedder, embed
    from anyjepa.evaluation.probe import probe
    from anyjepa.hub.export import export
    from anyjepa.hub.load import load
    from anyjepa.pretraining import pretrain, resume
    from anyjepa.registry import create, names
    from anyjepa.training import RunConfig

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
    "export",
    "load",
    "names",
    "pretrain",
    "probe",
    "resume",
]

# Imported at first use: the command line's help needs no torch, a method in a plain loop neither Lightning nor scikit-learn.
_LATER = {
    **dict.fromkeys(("Batch", "Layout", "Masks", "Method", "Output", "Representation"), "anyjepa.contract"),
    **dict.fromkeys(("create", "names"), "anyjepa.registry"),
    **dict.fromkeys(("pretrain", "resume"), "anyjepa.pretraining"),
    **dict.fromkeys(("Embedder", "embed"), "anyjepa.embedding"),
    "RunConfig": "anyjepa.training",
    "export": "anyjepa.hub.export",
    "load": "anyjepa.hub.load",
    "probe": "anyjepa.evaluation",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'anyjepa' has no attribute '{name}'")
    return getattr(importlib.import_module(_LATER[name]), name)
