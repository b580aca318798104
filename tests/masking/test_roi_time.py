"""ROI-time masks: valid on any grid, pure, disjoint; the sheet's figures of the official sampler; the repairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Layout, Masks
from anyjepa.errors import ConfigError
from anyjepa.masking.roi_time import (
    CROSS_ROI,
    CROSS_TIME,
    DOUBLE_CROSS,
    RoiTimeConfig,
    edge_of,
    regions,
    roi_time_masks,
)

PAPER = Layout((450, 10))


def draw(config, layout=PAPER, *, step=0, index=range(16), seed=0, peers=None):
    return roi_time_masks(config, layout, seed=seed, step=step, index=np.asarray(index), peers=peers)


@settings(deadline=None, max_examples=80)
@given(
    st.integers(3, 40),
    st.integers(1, 14),
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.sampled_from([("fixed", "random"), ("fixed", "pad"), ("official", "random")]),
)
def test_masks_are_valid_on_any_grid(rois, times, step, batch, kind):
    layout = Layout((rois, times))
    config = RoiTimeConfig(compat=kind[0], truncate=kind[1])
    masks = draw(config, layout, step=step, index=range(batch))
    assert masks.context.shape[0] == batch and masks.targets.shape[:2] == (batch, 1)
    assert masks.targets.shape[2] >= 1
    for b in range(batch):
        row = masks.context[b]
        context = row if masks.context_valid is None else row[masks.context_valid[b]]
        targets = masks.targets[b, 0]
        assert len(context) >= 1 and (context[1:] > context[:-1]).all()
        assert int(context[0]) >= 0 and int(context[-1]) < layout.tokens
        assert int(targets.min()) >= 0 and int(targets.max()) < layout.tokens
        assert not set(context.tolist()) & set(targets.tolist())
        if kind[0] == "fixed":
            assert (targets[1:] > targets[:-1]).all(), "a token counts once, in order"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from(["random", "pad"]))
def test_a_sample_keeps_its_masks_whoever_its_neighbours_are(step, first, truncate):
    layout, peers = Layout((20, 10)), np.arange(first, first + 12)
    config = RoiTimeConfig(truncate=truncate)
    whole = draw(config, layout, step=step, index=peers)
    parts = [draw(config, layout, step=step, index=p, peers=peers) for p in (peers[:5], peers[5:])]
    assert torch.equal(torch.cat([p.targets for p in parts]), whole.targets)
    if truncate == "random":
        assert torch.equal(torch.cat([p.context for p in parts]), whole.context)


def test_the_context_is_regions_by_times_and_hides_the_rows_and_columns_of_the_targets():
    masks = draw(RoiTimeConfig(truncate="pad"), index=range(8))
    for b in range(8):
        context = (
            masks.context[b] if masks.context_valid is None else masks.context[b][masks.context_valid[b]]
        )
        seen = np.zeros(PAPER.grid, dtype=bool)
        seen.flat[context.numpy()] = True
        rows, columns = seen.any(1), seen.any(0)
        assert (seen == rows[:, None] & columns).all()
        kinds = regions(masks, PAPER)[b, 0].numpy()
        asked = masks.targets[b, 0].numpy()
        assert (columns[asked % 10] == (kinds == CROSS_ROI)).all()
        assert not rows[asked[kinds == CROSS_ROI] // 10].any()
        assert rows[asked[kinds == CROSS_TIME] // 10].all()
        assert not rows[asked[kinds == DOUBLE_CROSS] // 10].any()


def test_kinds_of_targets_by_hand():
    # 3 regions x 3 times; seen: regions 0 and 1 at time 0.
    masks = Masks(torch.tensor([[0, 3]]), torch.tensor([[[1, 4, 6, 8]]]))
    assert regions(masks, Layout((3, 3))).tolist() == [[[CROSS_TIME, CROSS_TIME, CROSS_ROI, DOUBLE_CROSS]]]
    # Token 3 as padding: region 1 is no longer seen.
    padded = Masks(masks.context, masks.targets, torch.tensor([[True, False]]))
    assert regions(padded, Layout((3, 3))).tolist() == [[[CROSS_TIME, DOUBLE_CROSS, CROSS_ROI, DOUBLE_CROSS]]]


# Figures of the sheet, section 5.2: 450 x 10, batches of 16.


@pytest.fixture(scope="module")
def official():
    return [draw(RoiTimeConfig(compat="official"), step=s) for s in range(150)]


def shares(lists, n):
    counts = sum(np.bincount(x.flatten().numpy(), minlength=n) for x in lists)
    return counts / counts.sum()


def test_official_mean_lengths(official):
    context = [m.context.shape[1] for m in official]
    targets = [m.targets.shape[2] for m in official]
    assert np.mean(context) == pytest.approx(826, rel=0.04)
    assert np.mean(targets) == pytest.approx(853, rel=0.06)
    assert min(context) >= 560 and max(context) <= 1400
    assert min(targets) >= 380 and max(targets) <= 1550


def test_official_shares_of_the_times(official):
    context = shares([m.context % 10 for m in official], 10)
    expected = [0.059, 0.074, 0.072, 0.166, 0.166, 0.165, 0.165, 0.074, 0.061, 0.0]
    np.testing.assert_allclose(context, expected, atol=0.012)
    assert context[9] == 0, "the last time is never seen"
    targets = shares([m.targets % 10 for m in official], 10)
    expected = [0.048, 0.104, 0.155, 0.184, 0.181, 0.149, 0.101, 0.056, 0.011, 0.011]
    np.testing.assert_allclose(targets, expected, atol=0.015)


def test_official_cut_favours_regions_of_low_number(official):
    share = shares([m.context // 10 for m in official], 450) * 450
    assert share[:50].mean() == pytest.approx(1.52, abs=0.08)
    assert share[200:250].mean() == pytest.approx(1.29, abs=0.08)
    assert share[400:].mean() == pytest.approx(0.13, abs=0.04)


def test_official_targets_are_in_three_parts_and_may_repeat(official):
    repeats = sum(t.numel() - len(t.unique()) for m in official for t in m.targets)
    assert 0 < repeats / sum(m.targets.numel() for m in official) < 0.01


def test_fixed_treats_all_regions_alike_and_sees_the_last_time():
    masks = [draw(RoiTimeConfig(), step=s) for s in range(150)]
    share = shares([m.context // 10 for m in masks], 450) * 450
    for part in (share[:50], share[200:250], share[400:]):
        assert part.mean() == pytest.approx(1.0, abs=0.03)
    times = shares([m.context % 10 for m in masks], 10)
    assert times[9] > 0.02
    np.testing.assert_allclose(times, times[::-1], atol=0.012)
    asked = shares([m.targets % 10 for m in masks], 10)
    np.testing.assert_allclose(asked, asked[::-1], atol=0.02)
    assert np.mean([m.context.shape[1] for m in masks]) == pytest.approx(826, rel=0.05)


def test_three_of_ten_times_may_be_hidden_at_each_end():
    assert [edge_of(t, RoiTimeConfig()) for t in (1, 2, 3, 5, 10, 15)] == [0, 0, 1, 1, 3, 5]


@pytest.mark.parametrize(
    "layout, fields, message",
    [
        (Layout((2, 10)), {}, "2 regions are too few"),
        (Layout((30,)), {}, "regions and times"),
        (Layout((4, 3, 2)), {}, "regions and times"),
        (Layout((30, 4)), {"seen_times": (0.2, 0.3), "cross_time_times": (0.0, 0.5)}, "4 times are too few"),
        (Layout((30, 10)), {"cross_roi_rois": (0.8, 1.0)}, "smaller masks.cross_roi_rois"),
    ],
)
def test_grids_that_could_leave_nothing_are_refused(layout, fields, message):
    with pytest.raises(ConfigError, match=message):
        RoiTimeConfig(**fields).fit(layout)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"seen_rois": (0.9, 0.5)}, "masks.seen_rois"),
        ({"cross_time_times": (0.0, 0.7)}, "<= 0.5"),
        ({"compat": "official", "truncate": "pad"}, "always truncated"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(ConfigError, match=message):
        RoiTimeConfig(**fields)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(3, 30),
    st.integers(1, 12),
    st.integers(0, 10**4),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
def test_what_fits_never_fails(rois, times, step, seen, asked, hidden):
    config = RoiTimeConfig(
        seen_times=tuple(sorted(seen)),
        cross_roi_rois=tuple(sorted(asked)),
        cross_roi_times=tuple(sorted(seen)),
        cross_time_times=tuple(sorted(hidden)),
    )
    layout = Layout((rois, times))
    try:
        config.fit(layout)
    except ConfigError:
        return
    masks = draw(config, layout, step=step, index=range(3))
    assert masks.context.shape[1] >= 1 and masks.targets.shape[2] >= 1
