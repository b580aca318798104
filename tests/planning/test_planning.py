"""Planners on a world whose best plan is known, and against their own formulas."""

import numpy as np
import pytest
import torch

from anyjepa.bundle import Bundle
from anyjepa.errors import ConfigError, DataError
from anyjepa.planning import Bounds, CEMConfig, GoalConfig, MPPIConfig, PlanningPolicy, WorldModel, plan
from anyjepa.planning.cost import distance, path_cost
from anyjepa.planning.plan import require_world_model
from anyjepa.policies.policy import Policy

BOUNDS = Bounds(torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 1.0]))
PLANNERS = [
    CEMConfig(horizon=4, candidates=200, iterations=10, elites=20),
    MPPIConfig(horizon=4, candidates=200, iterations=14, shrink=0.8),
]
each_planner = pytest.mark.parametrize("planner", PLANNERS, ids=["cem", "mppi"])


class Point:
    """A point that moves by its action: the latent is where it is."""

    def start(self, observation):
        return observation

    def advance(self, state, actions):
        return state + actions

    def latent(self, state):
        return state

    def goal(self, observation):
        return observation


class Bundled(Point):
    """The same with a state of two parts, the second of which counts."""

    def start(self, observation):
        return Bundle({"x": observation, "told": observation.new_zeros(len(observation), 1)})

    def advance(self, state, actions):
        return Bundle({"x": state["x"] + actions, "told": state["told"] + 1})

    def latent(self, state):
        return state["x"]


def test_what_fits_the_protocol_is_a_world_model():
    assert isinstance(Point(), WorldModel)
    assert not isinstance(object(), WorldModel)


@each_planner
def test_a_goal_within_reach_is_reached(planner):
    start, goal = torch.tensor([[0.0, 0.0], [1.0, -1.0]]), torch.tensor([[2.0, -1.5], [1.5, 1.0]])
    found = plan(Point(), start, goal, BOUNDS, planner)
    assert found.actions.shape == (2, 4, 2)
    torch.testing.assert_close(start + found.actions.sum(dim=1), goal, atol=0.1, rtol=0)
    torch.testing.assert_close(found.cost, (start + found.actions.sum(dim=1) - goal).square().mean(dim=1))


@each_planner
def test_beyond_reach_the_best_plan_is_full_speed_and_bounds_hold(planner):
    found = plan(Point(), torch.zeros(1, 2), torch.tensor([[40.0, -40.0]]), BOUNDS, planner)
    assert found.actions.abs().max() <= 1
    torch.testing.assert_close(found.actions[0], torch.tensor([[1.0, -1.0]]).expand(4, 2), atol=0.05, rtol=0)
    # Four steps of at most 1 leave 36 of 40 in each part.
    assert float(found.cost) == pytest.approx(36**2, rel=0.01)


@each_planner
def test_costs_never_rise_and_fall_in_the_end(planner):
    found = plan(Point(), torch.zeros(3, 2), torch.tensor([[2.0, -1.5]]), BOUNDS, planner)
    assert (found.costs.diff(dim=1) <= 0).all()
    assert (found.costs[:, -1] < 0.2 * found.costs[:, 0]).all()
    assert torch.equal(found.costs[:, -1], found.cost)


@each_planner
def test_the_same_seed_gives_the_same_plan_whoever_else_is_in_the_batch(planner):
    start, goal = torch.tensor([[0.0, 0.0], [1.0, -1.0]]), torch.tensor([[2.0, -1.5]])
    both = plan(Point(), start, goal, BOUNDS, planner, seed=3)
    alone = plan(Point(), start[:1], goal, BOUNDS, planner, seed=3)
    torch.testing.assert_close(both.actions[:1], alone.actions)
    assert not torch.equal(plan(Point(), start, goal, BOUNDS, planner, seed=4).actions, both.actions)
    assert not torch.equal(plan(Point(), start, goal, BOUNDS, planner, seed=3, step=1).actions, both.actions)


def test_a_state_of_several_parts_is_repeated_for_the_candidates():
    start, goal = torch.zeros(2, 2), torch.tensor([[1.0, 1.0]])
    torch.testing.assert_close(
        plan(Bundled(), start, goal, BOUNDS).actions, plan(Point(), start, goal, BOUNDS).actions
    )


@each_planner
def test_a_warm_start_is_kept_when_nothing_better_is_found(planner):
    goal = torch.tensor([[2.0, -2.0]])
    exact = torch.tensor([0.5, -0.5]).expand(1, 4, 2)
    assert float(plan(Point(), torch.zeros(1, 2), goal, BOUNDS, planner, warm=exact).cost) == pytest.approx(
        0, abs=1e-10
    )


