"""Fixed features: their order in a token, their values, and what they know of normalisation."""

import pytest
import torch

from anyjepa.config import from_dict
from anyjepa.errors import ConfigError
from anyjepa.objectives.features import FeatureConfig, feature_tokens
from anyjepa.objectives.gradient_ratio import gradient_ratio

PLAIN = dict(mean=(0.0,), std=(1.0,))


def images(channels: int = 1) -> torch.Tensor:
    return torch.rand(2, channels, 32, 48, generator=torch.Generator().manual_seed(0))


def test_number_c_times_pixels_plus_p_is_pixel_p_of_scale_c() -> None:
    config = FeatureConfig(radii=(2, 3, 5), **PLAIN).fit((1, 32, 48))
    tokens = feature_tokens(config, images(), (8, 8))
    maps = gradient_ratio(images(), (2, 3, 5))
    assert tokens.shape == (2, 24, 192) and config.width(1, (8, 8)) == 192
    for scale in range(3):
        for row, column in ((0, 0), (3, 7), (7, 2)):
            # Token 8 is the second row's third patch of six.
            expected = maps[:, scale, 8 + row, 16 + column]
            assert torch.equal(tokens[:, 8, 64 * scale + 8 * row + column], expected)


def test_pixels_are_those_before_normalisation() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    x = images(3)
    shifted = (x - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    config = FeatureConfig(kind="pixels", mean=mean, std=std)
    plain = FeatureConfig(kind="pixels", mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.testing.assert_close(feature_tokens(config, shifted, (8, 8)), feature_tokens(plain, x, (8, 8)))
    ratios = FeatureConfig(radii=(3,), mean=mean, std=std)
    torch.testing.assert_close(
        feature_tokens(ratios, shifted, (16, 16)),
        feature_tokens(FeatureConfig(radii=(3,), mean=(0.0,) * 3, std=(1.0,) * 3), x, (16, 16)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_normalised_pixels_have_mean_0_and_deviation_1_in_every_patch() -> None:
    tokens = feature_tokens(FeatureConfig(kind="normalised-pixels", **PLAIN), images(), (8, 8))
    torch.testing.assert_close(tokens.mean(dim=-1), torch.zeros(2, 24), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.std(dim=-1), torch.ones(2, 24), atol=1e-3, rtol=0)


def test_low_pass_has_a_map_for_each_radius() -> None:
    config = FeatureConfig(kind="low-pass", radii=(1, 4), **PLAIN).fit((1, 32, 48))
    tokens = feature_tokens(config, images(), (8, 8))
    assert tokens.shape == (2, 24, 128)
    assert tokens[..., 64:].var() < tokens[..., :64].var() < images().var()


def test_what_is_impossible_is_named() -> None:
    with pytest.raises(ConfigError, match="pixels"):
        from_dict(FeatureConfig, {"kind": "pixel"})
    with pytest.raises(ConfigError, match=r"radii must lie in 1\.\.31"):
        FeatureConfig(radii=(40,)).fit((1, 32, 32))
    with pytest.raises(ConfigError, match=r"features\.mean must be that of the images"):
        FeatureConfig(mean=(0.1,)).normalised((0.2,), None)
