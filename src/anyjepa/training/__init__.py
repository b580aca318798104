"""Training: the loop, exact resume, checkpoints, logs. Knows the outer contract, never a concrete method."""

from anyjepa.training.checkpoint import load_method
from anyjepa.training.config import OnlineProbeConfig, TrainConfig
from anyjepa.training.loop import TrainResult, train
from anyjepa.training.run_config import RunConfig

__all__ = ["OnlineProbeConfig", "RunConfig", "TrainConfig", "TrainResult", "load_method", "train"]
