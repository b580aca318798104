"""Demonstrations: every layout gives the same episodes, what is wrong is named, nothing foreign beyond the end."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from anyjepa.data.episodes import Episode, PictureMemory, as_pictures, resized
from anyjepa.data.episodes_config import EpisodesConfig
from anyjepa.data.episodes_source import EpisodeSource, open_episodes
from anyjepa.data.modalities import modality
from anyjepa.errors import ConfigError, DataError

KIND = modality("episodes")
LENGTHS = (9, 12, 10, 11)


def demonstrations(camera=True):
    """Four episodes; the values name the episode and the frame."""
    made = []
    for e, length in enumerate(LENGTHS):
        t = np.arange(length, dtype=np.float32)
        state = np.stack([t, 100 * e + t, np.full(length, e)], axis=1).astype(np.float32)
        action = np.stack([-t, 10 * e - t], axis=1).astype(np.float32)
        pictures = np.zeros((length, 12, 16, 3), np.uint8)
        pictures[..., 0] = (10 * e + t)[:, None, None]
        made.append((state, action, pictures if camera else None))
    return made


def write_npz(folder, demos):
    arrays = {}
    for e, (state, action, pictures) in enumerate(demos):
        arrays |= {f"{e:02d}/observations": state, f"{e:02d}/actions": action}
        if pictures is not None:
            arrays[f"{e:02d}/observation.images.top"] = pictures
    np.savez(folder / "demos.npz", **arrays)
    return folder / "demos.npz"


def write_robomimic(folder, demos):
    h5py = pytest.importorskip("h5py", reason="h5py is the extra 'robot'")
    with h5py.File(folder / "low_dim.hdf5", "w") as file:
        for e, (state, action, pictures) in enumerate(demos):
            group = file.create_group(f"data/demo_{e}")
            group["actions"] = action
            group["obs/robot0_eef_pos"], group["obs/robot0_gripper_qpos"] = state[:, :1], state[:, 1:]
            group["obs/object"] = np.full((len(state), 5), 7.0)
            if pictures is not None:
                group["obs/top_image"] = pictures
    return folder / "low_dim.hdf5"


def write_aloha(folder, demos):
    h5py = pytest.importorskip("h5py", reason="h5py is the extra 'robot'")
    for e, (state, action, pictures) in enumerate(demos):
        with h5py.File(folder / f"episode_{e}.hdf5", "w") as file:
            file["observations/qpos"], file["action"] = state, action
            file["observations/qvel"] = 0 * state
            if pictures is not None:
                file["observations/images/top"] = pictures
    return folder


def write_minari(folder, demos):
    h5py = pytest.importorskip("h5py", reason="h5py is the extra 'robot'")
    (folder / "data").mkdir()
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for e, (state, action, _) in enumerate(demos):
            # What is seen after the last action is there too.
            file[f"episode_{e}/observations"] = np.concatenate([state, state[-1:] + 1])
            file[f"episode_{e}/actions"] = action
    return folder


def write_zarr(folder, demos):
    zarr = pytest.importorskip("zarr", reason="zarr is the extra 'robot'")
    group = zarr.open_group(str(folder / "pusht.zarr"), mode="w")
    states, actions, pictures = (np.concatenate([d[k] for d in demos]) for k in range(3))
    ends = np.cumsum([len(d[0]) for d in demos])
    for key, values in (
        ("data/state", states),
        ("data/action", actions),
        ("data/img", pictures.astype(np.float32)),
        ("meta/episode_ends", ends),
    ):
        array = (
            group.create_array(key, shape=values.shape, dtype=values.dtype)
            if hasattr(group, "create_array")
            else group.create_dataset(key, shape=values.shape, dtype=values.dtype)
        )
        array[:] = values
    return folder / "pusht.zarr"


def write_lerobot(folder, demos, *, version="v2.1", fps=10, image=True):
    """LeRobot with pictures as images in the table."""
    import io

    from PIL import Image

    def encoded(picture):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    features = {
        "observation.state": {"dtype": "float32", "shape": [3]},
        "action": {"dtype": "float32", "shape": [2]},
    }
    if image:
        features["observation.images.top"] = {"dtype": "image", "shape": [12, 16, 3]}
    (folder / "meta").mkdir()
    info = {"codebase_version": version, "fps": fps, "features": features, "chunks_size": 1000}
    tables = []
    for e, (state, action, pictures) in enumerate(demos):
        columns = {
            "observation.state": list(state),
            "action": list(action),
            "timestamp": np.arange(len(state), dtype=np.float32) / fps,
            "episode_index": np.full(len(state), e),
        }
        if image:
            columns["observation.images.top"] = [encoded(p) for p in pictures]
        tables.append(pa.table(columns))
    if version == "v3.0":
        place = folder / "data" / "chunk-000"
        place.mkdir(parents=True)
        pq.write_table(pa.concat_tables(tables[:2]), place / "file-000.parquet")
        pq.write_table(pa.concat_tables(tables[2:]), place / "file-001.parquet")
        lines = [
            {
                "episode_index": e,
                "length": len(t),
                "tasks": ["push"],
                "data/chunk_index": 0,
                "data/file_index": e // 2,
            }
            for e, t in enumerate(tables)
        ]
        (folder / "meta/episodes/chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(lines), folder / "meta/episodes/chunk-000/file-000.parquet")
    else:
        place = folder / "data" / "chunk-000"
        place.mkdir(parents=True)
        for e, table in enumerate(tables):
            pq.write_table(table, place / f"episode_{e:06d}.parquet")
        lines = [{"episode_index": e, "length": len(t), "tasks": ["push"]} for e, t in enumerate(tables)]
        (folder / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "meta/info.json").write_text(json.dumps(info))
    return folder


def write_lerobot_3(folder, demos):
    return write_lerobot(folder, demos, version="v3.0")


WRITERS = [write_npz, write_robomimic, write_aloha, write_minari, write_zarr, write_lerobot, write_lerobot_3]


@pytest.mark.parametrize("write", WRITERS)
def test_every_layout_gives_the_same_episodes(write, tmp_path):
    demos = demonstrations()
    source = open_episodes(write(tmp_path, demos), EpisodesConfig())
    assert [len(episode) for episode in source.episodes] == list(LENGTHS) and not source.broken
    np.testing.assert_array_equal(source.state, np.concatenate([d[0] for d in demos]))
    np.testing.assert_array_equal(source.action, np.concatenate([d[1] for d in demos]))
    assert source.groups.tolist() == np.repeat(range(4), LENGTHS).tolist()
    if write is write_minari:
        assert source.cameras == ()
        return
    assert source.cameras == (("image",) if write is write_zarr else ("top",))
    for i in (0, 8, 9, 41):
        row, picture = int(source.of[i]), source.pictures(i, source.cameras[0], (12, 16))
        assert picture.shape == (3, 12, 16) and (picture[0] == 10 * row + source.time[i]).all()


def test_a_training_sample_ends_with_its_episode(tmp_path):
    path = write_npz(tmp_path, demonstrations(camera=False))
    config = EpisodesConfig(states=5, actions=4, scaling="none")
    source, config = KIND.settle(KIND.open(path, config), config)
    data = KIND.dataset(source, config)
    # Frame 7 of episode 0, which has 9 frames; the next rows of the table are another episode's.
    parts = data.sequences([7])
    assert parts["state"][0, :, 0].tolist() == [7, 8, 8, 8, 8] and parts["state_pad"][0].tolist() == [
        0,
        0,
        1,
        1,
        1,
    ]
    assert parts["action"][0, :, 0].tolist() == [-7, -8, -8, -8] and parts["action_pad"][0].tolist() == [
        0,
        0,
        1,
        1,
    ]
    assert torch.equal(data.draw(3, [7], 1)["state"], parts["state"])
    now = data.evaluation([7])
    assert now["state"].tolist() == [parts["state"][0, 0].tolist()] and set(now) == {"state", "task"}


@pytest.mark.parametrize(
    "scaling, low, high", [("standard", None, None), ("minmax", -1.0, 1.0), ("none", -11.0, 130.0)]
)
def test_scales_are_those_of_the_training_episodes(scaling, low, high, tmp_path):
    path = write_npz(tmp_path, demonstrations(camera=False))
    config = EpisodesConfig(scaling=scaling, episodes=":2")
    source, settled = KIND.settle(KIND.open(path, config), config)
    state = settled.scaled("state", source.state)
    if scaling == "standard":
        np.testing.assert_allclose(state[:, :2].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(state[:, :2].std(0), 1, atol=1e-5)
    elif scaling == "minmax":
        assert (state.min(), state.max()) == (pytest.approx(low), pytest.approx(high))
    else:
        np.testing.assert_array_equal(state, source.state)
    np.testing.assert_allclose(
        settled.unscaled("action", settled.scaled("action", source.action)), source.action, atol=1e-4
    )
    # Other episodes are read with the same numbers.
    other = EpisodesConfig(**{**settled.__dict__, "episodes": "2:"})
    later, again = KIND.settle(KIND.open(path, other), other)
    assert again.state_shift == settled.state_shift and len(later.episodes) == 2


def test_columns_that_stand_still_are_told_and_not_blown_up(tmp_path):
    demos = [(np.concatenate([s, np.full((len(s), 1), 5.0)], 1), a, None) for s, a, _ in demonstrations()]
    source = KIND.open(write_npz(tmp_path, demos), EpisodesConfig())
    report = str(KIND.inspect(source, EpisodesConfig()))
    assert "columns of the state that never change: 3" in report
    _, settled = KIND.settle(source, EpisodesConfig())
    assert settled.state_scale[3] == 1.0 and np.abs(settled.scaled("state", source.state)).max() < 10


def test_short_episodes_and_raw_units_are_told(tmp_path):
    config = EpisodesConfig(scaling="none")
    report = str(KIND.inspect(KIND.open(write_npz(tmp_path, demonstrations()), config), config))
    assert "4 episodes are shorter than a chunk of 30 frames, the first demos.npz:00" in report
    assert "the state reaches 310 and is not scaled" in report and "cameras: top" in report


def spoil(demos, e, what):
    state, action, pictures = demos[e]
    if what == "nan":
        action = action.copy()
        action[3, 1] = np.nan
    elif what == "lengths":
        action = action[:-2]
    elif what == "one":
        state, action, pictures = state[:1], action[:1], pictures[:1]
    elif what == "width":
        state = state[:, :2]
    elif what == "camera":
        pictures = None
    demos[e] = (state, action, pictures)
    return demos


@pytest.mark.parametrize(
    "what, told",
    [
        ("nan", "demos.npz:02: 1 values of the action are not finite, the first in frame 3, column 1"),
        ("lengths", "demos.npz:02: 10 states and 8 actions"),
        ("one", "demos.npz:02 has 1 frame"),
        ("width", r"demos.npz:02: 2 \(values in the state\), the first episode demos.npz:00 has 3"),
        ("camera", r"demos.npz:02: .*\(camera\)"),
    ],
)
def test_a_broken_episode_is_named_and_left_out_or_refused(what, told, tmp_path):
    path = write_npz(tmp_path, spoil(demonstrations(), 2, what))
    with pytest.raises(DataError, match=f"1 of the 4 episodes .* {told}"):
        open_episodes(path, EpisodesConfig())
    source = open_episodes(path, EpisodesConfig(max_broken=0.5))
    assert len(source.episodes) == 3 and [b.name for b in source.broken] == ["demos.npz:02"]
    assert "1 of 4 episodes are left out" in str(KIND.inspect(source, EpisodesConfig()))


def test_a_camera_that_is_asked_for_must_be_there(tmp_path):
    path = write_npz(tmp_path, demonstrations())
    with pytest.raises(DataError, match="has no camera wrist: it has top"):
        open_episodes(path, EpisodesConfig(cameras=("wrist",)))
    assert open_episodes(path, EpisodesConfig(cameras=())).cameras == ()


def test_rates_that_do_not_agree(tmp_path):
    folder = write_lerobot(tmp_path, demonstrations(), image=False)
    with pytest.raises(DataError, match=r"10 frames a second, episodes\.fps=30"):
        open_episodes(folder, EpisodesConfig(fps=30.0))
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"fps": 50}))
    with pytest.raises(DataError, match="timestamps are 10 frames a second, the data set says fps=50"):
        open_episodes(folder, EpisodesConfig())


def test_episodes_that_were_not_downloaded_are_counted(tmp_path):
    folder = write_lerobot(tmp_path, demonstrations(), image=False)
    (folder / "data/chunk-000/episode_000003.parquet").unlink()
    source = open_episodes(folder, EpisodesConfig())
    assert source.absent == ("episode 3",) and not source.broken
    assert "1 more episodes are spoken of and are not there, the first episode 3" in str(
        KIND.inspect(source, EpisodesConfig())
    )


def test_a_path_may_not_lead_out_of_the_data_set(tmp_path):
    (tmp_path / "set").mkdir()
    folder = write_lerobot(tmp_path / "set", demonstrations(), image=False)
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"data_path": "../../etc/{episode_index}"}))
    with pytest.raises(DataError, match="leads out of the data set"):
        open_episodes(folder, EpisodesConfig())


def test_objects_are_never_unpickled(tmp_path):
    np.savez(
        tmp_path / "demos.npz", **{"0/actions": np.zeros((3, 2)), "0/observations": np.array([{}, {}, {}])}
    )
    with pytest.raises(DataError, match="Python objects"):
        open_episodes(tmp_path / "demos.npz", EpisodesConfig())


@pytest.mark.parametrize("name", ["x.hdf5", "x.npz", "x.zarr.zip", "x.bag"])
def test_rubbish_is_one_error(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x00\x01 not what it says")
    with pytest.raises(DataError, match="x"):
        open_episodes(tmp_path / name, EpisodesConfig())


def test_impossible_settings():
    for fields in (
        dict(states=0),
        dict(episodes="a:b"),
        dict(episodes="::0"),
        dict(cameras=("state",)),
        dict(max_broken=2.0),
    ):
        with pytest.raises(ConfigError):
            EpisodesConfig(**fields)


def test_pictures_of_any_kind_become_bytes():
    assert as_pictures(np.full((2, 4, 5, 3), 0.5), "x").tolist() == np.full((2, 4, 5, 3), 128).tolist()
    assert as_pictures(np.full((2, 3, 4, 5), 7, np.uint8), "x").shape == (2, 4, 5, 3)
    assert as_pictures(np.full((2, 4, 5, 1), 200.0), "x").shape == (2, 4, 5, 3)
    with pytest.raises(DataError, match="pictures must be"):
        as_pictures(np.zeros((2, 4, 5, 7)), "x")
    assert resized(np.zeros((2, 8, 8, 3), np.uint8), (4, 6)).shape == (2, 3, 4, 6)


def test_memory_for_pictures_is_bounded():
    memory, made = PictureMemory(most=250), []

    def make(k):
        made.append(k)
        return np.zeros(100, np.uint8)

    for k in (0, 1, 0, 2, 0, 1):
        memory.get(k, lambda k=k: make(k))
    # 1 was used least when 2 came.
    assert made == [0, 1, 2, 1] and memory.held <= 250

    def fail():
        made.append("x")
        raise DataError("torn")

    for _ in range(3):
        with pytest.raises(DataError, match="torn"):
            memory.get("bad", fail)
    assert made.count("x") == 1


def test_unknown_tasks_are_refused():
    def one(task):
        return Episode("e", np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32), task)

    config = EpisodesConfig(states=2, actions=2)
    source, settled = KIND.settle(EpisodeSource([one("open"), one("close")], [], config), config)
    assert settled.tasks == ("close", "open")
    assert KIND.dataset(source, settled).sequences([0, 3])["task"].flatten().tolist() == [1.0, 0.0]
    with pytest.raises(DataError, match="has the task 'wipe', the model knows 'close', 'open'"):
        KIND.dataset(EpisodeSource([one("wipe")], [], config), settled)


def write_video(path, count, fps=10):
    av = pytest.importorskip("av", reason="PyAV is the extra 'robot'")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(count):
            picture = np.full((48, 64, 3), 20 * t % 256, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def with_videos(folder, counts, fps=10):
    folder = write_lerobot(folder, demonstrations(), image=False)
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["observation.images.top"] = {"dtype": "video", "shape": [48, 64, 3]}
    (folder / "meta/info.json").write_text(json.dumps(info))
    place = folder / "videos/chunk-000/observation.images.top"
    place.mkdir(parents=True)
    for e, count in enumerate(counts):
        if count:
            write_video(place / f"episode_{e:06d}.mp4", count, fps)
    return folder


def test_frames_of_videos_are_those_of_the_table(tmp_path):
    source = open_episodes(with_videos(tmp_path, LENGTHS), EpisodesConfig())
    for i, t in ((0, 0), (5, 5), (8, 8), (9, 0)):
        assert abs(float(source.pictures(i, "top", (48, 64)).mean()) - 20 * t) < 8


def with_shared_videos(folder, short=0):
    """Version 3: one video holds two episodes, one after the other."""
    folder = write_lerobot(folder, demonstrations(), version="v3.0", image=False)
    key = "observation.images.top"
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"][key] = {"dtype": "video", "shape": [48, 64, 3]}
    (folder / "meta/info.json").write_text(json.dumps(info))
    place = folder / "videos" / key / "chunk-000"
    place.mkdir(parents=True)
    lines = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for e, line in enumerate(lines):
        line |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": e // 2}
        line[f"videos/{key}/from_timestamp"] = LENGTHS[e - 1] / 10 if e % 2 else 0.0
    pq.write_table(pa.Table.from_pylist(lines), folder / "meta/episodes/chunk-000/file-000.parquet")
    write_video(place / "file-000.mp4", LENGTHS[0] + LENGTHS[1])
    write_video(place / "file-001.mp4", LENGTHS[2] + LENGTHS[3] - short)
    return folder


def test_episodes_that_share_a_video(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    source = open_episodes(with_shared_videos(tmp_path / "a"), EpisodesConfig())
    first = LENGTHS[0]
    for frame, shown in ((0, 0), (first - 1, first - 1), (first, first), (first + 3, first + 3)):
        assert abs(float(source.pictures(frame, "top", (48, 64)).mean()) - 20 * shown % 256) < 8
    # The first of the second video.
    assert float(source.pictures(first + LENGTHS[1], "top", (48, 64)).mean()) < 8
    with pytest.raises(DataError, match="has 19 pictures, the table needs 21"):
        open_episodes(with_shared_videos(tmp_path / "b", short=2), EpisodesConfig())


def test_videos_that_are_missing_or_short(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir(), (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"episode 1 has no video of camera top.*episodes\.cameras=\[\]"):
        open_episodes(with_videos(tmp_path / "a", (9, 0, 10, 11)), EpisodesConfig())
    with pytest.raises(DataError, match="has 6 pictures, the table needs 12"):
        open_episodes(with_videos(tmp_path / "b", (9, 6, 10, 11)), EpisodesConfig())
    with pytest.raises(DataError, match="has 20 frames a second, the table 10"):
        open_episodes(with_videos(tmp_path / "c", LENGTHS, fps=20), EpisodesConfig())


SHARED = Path(os.environ.get("ANYJEPA_DATA", "../shared/data"))


@pytest.mark.skipif(
    not (SHARED / "robot-g1-lerobot").is_dir(), reason="no robot-g1-lerobot below ANYJEPA_DATA"
)
def test_a_real_humanoid(tmp_path):
    """60 of the 100 episodes that meta speaks of are there, and videos of two."""
    pytest.importorskip("av", reason="PyAV is the extra 'robot'")
    place = SHARED / "robot-g1-lerobot"
    source = open_episodes(place, EpisodesConfig(cameras=()))
    assert len(source) == 22_042 and len(source.episodes) == 60 and len(source.absent) == 40
    with pytest.raises(DataError, match="58 of the 60 episodes"):
        open_episodes(place, EpisodesConfig())
    filmed = open_episodes(place, EpisodesConfig(episodes="29:31"))
    assert filmed.cameras == ("cam_high",) and filmed.episodes[0].fps == 30
    picture = filmed.pictures(0, "cam_high", (48, 64))
    assert picture.std() > 20 and not np.array_equal(picture, filmed.pictures(100, "cam_high", (48, 64)))


@pytest.mark.skipif(
    not (SHARED / "robot-adroit-door").is_dir(), reason="no robot-adroit-door below ANYJEPA_DATA"
)
def test_a_real_hand():
    source = open_episodes(SHARED / "robot-adroit-door", EpisodesConfig())
    assert (len(source.episodes), source.channels, source.action.shape[1]) == (25, 39, 28)
