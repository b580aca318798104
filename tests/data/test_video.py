"""Videos: frames by their time, clips by seed, everything a file can be wrong with."""

import fractions
import pickle

import numpy as np
import pytest
import torch

from anyjepa.data.dataset import load_all
from anyjepa.data.film import FileFilm, Frames
from anyjepa.data.modalities import MODALITIES, recognise
from anyjepa.data.video import VideoDataset, sliding_boxes
from anyjepa.data.video_config import VideoConfig
from anyjepa.data.video_source import open_videos
from anyjepa.errors import ConfigError, DataError

av = pytest.importorskip("av", reason="PyAV is the extra 'video'")
SMALL = VideoConfig(
    frames=4, size=16, frame_step=2, shrink=0, crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=False
)


def write(path, frames=20, rate=10, size=(32, 32), times=None):
    """A film whose frame k has the brightness 10 + 10 k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = size
        stream.codec_context.bit_rate = 2_000_000
        stream.codec_context.time_base = fractions.Fraction(1, 1000 if times else rate)
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(
                np.full((*size, 3), 10 + 10 * k, dtype=np.uint8), format="rgb24"
            )
            frame.pts = times[k] if times else k
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(pixels):
    """The number of each frame, from its brightness."""
    return ((pixels.float().mean(dim=(-3, -2, -1)) - 10) / 10).round().int().tolist()


def test_frames_are_those_on_show(tmp_path):
    film = FileFilm(write(tmp_path / "a.mp4"), "a.mp4")
    assert film.rate == pytest.approx(10) and film.seconds == pytest.approx(2, abs=0.11)
    whole = film.read()
    assert numbers(whole.pixels) == list(range(20))
    assert numbers(whole.at(np.array([0.0, 0.55, 1.2, 9.0]))) == [0, 5, 12, 19]
    part = film.read(0.5, 1.0)
    assert numbers(part.at(np.array([0.5, 0.75, 1.0]))) == [5, 7, 10]
    late = film.read(1.5, 1.8)
    assert numbers(late.at(np.array([1.5, 1.6, 1.8]))) == [15, 16, 18]


def test_the_rate_may_change_within_a_film(tmp_path):
    times = [0, 100, 200, 300, 1000, 1100, 1200, 1300]
    film = FileFilm(write(tmp_path / "a.mp4", frames=8, rate=10, times=times), "a.mp4")
    assert numbers(film.read().at(np.array([0.25, 0.9, 1.05, 1.3]))) == [2, 3, 4, 7]


def test_frames_are_shrunk_as_they_are_decoded(tmp_path):
    film = FileFilm(write(tmp_path / "a.mp4", size=(64, 96)), "a.mp4")
    assert film.read(side=32).pixels.shape[1:] == (3, 32, 48)
    assert film.read(side=200).pixels.shape[1:] == (3, 64, 96)


@pytest.mark.parametrize("cache", [0, 256])
def test_clips_have_their_spacing_and_are_pure_functions(tmp_path, cache):
    from dataclasses import replace

    write(tmp_path / "v" / "a.mp4"), write(tmp_path / "v" / "b.mp4", frames=14)
    config = replace(SMALL, cache=cache)
    data = VideoDataset(open_videos(tmp_path / "v", config), config)
    batch = data.draw(3, [0, 1], 7)
    assert batch.shape == (2, 3, 4, 16, 16)
    raw = (batch.transpose(1, 2) * torch.from_numpy(data._std) + torch.from_numpy(data._mean)).round()
    for clip in raw:
        steps = np.diff(numbers(clip))
        assert (steps == 2).all()
    again = VideoDataset(open_videos(tmp_path / "v", config), config)
    assert torch.equal(again.draw(3, [1, 0], 7), batch[[1, 0]])
    starts = {numbers(data._clips(0, u)[0])[0] for u in np.linspace(0, 1, 30)}
    assert min(starts) == 0 and max(starts) == 13 and len(starts) > 8


def test_rates_are_evened_out_where_frames_per_second_are_asked(tmp_path):
    from dataclasses import replace

    config = replace(SMALL, fps=5.0)
    for rate in (10, 20):
        write(tmp_path / "v" / f"{rate}.mp4", frames=20, rate=rate)
    data = VideoDataset(open_videos(tmp_path / "v", config), config)
    assert [np.diff(numbers(data._clips(i, 0.0)[0])).tolist() for i in (0, 1)] == [[2, 2, 2], [4, 4, 4]]


def test_a_short_film_shows_its_last_frame_until_the_end(tmp_path):
    write(tmp_path / "v" / "a.mp4", frames=5)
    data = VideoDataset(open_videos(tmp_path / "v", SMALL), SMALL)
    assert numbers(data._clips(0, 0.7)[0]) == [0, 2, 4, 4]


def test_evaluation_looks_at_even_parts(tmp_path):
    from dataclasses import replace

    config = replace(SMALL, clips=2, frame_step=1)
    write(tmp_path / "v" / "a.mp4")
    data = VideoDataset(open_videos(tmp_path / "v", config), config)
    assert [numbers(clip)[0] for clip in data._clips(0, None)] == [4, 12]
    assert data.evaluation([0]).shape == (1, 2, 3, 4, 16, 16)
    one = VideoDataset(open_videos(tmp_path / "v", SMALL), SMALL)
    assert one.evaluation([0]).shape == (1, 3, 4, 16, 16)


def test_views_slide_along_the_longer_side(tmp_path):
    """Frames of 16 x 48 whose column k has the brightness 5 k: three squares, of the left, the middle and the right."""
    clip = np.broadcast_to((5 * np.arange(48, dtype=np.uint8))[:, None], (1, 8, 16, 48, 3)).copy()
    np.save(tmp_path / "a.npy", clip)
    plain = dict(frames=4, size=16, frame_step=1, mean=(0.0,) * 3, std=(1.0,) * 3)

    def seen(**fields):
        config = VideoConfig(**plain, **fields)
        return VideoDataset(open_videos(tmp_path / "a.npy", config), config).evaluation([0]) * 255 / 5

    three = seen(views=3, clips=2)
    assert three.shape == (1, 3, 2, 3, 4, 16, 16)
    columns = three[0, :, 1, 0, 2, 7].round().int().tolist()
    assert columns == [list(range(start, start + 16)) for start in (0, 16, 32)]
    torch.testing.assert_close(three[:, 1, 0], seen())
    # The middle half of the height, enlarged.
    half = seen(centre=0.5)[0, 0, 0, 7]
    assert half.min() == pytest.approx(20, abs=0.6) and half.max() == pytest.approx(27, abs=0.6)
    boxes = sliding_boxes([48], [16], (16, 8), 3)
    assert boxes[0].tolist() == [[0, 0, 32, 16], [8, 0, 32, 16], [16, 0, 32, 16]]


def test_lying_films_stand_up(tmp_path):
    """A display matrix turns frames a quarter against the clock."""
    from anyjepa.data.film import _pixels

    class Frame:
        height, width, rotation = 2, 3, 90

        def to_ndarray(self, format):
            return np.arange(18, dtype=np.uint8).reshape(2, 3, 3)

    assert np.array_equal(_pixels(Frame(), 0), np.rot90(Frame().to_ndarray("rgb24")))


def test_folders_of_pictures_arrays_and_tables(tmp_path):
    from PIL import Image

    for k in range(6):
        place = tmp_path / "frames" / "up" / "one"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 + 10 * k, dtype=np.uint8)).save(place / f"{k:03d}.png")
    source = open_videos(tmp_path / "frames", VideoConfig(), labels=True)
    assert (len(source) == 1 and source.class_names == ("one",)) or source.class_names == ("up",)
    assert numbers(source.read(0).read().pixels) == list(range(6))

    clips = np.random.default_rng(0).integers(0, 256, (3, 5, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "c.npz", clips=clips, labels=[0, 1, 0], groups=["a", "a", "b"])
    source = open_videos(tmp_path / "c.npz", VideoConfig(), labels=True)
    assert source.labels.tolist() == [0, 1, 0] and source.groups.tolist() == [0, 0, 1]
    assert torch.equal(source.read(1).read().pixels[:, 0], torch.from_numpy(clips[1]))

    write(tmp_path / "v" / "a.mp4"), write(tmp_path / "v" / "b.mp4")
    (tmp_path / "v" / "list.csv").write_text("file,label,film\na.mp4,1,x\nb.mp4,0,\n")
    config = VideoConfig(group_column="film")
    source = open_videos(tmp_path / "v" / "list.csv", config, labels=True)
    assert source.labels.tolist() == [1, 0] and len(set(source.groups.tolist())) == 2
    (tmp_path / "v" / "official.csv").write_text("a.mp4 3\nb.mp4 4\n")
    source = open_videos(tmp_path / "v" / "official.csv", VideoConfig(), labels=True)
    assert source.labels.tolist() == [3, 4] and source.identity(1) == "b.mp4"


def test_broken_films_are_counted_and_replaced(tmp_path):
    for name in "abcdefghij":
        write(tmp_path / "v" / f"{name}.mp4")
    whole = (tmp_path / "v" / "c.mp4").read_bytes()
    (tmp_path / "v" / "c.mp4").write_bytes(whole[: len(whole) // 2])
    data = VideoDataset(open_videos(tmp_path / "v", SMALL), SMALL)
    assert data.draw(0, range(10), 0).shape[0] == 10
    assert data.broken == [2]
    assert len(next(load_all(data, batch_size=20)).index) == 9
    with pytest.raises(DataError, match=r"c\.mp4: "):
        data.source.read(2)


def test_a_film_that_ends_early_is_broken(tmp_path, monkeypatch):
    film = FileFilm(write(tmp_path / "a.mp4"), "a.mp4")
    film.seconds = 8.0
    with pytest.raises(DataError, match="ends after"):
        film.read(0.0, 7.5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: (p / "v").mkdir(), "holds no videos"),
        (lambda p: (p / "v").write_text("hello"), "expected a folder of videos"),
        (lambda p: None, "expected a folder of videos"),
    ],
)
def test_nothing_to_open(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        open_videos(tmp_path / "v", VideoConfig())


def test_tables_that_are_wrong(tmp_path):
    file = tmp_path / "list.csv"
    for text, message in [
        ("", "is empty"),
        ("file,label\na.mp4\n", "row 1 has 1 cells"),
        ("file,label\n", "names no videos"),
    ]:
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            open_videos(file, VideoConfig())
    file.write_text("file,kind\na.mp4,1\n")
    with pytest.raises(DataError, match="no column of labels"):
        open_videos(file, VideoConfig(), labels=True)
    with pytest.raises(ConfigError, match="did you mean 'kind'"):
        open_videos(file, VideoConfig(label_column="kin"), labels=True)
    np.savez(tmp_path / "x.npz", clips=np.zeros((2, 3, 4, 4)))
    with pytest.raises(DataError, match="must be bytes"):
        open_videos(tmp_path / "x.npz", VideoConfig())


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"frames": 0}, "frames"),
        ({"fps": -1.0}, "positive"),
        ({"clips": 0}, "clips"),
        ({"views": 0}, "views"),
        ({"centre": 1.5}, "centre"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale"),
    ],
)
def test_impossible_settings_of_clips(fields, message):
    with pytest.raises(ConfigError, match=message):
        VideoConfig(**fields)


def test_it_is_recognised_and_goes_to_workers(tmp_path):
    write(tmp_path / "v" / "a.mp4")
    assert recognise(tmp_path / "v") is MODALITIES["video"]
    data = VideoDataset(open_videos(tmp_path / "v", SMALL), SMALL)
    again = pickle.loads(pickle.dumps(data.source))
    assert again.identity(0) == "a.mp4"
    assert isinstance(again.read(0).read(), Frames)
