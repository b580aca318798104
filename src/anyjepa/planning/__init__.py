"""Actions that bring a world model to a goal: planning in latent space, with any model that predicts under actions."""

from anyjepa.planning.cost import GoalConfig
from anyjepa.planning.plan import Bounds, Plan, plan
from anyjepa.planning.planners import CEMConfig, MPPIConfig
from anyjepa.planning.policy import PlanningPolicy
from anyjepa.planning.world import WorldModel

__all__ = ["Bounds", "CEMConfig", "GoalConfig", "MPPIConfig", "Plan", "PlanningPolicy", "WorldModel", "plan"]
