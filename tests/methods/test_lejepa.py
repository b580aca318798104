"""LeJEPA as a whole: the loss written out, who carries gradient, and views of two sizes."""

import pytest
import torch

from anyjepa import Batch, create
from anyjepa.errors import ConfigError
from anyjepa.methods.lejepa import LeJEPA, LeJEPAConfig
from anyjepa.objectives.regularizers import penalty

TINY = dict(size="nano", dim=32, depth=2, heads=2, hidden=32, projection=8, image_size=[32, 32], patch_size=4)
STILL = dict(
    crop_scale=[1.0, 1.0], crop_aspect=[1.0, 1.0],
    flip=0.0, jitter=0.0, greyscale=0.0, blur=0.0, solarize=0.0,
)  # fmt: skip


def build(**fields):
    return create("lejepa", **(TINY | fields))


@pytest.mark.parametrize("views", [(4, 0), (2, 3), (1, 1)])
def test_the_loss_is_the_equation(views):
    method = build(global_views=views[0], local_views=views[1], regularizer={"kind": "sigreg", "weight": 0.3})
    output = method(Batch(torch.randn(6, 3, 32, 32), torch.arange(6), step=4, seed=2))
    z = output.predicted.squeeze(2)
    assert z.shape == (6, sum(views), 8)
    centre = sum(z[:, v] for v in range(views[0])) / views[0]
    for v in range(sum(views)):
        others = [z[:, w] for w in range(views[0]) if w != v] or [z[:, 0]]
        torch.testing.assert_close(output.target[:, v, 0], torch.stack(others).mean(0))
    agree = sum(((z[:, v] - centre) ** 2).mean() for v in range(sum(views))) / sum(views)
    rule = method.config.regularizer
    spread = sum(penalty(rule, z[:, v], seed=2, step=4) for v in range(sum(views))) / sum(views)
    torch.testing.assert_close(output.loss, 0.7 * agree + 0.3 * spread)
    torch.testing.assert_close(output.losses["invariance"], agree.detach())
    torch.testing.assert_close(output.losses["regularizer"], spread.detach())


def test_no_gradient_is_blocked():
    """The centre carries gradient too: the gradient of the invariance is that of the equation, differentiated whole."""
    method = build(global_views=2, local_views=1, regularizer={"kind": "none", "weight": 0.0})
    projections = []
    method.projector.register_forward_hook(lambda module, inputs, z: projections.append(z))
    (found,) = torch.autograd.grad(method(torch.randn(5, 3, 32, 32)).loss, projections)

    z = projections[0].detach().unflatten(0, (3, 5)).requires_grad_()
    distance = z - z[:2].mean(0)
    (expected,) = torch.autograd.grad(distance.square().mean(), z)
    torch.testing.assert_close(found, expected.flatten(0, 1))
    blocked = 2 * distance.detach().flatten(0, 1) / z.numel()
    assert (found - blocked).abs().max() > 0.1 * blocked.abs().max()


def test_equal_views_agree():
    output = build(views=STILL)(torch.randn(6, 3, 32, 32))
    assert output.losses["invariance"] < 1e-10 and output.losses["regularizer"] > 1


def test_the_context_is_the_first_view():
    method = build(views=STILL, drop_path=0.0)
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(method(x).context, method.encode(x).tokens)


