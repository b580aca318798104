"""Demonstrations: what is recorded is what happened, the same seed records the same, and both layouts hold it."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from anyjepa import cli
from anyjepa.errors import ConfigError, DataError
from anyjepa.rollout import (
    DemonstrationConfig,
    demonstrations,
    evaluate,
    open_world,
    write_lerobot,
    write_npz,
)
from anyjepa.rollout.push2d import Push2D


def some(episodes=3, **more):
    world = Push2D("reach")
    return world, list(demonstrations(world, DemonstrationConfig(episodes=episodes, **more)))


def test_an_episode_can_be_played_again_from_its_file():
    world, episodes = some(noise=0.0)
    for episode in episodes:
        seen = world.reset(episode.seed)
        for t, action in enumerate(episode.actions):
            # Actions are kept in single precision.
            np.testing.assert_allclose(seen["state"], episode.observations["state"][t], atol=1e-6)
            assert np.abs(seen["image"].astype(int) - episode.observations["image"][t]).max() <= 1
            step = world.step(action.astype(np.float64))
            seen = step.observation
            assert step.reward == pytest.approx(float(episode.rewards[t]), abs=1e-5)
        assert step.success and episode.success
        assert episode.actions.dtype == np.float32 and episode.observations["image"].dtype == np.uint8


def test_the_same_seed_records_the_same_and_noise_changes_the_way_not_the_start():
    (_, one), (_, two), (_, other), (_, calm) = (
        some(seed=1, noise=0.1), some(seed=1, noise=0.1), some(seed=2, noise=0.1), some(seed=1, noise=0.0),
    )  # fmt: skip
    assert all(np.array_equal(a.actions, b.actions) for a, b in zip(one, two, strict=True))
    assert {e.seed for e in one}.isdisjoint(e.seed for e in other)
    assert [e.seed for e in one] == [e.seed for e in calm]
    assert not np.array_equal(one[0].observations["state"][2], calm[0].observations["state"][2])


def test_rollouts_start_elsewhere_than_demonstrations():
    _, episodes = some(5, seed=0)
    assert {e.seed for e in episodes}.isdisjoint(e.seed for e in evaluate("zero", "reach2d", 5).episodes)


class Hopeless(Push2D):
    """Its expert never gets there."""

    def step(self, action):
        return super().step(0 * action)


def test_only_successes_are_kept_and_failing_ends():
    with pytest.raises(DataError, match="succeeded in 0 of 8 episodes: 2 were to be kept"):
        list(demonstrations(Hopeless(), DemonstrationConfig(episodes=2)))
    with pytest.raises(ConfigError, match="noise in"):
        DemonstrationConfig(noise=1.5)


def test_npz(tmp_path):
    _, episodes = some()
    assert write_npz(tmp_path / "demos.npz", episodes, "reach") == 3
    with np.load(tmp_path / "demos.npz") as file:
        assert len(file.files) == 3 * 6
        np.testing.assert_array_equal(file["002/action"], episodes[2].actions)
        np.testing.assert_array_equal(file["002/observation.image"], episodes[2].observations["image"])
        assert str(file["000/task"]) == "reach" and int(file["001/seed"]) == episodes[1].seed


def test_an_interrupted_file_is_not_there(tmp_path):
    def torn():
        yield from some(1)[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_npz(tmp_path / "demos.npz", torn(), "reach")
    with pytest.raises(KeyboardInterrupt):
        write_lerobot(tmp_path / "demos", torn(), Push2D("reach").facts)
    assert not list(tmp_path.iterdir())


def test_lerobot(tmp_path):
    av = pytest.importorskip("av", reason="PyAV writes films; the extra sim brings it")
    world, episodes = some()
    folder = tmp_path / "demos"
    assert write_lerobot(folder, episodes, world.facts) == 3
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["total_frames"] == sum(e.steps for e in episodes) and info["fps"] == 20
    for number, episode in enumerate(episodes):
        names = {"episode_chunk": 0, "episode_index": number, "video_key": "observation.image"}
        table = pq.read_table(folder / info["data_path"].format(**names))
        np.testing.assert_array_equal(np.array(table["action"].to_pylist(), np.float32), episode.actions)
        assert table["next.done"].to_pylist() == [False] * (episode.steps - 1) + [True]
        with av.open(str(folder / info["video_path"].format(**names))) as film:
            frames = np.stack([f.to_ndarray(format="rgb24") for f in film.decode(video=0)])
        assert len(frames) == episode.steps
        # Lossy, and colours at half resolution.
        assert np.abs(frames.astype(int) - episode.observations["image"]).mean() < 6
    index = pq.read_table(folder / "data/chunk-000/episode_000002.parquet")["index"].to_pylist()
    assert index[0] == episodes[0].steps + episodes[1].steps
    stats = [json.loads(line) for line in (folder / "meta/episodes_stats.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(
        stats[1]["stats"]["action"]["mean"], episodes[1].actions.mean(axis=0), atol=1e-6
    )
    with pytest.raises(ConfigError, match="there already"):
        write_lerobot(folder, episodes, world.facts)


@pytest.mark.parametrize("layout", ["demos.npz", "demos"])
def test_the_verb_writes_what_the_reader_of_episodes_reads(tmp_path, layout, capsys):
    from anyjepa.data.episodes_config import EpisodesConfig
    from anyjepa.data.modalities import modality

    if layout == "demos":
        pytest.importorskip("av", reason="PyAV writes films; the extra sim brings it")
    out = tmp_path / layout
    assert cli.main(["demonstrate", "reach2d", "--out", str(out), "--episodes", "3"]) == 0
    assert "3 episodes of reach2d" in capsys.readouterr().out
    kind = modality("episodes")
    config = EpisodesConfig(actions=4, states=4)
    source = kind.open(str(out), config)
    assert len(source) > 0
    assert cli.main(["inspect", str(out), "--kind", "episodes"]) == 0
    assert "3" in capsys.readouterr().out


def test_what_has_no_expert():
    class Plain(Push2D):
        def expert(self, seed):
            return None

    with pytest.raises(ConfigError, match="no scripted expert"):
        next(demonstrations(Plain(), DemonstrationConfig()))
    assert open_world("push2d").expert(0) is not None
