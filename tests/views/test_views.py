"""Views are pure functions of seed, step, sample and view; crops are exact; colours change as written."""

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.errors import ConfigError
from anyjepa.views import ViewConfig, apply_views, draw_views, random_views

NOTHING = ViewConfig(
    crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.0, jitter=0.0, greyscale=0.0, blur=0.0, solarize=0.0
)
ALWAYS = ViewConfig(flip=1.0, jitter=1.0, greyscale=0.5, blur=1.0, solarize=1.0)


def pictures(n, channels=3, size=(20, 16), seed=0):
    """Images in 0..1, normalised with mean and standard deviation 0.5."""
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def half(config, channels=3):
    return replace(config, mean=(0.5,) * channels, std=(0.5,) * channels)


def views_of(config, x, index, views=(0, 1), step=3):
    return random_views(config, x, torch.as_tensor(index), views, seed=5, step=step)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True), st.integers(0, 10**6))
def test_a_view_does_not_depend_on_its_company(index, step):
    config, x = half(ViewConfig(size=(8, 12))), pictures(len(index))
    together, drawn = views_of(config, x, index, (0, 1, 2), step)
    for row, sample in enumerate(index):
        alone, parameters = views_of(config, x[row : row + 1], [sample], (2,), step)
        torch.testing.assert_close(alone[0, 0], together[2, row], rtol=1e-5, atol=1e-5)
        for field in fields(drawn):
            one, many = getattr(parameters, field.name), getattr(drawn, field.name)
            assert torch.equal(one[0, 0], many[2, row]), field.name


def test_another_seed_step_sample_view_or_purpose_is_another_draw():
    def boxes(seed=0, step=0, index=0, view=0, purpose="view"):
        many = torch.arange(index, index + 4).numpy()
        return draw_views(ViewConfig(), (64, 64), many, [view], seed=seed, step=step, purpose=purpose).box

    for change in (dict(seed=1), dict(step=1), dict(index=4), dict(view=1), dict(purpose="other")):
        assert not torch.equal(boxes(), boxes(**change)), change


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_nothing_drawn_changes_nothing(channels):
    x = 3 * torch.randn(4, channels, 9, 9)  # beyond 0..1: whatever is not changed is not cut either
    views, drawn = views_of(NOTHING, x, range(4))
    assert torch.equal(views, x.expand(2, -1, -1, -1, -1))
    assert (drawn.box == torch.tensor([0, 0, 1, 1])).all() and not drawn.flip.any()


@pytest.mark.parametrize("size", [(5, 7), (20, 16), (33, 40)])
def test_crops_are_torchs_antialiased_interpolation(size):
    config = replace(NOTHING, size=size, crop_scale=(0.05, 1.0), crop_aspect=(0.5, 2.0), flip=0.5)
    x = pictures(8)
    views, drawn = views_of(config, x, range(8))
    assert drawn.flip.any() and not drawn.flip.all()
    for v in range(2):
        for b in range(8):
            box = drawn.box[v, b] * torch.tensor([20, 16, 20, 16])
            top, left, h, w = box.round().int().tolist()
            crop = x[b : b + 1, :, top : top + h, left : left + w]
            expected = F.interpolate(crop, size, mode="bilinear", antialias=True)[0]
            if drawn.flip[v, b]:
                expected = expected.flip(-1)
            torch.testing.assert_close(views[v, b], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_changed_pixels_stay_in_range_and_other_channel_counts_keep_their_colours(channels):
    x = pictures(32, channels)
    views, drawn = views_of(half(ALWAYS, channels), x, range(32))
    assert views.shape == (2, 32, channels, 20, 16) and views.abs().max() <= 1 + 1e-5
    grey = (views - views[:, :, :1]).abs().amax((2, 3, 4)) < 1e-5
    assert torch.equal(grey, drawn.grey if channels == 3 else torch.full_like(grey, channels == 1))


def test_shares_of_changed_views_are_the_probabilities():
    config = ViewConfig()
    drawn = draw_views(config, (32, 32), torch.arange(20_000).numpy(), [0], seed=0, step=0)
    for chosen, share in (
        (drawn.flip, 0.5),
        (drawn.brightness != 1, 0.8),
        (drawn.hue != 0, 0.8),
        (drawn.grey, 0.2),
        (drawn.blur > 0, 0.5),
        (drawn.solarize, 0.2),
    ):
        assert chosen.float().mean().item() == pytest.approx(share, abs=0.02)
    assert drawn.contrast.min() >= 0.2 - 1e-6 and drawn.contrast.max() <= 1.8
    assert drawn.hue.abs().max() <= 0.2 and drawn.blur.max() <= 2.0


def test_drawn_parameters_can_be_applied_again():
    config, x = half(ViewConfig(size=(8, 8))), pictures(4)
    views, drawn = views_of(config, x, range(4))
    assert torch.equal(apply_views(config, x, drawn), views)


def test_half_precision_around_it_does_not_round_pixels():
    config, x = half(ViewConfig()), pictures(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = views_of(config, x, range(4))
    assert torch.equal(inside, views_of(config, x, range(4))[0])


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(flip=1.5), "flip is a probability"),
        (dict(hue=0.6), "half of the colour circle"),
        (dict(contrast=-1.0), "contrast must be at least 0"),
        (dict(crop_scale=(0.5, 0.2)), "crop_scale must be"),
        (dict(crop_aspect=(0.0, 1.0)), "crop_aspect must be"),
        (dict(blur_sigma=(0.0, 1.0)), "blur_sigma must be"),
        (dict(blur_kernel=4), "use 5"),
        (dict(size=(0, 3)), "at least 1 pixel"),
        (dict(std=(0.0,)), "std must be positive"),
    ],
)
def test_impossible_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        ViewConfig(**values)


def test_constants_for_other_channels_are_named():
    with pytest.raises(ConfigError, match="mean has 1 values, but the images have 3 channels"):
        views_of(ViewConfig(mean=(0.5,)), pictures(1), [0])
