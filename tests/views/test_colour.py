"""Each change by hand on one pixel or one row."""

import math

import pytest
import torch

from anyjepa.views import colour
from anyjepa.views.resample import blur_matrix, crop_matrix


def pixel(*values):
    return torch.tensor(values).view(1, -1, 1, 1)


def one(value):
    return torch.tensor([value])


def close(found, *values):
    torch.testing.assert_close(found.flatten(), torch.tensor(values), rtol=0, atol=1e-3)


def test_brightness_scales_and_cuts():
    close(colour.brightness(pixel(0.2, 0.5, 0.8), one(1.5)), 0.3, 0.75, 1.0)


def test_contrast_pulls_to_the_mean_grey_of_the_image():
    x = torch.tensor([0.2, 0.6]).view(1, 1, 1, 2)
    close(colour.contrast(x, one(0.5)), 0.3, 0.5)
    close(colour.contrast(x, one(0.0)), 0.4, 0.4)


def test_saturation_pulls_to_the_grey_of_the_pixel():
    shade = 0.299 * 0.9 + 0.587 * 0.5 + 0.114 * 0.1
    close(colour.saturation(pixel(0.9, 0.5, 0.1), one(0.0)), shade, shade, shade)
    close(colour.saturation(pixel(0.9, 0.5, 0.1), one(0.5)), *((v + shade) / 2 for v in (0.9, 0.5, 0.1)))


def test_grey_weighs_three_channels_and_averages_others():
    close(colour.grey(pixel(1.0, 0.0, 0.0)), 0.299)
    close(colour.grey(pixel(0.0, 0.2, 0.4, 0.6)), 0.3)


def test_a_turn_of_the_hue_keeps_shades_and_comes_round():
    x = torch.rand(4, 3, 5, 5) * 0.2 + 0.4
    torch.testing.assert_close(colour.hue(x, torch.ones(4)), x, rtol=0, atol=1e-4)
    twice = colour.hue(colour.hue(x, torch.full((4,), 0.1)), torch.full((4,), 0.15))
    torch.testing.assert_close(twice, colour.hue(x, torch.full((4,), 0.25)), rtol=0, atol=1e-4)
    torch.testing.assert_close(colour.grey(twice), colour.grey(x), rtol=0, atol=1e-3)
    assert (twice - x).abs().max() > 0.02
    close(colour.hue(pixel(0.3, 0.3, 0.3), one(0.2)), 0.3, 0.3, 0.3)


def test_solarize_inverts_what_is_bright():
    close(colour.solarize(pixel(0.1, 0.5, 0.9)), 0.1, 0.5, 0.1)


def test_each_image_has_its_own_amount():
    x = torch.full((2, 3, 1, 1), 0.5)
    close(colour.brightness(x, torch.tensor([0.0, 1.0])), 0.0, 0.0, 0.0, 0.5, 0.5, 0.5)


def test_blur_is_a_mirrored_gaussian():
    weights = [math.exp(-0.5 * (k / 0.8) ** 2) for k in (-1, 0, 1)]
    side, centre = weights[0] / sum(weights), weights[1] / sum(weights)
    expected = torch.tensor(
        [[centre, 2 * side, 0, 0], [side, centre, side, 0], [0, side, centre, side], [0, 0, 2 * side, centre]]
    )
    torch.testing.assert_close(blur_matrix(one(0.8), 3, 4)[0], expected)


@pytest.mark.parametrize("pixels", [1, 2, 3, 30])
def test_blur_takes_images_shorter_than_its_kernel(pixels):
    matrix = blur_matrix(torch.tensor([0.1, 2.0]), 7, pixels)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, pixels))


def test_a_crop_of_two_pixels_out_of_four_doubled():
    found = crop_matrix(torch.tensor([[1.0]]), torch.tensor([[2.0]]), 4, 4)[0, 0]
    expected = torch.tensor([[0, 1, 0, 0], [0, 0.75, 0.25, 0], [0, 0.25, 0.75, 0], [0, 0, 1, 0]])
    torch.testing.assert_close(found, expected)
    mirrored = crop_matrix(torch.tensor([[1.0]]), torch.tensor([[2.0]]), 4, 4, torch.tensor([[True]]))[0, 0]
    torch.testing.assert_close(mirrored, expected.flip(0))