def test_views_depend_on_step_and_sample_and_not_on_the_batch():
    method, x = build(local_views=2), torch.randn(4, 3, 32, 32)
    together = method.draw_views(Batch(x, torch.arange(4), step=7))
    alone = method.draw_views(Batch(x[2:3], torch.tensor([2]), step=7))
    later = method.draw_views(Batch(x, torch.arange(4), step=8))
    assert [tuple(v.shape) for v in together] == [(4, 4, 3, 32, 32), (2, 4, 3, 16, 16)]
    for many, one, other in zip(together, alone, later, strict=True):
        torch.testing.assert_close(many[:, 2:3], one, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(many, other)
    assert not torch.allclose(together[0][0], together[0][1])


@pytest.mark.parametrize("positions", ["sincos", "learned", "rotary"])
def test_a_local_view_has_the_tokens_of_the_middle_of_the_grid(positions):
    method, x = build(positions=positions), torch.randn(2, 3, 32, 32)
    middle = (torch.arange(64).view(8, 8)[2:6, 1:7]).reshape(1, -1).expand(2, -1)
    expected = method.encoder(method.encoder.tokenizer.cut(x), middle)
    torch.testing.assert_close(method._tokens(x[:, :, 8:24, 4:28]), expected)


def test_parameters_of_the_minimal_setting():
    with torch.device("meta"):
        method = create("lejepa", size="small", image_size=[128, 128], patch_size=8)
    blocks = 12 * (12 * 384**2 + 13 * 384) + 2 * 384
    assert sum(p.numel() for p in method.encoder.parameters()) == blocks + 384 * (3 * 64 + 1)
    projector = 384 * 2048 + 2048 * 2048 + 2 * 2 * 2048 + 2048 * 128 + 128
    assert sum(p.numel() for p in method.projector.parameters()) == projector


def test_both_names_mean_the_one_encoder():
    method, x = build().eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(method.encode(x).tokens, method.encode(x, encoder="context").tokens)


def test_local_views_get_the_size_of_the_paper():
    config = LeJEPAConfig(patch_size=14, local_views=6).fit((3, 224, 224))
    assert config.local.size == (98, 98) and "6 of 98x98" in config.summary()


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(size="smal"), "did you mean 'small'"),
        (dict(global_views=1), "two views in all"),
        (dict(global_views=0, local_views=4), "at least one global view"),
        (dict(regularizer={"kind": "sigreg", "weight": 1.5}), "regularizer.weight must lie in 0..1"),
        (dict(regularizer={"kind": "sigreg", "weight": 0.02, "level": "tokens"}), "regularizer.level has no"),
        (dict(regularizer={"kind": "sigreg", "weight": 0.02, "on": "prediction"}), "regularizer.on has no"),
        (dict(views={"size": [16, 16]}), "leave it out"),
        (dict(local_views=1, local={"size": [18, 18]}), "not divisible by patch"),
        (dict(local_views=1, local={"size": [64, 64]}), "larger than the image"),
        (dict(dim=30, heads=4), "not divisible by 4 heads"),
    ],
)
def test_impossible_settings_name_what_would_work(fields, message):
    with pytest.raises(ConfigError, match=message):
        build(**fields)


def test_views_are_told_the_constants_of_the_images():
    grey = LeJEPAConfig().normalised((0.2,), (0.1,))
    assert grey.views.mean == grey.local.mean == (0.2,) and grey.views.std == grey.local.std == (0.1,)
    assert grey.normalised((0.2,), (0.1,)) == grey
    with pytest.raises(ConfigError, match=r"views\.mean must be that of the images"):
        grey.normalised((0.3,), (0.1,))


def test_samples_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match="LeJEPA needs images"):
        LeJEPAConfig().fit((12, 5000))


def test_without_a_config_it_is_made_for_the_images_of_the_paper():
    with torch.device("meta"):
        assert LeJEPA().input_shape() == (3, 224, 224)


def test_a_view_of_which_a_part_is_visible_is_told_from_that_part():
    method = create("lejepa", size="nano", image_size=(32, 32), patch_size=8, global_views=3, visible=0.25)
    seen = []
    encoder = method.encoder
    encoder.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    x = torch.randn(5, 3, 32, 32)
    whole, part = method(x).loss, method(Batch(x, torch.arange(5), step=1)).loss
    assert seen[:2] == [(5, 16, 128), (10, 4, 128)] and whole != part
    assert torch.equal(method(x).loss, whole)


def test_the_visible_part_is_drawn_anew_for_every_view_and_sample():
    method = create("lejepa", size="nano", image_size=(32, 32), patch_size=4, global_views=3, visible=0.5)
    drawn = []
    method.encoder.register_forward_pre_hook(lambda module, inputs: drawn.append(inputs[1:]))
    x = torch.randn(4, 3, 32, 32)
    method(x)
    whole, (keep,) = drawn
    assert whole == () and keep.shape == (8, 32)
    assert (keep.diff(dim=1) > 0).all() and len(keep.unique(dim=0)) == 8
    # A sample's part depends on the sample, not on its company.
    method(Batch(x[2:], torch.arange(4)[2:]))
    assert torch.equal(drawn[3][0], keep.view(2, 4, 32)[:, 2:].flatten(0, 1))
