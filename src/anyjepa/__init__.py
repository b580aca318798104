"""anyjepa: joint-embedding predictive architectures for any data."""

from anyjepa.contract import Batch, Masks, Method, Output, Representation
from anyjepa.registry import create, names

__version__ = "0.1.0"
__all__ = ["Batch", "Masks", "Method", "Output", "Representation", "create", "names"]
