"""Policies in simulators: what they reach, in numbers and in pictures, and demonstrations to learn from."""

from anyjepa.rollout.demonstrations import DemonstrationConfig, demonstrations
from anyjepa.rollout.evaluate import evaluate
from anyjepa.rollout.policies import ManyPolicy
from anyjepa.rollout.result import EpisodeResult, RolloutResult
from anyjepa.rollout.world import Facts, Step, World
from anyjepa.rollout.worlds import WORLDS, open_world
from anyjepa.rollout.write_lerobot import write_lerobot
from anyjepa.rollout.write_npz import write_npz

__all__ = [
    "WORLDS",
    "DemonstrationConfig",
    "EpisodeResult",
    "Facts",
    "ManyPolicy",
    "RolloutResult",
    "Step",
    "World",
    "demonstrations",
    "evaluate",
    "open_world",
    "write_lerobot",
    "write_npz",
]
