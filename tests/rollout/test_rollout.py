"""Episodes are counted, repeated and filmed as they should be; what goes wrong is said with the start of the episode."""

import json

import numpy as np
import pytest
from PIL import Image

from anyjepa import cli
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.intervals import wilson
from anyjepa.rollout import EpisodeResult, ManyPolicy, RolloutResult, evaluate, open_world
from anyjepa.rollout.push2d import DRAG, Push2D
from anyjepa.rollout.result import interval


class Fixed:
    """Always the same action."""

    def __init__(self, action):
        self.action = action

    def reset(self):
        pass

    def act(self, observation):
        return self.action


class Homing:
    """Knows only what it sees of the agent; keeps count of its calls. In several episodes at once."""

    def __init__(self):
        self.calls, self.memory = 0, {}

    def reset(self):
        self.reset_many([0])

    def reset_many(self, places):
        self.memory.update(dict.fromkeys(places, 0))

    def act(self, observation):
        return self.act_many({k: v[None] for k, v in observation.items()}, [0])[0]

    def act_many(self, observations, places):
        self.calls += 1
        for place in places:
            self.memory[place] += 1
        wave = np.array([np.sin(self.memory[p]) for p in places])
        return np.stack([wave * 0.01, 0.3 * (0.5 - observations["state"][:, 1])], axis=1)


class Alone:
    """The same, one at a time."""

    def __init__(self):
        self.inner = Homing()

    def reset(self):
        self.inner.reset()

    def act(self, observation):
        return self.inner.act(observation)


def test_floor_and_ceiling_of_the_little_worlds():
    for name in ("push2d", "reach2d"):
        assert evaluate("expert", name, 20).success == 1
        assert evaluate("random", name, 20).success <= 0.2
        assert evaluate("zero", name, 5).success == 0


def test_the_same_seed_plays_the_same_episodes_and_another_others():
    one, two, three = (evaluate("random", "reach2d", 5, [seed]) for seed in (0, 0, 1))
    assert one.episodes == two.episodes
    assert {e.seed for e in one.episodes}.isdisjoint(e.seed for e in three.episodes)
    both = evaluate("expert", "reach2d", 3, [0, 1])
    assert [e.seed for e in both.episodes[:3]] == [e.seed for e in one.episodes[:3]]
    assert len(both.episodes) == 6


