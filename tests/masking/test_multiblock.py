"""Multi-block masks: pure, always valid, always terminating, every position used; the official variant with its slips."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.masking.multiblock import MultiBlockConfig, multiblock
from anyjepa.masking.official import official_block_size

SQUARE = Layout((14, 14))


def draw(config, layout=SQUARE, *, step=0, index=range(16), seed=0, peers=None):
    return multiblock(config.fit(layout), layout, seed=seed, step=step, index=np.asarray(index), peers=peers)


def is_rectangle(tokens, width):
    rows, columns = {int(t) // width for t in tokens}, {int(t) % width for t in tokens}
    box = {r * width + c for r in rows for c in columns}
    solid = len(rows) == max(rows) - min(rows) + 1 and len(columns) == max(columns) - min(columns) + 1
    return solid and box == {int(t) for t in tokens}


grids = st.tuples(st.integers(5, 20), st.integers(5, 20))


@settings(deadline=None, max_examples=60)
@given(
    grids,
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.sampled_from(["fixed", "official"]),
    st.sampled_from(["random", "pad"]),
    st.integers(1, 5),
)
def test_masks_are_valid_on_any_grid(grid, step, batch, compat, truncate, m):
    if compat == "official" and truncate == "pad":
        return
    layout = Layout(grid)
    masks = draw(
        MultiBlockConfig(targets=m, compat=compat, truncate=truncate), layout, step=step, index=range(batch)
    )
    config = MultiBlockConfig(targets=m, compat=compat).fit(layout)
    assert masks.targets.shape[:2] == (batch, m) and masks.context.shape[0] == batch
    valid = (
        torch.ones_like(masks.context, dtype=torch.bool)
        if masks.context_valid is None
        else masks.context_valid
    )
    assert masks.targets.shape[2] > config.min_keep
    assert int(masks.targets.min()) >= 0 and int(masks.targets.max()) < layout.tokens
    for b in range(batch):
        context = masks.context[b][valid[b]]
        assert len(context) > config.min_keep
        assert (context[1:] > context[:-1]).all() and context[0] >= 0 and context[-1] < layout.tokens
        assert all(is_rectangle(t, grid[1]) for t in masks.targets[b])


def test_context_avoids_all_targets_where_there_is_room():
    for step in range(200):
        masks = draw(MultiBlockConfig(), step=step)
        for context, targets in zip(masks.context, masks.targets, strict=True):
            assert not set(context.tolist()) & set(targets.flatten().tolist())


def test_overlap_is_left_in_when_asked():
    masks = draw(MultiBlockConfig(allow_overlap=True))
    assert set(masks.context[0].tolist()) & set(masks.targets[0].flatten().tolist())


def test_a_sample_keeps_its_masks_whoever_its_neighbours_are():
    config = MultiBlockConfig(truncate="pad")
    whole = draw(config, index=range(32), step=5)
    for part in ([3], [31, 7, 3]):
        some = draw(config, index=part, step=5)
        for row, sample in enumerate(part):
            assert (some.targets[row] == whole.targets[sample]).all()
            ours = (
                some.context[row]
                if some.context_valid is None
                else some.context[row][some.context_valid[row]]
            )
            assert ours.tolist() == whole.context[sample][whole.context_valid[sample]].tolist()


def test_splitting_a_step_over_processes_changes_no_draw():
    whole = draw(MultiBlockConfig(), index=range(32), step=9)
    halves = [
        draw(MultiBlockConfig(), index=part, step=9, peers=np.arange(32))
        for part in (range(16), range(16, 32))
    ]
    assert torch.equal(torch.cat([h.context for h in halves]), whole.context)
    assert torch.equal(torch.cat([h.targets for h in halves]), whole.targets)


@pytest.mark.parametrize("grid", [(14, 14), (8, 8), (8, 16)])
def test_every_position_is_predicted_and_seen(grid):
    layout, seen, asked = Layout(grid), Counter(), Counter()
    for step in range(300):
        masks = draw(MultiBlockConfig(), layout, step=step, index=range(8))
        seen.update(masks.context.flatten().tolist())
        asked.update(masks.targets.flatten().tolist())
    assert len(seen) == len(asked) == layout.tokens
    # Random truncation treats both ends alike: no row is favoured as the official prefix cut favours the top.
    rows = np.array([[seen[r * grid[1] + c] for c in range(grid[1])] for r in range(grid[0])]).sum(axis=1)
    assert rows[: grid[0] // 2].sum() == pytest.approx(rows[-(grid[0] // 2) :].sum(), rel=0.05)


def test_mean_target_area_and_independent_shapes():
    sizes = [draw(MultiBlockConfig(), step=s, index=[0]).targets.shape[2] for s in range(2000)]
    assert np.mean(sizes) / 196 == pytest.approx(0.172, abs=0.006)
    steps = [draw(MultiBlockConfig(), step=s, index=[0]).targets[0, 0] for s in range(500)]
    shapes = {(len({t // 14 for t in b.tolist()}), len({t % 14 for t in b.tolist()})) for b in steps}
    # With independent draws small blocks can be tall and large ones wide; the official draw knows five shapes only.
    assert {(7, 5), (5, 7), (5, 6), (7, 6)} <= shapes and len(shapes) > 5


@pytest.mark.parametrize("compat", ["fixed", "official"])
def test_a_grid_that_is_too_small_is_refused_at_once(compat):
    with pytest.raises(ConfigError, match="min_keep <= "):
        MultiBlockConfig(min_keep=10, compat=compat).fit(Layout((8, 8)))
    assert MultiBlockConfig(compat=compat).fit(Layout((8, 8))).min_keep < 9


def test_crowded_grids_terminate():
    # Twelve large targets on a small grid leave nothing: the context must be relaxed, never searched for without end.
    config = MultiBlockConfig(targets=12, target_scale=(0.5, 0.6), min_keep=4)
    for compat in ("fixed", "official"):
        masks = draw(MultiBlockConfig(**{**vars(config), "compat": compat}), Layout((6, 6)))
        assert masks.context.shape[1] > 4


@pytest.mark.parametrize("grid", [(16,), (4, 4, 4)])
def test_grids_of_other_dimension_are_refused(grid):
    with pytest.raises(ConfigError, match="two axes"):
        MultiBlockConfig().fit(Layout(grid))


# Oracles of the sheet, section 5: the official sampler.

OFFICIAL_SIZES = {
    14: [(6, 6), (7, 5), (7, 5), (5, 6), (6, 5), (7, 5), (6, 5), (6, 5), (6, 5), (7, 5), (6, 5), (5, 6)],
    16: [(7, 6), (8, 6), (7, 6), (5, 7), (7, 6), (8, 6), (7, 6), (7, 6), (7, 6), (8, 6), (7, 6), (6, 7)],
}


@pytest.mark.parametrize("side", [14, 16])
def test_official_block_sizes_by_counter(side):
    config = MultiBlockConfig()
    sizes = [
        official_block_size(
            torch.Generator().manual_seed(k), (side, side), config.target_scale, config.target_aspect
        )
        for k in range(12)
    ]
    assert sizes == OFFICIAL_SIZES[side]


@pytest.mark.parametrize("batch, context", [(1, 82.3), (16, 60.6)])
def test_official_mean_lengths(batch, context):
    config = MultiBlockConfig(compat="official")
    drawn = [draw(config, step=s, index=range(batch)) for s in range(240 if batch == 1 else 60)]
    assert np.mean([m.context.shape[1] for m in drawn]) == pytest.approx(context, rel=0.05)
    assert np.mean([m.targets.shape[2] for m in drawn]) == pytest.approx(33.4, rel=0.03)


def test_official_masks_never_reach_the_last_row_and_column():
    for step in range(30):
        masks = draw(MultiBlockConfig(compat="official"), step=step)
        for tokens in (masks.context, masks.targets):
            assert int((tokens // 14).max()) < 13 and int((tokens % 14).max()) < 13


def test_official_contexts_are_disjoint_prefixes():
    masks = draw(MultiBlockConfig(compat="official"), step=3, index=range(64))
    for context, targets in zip(masks.context, masks.targets, strict=True):
        assert not set(context.tolist()) & set(targets.flatten().tolist())
    rows = masks.context // 14
    assert float((rows < 6).float().mean()) > 0.6  # the bottom is cut away
