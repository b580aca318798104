"""Data rooms: readers, transforms, the loader and the data report."""

from anyjepa.data.base import EncodedSource, Source
from anyjepa.data.dataset import Dataset, Loaded, load_all
from anyjepa.data.images import ImageConfig, ImageDataset
from anyjepa.data.loader import BatchLoader, StepSampler, build_loader, step_indices
from anyjepa.data.report import DataReport, inspect
from anyjepa.data.sources import open_source

__all__ = [
    "BatchLoader",
    "DataReport",
    "Dataset",
    "EncodedSource",
    "ImageConfig",
    "ImageDataset",
    "Loaded",
    "Source",
    "StepSampler",
    "build_loader",
    "inspect",
    "load_all",
    "open_source",
    "step_indices",
]
