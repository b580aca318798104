"""Chunks become actions: queue, ensemble, units, several episodes at once, a run as a policy."""

import numpy as np
import pytest
import torch

import anyjepa
from anyjepa.data.episodes_config import EpisodesConfig
from anyjepa.errors import ConfigError, DataError
from anyjepa.policies import ChunkPolicy, LeRobotPolicy, Policy, load_policy
from anyjepa.policies.execution import Ensemble, OpenLoop
from anyjepa.training import RunConfig, TrainConfig

CHUNK = 30
SCALES = dict(
    state_shift=(1.0, 2.0), state_scale=(2.0, 4.0), action_shift=(10.0, 20.0), action_scale=(3.0, 5.0)
)


class Counting(anyjepa.Method):
    """Says what it saw: action k of a chunk is (state, k) of the state as it is scaled."""

    name = "counting"

    def actions(self, x):
        steps = torch.arange(CHUNK, dtype=torch.float32).expand(len(x["state"]), -1)
        return torch.stack([x["state"][:, :1].expand(-1, CHUNK), steps], dim=2)

    def input_shape(self):
        return {"state": (2,), "task": (1,)}


def policy(execution=lambda: OpenLoop(CHUNK), **options):
    return ChunkPolicy(Counting(), EpisodesConfig(**SCALES, tasks=("push",)), execution, **options)


def test_thirty_actions_are_one_forward_pass():
    acting = policy()
    assert isinstance(acting, Policy)
    for _ in range(30):
        acting.act({"state": np.zeros(2)})
    assert acting.forwards == 1
    acting.act({"state": np.zeros(2)})
    assert acting.forwards == 2
    acting.reset()
    acting.act({"state": np.zeros(2)})
    assert acting.forwards == 3


def test_states_are_scaled_and_actions_scaled_back():
    # state 5 is (5 - 1) / 2 = 2; that times 3 plus 10 is 16; step k is 5 k + 20
    acting = policy()
    found = [acting.act(np.array([5.0, 0.0])).tolist() for _ in range(3)]
    assert found == [[16.0, 20.0], [16.0, 25.0], [16.0, 30.0]]


def test_a_shorter_horizon_looks_again_sooner():
    acting = policy(lambda: OpenLoop(2))
    steps = [acting.act(np.array([s, 0.0]))[0] for s in (1.0, 3.0, 5.0)]
    assert acting.forwards == 2 and steps == [10.0, 10.0, 16.0]


def test_the_ensemble_weighs_the_oldest_most():
    one = Ensemble(3, decay=0.5)
    said = [
        np.array([[0.0], [1.0], [2.0]]),
        np.array([[10.0], [11.0], [12.0]]),
        np.array([[20.0], [21.0], [22.0]]),
    ]
    found = []
    for chunk in said:
        one.add(chunk)
        found.append(one.next().item())
    w = np.exp(-0.5 * np.arange(3))
    assert found[0] == 0.0
    assert found[1] == pytest.approx((w[0] * 1 + w[1] * 10) / w[:2].sum())
    assert found[2] == pytest.approx((w[0] * 2 + w[1] * 11 + w[2] * 20) / w.sum())
    # The first chunk has nothing left to say now.
    one.add(np.array([[30.0], [31.0], [32.0]]))
    assert one.next().item() == pytest.approx((w[0] * 12 + w[1] * 21 + w[2] * 30) / w.sum())


def test_the_ensemble_looks_at_every_step():
    acting = policy(lambda: Ensemble(CHUNK))
    for _ in range(5):
        acting.act(np.zeros(2))
    assert acting.forwards == 5


def test_several_episodes_at_once_act_as_each_alone():
    draws = np.random.default_rng(0).normal(size=(7, 3, 2))
    together, alone = policy(lambda: OpenLoop(3)), [policy(lambda: OpenLoop(3)) for _ in range(3)]
    together.reset_many([0, 1, 2])
    for step, states in enumerate(draws):
        if step == 2:
            # One episode has ended and begun anew.
            together.reset_many([1])
            alone[1].reset()
        found = together.act_many({"state": states}, [0, 1, 2])
        expected = np.stack([one.act(state) for one, state in zip(alone, states, strict=True)])
        np.testing.assert_allclose(found, expected)
    assert together.forwards < sum(one.forwards for one in alone)


