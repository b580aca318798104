"""SAR-JEPA: sizes of the sheet, what the loss depends on, images of any size, and fixed features in I-JEPA."""

import math

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.errors import ConfigError
from anyjepa.objectives.features import feature_tokens
from anyjepa.objectives.gradient_ratio import gradient_ratio

TINY = dict(
    size="nano",
    dim=32,
    depth=2,
    heads=2,
    predictor_heads=2,
    predictor_width=16,
    image_size=[32, 32],
    patch_size=4,
)


def images(n: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_published_sizes() -> None:
    """111,596,544 in the official code, of which 151,296 are a frozen table that nothing reads."""
    with torch.device("meta"):
        method = create("sar-jepa", size="base")
    encoder, predictor = method.context_encoder, method.predictor
    assert count(encoder.tokenizer) == 197_376
    assert count(encoder.blocks) == 85_092_864
    assert count(encoder.norm) == encoder.class_token.numel() + encoder.mask_token.numel() == 1_536
    assert count(predictor.embed) == 393_728 and count(predictor.blocks) == 25_231_872
    assert count(predictor.norm) == 1_024 and count(predictor.proj) == 525_312
    assert count(method) == 111_596_544 - 151_296
    # With 10 classes and without mask token: the classifier of the official fine-tuning.
    assert count(encoder) - 768 + 768 * 10 + 10 == 85_300_234


@pytest.mark.parametrize(
    "size, dim, depth, heads", [("tiny", 192, 12, 3), ("small", 384, 12, 6), ("large", 1024, 24, 16)]
)
def test_other_sizes_share_the_predictor(size: str, dim: int, depth: int, heads: int) -> None:
    with torch.device("meta"):
        c = create("sar-jepa", size=size).config
    assert (c.dim, c.depth, c.heads) == (dim, depth, heads)
    assert (c.predictor_width, c.predictor_depth, c.predictor_heads) == (512, 8, 16)
    assert (c.patch_size, c.channels, c.windows.side, c.features.radii) == (16, 1, 7, (5, 9, 13, 17))


def test_first_weights_are_those_of_the_paper() -> None:
    method = create("sar-jepa", size="tiny", depth=2)
    for name, p in method.named_parameters():
        if name.endswith("table"):
            assert not p.any()
        elif name.endswith("_token"):
            assert p.std().item() == pytest.approx(0.02, rel=0.25)
        elif p.ndim == 2:
            bound = math.sqrt(6 / sum(p.shape))
            assert p.abs().max() <= bound and p.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        elif "norm" in name and name.endswith("weight"):
            assert (p == 1).all()
        else:
            assert not p.any(), name
    decayed = {id(p) for p in method.parameter_groups()[0]["params"]}
    for name, p in method.named_parameters():
        if name.endswith(("table", "_token")):
            assert id(p) in decayed, "class and mask token and tables are decayed, as in the code"


def test_shapes_of_the_paper() -> None:
    method = create("sar-jepa", size="tiny", depth=1, predictor_depth=1)
    output = method(torch.rand(2, 1, 224, 224))
    assert output.predicted.shape == output.target.shape == (2, 4, 39, 1024)
    assert output.context.shape == (2, 40, 192)
    z = method.encode(torch.rand(2, 1, 224, 224))
    assert z.tokens.shape == (2, 196, 192) and z.pooled.shape == (2, 192) and z.encoder == "context"


def test_targets_are_the_maps_of_the_image_at_the_hidden_patches() -> None:
    method, x = create("sar-jepa", **TINY), images()
    output = method(x)
    maps = gradient_ratio(x, method.config.features.radii)
    token = int(output.masks.targets[1, 2, 3])
    row, column = 4 * (token // 8), 4 * (token % 8)
    expected = maps[1, :, row : row + 4, column : column + 4].flatten()
    assert torch.equal(output.target[1, 2, 3], expected)


def test_the_loss_is_0_for_perfect_predictions_and_depends_on_hidden_tokens_alone() -> None:
    method, x = create("sar-jepa", **TINY), images()
    batch = Batch(x, torch.arange(3))
    output = method(batch)
    assert method.compare(output.target, output.target) == 0
    by_hand = (output.predicted - output.target).square().mean(dim=-1).sum() / output.target[..., 0].numel()
    torch.testing.assert_close(output.loss, by_hand)
    # Other targets at every token that no window hides: the same loss.
    hidden = torch.zeros(3, 64, dtype=torch.bool).scatter_(1, output.masks.targets.flatten(1), True)
    made = feature_tokens(method.config.features, x, (4, 4))
    changed = torch.where(hidden.unsqueeze(-1), made, made + 1)
    gathered = changed.gather(1, output.masks.targets.flatten(1).unsqueeze(-1).expand(-1, -1, made.shape[-1]))
    assert torch.equal(gathered.view_as(output.target), output.target) and not hidden.all()


def test_windows_never_see_each_other_nor_what_they_hide() -> None:
    method, x = create("sar-jepa", **TINY), images()
    batch = Batch(x, torch.arange(3))
    windows = method.draw_windows(batch)
    before = method(batch, windows).predicted
    seen = windows.tokens.gather(2, windows.seen)[0, 1]
    kept = torch.zeros(64, dtype=torch.bool)
    kept[seen] = True
    mask = kept.view(8, 8).repeat_interleave(4, 0).repeat_interleave(4, 1)
    other = x.clone()
    other[0, 0] = torch.where(mask, x[0, 0], 1 - x[0, 0])
    after = method(Batch(other, torch.arange(3)), windows).predicted
    torch.testing.assert_close(after[0, 1], before[0, 1])
    torch.testing.assert_close(after[1:], before[1:])
    assert not torch.allclose(after[0, 0], before[0, 0])


def test_images_of_any_size_are_encoded_without_interpolation() -> None:
    method = create("sar-jepa", **TINY).eval()
    for side in (16, 32, 64):
        z = method.encode(images(2, side))
        assert z.layout.grid == (side // 4,) * 2 and z.tokens.shape[1] == (side // 4) ** 2
    # The same patches alone are the same whether the grid is that of training or not.
    with pytest.raises(ConfigError, match="not divisible by patch"):
        method.encode(images(2, 30))
    with pytest.raises(ConfigError, match="expected input"):
        method.encode(torch.rand(2, 3, 32, 32))


def test_a_moving_average_can_make_the_targets_of_the_same_windows() -> None:
    method, x = create("sar-jepa", **TINY, target="ema"), images()
    output = method(x)
    z = method.encode(x, encoder="target").tokens
    expected = torch.nn.functional.layer_norm(z, z.shape[-1:])
    token = int(output.masks.targets[2, 1, 0])
    torch.testing.assert_close(output.target[2, 1, 0], expected[2, token])


def test_ijepa_predicts_fixed_features_without_a_second_encoder() -> None:
    small = dict(
        size="nano",
        dim=16,
        depth=2,
        heads=2,
        predictor_width=8,
        image_size=[32, 32],
        channels=1,
        patch_size=4,
    )
    features = create("ijepa", **small, target="features", features={"radii": [2, 3]})
    usual = create("ijepa", **small)
    assert features.target.copy is None and count(features) < count(usual)
    output = features(images() * 2 - 1)
    assert output.predicted.shape == output.target.shape and output.target.shape[-1] == 32
    maps = gradient_ratio(images(), (2, 3))
    token = int(output.masks.targets[0, 0, 0])
    row, column = 4 * (token // 8), 4 * (token % 8)
    expected = maps[0, :, row : row + 4, column : column + 4].flatten()
    torch.testing.assert_close(output.target[0, 0, 0], expected, atol=1e-4, rtol=1e-4)
    for encoder in ("target", "context"):
        assert features.encode(images(), encoder=encoder).encoder == "context"
        assert usual.encode(images(), encoder=encoder).encoder == encoder


def test_normalisation_of_the_data_reaches_the_features() -> None:
    config = create("ijepa", size="nano", image_size=[32, 32], target="features").config
    told = config.normalised((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert told.features.mean == (0.1, 0.2, 0.3)
    assert (
        create("ijepa", size="nano", image_size=[32, 32]).config.normalised((0.1,) * 3, None).features.mean
        is None
    )
