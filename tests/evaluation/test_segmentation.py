"""The segmentation probe: shares, scores that are known, tokens that tell and tokens that do not, and the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import anyjepa
from anyjepa.cli import main
from anyjepa.config import to_dict
from anyjepa.data import ImageConfig
from anyjepa.data.masked import IGNORE, centre_mask, open_clips, open_masked, read_mask
from anyjepa.errors import ConfigError, DataError
from anyjepa.evaluation.dense import patch_reader, rows_and_columns, token_reader
from anyjepa.evaluation.probe_dense import probe_segmentation
from anyjepa.evaluation.segmentation import Counts, fit_patches, patch_shares
from anyjepa.training.checkpoint import State, save

SMALL = dict(size="nano", dim=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, patch_size=4)


def scenes(n=40, side=32, seed=0):
    """Noise with a red and a blue square; the mask says where."""
    draws = np.random.default_rng(seed)
    images = draws.integers(0, 120, (n, side, side, 3), dtype=np.uint8)
    masks = np.zeros((n, side, side), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        for label, channel in ((1, 0), (2, 2)):
            top, left = 4 * draws.integers(0, (side - 12) // 4 + 1, 2)
            image[top : top + 12, left : left + 12] = draws.integers(0, 60)
            image[top : top + 12, left : left + 12, channel] = 250
            mask[top : top + 12, left : left + 12] = label
    return images, masks


def folder(place, images, masks, frames=False):
    names = ("frames", "masks") if frames else ("images", "masks")
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for name, picture, ending in ((names[0], image, "png"), (names[1], mask, "png")):
            file = place / name / f"a/{i:02d}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
    return place


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with random weights."""
    place = tmp_path_factory.mktemp("run")
    method = anyjepa.create("dmt-jepa", **SMALL, image_size=[32, 32], channels=3)
    content = {
        "method": "dmt-jepa",
        "model": to_dict(method.config),
        "images": {"size": 32, "channels": 3},
    }
    save(place, State(3, 0.0, content), dict(method.state_dict()), {})
    return place


def test_shares_of_patches():
    mask = np.array([[0, 0, 1, 2], [0, 1, 1, 2], [IGNORE] * 4, [3, 3, IGNORE, IGNORE]])
    shares = patch_shares(mask[None], (2, 2), 4)[0]
    assert shares.tolist() == [[0.75, 0.25, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0.5], [0, 0, 0, 0]]
    with pytest.raises(DataError, match="cannot be cut"):
        patch_shares(mask[None], (3, 2), 4)
    with pytest.raises(DataError, match="beyond"):
        patch_shares(mask[None], (2, 2), 3)


def test_scores_counted_by_hand():
    counts = Counts.none(4)
    truth = np.array([[[0, 0, 1, 1], [2, 2, IGNORE, 1]]])
    told = np.array([[[0, 1, 1, 1], [2, 0, 3, 1]]])
    counts.add(truth, told)
    # 0: 1 of {0,0} and one more told; 1: 3 of 4; 2: 1 of 2; 3: neither there nor told where it counts
    assert counts.iou()[:3].tolist() == [1 / 3, 3 / 4, 1 / 2] and np.isnan(counts.iou()[3])
    assert counts.scores["miou"] == pytest.approx((1 / 3 + 3 / 4 + 1 / 2) / 3)
    assert counts.scores["pixels"] == pytest.approx(5 / 7)


def test_a_probe_of_tokens_that_tell_is_right_and_of_noise_is_not():
    draws = np.random.default_rng(0)
    masks = np.repeat(np.repeat(draws.integers(0, 3, (60, 4, 4)), 4, 1), 4, 2)
    shares = patch_shares(masks, (4, 4), 3)
    telling = np.concatenate([shares, draws.normal(size=(60, 16, 3))], -1).astype(np.float32)
    noise = draws.normal(size=(60, 16, 6)).astype(np.float32)
    for tokens, low, high in ((telling, 0.97, 1.0), (noise, 0.0, 0.5)):
        probe = fit_patches(tokens[:40], shares[:40])
        right = (
            probe.scores(torch.from_numpy(tokens[40:])).argmax(-1).numpy() == shares[40:].argmax(-1)
        ).mean()
        assert low <= right <= high
    sharp = fit_patches(telling[:40], shares[:40]).pixels(torch.from_numpy(telling[40:]), (4, 4), (16, 16))
    assert (sharp.numpy() == masks[40:]).mean() > 0.8


def test_a_class_without_training_label_is_never_told():
    tokens = np.random.default_rng(0).normal(size=(10, 4, 3)).astype(np.float32)
    shares = np.zeros((10, 4, 5), np.float32)
    shares[..., 1], shares[::2, :, 1], shares[::2, :, 3] = 1.0, 0.0, 1.0
    told = fit_patches(tokens, shares).scores(torch.randn(50, 4, 3)).argmax(-1)
    assert set(told.unique().tolist()) <= {1, 3}
    with pytest.raises(DataError, match="two classes"):
        fit_patches(tokens, np.ones((10, 4, 1), np.float32))


