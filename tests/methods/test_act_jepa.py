"""ACT-JEPA and its baselines: numbers of parameters, what targets depend on, losses, padding, no look into the future."""

from dataclasses import replace

import pytest
import torch
from cases import demonstrated

from anyjepa import create
from anyjepa.bundle import Bundle
from anyjepa.errors import ConfigError
from anyjepa.methods.act import ACTConfig
from anyjepa.methods.act_jepa import ACTJEPAConfig
from anyjepa.methods.chunking import action_loss
from anyjepa.nn.chunks import Layer, map_positions
from anyjepa.schedules import OptimConfig

SHAPE = {"state": (4,), "task": (1,), "image": (3, 32, 32)}
TINY = dict(
    size="nano",
    dim=16,
    depth=2,
    heads=2,
    hidden=32,
    chunk=5,
    horizon=6,
    action_size=3,
    predictor_width=8,
    dropout=0.0,
)


def count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def tiny(**fields):
    return create("act-jepa", ACTJEPAConfig(**TINY | fields).fit(SHAPE))


def moments(n=4, seed=0):
    return demonstrated(n, SHAPE, torch.Generator().manual_seed(seed))


def changed(parts, **others):
    return Bundle(dict(parts) | others)


@pytest.fixture(scope="module")
def published():
    return create("act-jepa")


def test_the_published_sizes(published):
    """The numbers follow from the widths alone; the official code has them too."""
    assert count(published.context_encoder.trunk) == 11_176_512
    assert count(published.context_encoder) == 24_066_624
    assert count(published.decoder) == 4_217_856
    assert count(published.head) == 1_026
    assert count(published.predictor) == 1_191_552
    assert count(published) == 29_477_058
    assert sum(p.numel() for p in published.target.copy.parameters()) == 24_066_624
    assert count(create("act", ACTConfig(latent=0))) == 28_285_506
    assert count(Layer(512, 8, 2048, 0.1)) == 3_149_824
    larger = create("act-jepa", ACTJEPAConfig(state_size=4, action_size=4))
    assert count(larger.context_encoder) - count(published.context_encoder) == 1_024
    assert count(larger.head) - count(published.head) == 1_026


def test_the_published_shapes(published):
    parts = Bundle(
        {
            "state": torch.randn(2, 30, 2),
            "state_pad": torch.zeros(2, 30),
            "action": torch.randn(2, 30, 2),
            "action_pad": torch.zeros(2, 30),
            "task": torch.zeros(2, 1),
            "image": torch.rand(2, 3, 96, 96),
        }
    )
    output = published(parts)
    assert output.context.shape == (2, 11, 512)
    assert output.target.shape == output.predicted.shape == (2, 1, 30, 512)
    published.eval()
    now = Bundle({"state": parts["state"][:, 0], "task": parts["task"], "image": parts["image"]})
    assert published.actions(now).shape == (2, 30, 2)
    large = create("act-jepa", ACTJEPAConfig(image_size=(128, 128)))
    assert large.context_encoder.tokens == 18
    # Two independent vectors after a norm are 2 / sqrt(pi) apart on average; a young prediction lies between 0 and that.
    assert 0.6 < output.losses["prediction"] < 1.4


def test_the_target_encoder_begins_as_a_copy_and_moves_by_the_momentum():
    for momentum in (1.0, 0.0):
        method = tiny(ema=(momentum, momentum))
        start = [p.clone() for p in method.target.copy.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(start, method.context_encoder.parameters(), strict=True))
        with torch.no_grad():
            for parameter in method.context_encoder.parameters():
                parameter.add_(1.0)
        method.after_step(0)
        expected = start if momentum == 1.0 else method.context_encoder.parameters()
        assert all(
            torch.allclose(a, b) for a, b in zip(method.target.copy.parameters(), expected, strict=True)
        )


def test_the_momentum_grows_by_a_millionth_a_step():
    method = tiny(optim=OptimConfig(steps=4000))
    assert [round(method.momentum(k), 9) for k in (0, 1, 1000, 4000)] == [0.996, 0.996001, 0.997, 1.0]


def test_targets_know_nothing_of_pictures_and_actions():
    method, parts = tiny(dropout=0.1), moments()
    target = method(parts).target
    other = changed(parts, image=torch.rand(4, 3, 32, 32), action=torch.randn(4, 5, 3))
    assert torch.equal(method(other).target, target)
    assert not torch.equal(method(changed(parts, state=parts["state"] + 1)).target, target)


def test_what_is_beyond_the_end_changes_nothing():
    method, parts = tiny(), moments(8)
    before = method(parts)
    state, action = parts["state"].clone(), parts["action"].clone()
    assert parts["state_pad"].sum() > 0 and parts["action_pad"].sum() > 0
    state[parts["state_pad"] > 0] = 1e3
    action[parts["action_pad"] > 0] = -1e3
    after = method(changed(parts, state=state, action=action))
    torch.testing.assert_close(after.loss, before.loss)
    valid = parts["state_pad"] == 0
    torch.testing.assert_close(after.target[:, 0][valid], before.target[:, 0][valid])


