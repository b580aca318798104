"""Masks of whole columns of time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.masking.columns import ColumnMaskConfig, column_masks


def hidden_columns(masks, leads, columns):
    """The hidden columns (T,) of the first sample, after checking that they are those of every lead."""
    both = torch.cat([masks.context, masks.targets[:, 0]], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(leads * columns).expand_as(both))
    hidden = torch.zeros(leads * columns, dtype=torch.bool)
    hidden[masks.targets[0, 0]] = True
    assert (hidden.view(leads, columns) == hidden[:columns]).all()
    return hidden[:columns].numpy()


@settings(max_examples=120, deadline=None)
@given(
    leads=st.integers(1, 12),
    columns=st.integers(2, 60),
    kind=st.sampled_from(["block", "random"]),
    compat=st.sampled_from(["fixed", "official"]),
    share=st.tuples(st.floats(0.05, 0.9), st.floats(0.0, 0.09)),
    blocks=st.integers(1, 6),
    seed=st.integers(0, 2**31),
)
def test_every_mask_is_a_partition_by_columns(leads, columns, kind, compat, share, blocks, seed):
    pair = (share[0], share[0] + share[1])
    config = ColumnMaskConfig(kind=kind, compat=compat, blocks=blocks, block_share=pair, random_share=pair)
    masks = column_masks(config, Layout((leads, columns)), seed=seed, step=3, index=[5, 6, 7])
    hidden = hidden_columns(masks, leads, columns)
    assert 0 < hidden.sum() < columns
    assert (masks.context == masks.context[0]).all() and (masks.targets == masks.targets[0]).all()
    assert (masks.context.diff(dim=1) > 0).all()


@pytest.mark.parametrize("compat", ["fixed", "official"])
def test_blocks_of_the_paper(compat):
    config = ColumnMaskConfig(compat=compat)
    found = np.stack(
        [
            hidden_columns(column_masks(config, Layout((1, 50)), seed=0, step=s, index=[0]), 1, 50)
            for s in range(800)
        ]
    )
    single = ColumnMaskConfig(compat=compat, blocks=1)
    lengths = {
        int(hidden_columns(column_masks(single, Layout((1, 50)), seed=0, step=s, index=[0]), 1, 50).sum())
        for s in range(150)
    }
    assert lengths == {8, 9, 10, 11}
    # Four blocks of 8 to 11 columns that may overlap
    assert found.sum(axis=1).min() >= 8 and found.sum(axis=1).max() <= 44
    seen = found.mean(axis=0)
    assert (seen[-1] == 0) == (compat == "official") and seen[:-1].min() > 0.03
    middle = 1 - (1 - 9.5 / 41.5) ** 4
    assert seen[15:35].mean() == pytest.approx(middle, abs=0.05)


def test_random_columns_of_the_paper():
    config = ColumnMaskConfig(kind="random")
    counts = [
        column_masks(config, Layout((8, 50)), seed=0, step=s, index=[0]).targets.shape[2] // 8
        for s in range(150)
    ]
    assert set(counts) == set(range(30, 35))


def test_one_mask_per_step():
    layout = Layout((2, 50))
    a, b = (column_masks(ColumnMaskConfig(), layout, seed=0, step=step, index=[1]) for step in (0, 1))
    assert torch.equal(a.targets, column_masks(ColumnMaskConfig(), layout, seed=0, step=0, index=[9]).targets)
    assert a.targets.shape != b.targets.shape or not torch.equal(a.targets, b.targets)


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="grid of leads"):
        column_masks(ColumnMaskConfig(), Layout((50,)), seed=0, step=0, index=[0])
    with pytest.raises(ConfigError, match="block_share"):
        ColumnMaskConfig(block_share=(0.5, 0.2))
    with pytest.raises(ConfigError, match="at least 1"):
        ColumnMaskConfig(blocks=0)