def test_the_elites_make_the_next_distribution():
    config = CEMConfig(horizon=1, candidates=4, elites=2, inertia=0.25)
    plans = torch.tensor([0.0, 1.0, 0.5, -1.0]).reshape(1, 4, 1, 1)
    mean, spread = config.update(
        plans, torch.tensor([[5.0, 1.0, 2.0, 9.0]]), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    )
    # Elites 1 and 0.5: mean 0.75, standard deviation 0.25; a quarter of the old 0 and 1 stays.
    assert float(mean) == pytest.approx(0.75 * 0.75)
    assert float(spread) == pytest.approx(0.75 * 0.25 + 0.25)


def test_candidates_weigh_by_the_exponential_of_their_cost():
    config = MPPIConfig(horizon=1, candidates=2, temperature=2.0, absolute=True, shrink=1.0)
    plans = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    mean, spread = config.update(plans, torch.tensor([[0.0, 2.0]]), torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    weight = 1 / (1 + np.exp(-1.0))
    assert float(mean) == pytest.approx(weight - (1 - weight))
    assert float(spread) == 1


def test_a_temperature_in_units_of_the_spread_does_not_mind_the_scale_of_costs():
    config = MPPIConfig(horizon=1, candidates=8)
    plans, costs = torch.randn(1, 8, 1, 1), torch.rand(1, 8)
    one, _ = config.update(plans, costs, plans[:, 0], plans[:, 0])
    other, _ = config.update(plans, 1e4 * costs + 3, plans[:, 0], plans[:, 0])
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "expected"), [("l2", 12.5), ("l1", 3.5), ("cosine", 1 - 0.6)])
def test_distances(kind, expected):
    z, goal = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    goal = torch.tensor([[2.0, 0.0]]) if kind == "cosine" else goal
    assert float(distance(z, goal, kind)) == pytest.approx(expected)
    assert float(distance(z, z, kind)) == pytest.approx(0, abs=1e-6)


def test_the_way_counts_when_asked():
    steps = torch.tensor([[[3.0]], [[1.0]], [[0.0]]])
    goal = torch.zeros(1, 1)
    assert float(path_cost(steps, goal, GoalConfig())) == 0
    assert float(path_cost(steps, goal, GoalConfig(along=0.5))) == pytest.approx(0.5 * (9 + 1) / 2)


@each_planner
@pytest.mark.parametrize("execute", [1, 3])
def test_the_policy_reaches_a_goal_far_beyond_its_horizon(planner, execute):
    goal = torch.tensor([[7.0, -6.0]])
    policy = PlanningPolicy(Point(), goal, BOUNDS, planner, execute=execute, shorten=10)
    assert isinstance(policy, Policy)
    ends = []
    for _ in range(2):
        policy.reset()
        place = np.zeros(2)
        for _ in range(10):
            action = policy.act({"state": place})
            assert np.abs(action).max() <= 1
            place = place + action
        ends.append(place)
    assert np.abs(ends - goal.numpy()).max() < 0.25


def test_a_policy_reproduces_itself():
    def actions():
        policy = PlanningPolicy(Point(), torch.tensor([[7.0, -6.0]]), BOUNDS, PLANNERS[0], seed=5)
        return np.stack([policy.act(np.zeros(2)) for _ in range(5)])

    np.testing.assert_array_equal(actions(), actions())


def test_what_cannot_be_is_said():
    start = torch.zeros(2, 2)
    with pytest.raises(ConfigError, match="lacks start, advance, latent, goal"):
        require_world_model(object())
    with pytest.raises(DataError, match="as many goals as starts"):
        plan(Point(), start, torch.zeros(3, 2), BOUNDS)
    with pytest.raises(ConfigError, match="warm must be 2 plans of 8 actions of 2"):
        plan(Point(), start, start, BOUNDS, warm=torch.zeros(2, 7, 2))
    with pytest.raises(ConfigError, match="each low below its high"):
        Bounds(torch.tensor([0.0]), torch.tensor([0.0]))
    with pytest.raises(ConfigError, match="elites"):
        CEMConfig(candidates=10, elites=11)
    with pytest.raises(ConfigError, match="positive temperature"):
        MPPIConfig(temperature=0)
    with pytest.raises(ConfigError, match="horizon"):
        MPPIConfig(horizon=0)
    with pytest.raises(ConfigError, match=r"execute must lie in 1\.\.horizon=4"):
        PlanningPolicy(Point(), start[:1], BOUNDS, PLANNERS[0], execute=5)


class Wild(Point):
    """Predicts what is no number."""

    def advance(self, state, actions):
        return state / 0


def test_latents_that_are_not_finite_are_said():
    with pytest.raises(DataError, match="not finite for 512 of 512 candidates"):
        plan(Wild(), torch.ones(2, 2), torch.zeros(2, 2), BOUNDS)