def test_the_context_encoder_sees_the_present_state_alone():
    """Of a sequence the first state counts: the later ones are what is to be predicted."""
    parts = moments()
    later = parts["state"].clone()
    later[:, 1:] += 5.0
    for name in ("act-jepa", "act", "mlp-policy"):
        method = (
            tiny()
            if name == "act-jepa"
            else create(
                name,
                **{k: TINY[k] for k in ("size", "chunk", "action_size")},
                state_size=4,
                image_size=(32, 32),
            )
        )
        method.eval()
        contexts = [method(changed(parts, state=state)).context for state in (parts["state"], later)]
        if name != "act":  # its style may know the chunk while it trains
            assert torch.equal(*contexts)
        now = Bundle({"state": parts["state"][:, 0], "task": parts["task"], "image": parts["image"]})
        with pytest.raises(ConfigError, match="expected input"):
            method.encode(changed(now, state=parts["state"]))
        assert method.encode(now).tokens.isfinite().all()


def test_losses_of_known_errors():
    parts = moments(6)
    assert action_loss(parts["action"], parts) == 0
    for n in (1, 6):
        some = parts[slice(0, n)]
        assert action_loss(some["action"] + 0.25, some).item() == pytest.approx(0.25, abs=1e-6)
    method = tiny()
    with torch.no_grad():
        method.predictor.leave.weight.zero_(), method.predictor.leave.bias.zero_()
    output = method(parts)
    size = output.target[:, 0].abs().mean(-1)[parts["state_pad"] == 0].mean()
    assert output.losses["prediction"].item() == pytest.approx(size.item(), rel=1e-5)


def test_half_of_each_chunk_padded_with_garbage_leaves_the_mean():
    """The same moments, once with the second half beyond the end, once with the first half as it is."""
    parts = moments(6)
    whole = changed(parts, action_pad=torch.zeros(6, 5))
    cut = changed(parts, action_pad=(torch.arange(5) > 1).float().expand(6, 5))
    guess = whole["action"] + torch.tensor([1.0, 1.0, 7.0, 7.0, 7.0])[:, None]
    assert action_loss(guess, cut).item() == pytest.approx(1.0, abs=1e-6)
    assert action_loss(guess, whole).item() == pytest.approx(4.6, abs=1e-5)


def test_a_style_is_drawn_by_seed_step_and_index_and_left_out_when_acting():
    config = ACTConfig(**{k: v for k, v in TINY.items() if k not in ("horizon", "predictor_width")}).fit(
        SHAPE
    )
    method, parts = create("act", config).eval(), moments()
    assert torch.equal(method(parts).context, method(parts).context)
    first = method(parts).context
    method.after_step(0)
    assert not torch.equal(method(parts).context, first)
    now = Bundle({"state": parts["state"][:, 0], "task": parts["task"], "image": parts["image"]})
    assert torch.equal(method.actions(now), method.actions(now))
    losses = method(parts).losses
    assert losses["style"] >= 0 and set(losses) == {"style", "action"}
    plain = create("act", replace(config, latent=0))
    assert set(plain(parts).losses) == {"action"}


def test_the_map_s_places_are_told_apart():
    table = map_positions(3, 4, 16)
    assert table.shape == (12, 16) and len(torch.unique(table, dim=0)) == 12
    # Rows in the first half, columns in the second.
    grid = table.unflatten(0, (3, 4))
    assert torch.equal(grid[0, 0, :8], grid[0, 3, :8]) and torch.equal(grid[0, 1, 8:], grid[2, 1, 8:])
    turn = 3 / (3 + 1e-6) * 6.28
    assert map_positions(3, 4, 16, 6.28)[8, 0].item() == pytest.approx(
        torch.tensor(turn).sin().item(), abs=1e-6
    )


def test_the_task_matters():
    method, parts = tiny().eval(), moments()
    now = Bundle({"state": parts["state"][:, 0], "task": torch.zeros(4, 1), "image": parts["image"]})
    other = changed(now, task=torch.ones(4, 1))
    assert not torch.equal(method.actions(now), method.actions(other))


@pytest.mark.parametrize(
    "fields, told",
    [
        (dict(size="huge"), "unknown size"),
        (dict(dropout=1.0), "dropout"),
        (dict(ema=(0.9, 1.1)), "ema"),
        (dict(action_weight=0.0, state_weight=0.0), "not both 0"),
    ],
)
def test_impossible_settings(fields, told):
    with pytest.raises(ConfigError, match=told):
        ACTJEPAConfig(**fields)


def test_a_shape_without_a_state_is_refused():
    with pytest.raises(ConfigError, match="observations with a state"):
        ACTJEPAConfig().fit((3, 32, 32))
    with pytest.raises(ConfigError, match="one size"):
        ACTJEPAConfig().fit({"state": (2,), "a": (3, 32, 32), "b": (3, 64, 64)})
