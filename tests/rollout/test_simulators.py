"""The simulators of others: they start where their seed says, the expert solves Push-T, and recorded data fit them."""

import numpy as np
import pytest

from anyjepa import cli
from anyjepa.errors import ConfigError, DataError, MissingExtraError
from anyjepa.rollout import evaluate, open_world
from anyjepa.rollout.pusht_expert import OUTLINE, contacts, gap, off, to_world


def simulator(name):
    """The world of that name; the test is skipped where its package, or a library that it needs, is absent."""
    try:
        return open_world(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    except ConfigError as error:
        if "cannot be imported" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "name", ["pusht", "pusht-keypoints", "pusht-near", "halfcheetah", "hopper", "adroit-door", "Hopper-v5"]
)
def test_a_seed_is_a_start_and_shapes_are_as_told(name):
    world = simulator(name)
    facts = world.facts
    middle = np.nan_to_num((np.array(facts.low) + np.array(facts.high)) / 2)
    try:
        found = []
        for seed in (5, 5, 6):
            first = world.reset(seed)
            after = world.step(middle).observation
            for seen in (first, after):
                assert {k: v.shape for k, v in seen.items()} == dict(facts.parts)
            found.append(np.concatenate([first["state"], after["state"]]))
    finally:
        world.close()
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_the_expert_solves_push_t():
    simulator("pusht-keypoints").close()
    found = evaluate("expert", "pusht-keypoints", 4)
    assert found.success == 1 and all(e.measure > 0.9 and e.clipped == 0 for e in found.episodes)
    assert evaluate("random", "pusht-keypoints", 2).success == 0


def test_keypoints_are_the_corners_the_simulator_draws():
    world = simulator("pusht-keypoints")
    state = world.reset(3)["state"]
    block = world._env.block
    corners = {tuple(np.round(block.local_to_world(v), 6)) for s in block.shapes for v in s.get_vertices()}
    mine = {tuple(np.round(p, 6)) for p in state[2:].reshape(8, 2)}
    # The inner corners of the outline are corners of the stem.
    assert mine == corners


def test_near_starts_are_near():
    world = simulator("pusht-near")
    for seed in range(10):
        world.reset(seed)
        pose = world.pose[2:]
        assert np.abs(pose[:2] - 256).max() <= 60 and abs(pose[2] - np.pi / 4) <= 0.5
        assert gap(pose, world.pose[None, :2])[0] > 15


def test_geometry_of_the_t():
    pose = np.array([200.0, 100.0, np.pi / 2])
    # A quarter turn: the stem, along +y in its own frame, points to -x.
    np.testing.assert_allclose(to_world(pose, np.array([[0.0, 120.0]])), [[80.0, 100.0]])
    points = to_world(pose, np.array([[0.0, 15.0], [0, 130], [-60, -10], [20, 40], [18, 34]]))
    np.testing.assert_allclose(gap(pose, points), [0, 10, 10, 5, 3], atol=1e-9)
    assert off(pose, pose) == 0 and off(pose + np.array([3, 4, 0]), pose) == pytest.approx(5)
    spots, ways = contacts(12.0)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1)
    assert (gap(np.zeros(3), spots) >= 15).all() and (gap(np.zeros(3), spots + 2 * ways) < 15).all()
    assert len(OUTLINE) == 8


def test_a_policy_for_another_robot_is_refused():
    simulator("hopper").close()

    class Six:
        def reset(self):
            pass

        def act(self, observation):
            return np.zeros(6)

    with pytest.raises(
        DataError, match=r"Hopper-v5 takes 3 numbers as an action, the policy gave shape \(6,\)"
    ):
        evaluate(Six(), "hopper", 1)


def test_unknown_and_unfit_simulators(capsys):
    simulator("hopper").close()
    assert cli.main(["rollout", "--env", "Hoper-v5", "--policy", "zero"]) == 2
    assert "no simulator 'Hoper-v5': did you mean 'Hopper-v5'" in capsys.readouterr().err
    assert cli.main(["rollout", "--env", "CartPole-v1", "--policy", "zero"]) == 2
    assert "actions must be a vector of numbers, they are Discrete(2)" in capsys.readouterr().err
    assert cli.main(["rollout", "--env", "hopper", "--policy", "expert"]) == 2
    assert "no scripted expert" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "file"), [("halfcheetah", "HalfCheetah-v2"), ("hopper", "Hopper-v2")])
def test_recorded_steps_of_v2_are_those_of_v5(name, file, require_data):
    """From each recorded state, the recorded action leads near the recorded next state."""
    world = simulator(name)
    with np.load(require_data("robot-mujoco-expert") / f"{file}.npz") as data:
        seen, does, then = (
            data[f"0/{k}"].astype(float) for k in ("observation", "action", "next_observation")
        )
    env = world._env.unwrapped
    world.reset(0)
    errors, changes = [], []
    for t in range(0, 1000, 25):
        # The position along the way is not observed.
        env.set_state(np.concatenate([[0], seen[t][: env.model.nq - 1]]), seen[t][env.model.nq - 1 :])
        np.testing.assert_allclose(env._get_obs(), seen[t], atol=1e-6)
        after = world.step(np.clip(does[t], -1, 1)).observation["state"]
        errors.append(np.abs(after - then[t]).max())
        changes.append(np.abs(then[t] - seen[t]).max())
    assert np.median(errors) < 0.05 * np.median(changes)


def test_recorded_doors_open_again(require_data):
    """From the recorded starts, the recorded actions open the door about as far as then."""
    world = simulator("adroit-door")
    env = world._env.unwrapped
    with np.load(require_data("robot-adroit-door") / "door-v0_demos.npz") as data:
        for episode in ("00", "11", "23"):
            start = {k: data[f"{episode}/init_state_dict/{k}"] for k in ("qpos", "qvel", "door_body_pos")}
            world.reset(0)
            env.set_env_state(start)
            steps = [world.step(np.clip(a, -1, 1)) for a in data[f"{episode}/actions"]]
            recorded = data[f"{episode}/observations"][:, 28].max()
            assert max(s.measure for s in steps) == pytest.approx(recorded, abs=0.1)
            assert any(s.success for s in steps) == (recorded >= 1.35)
