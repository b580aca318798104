"""Actions that bring a world model to a goal: planning in latent space, with any model that predicts under actions."""

from anyjepa.planning.world import WorldModel

__all__ = ["WorldModel"]
