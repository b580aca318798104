"""seq-JEPA: parameter counts, the last slot, orders that matter and those that do not, schedules, switches, the world model."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anyjepa.bundle import Bundle
from anyjepa.config import from_dict
from anyjepa.errors import ConfigError, DataError
from anyjepa.methods.seq_jepa import SeqJEPA, SeqJEPAConfig
from anyjepa.nn.resnet import ResNet
from anyjepa.objectives.distances import cosine
from anyjepa.schedules import OptimConfig, learning_rate

TINY = dict(
    size="nano", channels=1, image_size=(16, 16), action_dim=2, widths=(8, 16), blocks=(1, 1), action_width=8,
    predictor_hidden=16, dropout=0.0,
)  # fmt: skip


def tiny(**more):
    return SeqJEPA(SeqJEPAConfig(**(TINY | more)))


def sequences(n=6, views=4, actions=2, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return Bundle(
        {
            "views": torch.randn(n, views, 1, 16, 16, generator=draws),
            "actions": torch.randn(n, views - 1, actions, generator=draws),
        }
    )


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_parameters_are_as_many_as_published():
    with torch.device("meta"):
        rotation = SeqJEPA(SeqJEPAConfig(image_size=(128, 128), action_dim=4))
        glimpses = SeqJEPA(SeqJEPAConfig(image_size=(32, 32), action_dim=2))
    assert count(rotation.context_encoder) == 11_176_512 and count(glimpses.context_encoder) == 11_168_832
    assert count(rotation.action_projector) == 512 and count(glimpses.action_projector) == 256
    assert count(rotation.aggregator.layers[0]) == 4_923_520
    assert count(rotation.aggregator) - rotation.aggregator.token.numel() == 14_771_840
    assert rotation.aggregator.token.shape == (1, 1, 640)
    assert count(rotation.predictor) == 1_313_280
    assert count(rotation) == 27_262_784 and count(glimpses) == 27_254_848
    assert sum(p.numel() for p in rotation.target_encoder.parameters()) == 11_176_512


@pytest.mark.parametrize("numbers, parameters", [(9, 1152), (6, 768)])
def test_the_action_projector_has_no_bias(numbers, parameters):
    assert count(tiny(action_dim=numbers, action_width=128).action_projector) == parameters


def test_the_encoder_is_the_published_network():
    torchvision = pytest.importorskip("torchvision", reason="only compared where it is installed")
    theirs = torchvision.models.resnet18(weights=None)
    theirs.fc = nn.Identity()
    ours = ResNet(3, (64, 128, 256, 512), (2, 2, 2, 2), "standard")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        theirs.train(mode), ours.train(mode)
        torch.testing.assert_close(ours(x).mean(dim=(2, 3)), theirs(x), rtol=1e-4, atol=1e-5)


def test_embedded_actions_are_normalised_over_the_batch():
    embedded = tiny().action_projector(torch.randn(64, 2))
    torch.testing.assert_close(embedded.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedded.var(dim=0, unbiased=False), torch.ones(8), atol=1e-3, rtol=0)


def test_the_aggregate_token_starts_at_zero():
    assert not tiny().aggregator.token.any()


def test_the_slot_of_the_last_view_is_empty():
    """Its action goes to the predictor alone."""
    method, seen = tiny().eval(), []
    method.aggregator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = sequences()
    method(batch)
    (tokens,) = seen
    assert tokens.shape == (6, 3, 24) and not tokens[:, -1, 16:].any() and tokens[:, 0, 16:].any()
    other = Bundle(
        {"views": batch["views"], "actions": batch["actions"] + torch.tensor([0.0, 0, 1])[None, :, None]}
    )
    outputs = [method(x) for x in (batch, other)]
    assert torch.equal(seen[1], seen[2]) and not torch.equal(outputs[0].predicted, outputs[1].predicted)


def test_without_actions_the_order_of_views_does_not_matter_and_with_them_it_does():
    method, batch = tiny().eval(), sequences()
    turned = Bundle({"views": batch["views"].flip(1), "actions": batch["actions"]})
    assert not torch.allclose(method.encode(batch).pooled, method.encode(turned).pooled, atol=1e-3)
    with method.without("actions"):
        torch.testing.assert_close(
            method.encode(batch).pooled, method.encode(turned).pooled, rtol=1e-4, atol=1e-5
        )


def test_any_number_of_views_is_taken():
    method = tiny().eval()
    for views in (1, 2, 9):
        found = method.encode(sequences(views=views))
        assert found.pooled.shape == (6, 24) and found.tokens.shape == (6, views, 24)
        assert method(sequences(views=views + 1)).loss.isfinite()


def test_the_loss_is_one_minus_the_cosine():
    target = torch.randn(4096, 512)
    assert cosine(3.7 * target, target).item() == pytest.approx(0, abs=1e-5)
    assert cosine(-target, target).item() == pytest.approx(2, abs=1e-5)
    each = 1 - F.cosine_similarity(torch.randn(4096, 512), target)
    assert each.mean().item() == pytest.approx(1, abs=0.01) and each.std().item() == pytest.approx(
        0.044, abs=0.003
    )
    output = tiny()(sequences())
    assert output.loss.item() == pytest.approx(cosine(output.predicted, output.target).item(), abs=1e-6)


def test_momentum_follows_half_a_cosine():
    method = tiny(optim=OptimConfig(steps=1000))
    assert [method.momentum(s) for s in (0, 500, 1000)] == pytest.approx([0.996, 0.998, 1.0])
    official = tiny(optim=OptimConfig(steps=1000), compat="official")
    assert official.momentum(9) == official.momentum(0) != official.momentum(10)
    assert official.momentum(500) == pytest.approx(1 - 0.004 * (math.cos(math.pi / 2) + 1) / 2)


def test_the_official_rate_stays_at_its_peak():
    schedule = OptimConfig(
        steps=1000,
        warmup_steps=20,
        start_lr=1e-5,
        lr=4e-4,
        final_lr=1e-5,
        weight_decay=1e-3,
        final_weight_decay=1e-3,
    )
    official, ours = (tiny(optim=schedule, compat=compat).optim for compat in ("official", "paper"))
    assert [learning_rate(official, e) for e in (0, 10, 20, 1000)] == pytest.approx(
        [1e-5, 2.05e-4, 4e-4, 4e-4]
    )
    assert learning_rate(ours, 1000) == pytest.approx(1e-5)


def test_the_target_moves_by_its_parameters_alone():
    method = tiny()
    buffers = {name: b.clone() for name, b in method.target_encoder.named_buffers()}
    with torch.no_grad():
        for p in method.context_encoder.parameters():
            p.add_(1.0)
    before = method.target_encoder.conv1.weight.clone()
    method.after_step(0)
    torch.testing.assert_close(method.target_encoder.conv1.weight, before + 0.004)
    assert all(torch.equal(b, buffers[name]) for name, b in method.target_encoder.named_buffers())
    method(sequences())
    assert not torch.equal(method.target_encoder.bn1.running_mean, buffers["bn1.running_mean"])


@pytest.mark.parametrize(
    "who, in_tokens, in_predictor",
    [("both", 24, 32), ("aggregator", 24, 24), ("predictor", 16, 24), ("none", 16, 16)],
)
def test_who_is_told_the_actions(who, in_tokens, in_predictor):
    method = tiny(actions=who).eval()
    assert (
        method.aggregator.token.shape[2] == in_tokens and method.predictor.first.in_features == in_predictor
    )
    batch = sequences()
    other = Bundle({"views": batch["views"], "actions": batch["actions"].roll(1, dims=0)})
    told = [
        method.encode(Bundle({"views": x["views"], "actions": x["actions"]})).pooled for x in (batch, other)
    ]
    assert torch.equal(*told) == (who in ("predictor", "none"))
    assert torch.equal(method(batch).predicted, method(other).predicted) == (who == "none")


def test_raw_actions_are_padded_to_the_heads_and_officially_lost():
    method = tiny(action_width=0, action_dim=3, heads=4).eval()
    assert method.aggregator.token.shape[2] == 20 and count(method.action_projector) == 0
    official = tiny(action_width=0, action_dim=3, heads=4, compat="official").eval()
    official.load_state_dict(method.state_dict())
    batch = sequences(actions=3)
    silent = Bundle(
        {"views": batch["views"], "actions": batch["actions"] * torch.tensor([1.0, 1, 0])[None, :, None]}
    )
    torch.testing.assert_close(official(batch).predicted, method(silent).predicted)
    assert not torch.allclose(official(batch).predicted, method(batch).predicted)


def test_the_world_model_imagines_what_the_predictor_predicts():
    method, batch = tiny().eval(), sequences(views=3)
    world = method.world_model()
    with torch.no_grad():
        state = world.advance(world.start(batch), torch.ones(6, 2))
        told = torch.cat((batch["actions"], torch.ones(6, 1, 2)), dim=1)
        wanted = method.predict(world.start(batch)["seen"], told)
    torch.testing.assert_close(F.normalize(world.latent(state), dim=1), F.normalize(wanted, dim=1))
    assert state["seen"].shape == (6, 4, 16) and world.advance(state, torch.ones(6, 2))["actions"].shape == (
        6,
        4,
        2,
    )
    rows = torch.tensor([2, 2, 0])
    torch.testing.assert_close(world.latent(state[rows]), world.latent(state)[rows])
    image = batch["views"][:, 0]
    torch.testing.assert_close(world.latent(world.start(image)), world.goal(image))


@pytest.mark.parametrize(
    "change, told",
    [
        (dict(size="huge"), "unknown size"),
        (dict(ema=(0.9, 1.2)), "ema"),
        (dict(widths=(8, 16), blocks=(1,)), "as many stages"),
        (dict(action_width=7), "heads=4 do not divide"),
        (dict(action_dim=0), "action_dim"),
        (dict(channels=3, image_size=(16, 16)), "leave the two out"),
        (dict(regularizer={"kind": "vicreg", "on": "target"}), "needs target=online"),
    ],
)
def test_settings_that_cannot_be(change, told):
    with pytest.raises(ConfigError, match=told):
        from_dict(SeqJEPAConfig, TINY | change).fit((1, 16, 16))


def test_what_is_no_sequence_is_named():
    method, batch = tiny().eval(), sequences()
    wrong = [
        (torch.zeros(2, 1, 16, 16), "bundle of views"),
        (Bundle({"views": batch["views"]}), "bundle of views"),
        (Bundle({"views": batch["views"][:, :1], "actions": batch["actions"][:, :0]}), "V at least 2"),
        (
            Bundle({"views": batch["views"], "actions": batch["actions"][:, :2]}),
            "3 actions of 2 numbers for 4 views",
        ),
        (
            Bundle({"views": batch["views"], "actions": torch.zeros(6, 3, 5)}),
            "3 actions of 2 numbers for 4 views",
        ),
    ]
    for x, told in wrong:
        with pytest.raises(ConfigError, match=told):
            method(x)
    with pytest.raises(DataError, match="finite"):
        method.encode(Bundle({"views": batch["views"], "actions": batch["actions"] * float("nan")}))
    with pytest.raises(ConfigError, match="told the actions"):
        tiny(actions="none").world_model()
    with pytest.raises(ConfigError, match="did you mean 'actions'"), method.without("action"):
        pass
