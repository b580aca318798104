"""Masks over the columns of a table: sizes of the official code, their law, and what must hold of every draw."""

import numpy as np
import pytest
import torch

from anyjepa.errors import ConfigError
from anyjepa.masking.features import FeatureMaskConfig, feature_masks, official_sizes, sizes

JANNIS = FeatureMaskConfig()


def test_sizes_of_the_official_generator():
    drawn = [official_sizes(JANNIS, 54, step) for step in range(8)]
    assert drawn == [(13, 28), (17, 15), (15, 18), (7, 11), (14, 23), (18, 11), (14, 22), (14, 13)]


def test_the_two_bounds_are_half_as_likely_as_the_numbers_between():
    wide = FeatureMaskConfig(targets=(0.01, 0.02))  # one target: nothing is drawn twice
    found = np.array([sizes(wide, 54, 0, step)[0] for step in range(13000)])
    counts = np.bincount(found, minlength=21)
    assert found.min() == 7 and found.max() == 20
    np.testing.assert_allclose(counts[8:20] / len(found), 1 / 13, rtol=0.12)
    np.testing.assert_allclose(counts[[7, 20]] / len(found), 1 / 26, rtol=0.15)


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("per", ["row", "batch"])
@pytest.mark.parametrize("columns", [2, 3, 7, 54])
def test_targets_are_never_in_the_context(columns, per, official):
    config = FeatureMaskConfig(per=per)
    for step in range(20):
        masks = feature_masks(config, columns, seed=1, step=step, index=np.arange(9), official=official)
        context, targets = masks.context, masks.targets
        assert targets.shape[:2] == (9, 4) and context.shape[1] + targets.shape[2] <= columns
        assert (context.diff(dim=1) > 0).all() and (targets.diff(dim=2) > 0).all()
        assert int(min(context.min(), targets.min())) >= 0 and int(targets.max()) < columns
        assert not (context[:, None, None, :] == targets[..., None]).any()
        same = (targets == targets[:, :1]).all()
        assert bool(same) == official or targets.shape[2] in (1, columns - context.shape[1])
        if per == "batch":
            assert (context == context[:1]).all() and (targets == targets[:1]).all()


def test_every_column_is_a_target_equally_often():
    """With probability n_trgt / d, the last column as well as the first."""
    hits, expected = torch.zeros(10), 0.0
    config = FeatureMaskConfig(context=(0.2, 0.4), targets=(0.2, 0.5))
    for step in range(40):
        masks = feature_masks(config, 10, seed=0, step=step, index=np.arange(200))
        hits += torch.bincount(masks.targets.flatten(), minlength=10)
        expected += masks.targets.numel() / 10
    np.testing.assert_allclose(hits / expected, 1, atol=0.05)


def test_a_row_does_not_depend_on_the_rows_around_it():
    many = feature_masks(JANNIS, 54, seed=3, step=5, index=np.array([4, 9, 2]))
    one = feature_masks(JANNIS, 54, seed=3, step=5, index=np.array([9]))
    assert torch.equal(many.context[1:2], one.context) and torch.equal(many.targets[1:2], one.targets)


def test_it_ends_where_the_official_code_would_draw_for_ever():
    tight = FeatureMaskConfig(context=(0.5, 0.9), targets=(0.5, 0.9))
    for drawn in (sizes(tight, 10, 0, 3), official_sizes(tight, 10, 3)):
        assert sum(drawn) <= 10 and min(drawn) >= 1
    with pytest.raises(ConfigError, match="more columns"):
        sizes(FeatureMaskConfig(context=(0.6, 0.9), targets=(0.6, 0.9)), 10, 0, 0)
    with pytest.raises(ConfigError, match="low"):
        FeatureMaskConfig(context=(0.5, 0.2))
