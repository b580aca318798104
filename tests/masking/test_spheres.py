"""Masks of electrodes: the sizes of the sheet, and properties of any set of places."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.hub.braindecode import LEE2019
from anyjepa.masking.spheres import SphereConfig, distinct, neighbours, spheres


@pytest.fixture(scope="module")
def lee2019():
    pytest.importorskip("mne", reason="the places of the 62 channels come from MNE's montage")
    from anyjepa.data.montage import look_up

    return look_up(LEE2019)[1]


@pytest.mark.parametrize(
    "radius, mean, least, most",
    [
        (0.04, 3.97, 1, 7),
        (0.06, 7.74, 4, 11),
        (0.08, 13.0, 8, 17),
        (0.038, 3.16, 1, 5),
        (0.057, 7.00, 3, 10),
        (0.076, 11.52, 7, 16),
    ],
)
def test_sizes_on_the_channels_of_the_paper(lee2019, radius, mean, least, most):
    sizes = neighbours(lee2019, radius).sum(1)
    assert sizes.mean() == pytest.approx(mean, abs=0.006 if radius != 0.08 else 0.05)
    assert (sizes.min(), sizes.max()) == (least, most)


@pytest.mark.parametrize(
    "centre, hidden",
    [("Cz", "FC1 FC2 Cz CP1 CP2 C1 C2 CPz"), ("Oz", "O1 Oz O2 POz PO3 PO4")],
)
def test_members_of_two_spheres(lee2019, centre, hidden):
    row = neighbours(lee2019, 0.057)[LEE2019.index(centre)]
    assert {LEE2019[i] for i in np.flatnonzero(row)} == set(hidden.split())


def test_largest_distance_between_electrodes(lee2019):
    apart = np.linalg.norm(lee2019[:, None] - lee2019[None], axis=-1)
    pair = np.unravel_index(apart.argmax(), apart.shape)
    assert apart.max() == pytest.approx(0.2067, abs=1e-4) and {LEE2019[i] for i in pair} == {"Fp2", "O1"}


def test_shares_are_of_the_diameter():
    """The trap of the sheet: 60 % of the head's diameter of 0.2 m is a radius of 0.06 m, not of 0.12 m."""
    assert [SphereConfig(diameter=d).reach for d in (0.4, 0.6, 0.8)] == pytest.approx([0.04, 0.06, 0.08])


def places(n, seed=0):
    on_head = np.random.default_rng(seed).normal(size=(n, 3))
    on_head[:, 2] = abs(on_head[:, 2])
    return 0.1 * on_head / np.linalg.norm(on_head, axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 40),
    tokens=st.integers(1, 9),
    radius=st.sampled_from([0.0, 0.03, 0.06, 0.3, math.inf]),
    blocks=st.sampled_from([None, 1, 4]),
    length=st.sampled_from([None, 1, 3, 20]),
    unknown=st.integers(0, 1),
    per_sample=st.booleans(),
    seed=st.integers(0, 3),
)
def test_context_and_targets_part_the_tokens(n, tokens, radius, blocks, length, unknown, per_sample, seed):
    where = places(n, seed)
    where[:unknown] = np.nan
    config = SphereConfig(radius=radius, blocks=blocks, length=length, per_sample=per_sample)
    masks = spheres(config, Layout((n, tokens)), where, seed=seed, step=5, index=np.arange(6))
    real = distinct(masks.targets)
    for b in range(6):
        valid = slice(None) if masks.context_valid is None else masks.context_valid[b]
        context, target = masks.context[b][valid], masks.targets[b][real[b]]
        assert len(context) and len(target)
        assert torch.equal(torch.cat([context, target]).sort().values, torch.arange(n * tokens))
        assert (masks.targets[b][~real[b]] == target[0]).all()
        assert (context.diff() > 0).all() and (target.diff() > 0).all()
        if length is None:
            channels = target // tokens
            assert (channels.bincount(minlength=n) % tokens == 0).all(), "whole channels are hidden"
        assert not set((target // tokens).tolist()) & set(range(unknown)), "an unknown place is in no sphere"
    if per_sample:
        alone = spheres(config, Layout((n, tokens)), where, seed=seed, step=5, index=[4])
        assert torch.equal(alone.targets[0][distinct(alone.targets)[0]], masks.targets[4][real[4]]), (
            "a mask depends on its own sample alone"
        )
    else:
        assert (masks.targets == masks.targets[:1]).all()


def test_a_tiny_radius_hides_one_channel_and_ties_are_outside():
    where = np.array([[0.0, 0.0, 0.1], [0.03, 0.0, 0.1], [-0.03, 0.0, 0.1], [0.0, 0.0, 0.1]])
    assert neighbours(where, 0.03).sum(1).tolist() == [2, 1, 1, 2]  # the last has the place of the first
    assert neighbours(where, 0.0).sum(1).tolist() == [1, 1, 1, 1]
    masks = spheres(SphereConfig(radius=1e-9), Layout((3, 4)), where[:3], seed=0, step=0, index=np.arange(50))
    assert masks.targets.shape == (50, 1, 4) and masks.context_valid is None


def test_one_channel_stays_when_everything_would_be_hidden():
    where = places(12)
    masks = spheres(
        SphereConfig(radius=math.inf), Layout((12, 3)), where, seed=1, step=0, index=np.arange(20)
    )
    assert masks.context.shape == (20, 3) and (masks.context[:, 0] % 3 == 0).all()


def test_every_channel_is_the_centre_equally_often():
    """Coverage: over many draws a channel is hidden as often as the number of spheres it lies in says."""
    where = places(10)
    masks = spheres(SphereConfig(), Layout((10, 1)), where, seed=0, step=0, index=np.arange(20_000))
    counts = np.bincount(masks.targets[distinct(masks.targets)].numpy(), minlength=10) / 20_000
    np.testing.assert_allclose(counts, neighbours(where, 0.06).sum(0) / 10, atol=0.012)


def test_number_of_spheres_for_a_visible_share():
    # f = pi 0.09^2 2 / (0.75 4 pi 0.1^2 10) = 0.054; ln .45 / ln(1 - f) = 14.4
    config = SphereConfig(radius=0.09, length=2, blocks=None)
    assert config.count(Layout((62, 10))) == 15
    assert SphereConfig(blocks=3).count(Layout((62, 10))) == 3
    assert SphereConfig(radius=math.inf, blocks=None).count(Layout((62, 10))) == 1
    where = places(200)
    masks = spheres(config, Layout((200, 10)), where, seed=0, step=0, index=np.arange(300))
    visible = masks.context_valid.float().sum(1).mean() / 2000
    assert 0.3 < visible < 0.6


def test_too_little_to_mask_is_an_error():
    with pytest.raises(ConfigError, match="at least two channels"):
        spheres(SphereConfig(), Layout((1, 4)), places(1), seed=0, step=0, index=[0])
    with pytest.raises(ConfigError, match="0 known places"):
        spheres(SphereConfig(), Layout((3, 4)), np.full((3, 3), np.nan), seed=0, step=0, index=[0])


@pytest.mark.parametrize(
    "wrong", [{"diameter": 0.0}, {"radius": -0.1}, {"blocks": 0}, {"length": 0}, {"visible": 1.0}]
)
def test_impossible_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SphereConfig(**wrong)
