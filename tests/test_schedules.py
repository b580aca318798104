"""Oracles of the I-JEPA sheet: 300 epochs of 625 steps, warm-up of 40 epochs."""

import pytest

from anyjepa.errors import ConfigError
from anyjepa.schedules import OptimConfig, ema_momentum, learning_rate, weight_decay

PAPER = OptimConfig(steps=187_500)


def test_default_warmup_is_the_official_share():
    assert PAPER.warmup == 25_000


@pytest.mark.parametrize(
    "step, lr, wd",
    [
        (1, 2.00032e-4, 0.040000),
        (12_500, 6.0e-4, 0.043933),
        (25_000, 1e-3, 0.055562),
        (100_000, 5.607081e-4, 0.238815),
        (187_500, 1e-6, 0.4),
    ],
)
def test_learning_rate_and_weight_decay(step, lr, wd):
    assert learning_rate(PAPER, step) == pytest.approx(lr, rel=2e-6)
    assert weight_decay(PAPER, step) == pytest.approx(wd, abs=6e-7)


@pytest.mark.parametrize("step, momentum", [(0, 0.996), (25_000 - 1, 0.996533), (100_000 - 1, 0.998133)])
def test_ema_momentum(step, momentum):
    assert ema_momentum(0.996, 1.0, PAPER, step) == pytest.approx(momentum, abs=6e-7)


def test_nothing_leaves_its_range_after_the_end():
    short = OptimConfig(steps=10, stretch=1.25)
    for step in range(1, 40):
        assert short.final_lr <= learning_rate(short, step) <= short.lr
        assert short.weight_decay <= weight_decay(short, step) <= short.final_weight_decay
        assert 0.996 <= ema_momentum(0.996, 1.0, short, step) <= 1.0


def test_stretch_lays_the_schedules_over_a_longer_time():
    stretched = OptimConfig(steps=100, stretch=1.25)
    assert stretched.horizon == 125
    assert learning_rate(stretched, 100) > learning_rate(OptimConfig(steps=100), 100)


@pytest.mark.parametrize("warmup", [0, 1, 5, 10])
def test_any_warmup_ends_at_the_reference(warmup):
    optim = OptimConfig(steps=10, warmup_steps=warmup)
    assert max(learning_rate(optim, k) for k in range(max(1, warmup), 11)) <= optim.lr
    if warmup:
        assert learning_rate(optim, warmup) == pytest.approx(optim.lr)


@pytest.mark.parametrize(
    "bad", [dict(steps=0), dict(stretch=0.5), dict(warmup_steps=-1), dict(steps=5, warmup_steps=6)]
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError):
        OptimConfig(**bad)


def test_schedules_counted_from_zero_begin_at_the_start_and_end_at_the_end():
    optim = OptimConfig(steps=100, warmup_steps=10, weight_decay=0.1, final_weight_decay=0.3, from_zero=True)
    assert learning_rate(optim, 1) == optim.start_lr and learning_rate(optim, 11) == optim.lr
    assert learning_rate(optim, 100) == pytest.approx(optim.final_lr)
    assert weight_decay(optim, 1) == pytest.approx(0.1) and weight_decay(optim, 100) == pytest.approx(0.3)
    one = OptimConfig(steps=1, warmup_steps=0, from_zero=True)
    assert learning_rate(one, 1) == one.lr and weight_decay(one, 1) == pytest.approx(one.weight_decay)


def test_the_cool_down_of_vjepa_2_is_a_line_that_stops_early():
    """40 x 300 steps laid out over 1.25 times as many, from 5.25e-4 towards 1e-6, which is never reached."""
    optim = OptimConfig(
        steps=12_000, warmup_steps=0, lr=5.25e-4, final_lr=1e-6, stretch=1.25, decay="linear"
    )  # fmt: skip
    for step, lr in [(1, 5.249651e-4), (6000, 3.154e-4), (12_000, 1.058e-4)]:
        assert learning_rate(optim, step) == pytest.approx(lr, rel=1e-6)
    assert learning_rate(optim, 15_000) == pytest.approx(1e-6)
