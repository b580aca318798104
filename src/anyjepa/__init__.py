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
    from anyjepa.evaluation.probe import probe
    from anyjepa.hub.export import export
    from anyjepa.hub.load import load
    from anyjepa.pretraining import pretrain, resume
    from anyjepa.training import RunConfig

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Layout",
    "Masks",
    "Method",
    "Output",
    "Representation",
    "RunConfig",
    "create",
    "export",
    "load",
    "names",
    "pretrain",
    "probe",
    "resume",
]

# Imported at first use: a method in a plain loop needs neither Lightning nor scikit-learn.
_LATER = {
    "RunConfig": ("anyjepa.training", "RunConfig"),
    "export": ("anyjepa.hub.export", "export"),
    "load": ("anyjepa.hub.load", "load"),
    "pretrain": ("anyjepa.pretraining", "pretrain"),
    "probe": ("anyjepa.evaluation", "probe"),
    "resume": ("anyjepa.pretraining", "resume"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'anyjepa' has no attribute '{name}'")
    module, attribute = _LATER[name]
    return getattr(importlib.import_module(module), attribute)