@pytest.mark.parametrize("parallel", [1, 3, 7])
def test_several_episodes_at_once_end_as_one_by_one(parallel):
    policy = Homing()
    assert isinstance(policy, ManyPolicy)
    alone = evaluate(Alone(), "push2d", 7, parallel=parallel)
    batched = evaluate(policy, "push2d", 7, parallel=parallel)
    assert batched.episodes == alone.episodes
    assert policy.calls == 120 * -(-7 // parallel)


def test_what_an_episode_came_to():
    world = Push2D("reach")
    found = evaluate(Fixed(np.array([5.0, 0.0])), lambda: world, 1, max_steps=3)
    (episode,) = found.episodes
    start = world.reset(episode.seed)["state"]
    x, velocity, total = start[:2].copy(), 0.0, 0.0
    for _ in range(3):
        velocity = DRAG * velocity + world.facts.high[0]
        x[0] = min(x[0] + velocity, 0.95)
        total -= float(np.linalg.norm(x - world.goal))
    assert episode.steps == 3 and episode.clipped == 1 and not episode.success
    assert episode.total == pytest.approx(total)


def test_numbers_of_the_result():
    episodes = [EpisodeResult(i, 10 + i, float(i), i < 3, 0.1 * i, 0.0) for i in range(10)]
    result = RolloutResult("w", "a task", "p", (0,), tuple(episodes), 1.0, 2.0)
    assert result.success == 0.3 and result.success_interval == wilson(0.3, 10)
    assert result.lengths == (14.5, 10, 19)
    mean, low, high = result.returns
    # The normal interval of the mean of 0..9 is 4.5 +- 1.96 * 2.87 / sqrt(10).
    assert mean == 4.5 and low == pytest.approx(2.72, abs=0.15) and high == pytest.approx(6.28, abs=0.15)
    assert "30.0% (3 of 10), 95 % interval 10.8% to 60.3%" in str(result)
    assert json.loads(json.dumps(result.as_json()))["each"][2]["success"] is True
    unjudged = RolloutResult("w", "a task", "p", (0,), (EpisodeResult(0, 1, 2.0, None, None, 0.0),), 1.0, 2.0)
    assert unjudged.success is None and "success" not in str(unjudged)


def test_the_interval_of_a_mean_covers_as_often_as_it_says():
    draw = np.random.default_rng(0)
    hits = [
        low <= 0 <= high for _, low, high in (interval(draw.normal(size=50).tolist()) for _ in range(200))
    ]
    assert 0.89 <= np.mean(hits) <= 0.99


def test_films_and_their_sheet(tmp_path):
    av = pytest.importorskip("av", reason="PyAV writes films; the extra sim brings it")
    found = evaluate("expert", "reach2d", 3, video=tmp_path / "films", filmed=2)
    films = sorted((tmp_path / "films").glob("*.mp4"))
    assert [f.name for f in films] == [
        f"episode-{i:03d}-seed-{found.episodes[i].seed}-success.mp4" for i in range(2)
    ]
    with av.open(str(films[0])) as film:
        frames = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    # A picture of the start and one after each action; the film shows what the world drew.
    assert len(frames) == found.episodes[0].steps + 1
    world = open_world("reach2d")
    world.reset(found.episodes[0].seed)
    assert np.abs(frames[0].astype(int) - world.picture()).mean() < 3
    sheet = np.asarray(Image.open(tmp_path / "films" / "sheet.png"))
    assert sheet.shape == (2 * 162, 8 * 162, 3)
    assert not list((tmp_path / "films").glob(".*"))


class Broken(Push2D):
    """Fails at its third step."""

    def step(self, action):
        if getattr(self, "count", 0) == 2:
            raise FloatingPointError("the physics blew up")
        self.count = getattr(self, "count", 0) + 1
        return super().step(action)


def test_errors_name_the_start_of_the_episode():
    seed = evaluate("zero", "push2d", 1, max_steps=1).episodes[0].seed
    with pytest.raises(DataError, match=rf"seed {seed}, step 0: .* takes 2 numbers .* shape \(3,\)"):
        evaluate(Fixed(np.zeros(3)), "push2d", 1)
    with pytest.raises(DataError, match=rf"seed {seed}, step 0: the policy's action is not finite"):
        evaluate(Fixed(np.array([0, np.nan])), "push2d", 1)
    with pytest.raises(
        DataError, match=rf"failed in the episode with seed {seed} at step 2: FloatingPointError"
    ):
        evaluate("zero", Broken, 1)


def test_a_rollout_that_fails_leaves_no_torn_film(tmp_path):
    pytest.importorskip("av", reason="PyAV writes films; the extra sim brings it")
    with pytest.raises(DataError, match="blew up"):
        evaluate("zero", Broken, 1, video=tmp_path / "films")
    assert not list((tmp_path / "films").iterdir())


def test_numbers_that_make_no_sense():
    for wrong in ({"episodes": 0}, {"seeds": ()}, {"parallel": 0}, {"max_steps": 0}):
        with pytest.raises(ConfigError, match="at least 1 episode"):
            evaluate("zero", "push2d", **wrong)
    with pytest.raises(ConfigError, match="did you mean 'push2d'"):
        open_world("pusch2d")


def test_the_verb(tmp_path, capsys):
    out = tmp_path / "result.json"
    words = ["rollout", "--env", "reach2d", "--policy", "expert", "--episodes", "3", "--out", str(out)]
    assert cli.main(words) == 0
    assert "success  100.0% (3 of 3)" in capsys.readouterr().out
    assert json.loads(out.read_text())["success"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rollout", "--env", "reach2d"], "name either a run or --policy"),
        (["rollout", "run", "--env", "reach2d", "--policy", "zero"], "name either a run or --policy"),
        (["rollout", "nowhere", "--env", "reach2d"], "nowhere"),
        (["rollout", "--env", "reach2", "--policy", "zero"], "did you mean 'reach2d'"),
        (["rollout", "--env", "reach2d", "--policy", "zero", "--episodes", "0"], "at least 1 episode"),
        (["rollout", "--env", "reach2d", "--policy", "best"], "unknown word 'best'"),
        (["demonstrate", "reach2d", "--out", "demos.csv"], "ends in .npz, or a folder"),
        (["demonstrate", "reach2d", "--out", "demos.npz", "--episodes", "0"], "at least 1"),
        (["demonstrate", "nothing", "--out", "demos.npz"], "unknown simulator 'nothing'"),
    ],
)
def test_bad_words_end_with_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert said in shown.err and len(shown.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
