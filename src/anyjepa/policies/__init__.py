"""Trained policies: what to do next, from what is seen now."""

from anyjepa.policies.chunks import ChunkPolicy, LeRobotPolicy
from anyjepa.policies.load import load_policy
from anyjepa.policies.policy import Observation, Policy

__all__ = ["ChunkPolicy", "LeRobotPolicy", "Observation", "Policy", "load_policy"]
