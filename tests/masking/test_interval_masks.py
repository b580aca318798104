"""Interval masks: what holds for every draw, and the statistics of the official sampler."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.masking.intervals import IntervalMaskConfig, interval_masks


def visible_map(masks, n):
    shown = torch.zeros(len(masks.context), n, dtype=torch.bool)
    return shown.scatter_(1, masks.context, True).numpy()


def runs(row):
    """Lengths of the runs of True in one row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return edges[1::2] - edges[::2]


@pytest.fixture(scope="module")
def drawn():
    """20,000 masks of the paper's setting: 400 steps of 50 samples."""
    config, layout = IntervalMaskConfig(), Layout((200,))
    maps = [
        visible_map(interval_masks(config, layout, seed=0, step=step, index=np.arange(50)), 200)
        for step in range(400)
    ]
    return np.concatenate(maps)


def test_kept_tokens_of_the_paper(drawn):
    kept = drawn.sum(axis=1)
    assert set(kept) <= set(range(31, 51)) and len(set(kept)) > 15
    # 400 independent draws of a standard deviation of 5.8
    assert kept.mean() == pytest.approx(40.5, abs=0.9)


def test_hidden_runs_of_the_paper(drawn):
    found = [runs(~row) for row in drawn]
    count = np.array([len(r) for r in found])
    for number, share in {1: 0.114, 2: 0.346, 3: 0.347, 4: 0.153, 5: 0.035, 6: 0.005}.items():
        assert (count == number).mean() == pytest.approx(share, abs=0.012), number
    assert count.mean() == pytest.approx(2.66, abs=0.03)
    assert min(r.min() for r in found) == 10
    assert np.mean([r.max() for r in found]) == pytest.approx(113.5, abs=1.5)


def test_visible_runs_of_the_paper(drawn):
    found = [runs(row) for row in drawn]
    assert np.mean([len(r) for r in found]) == pytest.approx(3.2, abs=0.06)
    assert np.mean([r.max() for r in found]) == pytest.approx(25, abs=0.7)
    assert min(r.min() for r in found) == 1


def test_the_middle_is_hidden_more_often_than_the_ends(drawn):
    seen = drawn.mean(axis=0)
    assert seen[0] == pytest.approx(0.78, abs=0.015) and seen[-1] == pytest.approx(0.78, abs=0.015)
    assert seen[:20].mean() == pytest.approx(0.47, abs=0.015)
    assert seen[90:110].mean() == pytest.approx(0.093, abs=0.008)
    assert np.abs(seen - seen[::-1]).max() < 0.025
    # every token is a context now and then, and a target now and then
    assert seen.min() > 0.05 and seen.max() < 0.85


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(2, 300),
    low=st.floats(0.02, 0.9),
    width=st.floats(0.0, 0.3),
    block=st.one_of(st.none(), st.integers(1, 40)),
    seed=st.integers(0, 2**31),
    step=st.integers(0, 10**6),
)
def test_every_mask_is_a_partition_without_short_hidden_runs(n, low, width, block, seed, step):
    config, layout = IntervalMaskConfig((low, min(low + width, 0.95)), block), Layout((n,))
    try:
        fitted = config.fit(layout)
    except ConfigError:
        assert block is not None
        return
    masks = interval_masks(config, layout, seed=seed, step=step, index=[3, 17, 4])
    assert masks.targets.shape[1] == 1 and masks.context_valid is None
    both = torch.cat([masks.context, masks.targets[:, 0]], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(n).expand(3, n))
    assert (masks.context.diff(dim=1) > 0).all() and (masks.targets.diff(dim=2) > 0).all()
    kept = masks.context.shape[1]
    assert max(1, math.ceil(low * n) - 1) <= kept <= max(1, math.ceil((low + width) * n))
    assert min(runs(~row).min() for row in visible_map(masks, n)) >= fitted.min_block


def test_a_mask_depends_on_seed_step_and_sample_alone():
    config, layout = IntervalMaskConfig(), Layout((200,))
    together = interval_masks(config, layout, seed=1, step=5, index=[7, 8, 9])
    alone = interval_masks(config, layout, seed=1, step=5, index=[8])
    assert torch.equal(together.context[1:2], alone.context)
    for other in (dict(seed=2, step=5), dict(seed=1, step=6)):
        changed = interval_masks(config, layout, index=[8], **other)
        assert changed.context.shape != alone.context.shape or not torch.equal(changed.context, alone.context)
    assert len({tuple(row.tolist()) for row in together.context}) == 3


@pytest.mark.parametrize("n, block", [(200, 10), (100, 10), (50, 10), (20, 4), (8, 1), (2, 1)])
def test_the_shortest_block_fits_short_sequences(n, block):
    assert IntervalMaskConfig().fit(Layout((n,))).min_block == block


def test_impossible_settings_name_what_would_work():
    with pytest.raises(ConfigError, match="use min_block <= 15"):
        IntervalMaskConfig(min_block=16).fit(Layout((20,)))
    with pytest.raises(ConfigError, match="need a sequence"):
        IntervalMaskConfig().fit(Layout((4, 5)))
    with pytest.raises(ConfigError, match="at least two tokens"):
        IntervalMaskConfig().fit(Layout((1,)))
    with pytest.raises(ConfigError, match="low <= high"):
        IntervalMaskConfig(visible=(0.5, 0.2))
    with pytest.raises(ConfigError, match="at least 1"):
        IntervalMaskConfig(min_block=0)
