"""Neighbours on a grid: the oracles of the DMT-JEPA sheet about the table, and shifted products against a plain computation."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa.errors import ConfigError
from anyjepa.objectives.neighbours import (
    NeighbourConfig,
    gather_neighbours,
    most_similar,
    neighbour_mean,
    neighbour_table,
    similarities,
)

WRAP, CLIP = NeighbourConfig(borders="wrap"), NeighbourConfig()


@pytest.mark.parametrize(
    "grid, patch, neighbours",
    [
        ((14, 14), 0, {1, 13, 14, 15, 27, 182, 183, 195}),
        ((14, 14), 15, {0, 1, 2, 14, 16, 28, 29, 30}),
        ((14, 14), 195, {0, 12, 13, 168, 180, 181, 182, 194}),
        ((6, 6), 0, {1, 5, 6, 7, 11, 30, 31, 35}),
    ],
)
def test_the_table_of_the_official_code(grid, patch, neighbours):
    table, inside = neighbour_table(grid, WRAP)
    assert table.shape == (grid[0] * grid[1], 8) and inside.all()
    assert set(table[patch].tolist()) == neighbours


def test_clipped_borders_have_no_neighbour_on_the_other_side():
    table, inside = neighbour_table((5, 7), CLIP)
    counts = inside.sum(1).view(5, 7)
    assert counts[0, 0] == 3 and counts[0, 3] == 5 and counts[2, 3] == 8
    for patch in range(35):
        row, column = divmod(patch, 7)
        for other in table[patch][inside[patch]].tolist():
            assert max(abs(other // 7 - row), abs(other % 7 - column)) == 1


@pytest.mark.parametrize("borders", ["wrap", "clip"])
@pytest.mark.parametrize("k_size", [3, 5])
def test_shifted_products_are_cosines_with_the_tokens_of_the_table(borders, k_size):
    grid = (6, 7)
    config = NeighbourConfig(k_num=4, k_size=k_size, borders=borders)
    table, inside = neighbour_table(grid, config)
    h = torch.randn(3, 42, 10, generator=torch.Generator().manual_seed(0))
    found = similarities(h, grid, k_size)
    plain = F.cosine_similarity(h.unsqueeze(2), h[:, table], dim=-1)
    torch.testing.assert_close(found[:, inside], plain[:, inside])


def test_the_winners_are_the_most_similar_ones():
    grid = (4, 5)
    table, inside = neighbour_table(grid, CLIP)
    h = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(1))
    chosen, valid = most_similar(h, grid, table, inside, CLIP)
    for image in range(2):
        for patch in range(20):
            around = table[patch][inside[patch]]
            cosine = F.cosine_similarity(h[image, patch], h[image, around], dim=-1)
            best = around[cosine.argsort(descending=True)[:4]].tolist()
            assert chosen[image, patch][valid[image, patch]].tolist() == best


def test_only_the_wanted_tokens_are_answered_for():
    grid = (6, 6)
    table, inside = neighbour_table(grid, CLIP)
    h = torch.randn(2, 36, 8)
    wanted = torch.tensor([[3, 0, 35], [7, 8, 30]])
    every, _ = most_similar(h, grid, table, inside, CLIP)
    some, _ = most_similar(h, grid, table, inside, CLIP, wanted)
    assert torch.equal(some, torch.stack([every[b, wanted[b]] for b in range(2)]))


def test_the_mean_leaves_out_what_lies_beyond_the_border():
    grid = (4, 4)
    table, inside = neighbour_table(grid, CLIP)
    h = torch.randn(1, 16, 5)
    chosen, valid = most_similar(h, grid, table, inside, CLIP)
    mean = neighbour_mean(h, chosen, valid)
    assert valid[0, 0].sum() == 3
    torch.testing.assert_close(mean[0, 0], h[0, [1, 4, 5]].mean(0))
    torch.testing.assert_close(mean[0, 5], gather_neighbours(h, chosen)[0, 5].mean(0))


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(k_num=9), "k_num from 1 to 8"),
        (dict(k_num=0), "k_num from 1 to 8"),
        (dict(k_size=4), "odd"),
        (dict(k_size=1), "use 3 or 5"),
    ],
)
def test_impossible_windows_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        NeighbourConfig(**fields)


def test_grids_without_enough_neighbours_are_refused():
    with pytest.raises(ConfigError, match="use k_num <= 3"):
        CLIP.check((2, 2))
    with pytest.raises(ConfigError, match="name a token twice"):
        WRAP.check((2, 8))
    with pytest.raises(ConfigError, match="two axes"):
        CLIP.check((8,))
    NeighbourConfig(k_num=3).check((2, 2))
