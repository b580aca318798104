"""Local windows: how many, where, what is hidden, and how the official code pairs them with images."""

import numpy as np
import pytest
import torch

from anyjepa.contract import Layout
from anyjepa.errors import ConfigError
from anyjepa.masking.windows import WindowConfig, draw_windows

GRID = Layout((14, 14))


def drawn(config: WindowConfig, batch: int, layout: Layout = GRID, step: int = 0, seed: int = 0):
    return draw_windows(config.fit(layout), layout, seed=seed, step=step, index=np.arange(batch))


def corners(windows) -> np.ndarray:
    """(B, M, 2) row and column of each window's first token."""
    first = windows.tokens[:, :, 0].numpy()
    return np.stack([first // 14, first % 14], axis=-1)


def test_39_of_49_tokens_are_hidden_in_each_of_four_windows() -> None:
    windows = drawn(WindowConfig(), 8)
    assert windows.tokens.shape == (8, 4, 49)
    assert windows.hidden.shape == (8, 4, 39) and windows.seen.shape == (8, 4, 10)
    both = torch.cat((windows.hidden, windows.seen), dim=2).sort(dim=2).values
    assert torch.equal(both, torch.arange(49).expand(8, 4, -1))
    assert windows.hidden.shape[2] / 49 == pytest.approx(0.7959, abs=1e-4)


def test_a_window_is_a_square_in_raster_order() -> None:
    windows = drawn(WindowConfig(), 2)
    place = windows.tokens[0, 1].view(7, 7)
    assert (place[:, 1:] - place[:, :-1] == 1).all() and (place[1:] - place[:-1] == 14).all()
    assert (place // 14)[0, 0] == (place // 14)[0, -1], "no window runs over the right edge"


def test_rows_and_columns_are_distinct_cover_their_range_and_are_shared_by_the_batch() -> None:
    seen = []
    for step in range(60):
        at = corners(drawn(WindowConfig(), 5, step=step))
        assert (at == at[0]).all()
        for axis in (0, 1):
            assert len(set(at[0, :, axis])) == 4
        seen.append(at[0])
    values = np.concatenate(seen)
    assert set(values[:, 0]) == set(values[:, 1]) == set(range(8))
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.25, (
        "rows and columns are drawn independently"
    )


def test_hidden_tokens_differ_by_image_and_window_and_are_uniform() -> None:
    windows = drawn(WindowConfig(), 400)
    assert not torch.equal(windows.hidden[0, 0], windows.hidden[0, 1])
    assert not torch.equal(windows.hidden[0, 0], windows.hidden[1, 0])
    share = torch.bincount(windows.hidden.flatten(), minlength=49) / (400 * 4)
    assert (share - 39 / 49).abs().max() < 0.05


@pytest.mark.parametrize("batch, different", [(75, 4), (76, 1), (4, 1), (6, 2), (5, 4)])
def test_the_official_code_gives_an_image_the_same_window_several_times(batch: int, different: int) -> None:
    slip = corners(drawn(WindowConfig(compat="official"), batch))
    repaired = corners(drawn(WindowConfig(), batch))
    for i in range(batch):
        assert len(np.unique(slip[i], axis=0)) == different
        assert len(np.unique(repaired[i], axis=0)) == 4
        for w in range(4):
            # Row w * B + i of the tiled batch is image i, and gets the window of its number modulo 4.
            assert (slip[i, w] == repaired[0, (w * batch + i) % 4]).all()


def test_a_draw_depends_on_seed_step_and_index_alone() -> None:
    config = WindowConfig(shared=False).fit(GRID)
    whole = draw_windows(config, GRID, seed=3, step=5, index=np.arange(8))
    part = draw_windows(config, GRID, seed=3, step=5, index=np.array([6]))
    assert torch.equal(whole.tokens[6], part.tokens[0]) and torch.equal(whole.hidden[6], part.hidden[0])
    assert not torch.equal(whole.tokens[0], whole.tokens[1])
    other = draw_windows(config, GRID, seed=3, step=6, index=np.arange(8))
    assert not torch.equal(whole.tokens, other.tokens)


@pytest.mark.parametrize("grid", [(3, 3), (7, 7), (8, 8), (3, 5), (20, 15)])
def test_any_grid_gets_windows(grid: tuple[int, int]) -> None:
    layout = Layout(grid)
    windows = drawn(WindowConfig(), 3, layout)
    masks = windows.masks
    assert int(windows.tokens.max()) < layout.tokens and int(windows.tokens.min()) >= 0
    assert masks.targets.shape == windows.hidden.shape
    assert masks.context.shape == (3, windows.seen.shape[1] * windows.seen.shape[2])


def test_what_is_impossible_is_named() -> None:
    with pytest.raises(ConfigError, match="does not fit on a grid of 6x9"):
        WindowConfig(side=7).fit(Layout((6, 9)))
    with pytest.raises(ConfigError, match="hides no token"):
        WindowConfig(side=2, ratio=0.2).fit(GRID)
    with pytest.raises(ConfigError, match="grid of two axes"):
        WindowConfig().fit(Layout((8, 14, 14)))
    with pytest.raises(ConfigError, match="leave shared=false out"):
        WindowConfig(compat="official", shared=False)