def test_as_lerobot_asks():
    acting = LeRobotPolicy(policy())
    batch = {"observation.state": torch.tensor([[5.0, 0.0], [1.0, 0.0]]), "next.reward": torch.zeros(2)}
    assert acting.select_action(batch).tolist() == [[16.0, 20.0], [10.0, 20.0]]
    assert acting.select_action(batch)[0].tolist() == [16.0, 25.0]
    acting.reset()
    assert acting.select_action(batch)[0].tolist() == [16.0, 20.0]


def test_what_is_wrong_is_named():
    acting = policy()
    with pytest.raises(DataError, match="needs 'state'"):
        acting.act({"pose": np.zeros(2)})
    with pytest.raises(DataError, match="states of 2 values"):
        acting.act({"state": np.zeros(3)})
    with pytest.raises(DataError, match="not finite"):
        acting.act({"state": np.array([0.0, np.nan])})
    with pytest.raises(ConfigError, match="did you mean 'push'"):
        policy(task="pusch")
    with pytest.raises(ConfigError, match="several tasks"):
        ChunkPolicy(Counting(), EpisodesConfig(**SCALES, tasks=("a", "b")), lambda: OpenLoop(1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run on pictures and states, whose one camera has a name of its own."""
    folder = tmp_path_factory.mktemp("policy")
    draws = np.random.default_rng(0)
    arrays = {}
    for e in range(4):
        state = np.cumsum(draws.normal(size=(20, 3)), axis=0)
        arrays |= {
            f"{e}/observation.state": state.astype(np.float32),
            f"{e}/action": (100 + 50 * np.diff(state, axis=0, append=state[-1:])).astype(np.float32),
            f"{e}/observation.images.top": draws.integers(0, 255, (20, 24, 32, 3), dtype=np.uint8),
        }
    np.savez(folder / "demos.npz", **arrays)
    fields = dict(size="nano", dim=16, depth=1, heads=2, hidden=16, predictor_width=8, optim={"steps": 2})
    config = RunConfig(
        method="act-jepa",
        data=str(folder / "demos.npz"),
        out=str(folder / "run"),
        model=anyjepa.registry.entry("act-jepa").config(
            **fields | {"optim": anyjepa.schedules.OptimConfig(steps=2)}
        ),
        train=TrainConfig(batch_size=8, workers=0, accelerator="cpu"),
        reading=EpisodesConfig(actions=6, states=5),
    )
    anyjepa.pretrain(config)
    return folder / "run"


def test_a_run_is_a_policy(run):
    acting = load_policy(run)
    picture = np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    actions = [acting.act({"state": np.zeros(3), "top": picture}) for _ in range(7)]
    assert actions[0].shape == (3,) and acting.forwards == 2
    # In the units of the demonstrations, which lie around 100.
    assert np.abs(np.array(actions) - 100).max() < 200 and np.abs(actions[0]).max() > 20
    # One camera is the image; another size is brought to that of the training.
    acting.reset()
    again = acting.act({"state": np.zeros(3), "image": picture})
    np.testing.assert_allclose(again, actions[0])
    acting.reset()
    assert acting.act({"state": np.zeros(3), "image": picture.repeat(2, 0).repeat(2, 1)}).shape == (3,)
    # The picture matters.
    acting.reset()
    assert not np.allclose(acting.act({"state": np.zeros(3), "image": 255 - picture}), actions[0])


def test_a_run_executes_as_asked(run):
    with pytest.raises(ConfigError, match=r"1\.\.6"):
        load_policy(run, horizon=7)
    with pytest.raises(ConfigError, match="did you mean 'ensemble'"):
        load_policy(run, execution="ensembel")
