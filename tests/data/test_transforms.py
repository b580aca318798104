"""Crops keep their bounds and follow the sequential algorithm; both resizes are torch's antialiased one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anyjepa.data.transforms import crop_resize, flips, resize_centre
from anyjepa.randomness import uniform
from anyjepa.views.boxes import TRIES, centre_boxes, crop_boxes

SIDES = st.integers(1, 300)


def one_crop(
    u: np.ndarray, height: int, width: int, scale: tuple, aspect: tuple
) -> tuple[int, int, int, int]:
    """The algorithm told one image and one try at a time."""
    for k in range(TRIES):
        area = height * width * (scale[0] + u[k] * (scale[1] - scale[0]))
        ratio = math.exp(math.log(aspect[0]) + u[TRIES + k] * (math.log(aspect[1]) - math.log(aspect[0])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return math.floor(u[-2] * (height - h + 1)), math.floor(u[-1] * (width - w + 1)), h, w
    h, w = height, width
    if width / height < aspect[0]:
        h = min(height, max(1, round(width / aspect[0])))
    elif width / height > aspect[1]:
        w = min(width, max(1, round(height * aspect[1])))
    return (height - h) // 2, (width - w) // 2, h, w


@given(
    seed=st.integers(0, 2**31),
    step=st.integers(0, 10**6),
    sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6),
    low=st.floats(0.01, 1),
    narrow=st.floats(0.2, 1),
)
@settings(max_examples=150, deadline=None)
def test_boxes_equal_the_sequential_algorithm(
    seed: int, step: int, sizes: list[tuple[int, int]], low: float, narrow: float
) -> None:
    scale, aspect, index = (low, 1.0), (narrow, 1 / narrow), np.arange(len(sizes)) * 7
    heights, widths = np.array(sizes).T
    boxes = crop_boxes(seed, step, index, heights, widths, scale, aspect)
    draws = uniform(seed, "data/crop", step, index, 2 * TRIES + 2)
    assert [tuple(box) for box in boxes.tolist()] == [
        one_crop(u, h, w, scale, aspect) for u, (h, w) in zip(draws, sizes, strict=True)
    ]


@given(
    seed=st.integers(0, 2**31), height=SIDES, width=SIDES, low=st.floats(0.05, 0.9), span=st.floats(0, 0.5)
)
@settings(max_examples=150, deadline=None)
def test_boxes_lie_inside_and_keep_area_and_aspect(
    seed: int, height: int, width: int, low: float, span: float
) -> None:
    scale, aspect = (low, min(1.0, low + span)), (3 / 4, 4 / 3)
    n = 16
    boxes = crop_boxes(seed, 0, np.arange(n), [height] * n, [width] * n, scale, aspect)
    top, left, h, w = boxes.T
    assert (h >= 1).all() and (w >= 1).all() and (top >= 0).all() and (left >= 0).all()
    assert (top + h <= height).all() and (left + w <= width).all()
    fallback = centre_boxes([height], [width], float(np.clip(width / height, *aspect)))[0]
    drawn = (boxes != fallback).any(1)
    area = height * width
    # rounding moves each side by at most half a pixel
    assert ((h + 0.5) * (w + 0.5) >= scale[0] * area)[drawn].all()
    assert ((h - 0.5) * (w - 0.5) <= scale[1] * area)[drawn].all()
    assert ((w + 0.5) / np.maximum(h - 0.5, 1e-9) >= aspect[0])[drawn].all()
    assert ((w - 0.5) / (h + 0.5) <= aspect[1])[drawn].all()


def test_boxes_depend_on_their_own_row_alone() -> None:
    index, sizes = np.array([5, 9, 5, 700]), np.array([40, 300, 40, 33])
    together = crop_boxes(3, 11, index, sizes, sizes)
    alone = np.concatenate(
        [crop_boxes(3, 11, [i], [s], [s]) for i, s in zip(index.tolist(), sizes.tolist(), strict=True)]
    )
    np.testing.assert_array_equal(together, alone)
    assert (together[0] == together[2]).all()
    assert (crop_boxes(3, 12, index, sizes, sizes) != together).any()
    assert (crop_boxes(4, 11, index, sizes, sizes) != together).any()


def test_area_is_uniform_and_positions_reach_the_edges() -> None:
    n = 20_000
    top, left, h, w = crop_boxes(0, 0, np.arange(n), [1000] * n, [1000] * n, (0.2, 0.5)).T
    share = h * w / 1e6
    # no try fails at these shares, so the area is plainly uniform
    np.testing.assert_allclose(
        np.quantile(share, [0, 0.25, 0.5, 0.75, 1]), [0.2, 0.275, 0.35, 0.425, 0.5], atol=0.006
    )
    np.testing.assert_allclose(np.log(w / h).mean(), 0, atol=0.006)
    for start, free in ((top, 1000 - h), (left, 1000 - w)):
        np.testing.assert_allclose((start / free).mean(), 0.5, atol=0.01)
        assert (start == 0).any() and (start == free).any()


def test_narrow_images_fall_back_to_the_centre() -> None:
    boxes = crop_boxes(0, 0, np.arange(8), [200] * 8, [4] * 8)
    np.testing.assert_array_equal(boxes, np.tile([97, 0, 5, 4], (8, 1)))


def test_flips_are_fair_and_pure() -> None:
    drawn = flips(0, 3, np.arange(10_000))
    assert 0.48 < drawn.mean() < 0.52
    np.testing.assert_array_equal(drawn[[7, 3]], flips(0, 3, [7, 3]))


def reference(images: list[torch.Tensor], boxes: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    crops = [
        x[None, :, t : t + h, q : q + w].float()
        for x, (t, q, h, w) in zip(images, boxes.tolist(), strict=True)
    ]
    return torch.cat([F.interpolate(crop, size, mode="bilinear", antialias=True) for crop in crops])


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 32), st.integers(1, 32)),
    size=st.tuples(st.integers(1, 32), st.integers(2, 32)),  # one pixel wide: see the test below
    channels=st.sampled_from([1, 3, 5]),
)
@settings(max_examples=150, deadline=None)
def test_small_images_match_interpolate(
    seed: int, shape: tuple[int, int], size: tuple[int, int], channels: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = [
        torch.randint(256, (channels, *shape), generator=generator, dtype=torch.uint8) for _ in range(4)
    ]
    boxes = crop_boxes(seed, 0, np.arange(4), [shape[0]] * 4, [shape[1]] * 4, (0.1, 1.0), (0.3, 3.0))
    found = crop_resize(images, boxes, size)
    assert found.shape == (4, channels, *size)
    torch.testing.assert_close(found, reference(images, boxes, size), rtol=0, atol=2.55e-3)


@pytest.mark.parametrize("rows", [2, 40])
def test_results_one_pixel_wide(rows: int) -> None:
    # interpolate(antialias=True) of torch 2.13 repeats rows here instead of filtering them
    image = torch.tensor([172.0, 47.0]).repeat_interleave(rows // 2).to(torch.uint8).view(1, rows, 1)
    found = crop_resize([image], np.array([[0, 0, rows, 1]]), (3, 1)).flatten().tolist()
    assert (
        found[0] == pytest.approx(172) and found[1] == pytest.approx(109.5) and found[2] == pytest.approx(47)
    )


def test_large_and_mixed_images_match_interpolate() -> None:
    shapes = [(40, 50), (32, 32), (100, 20), (32, 32), (16, 8)]
    images = [torch.randint(256, (3, *shape), dtype=torch.uint8) for shape in shapes]
    boxes = crop_boxes(0, 0, np.arange(5), *zip(*shapes, strict=True))
    for size in ((24, 24), (24, 30), (48, 40)):
        torch.testing.assert_close(
            crop_resize(images, boxes, size), reference(images, boxes, size), rtol=0, atol=2.55e-3
        )


@pytest.mark.parametrize("side", [16, 40])
def test_floats_are_scaled_to_255_and_may_share_a_batch(side: int) -> None:
    byte = torch.randint(256, (3, side, side), dtype=torch.uint8)
    boxes = crop_boxes(0, 0, [0, 0], [side] * 2, [side] * 2)
    found = crop_resize([byte, byte.float() / 255], boxes, (20, 20))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-3)
    assert found.max() > 100


def test_a_sample_comes_out_the_same_in_any_company() -> None:
    images = [torch.randint(256, (3, 28, 28), dtype=torch.uint8) for _ in range(48)]
    images += [torch.randint(256, (3, 40, 36), dtype=torch.uint8) for _ in range(16)]
    sides = [image.shape[1:] for image in images]
    boxes = crop_boxes(0, 0, np.arange(64), *zip(*sides, strict=True))
    together = crop_resize(images, boxes, (30, 30))
    for size in (1, 3, 16):
        parts = [crop_resize(images[i : i + size], boxes[i : i + size], (30, 30)) for i in range(0, 64, size)]
        assert torch.equal(torch.cat(parts), together)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(crop_resize(images, boxes, (30, 30)), together)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (24, 24), (60, 90)])
def test_resize_centre_takes_the_middle(shape: tuple[int, int]) -> None:
    image = torch.zeros(1, *shape, dtype=torch.uint8)
    side = min(shape)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    image[:, top : top + side, left : left + side] = torch.arange(side).mul(2).to(torch.uint8)
    found = resize_centre([image], (side, side))
    torch.testing.assert_close(found[0], image[:, top : top + side, left : left + side].float())


def test_resize_centre_to_a_rectangle() -> None:
    np.testing.assert_array_equal(
        centre_boxes([30, 10, 40], [30, 40, 20], 2.0), [[7, 0, 15, 30], [0, 10, 10, 20], [15, 0, 10, 20]]
    )
    assert resize_centre([torch.zeros(3, 9, 50, dtype=torch.uint8)], (8, 16)).shape == (1, 3, 8, 16)
