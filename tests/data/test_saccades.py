"""Saliency, fixations with inhibition of return, glimpses; what the official code does otherwise."""

import numpy as np
import pytest
import torch

from anyjepa.data.modalities import modality
from anyjepa.data.saccades import fixations, glimpses, spectral_saliency
from anyjepa.data.views_config import ViewsConfig
from anyjepa.data.views_dataset import ViewsDataset
from anyjepa.errors import DataError


def test_saliency_is_where_something_is():
    images = 0.02 * torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    images[0, :, 20:26, 30:36] += 2
    images[1, :, 30:36, 12:18] += 2
    found = spectral_saliency(images)
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(2))
    for one, (row, column) in zip(found, ((23, 33), (33, 15)), strict=True):
        place = divmod(int(one.argmax()), 48)
        assert abs(place[0] - row) <= 6 and abs(place[1] - column) <= 6


@pytest.mark.parametrize("square", [True, False])
def test_what_was_looked_at_is_not_looked_at_again(square):
    draws = torch.rand(50, 5, generator=torch.Generator().manual_seed(0))
    found = fixations(torch.ones(50, 96, 96), draws, 16, square).double()
    apart = (found[:, :, None] - found[:, None]).abs()
    distance = apart.amax(dim=3) if square else apart.square().sum(dim=3).sqrt()
    assert (distance + 100 * torch.eye(5) > 16).all()
    free = fixations(torch.ones(50, 96, 96), draws, 0).double()
    assert (free[:, 1:] - free[:, :-1]).abs().amax(dim=2).min() <= 16


def test_fixations_follow_the_map():
    saliency = torch.zeros(4000, 8, 8)
    saliency[:, 2, 3], saliency[:, 6, 1] = 0.75, 0.25
    found = fixations(saliency, torch.rand(4000, 1, generator=torch.Generator().manual_seed(0)), 0)[:, 0]
    first = (found == torch.tensor([2, 3])).all(dim=1)
    assert (first | (found == torch.tensor([6, 1])).all(dim=1)).all()
    assert first.double().mean().item() == pytest.approx(0.75, abs=0.03)
    assert fixations(torch.zeros(1, 8, 8), torch.rand(1, 3), 2).shape == (1, 3, 2), (
        "an empty map is one without preference"
    )


def test_a_glimpse_is_the_image_around_its_place_and_nothing_outside():
    image = torch.arange(81.0).reshape(1, 1, 9, 9)
    (cut,) = glimpses(image, torch.tensor([[[4.0, 4.0], [0.0, 0.0], [4.0, 7.0]]]), (3, 3))
    torch.testing.assert_close(cut[0, 0], image[0, 0, 3:6, 3:6], atol=1e-3, rtol=0)
    torch.testing.assert_close(
        cut[1, 0], torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 9, 10]]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(cut[2, 0], image[0, 0, 3:6, 6:9], atol=1e-3, rtol=0)
    (even,) = glimpses(image, torch.tensor([[[4.0, 4.0]]]), (2, 2))
    assert even.mean().item() == pytest.approx(40, abs=1e-3), "between four pixels, around the fixation"


def dataset(tmp_path, **options):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 255, (6, 96, 96, 3)).astype(np.uint8))
    config = ViewsConfig(**(dict(kind="saccades", observed=(4, 4), size=32) | options))
    return ViewsDataset(modality("views").open(tmp_path / "x.npy", config), config)


def test_actions_are_changes_of_place_that_add_up(tmp_path):
    data = dataset(tmp_path)
    assert data.canvas == (96, 96) and data.action_dim == 2 and data.maker.parts == {"position": (0, 1)}
    found = data.sequences(range(6), 5)
    assert found.inputs["views"].shape == (6, 5, 3, 32, 32)
    whole = found.parameters[:, -1] - found.parameters[:, 0]
    torch.testing.assert_close(found.inputs["actions"].sum(dim=1), whole)
    assert found.parameters.min() >= 0 and found.parameters.max() < 1


def test_the_official_glimpse_lies_at_the_mirrored_place(tmp_path):
    """A fixation (30, 60) is looked at with its centre at row 59.5, column 29.5, and pixels 32/31 apart."""
    ramp = np.zeros((1, 96, 96), np.float32)
    ramp[0] = np.arange(96)[:, None] / 96
    np.save(tmp_path / "x.npy", ramp)
    saliency = np.zeros((1, 96, 96), np.float32)
    saliency[0, 30, 60] = 1
    np.save(tmp_path / "map.npy", saliency)
    for compat, centre, spacing in (("paper", 30, 1), ("official", 59.5, 32 / 31)):
        config = ViewsConfig(
            kind="saccades",
            observed=(1, 1),
            size=32,
            saliency=str(tmp_path / "map.npy"),
            compat=compat,
            mean=(0.0,),
            std=(1.0,),
        )
        data = ViewsDataset(modality("views").open(tmp_path / "x.npy", config), config)
        found = data.sequences([0], 1)
        assert (found.parameters[0, 0] * 96).tolist() == [30, 60]
        rows = found.inputs["views"][0, 0, 0, :, 16] * 96
        assert rows.mean().item() == pytest.approx(centre, abs=0.01)
        assert (rows[1:] - rows[:-1]).mean().item() == pytest.approx(spacing, abs=1e-3)


def test_uniform_fixations_do_not_read_the_map(tmp_path):
    apart = dataset(tmp_path, salient=False).sequences(range(6), 5).parameters * 96
    assert ((apart[:, :, None] - apart[:, None]).norm(dim=3) + 100 * torch.eye(5) > 16).all()
    official = dataset(tmp_path, salient=False, compat="official").sequences(range(6), 5)
    assert official.parameters.shape == (6, 5, 2)


@pytest.mark.parametrize(
    "maps, told", [(np.zeros((5, 9, 9)), "each of the 6 images"), (np.full((6, 9, 9), np.nan), "finite")]
)
def test_maps_that_do_not_fit(tmp_path, maps, told):
    np.save(tmp_path / "map.npy", maps)
    with pytest.raises(DataError, match=told):
        dataset(tmp_path, saliency=str(tmp_path / "map.npy")).draw(0, [0], 0)


def test_the_size_of_a_glimpse_is_a_third_of_the_image(tmp_path):
    views, config = modality("views"), ViewsConfig(kind="saccades")
    np.save(tmp_path / "x.npy", np.zeros((6, 96, 96, 3), np.uint8))
    source = views.open(tmp_path / "x.npy", config)
    assert views.shape(source, config, views.inspect(source, config)) == (3, 32, 32)
