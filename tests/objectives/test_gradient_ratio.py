"""Gradients by ratio: values known in closed form, symmetries, and sums against convolutions."""

import pytest
import torch
import torch.nn.functional as F

from anyjepa.errors import ConfigError
from anyjepa.objectives.gradient_ratio import RADII, box_means, gradient_ratio, radii_for


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def by_convolution(x: torch.Tensor, radii: tuple[int, ...], centre: bool) -> torch.Tensor:
    """The definition, written down: four wide convolutions for each radius, in float64."""
    maps = []
    for r in radii:
        left = torch.zeros(2 * r + 1, 2 * r + 1, dtype=torch.float64)
        left[:, : r + centre] = 1
        kernels = torch.stack([left, left.flip(1), left.T, left.T.flip(0)]).unsqueeze(1)
        assert left.sum() == (r + centre) * (2 * r + 1)
        sums = F.conv2d(F.pad(x.double(), (r,) * 4, mode="reflect") + 0.01, kernels)
        maps.append(torch.hypot((sums[:, 0] / sums[:, 1]).log(), (sums[:, 2] / sums[:, 3]).log()))
    return torch.stack(maps, dim=1)


@pytest.mark.parametrize("value", [0.0, 1e-4, 0.3, 1.0, 7.0])
def test_a_constant_image_has_no_gradient_borders_included(value: float) -> None:
    x = torch.full((1, 1, 48, 64), value)
    assert gradient_ratio(x).max() < 1e-7
    assert gradient_ratio(x, kernel="gaussian").max() < 1e-6


def test_a_step_has_the_values_of_the_sums_of_its_pixels() -> None:
    """Strongest on the last dark pixel: both halves hold the centre line."""
    x = torch.zeros(1, 1, 40, 224)
    x[..., 112:] = 1.0
    found = gradient_ratio(x, (5,))[0, 0, :, [106, 107, 111, 112, 116, 117]]
    expected = torch.tensor([0.0, 2.871681, 4.434777, 1.743439, 0.180343, 0.0])
    torch.testing.assert_close(found, expected.expand_as(found), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "centre, expected", [(True, [0, 3.9318, 0.6833, 0, 0]), (False, [0, 4.6151, 4.6151, 0, 0])]
)
def test_a_tiny_step(centre: bool, expected: list[float]) -> None:
    row = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]).repeat(1, 1, 5, 1)
    found = gradient_ratio(row, (1,), centre=centre)[0, 0, 2]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kernel", ["box", "gaussian"])
@pytest.mark.parametrize("centre", [True, False])
def test_it_turns_and_mirrors_with_the_image(kernel: str, centre: bool) -> None:
    x = noise(2, 1, 40, 52)
    for change in (lambda t: t.rot90(1, (2, 3)), lambda t: t.flip(3), lambda t: t.flip(2)):
        a = gradient_ratio(change(x), (3, 9), kernel=kernel, centre=centre)
        b = change(gradient_ratio(x, (3, 9), kernel=kernel, centre=centre))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_brightness_changes_it_through_eps_alone() -> None:
    x = noise(2, 1, 96, 96)
    assert (gradient_ratio(0.5 * x) - gradient_ratio(x)).abs().max() < 0.012
    torch.testing.assert_close(
        gradient_ratio(0.5 * x, eps=0.005), gradient_ratio(x, eps=0.01), atol=1e-6, rtol=1e-5
    )


def test_speckle_alone_has_the_known_mean_at_every_scale() -> None:
    """It falls as sqrt(pixels that are in one half alone) / pixels of a half."""
    draw = torch.empty(24, 1, 160, 160).exponential_(generator=torch.Generator().manual_seed(0))
    found = gradient_ratio(draw.clamp(max=8) / 8).mean(dim=(0, 2, 3))
    torch.testing.assert_close(found[:3], torch.tensor([0.184, 0.114, 0.083]), atol=0, rtol=0.03)
    law = torch.tensor([(r * (2 * r + 1)) ** 0.5 / ((r + 1) * (2 * r + 1)) for r in RADII])
    torch.testing.assert_close(found / found[1], law / law[1], atol=0, rtol=0.03)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 200.0])
def test_sums_agree_with_convolutions(centre: bool, scale: float) -> None:
    x = scale * noise(2, 1, 224, 224)
    x[:, :, 60:140, 30:90] = 0.0
    torch.testing.assert_close(
        gradient_ratio(x, centre=centre).double(), by_convolution(x, RADII, centre), atol=1e-5, rtol=0
    )


def test_halves_hold_as_many_pixels_as_the_paper_says() -> None:
    """A single bright pixel far brighter than eps: both halves with the centre line see it, one without does not."""
    assert [(r + 1) * (2 * r + 1) for r in RADII] == [66, 190, 378, 630]
    x = torch.zeros(1, 1, 41, 41)
    x[0, 0, 20, 20] = 1.0
    for r, pixels in zip((5, 9), (66, 190), strict=True):
        # At the pixel itself both halves hold it; one column to the right only the left half does.
        at = gradient_ratio(x, (r,))[0, 0, 20]
        assert at[20] == 0
        assert at[21].item() == pytest.approx(
            torch.log(torch.tensor(1 + 1 / (0.01 * pixels))).item(), abs=1e-5
        )


def test_gaussian_halves_are_those_of_the_formula() -> None:
    r, x = 3, noise(1, 1, 24, 24)
    at = torch.arange(-r, r + 1, dtype=torch.float64)
    sigma = 0.3 * (r - 1) + 0.8
    full = torch.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * sigma**2))
    left = full * (at < 0)[None, :]
    kernels = torch.stack([left, left.flip(1), left.T, left.T.flip(0)]).unsqueeze(1)
    sums = F.conv2d(F.pad(x.double(), (r,) * 4, mode="reflect") + 0.01, kernels)
    expected = torch.hypot((sums[:, 0] / sums[:, 1]).log(), (sums[:, 2] / sums[:, 3]).log())
    torch.testing.assert_close(
        gradient_ratio(x, (r,), kernel="gaussian")[:, 0].double(), expected, atol=1e-5, rtol=0
    )


def test_channels_and_scales_stand_in_order_and_carry_no_gradient() -> None:
    x = noise(2, 3, 40, 40).requires_grad_()
    found = gradient_ratio(x, (2, 4))
    assert found.shape == (2, 6, 40, 40) and not found.requires_grad
    for scale, r in enumerate((2, 4)):
        for channel in range(3):
            alone = gradient_ratio(x[:, channel : channel + 1], (r,))[:, 0]
            assert torch.equal(found[:, 3 * scale + channel], alone)


def test_means_over_boxes() -> None:
    x = noise(2, 1, 30, 30)
    padded = F.pad(x, (4,) * 4, mode="reflect")
    torch.testing.assert_close(box_means(x, (4,)), F.avg_pool2d(padded, 9, stride=1), atol=1e-6, rtol=0)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match=r"1\.\.11 for images of 12x40"):
        gradient_ratio(noise(1, 1, 12, 40), (12,))
    with pytest.raises(ConfigError, match="eps must be above 0"):
        gradient_ratio(noise(1, 1, 40, 40), eps=0.0)
    assert (
        radii_for((224, 224)) == RADII and radii_for((64, 64)) == (3, 5, 7, 9) and radii_for((6, 9)) == (3, 5)
    )
