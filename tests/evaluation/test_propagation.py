"""Labels followed through clips: exact where features are, scores counted by hand, and the command."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_segmentation import folder, run, scenes  # noqa: F401

from anyjepa.cli import main
from anyjepa.data import ImageConfig
from anyjepa.data.masked import IGNORE, open_clips
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.probe_dense import probe_propagation
from anyjepa.evaluation.propagation import PropagationConfig, clip_scores, jaccard, outline_f, propagate

GRID = (8, 8)


def wandering(frames=6, seed=0):
    """A block of two objects that moves one patch to the right each frame; each patch has a feature of its own."""
    draws = torch.Generator().manual_seed(seed)
    kinds = torch.randn(200, 32, generator=draws)
    labels, tokens = np.zeros((frames, 8, 8), np.int64), []
    for t in range(frames):
        place = torch.arange(64).view(8, 8)
        labels[t, 2:5, t : t + 2], labels[t, 5:7, t : t + 2] = 1, 2
        for row in range(2, 7):
            for column in range(2):
                place[row, t + column] = 100 + 2 * row + column
        tokens.append(kinds[place.flatten()])
    return torch.stack(tokens), labels.repeat(4, 1).repeat(4, 2)


def test_exact_features_carry_the_labels_exactly():
    tokens, labels = wandering()
    told = propagate(tokens, GRID, labels[0], PropagationConfig(neighbours=1))
    # Enlarging to pixels rounds corners of objects, nothing else.
    scores = clip_scores(labels, told)
    assert scores["j"] > 0.85 and scores["f"] > 0.9
    assert np.array_equal(told[0], labels[0]) and told.shape == labels.shape


def test_features_that_know_nothing_carry_nothing():
    _, labels = wandering()
    noise = torch.randn(6, 64, 32, generator=torch.Generator().manual_seed(1))
    assert clip_scores(labels, propagate(noise, GRID, labels[0]))["j"] < 0.3


def test_matches_beyond_the_radius_are_not_seen():
    """The object jumps five patches: only a wide window follows."""
    tokens, labels = wandering(2)
    far = torch.stack((tokens[0], tokens[0].view(8, 8, -1).roll(5, 1).reshape(64, -1)))
    truth = np.stack((labels[0], np.roll(labels[0], 20, 1)))
    wide, narrow = (
        clip_scores(truth, propagate(far, GRID, labels[0], PropagationConfig(radius=r, neighbours=1)))["j"]
        for r in (7, 1)
    )
    assert wide > 0.8 and narrow < 0.2


def test_an_object_that_is_gone_is_not_called_back():
    tokens, labels = wandering(3)
    empty = tokens.clone()
    empty[1:] = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))[torch.arange(64)]
    told = propagate(empty, GRID, labels[0], PropagationConfig(neighbours=1, radius=0))
    inside = labels[0] == 0
    assert (told[1][inside] == 0).mean() > 0.9


def test_overlap_and_outlines_by_hand():
    a, b = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    a[2:10, 2:10], b[2:10, 6:14] = True, True
    assert jaccard(a, b) == pytest.approx(32 / 96) and jaccard(a, a) == 1.0 == jaccard(~a & a, a & ~a)
    assert outline_f(a, a) == 1.0 and outline_f(a, ~a & a) == 0.0 and outline_f(a & ~a, a & ~a) == 1.0
    shifted = np.roll(a, 1, 1)
    assert outline_f(a, shifted) == 1.0  # one pixel is within the tolerance
    assert outline_f(a, np.roll(a, 9, (0, 1))) < 0.2


def test_ignored_pixels_count_for_nothing():
    truth = np.ones((2, 8, 8), np.int64)
    truth[:, :4] = 0
    told = truth.copy()
    told[1, 4:, :2] = 0
    assert clip_scores(truth, told)["j"] == pytest.approx(0.75)
    truth[1, 4:, :2] = IGNORE
    assert clip_scores(truth, told)["j"] == 1.0
    assert np.isnan(clip_scores(truth * 0, told)["j"])


def test_folders_as_of_davis_and_archives_score_the_same(run, tmp_path):  # noqa: F811
    images, masks = scenes(5)
    np.savez(tmp_path / "c.npz", frames=images[None], masks=masks[None])
    for name in ("JPEGImages/480p", "Annotations/480p"):
        (tmp_path / "davis" / name / "clip").mkdir(parents=True)
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(image).save(tmp_path / f"davis/JPEGImages/480p/clip/{i:05d}.png")
        Image.fromarray(mask, "P").save(tmp_path / f"davis/Annotations/480p/clip/{i:05d}.png")
    folder(tmp_path / "f", images, masks, frames=True)
    results = [probe_propagation([run], tmp_path / name) for name in ("c.npz", "davis", "f")]
    for quantity in ("j", "f"):
        # Patches of one colour are equally like each other: rounding chooses among them.
        values = [result.values(quantity)[0] for result in results]
        assert max(values) - min(values) < 0.02
    assert {s.features for s in results[0].scores} == {"pretrained", "untrained", "raw"}
    assert all(0 <= value <= 1 for s in results[0].scores for value in s.values.values())


def test_clips_that_cannot_be_scored_are_refused(run, tmp_path):  # noqa: F811
    images, masks = scenes(3)
    np.savez(tmp_path / "one.npz", frames=images[None, :1], masks=masks[None, :1])
    with pytest.raises(DataError, match="at least two"):
        probe_propagation([run], tmp_path / "one.npz")
    np.savez(tmp_path / "none.npz", frames=images[None], masks=0 * masks[None])
    with pytest.raises(DataError, match="no clip has an object"):
        probe_propagation([run], tmp_path / "none.npz")
    np.savez(tmp_path / "odd.npz", frames=images[None], masks=masks)
    with pytest.raises(DataError, match="masks must be"):
        open_clips(tmp_path / "odd.npz", ImageConfig(size=32))
    with pytest.raises(ConfigError, match="temperature above 0"):
        PropagationConfig(temperature=0.0)


def test_the_command(run, tmp_path, capsys):  # noqa: F811
    images, masks = scenes(4)
    np.savez(tmp_path / "c.npz", frames=images[None], masks=masks[None])
    assert main(f"probe {run} --task propagation --data {tmp_path}/c.npz --radius 3".split()) == 0
    told = capsys.readouterr().out
    assert "J&F %" in told and "at most 3 patches away" in told
    assert main(f"probe {run} --task propagation --data {tmp_path}/c.npz --test x".split()) != 0
