"""Tubes of V-JEPA: sizes and shares of the sheet, what must always hold, the official draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.masking.tubes import TubeMaskConfig, official_places, tube_masks, tube_size

SHORT = TubeMaskConfig()
LONG = TubeMaskConfig(blocks=2, spatial_scale=(0.7, 0.7))
GRID = Layout((8, 14, 14))


def draw(config, layout=GRID, n=1, step=0, **rest):
    return tube_masks(config, layout, seed=0, step=step, index=np.arange(n), **rest)


@pytest.mark.parametrize(
    "config, sizes",
    [
        (SHORT, "5x6 6x5 6x5 5x5 5x6 6x5 7x4 6x5"),
        (LONG, "11x13 12x11 13x11 11x12 11x13 14x10 14x10 13x10"),
    ],
)
def test_sizes_of_the_official_generator(config, sizes):
    found = []
    for counter in range(8):
        generator = torch.Generator().manual_seed(counter)
        u = [torch.rand(1, generator=generator).item() for _ in range(3)]
        time, height, width = tube_size(config, GRID.grid, (u[0], u[1], u[2]))
        assert time == 8
        found.append(f"{height}x{width}")
    assert " ".join(found) == sizes


@pytest.mark.parametrize("compat", ["fixed", "official"])
@pytest.mark.parametrize(
    "scale, blocks, n, context, target",
    # Measured on the official sampler: shares of 1568 tokens.
    [(0.15, 8, 1, 588, 980), (0.15, 8, 24, 370, 755), (0.7, 2, 1, 291, 1277), (0.7, 2, 24, 107, 1094)],
)
def test_shares_of_context_and_target(compat, scale, blocks, n, context, target):
    config = TubeMaskConfig(blocks=blocks, spatial_scale=(scale, scale), compat=compat)
    drawn = [draw(config, n=n, step=step) for step in range(200 if n == 1 else 40)]
    assert np.mean([m.context.shape[1] for m in drawn]) == pytest.approx(context, abs=35)
    assert np.mean([m.targets.shape[2] for m in drawn]) == pytest.approx(target, abs=35)


def test_alone_nothing_is_cut_and_every_time_has_the_same_pattern():
    masks = draw(SHORT)
    hidden = torch.zeros(GRID.tokens, dtype=torch.bool)
    hidden[masks.targets[0, 0]] = True
    assert torch.equal(hidden.logical_not().nonzero()[:, 0], masks.context[0])
    times = hidden.view(8, -1)
    assert (times == times[0]).all()


def test_the_official_cut_loses_the_last_times_and_ours_does_not():
    last = 7 * 14 * 14
    official = draw(TubeMaskConfig(compat="official"), n=24)
    ours = draw(SHORT, n=24)
    assert (official.targets >= last).float().mean() < 0.03
    assert (ours.targets >= last).float().mean() == pytest.approx(1 / 8, abs=0.02)


def test_causal_masks_hide_all_later_times():
    masks = draw(TubeMaskConfig(max_temporal_keep=0.5), n=3)
    assert int(masks.context.max()) < 4 * 14 * 14
    assert draw(TubeMaskConfig(max_keep=20), n=3).context.shape == (3, 20)


def test_the_official_order_of_draws():
    """Row, column, time of each block, from one stream: drawn here by hand."""
    config, size = TubeMaskConfig(blocks=2), (2, 3, 2)
    found = official_places(config, (4, 5, 6), size, 1, torch.Generator().manual_seed(3))
    stream, wanted = torch.Generator().manual_seed(3), np.zeros((4, 5, 6), dtype=bool)
    for _ in range(2):
        y = int(torch.randint(0, 3, (1,), generator=stream))
        x = int(torch.randint(0, 5, (1,), generator=stream))
        t = int(torch.randint(0, 3, (1,), generator=stream))
        wanted[t : t + 2, y : y + 3, x : x + 2] = True
    assert np.array_equal(found[0], wanted.ravel())


@settings(deadline=None, max_examples=60)
@given(
    grid=st.tuples(st.integers(1, 5), st.integers(2, 9), st.integers(2, 9)),
    blocks=st.integers(1, 9),
    scale=st.floats(0.05, 0.9),
    keep=st.sampled_from([1.0, 0.4]),
    n=st.integers(1, 6),
    step=st.integers(0, 10**6),
)
def test_masks_are_disjoint_ascending_and_not_empty(grid, blocks, scale, keep, n, step):
    layout = Layout(grid)
    config = TubeMaskConfig(blocks=blocks, spatial_scale=(scale, scale), max_temporal_keep=keep)
    try:
        config.check(layout)
    except ConfigError:
        return
    masks = draw(config, layout, n, step)
    for tokens in (masks.context, masks.targets[:, 0]):
        assert tokens.shape[1] >= 1 and int(tokens.min()) >= 0 and int(tokens.max()) < layout.tokens
        assert (tokens.diff(dim=1) > 0).all()
    for context, target in zip(masks.context, masks.targets[:, 0], strict=True):
        assert not set(context.tolist()) & set(target.tolist())


def test_a_part_of_a_step_has_the_masks_of_the_whole():
    whole = draw(SHORT, n=6, step=4)
    part = tube_masks(SHORT, GRID, seed=0, step=4, index=np.arange(2, 4), peers=np.arange(6))
    assert torch.equal(part.context, whole.context[2:4]) and torch.equal(part.targets, whole.targets[2:4])


def test_kinds_are_drawn_independently():
    assert not torch.equal(draw(SHORT, kind=0).context, draw(SHORT, kind=1).context)


@pytest.mark.parametrize(
    "fields, layout, message",
    [
        ({}, (14, 14), "times, rows, columns"),
        ({"spatial_scale": (1.0, 1.0)}, (8, 4, 4), "leaves no context"),
        ({"blocks": 0}, (8, 4, 4), "at least 1"),
        ({"aspect": (2.0, 1.0)}, (8, 4, 4), "low <= high"),
        ({"max_temporal_keep": 0.0}, (8, 4, 4), "max_temporal_keep"),
    ],
)
def test_impossible_settings(fields, layout, message):
    with pytest.raises(ConfigError, match=message):
        draw(TubeMaskConfig(**fields), Layout(layout))