def test_pixels_of_a_patch_are_its_own():
    images = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12).float()
    found = patch_reader((2, 3))(images)
    assert found.shape == (2, 6, 48)
    assert torch.equal(found[1, 4].view(3, 4, 4), images[1, :, 4:8, 4:8])


def test_masks_are_cut_as_images_are(tmp_path):
    """A mask made of the picture itself stays that of the picture."""
    image = np.zeros((40, 60), np.uint8)
    image[10:30, 20:45] = 200
    mask = (image > 100).astype(np.uint8)
    folder(tmp_path, [np.repeat(image[..., None], 3, -1)], [mask])
    found, cut = open_masked(
        tmp_path, ImageConfig(size=20, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    ).read(0)
    assert cut.shape == (20, 20)
    assert ((found[0].numpy() > 0.4) == cut).mean() > 0.95 and 0.2 < cut.mean() < 0.5
    assert np.array_equal(centre_mask(mask, (40, 60)), mask)


def test_numbers_of_a_palette_are_kept_and_colours_refused(tmp_path):
    numbers = np.array([[0, 1], [7, 255]], np.uint8)
    picture = Image.fromarray(numbers, "P")
    picture.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    picture.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == numbers.tolist()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="colours"):
        read_mask(tmp_path / "colour.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "mask.png").read_bytes()[:40])
    with pytest.raises(DataError, match="cannot read mask"):
        read_mask(tmp_path / "torn.png")


def test_what_is_missing_is_named(tmp_path):
    images, masks = scenes(3)
    config = ImageConfig(size=32, channels=3)
    folder(tmp_path / "some", images, masks)
    (tmp_path / "some/masks/a/01.png").unlink()
    with pytest.raises(DataError, match=r"no mask in .* the first is 'a/01'"):
        open_masked(tmp_path / "some", config)
    with pytest.raises(DataError, match="expected a folder with images/NAME"):
        open_masked(tmp_path, config)
    np.savez(tmp_path / "x.npz", images=images)
    with pytest.raises(DataError, match="has the arrays images"):
        open_masked(tmp_path / "x.npz", config)
    np.savez(tmp_path / "y.npz", images=images, masks=masks[:2])
    with pytest.raises(DataError, match="n = 3 images"):
        open_masked(tmp_path / "y.npz", config)
    with pytest.raises(DataError, match="expected a folder with frames/CLIP"):
        open_clips(tmp_path, config)
    folder(tmp_path / "sizes", images, masks[:, :16])
    with pytest.raises(DataError, match=r"the mask of a/00\.png has"):
        open_masked(tmp_path / "sizes", config).read(0)


def test_folder_and_archive_score_the_same(run, tmp_path):
    images, masks = scenes(30)
    folder(tmp_path / "f", images, masks)
    np.savez(tmp_path / "n.npz", images=images, masks=masks)
    a, b = (probe_segmentation([run], tmp_path / name) for name in ("f", "n.npz"))
    assert a.scores == b.scores and {s.features for s in a.scores} == {"pretrained", "untrained", "raw"}
    # Colours give the squares away, so pixels of the patch know them.
    assert a.values("miou", "raw")[0] > 0.9
    stored = json.loads((run / "probe-segmentation.json").read_text())
    assert stored["scores"][0]["values"]["miou"] == b.values("miou")[0]


def test_broken_masks_score_nothing(run, tmp_path):
    images, masks = scenes(30)
    np.savez(tmp_path / "shuffled.npz", images=images, masks=masks[np.random.default_rng(0).permutation(30)])
    assert probe_segmentation([run], tmp_path / "shuffled.npz").values("miou", "raw")[0] < 0.5


def test_the_command(run, tmp_path, capsys):
    images, masks = scenes(20)
    np.savez(tmp_path / "a.npz", images=images, masks=masks)
    np.savez(tmp_path / "b.npz", images=images[:8], masks=masks[:8])
    command = f"probe {run} --task segmentation --data {tmp_path}/a.npz"
    assert main([*command.split(), "--test", f"{tmp_path}/b.npz", "--labels", "10", "--seeds", "0", "1"]) == 0
    told = capsys.readouterr().out
    assert "mIoU %" in told and "fitted on 10 images, scored on 8" in told and "±" in told
    assert main([*command.split(), "--labels", "10%"]) != 0
    assert "one number of images" in capsys.readouterr().err
    assert main([*command.split(), "--probes", "knn"]) != 0
    assert main([*command.split(), "--labels", "99"]) != 0
    assert "number of training images, 16" in capsys.readouterr().err


def test_methods_without_rows_and_columns_are_refused(run):
    method = anyjepa.create("ijepa", **SMALL, image_size=[32, 32])
    assert rows_and_columns(method) == (8, 8)
    with pytest.raises(ConfigError, match="not all in the encoder"):
        token_reader(method, layers=(7,))(torch.zeros(1, 3, 32, 32))
    tables = anyjepa.create("tjepa", anyjepa.registry.entry("tjepa").config().fit((1, 5)))
    with pytest.raises(ConfigError, match="this task needs"):
        rows_and_columns(tables)
