"""Target rules: how the target encoder follows the online one, or does not."""

import pytest
import torch
from torch import nn

from anyjepa.errors import ConfigError
from anyjepa.objectives.targets import TARGET_RULES, TargetRule


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def values(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


@torch.no_grad()
def move(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter += torch.randn(parameter.shape)


def test_starts_as_an_equal_copy_without_gradient() -> None:
    online = network()
    rule = TargetRule(online, "ema")
    target = rule.encoder(online)
    assert target is not online
    for a, b in zip(target.parameters(), online.parameters(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
        assert not a.requires_grad and b.requires_grad


def test_first_update_and_those_after_it() -> None:
    """target = theta_0 + (1 - 0.996) (theta_1 - theta_0), then the formula step by step."""
    online = network()
    rule = TargetRule(online, "ema")
    start = values(online)
    move(online)
    rule.update(online, 0.996)
    expected = [a + (1 - 0.996) * (b - a) for a, b in zip(start, values(online), strict=True)]
    torch.testing.assert_close(values(rule.encoder(online)), expected)
    for momentum in (0.9, 0.5, 0.99):
        move(online)
        rule.update(online, momentum)
        expected = [momentum * a + (1 - momentum) * b for a, b in zip(expected, values(online), strict=True)]
        torch.testing.assert_close(values(rule.encoder(online)), expected)


def test_the_ends_of_the_momentum() -> None:
    online = network()
    rule = TargetRule(online, "ema")
    start = values(online)
    move(online)
    rule.update(online, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(values(rule.encoder(online)), start, strict=True))
    rule.update(online, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(values(rule.encoder(online)), values(online), strict=True))


def test_the_online_encoder_is_not_touched() -> None:
    online = network()
    rule = TargetRule(online, "ema")
    move(online)
    before = values(online)
    rule.update(online, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(values(online), before, strict=True))


def test_frozen_never_moves() -> None:
    online = network()
    rule = TargetRule(online, "frozen")
    start = values(online)
    for momentum in (0.996, 0.0):
        move(online)
        rule.update(online, momentum)
    assert all(torch.equal(a, b) for a, b in zip(values(rule.encoder(online)), start, strict=True))
    assert not any(p.requires_grad for p in rule.parameters())


def test_stopgrad_has_no_copy() -> None:
    online = network()
    rule = TargetRule(online, "stopgrad")
    assert rule.encoder(online) is online
    assert not rule.state_dict() and not list(rule.parameters())
    before = values(online)
    rule.update(online, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(values(online), before, strict=True))


def test_copy_is_saved() -> None:
    online = network()
    rule = TargetRule(online, "ema")
    assert set(rule.state_dict()) == {f"copy.{name}" for name in online.state_dict()}


def test_unknown_rule() -> None:
    with pytest.raises(ConfigError, match="unknown target rule 'emma': did you mean 'ema'"):
        TargetRule(network(), "emma")


def test_online_has_no_copy_and_alone_has_gradient() -> None:
    online = network()
    rule = TargetRule(online, "online")
    assert rule.encoder(online) is online and not rule.state_dict()
    assert [r for r in TARGET_RULES if TargetRule(online, r).has_gradient] == ["online"]
