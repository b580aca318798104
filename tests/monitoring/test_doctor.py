"""The doctor names states that were provoked on purpose, in two modalities, before step 300, and condemns no healthy run."""

from __future__ import annotations

import pytest
import states

from anyjepa.monitoring.doctor import (
    COMPLETE,
    DIMENSIONAL,
    DIVERGED,
    EARLIEST,
    HEALTHY,
    NOT_LEARNING,
    TOO_EARLY,
    VERDICTS,
    diagnose,
    judge,
)

IJEPA = {
    "model": {
        "target": "ema",
        "regularizer": {"kind": "none", "weight": 1.0},
        "optim": {"lr": 1e-3, "clip": None, "steps": 100},
    },
    "train": {"precision": "32-true"},
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("modality", ["images", "signals"])
@pytest.mark.parametrize("state", states.STATES)
def test_a_provoked_state_is_named(state, modality, seed):
    """240 steps each. Four of these runs would be condemned by their loss and four saved by it: it falls in all but one state."""
    log = states.rows(states.STATES[state](modality, seed), modality, seed=seed)
    found = diagnose(log, IJEPA)
    assert found.verdict == state, found
    assert found.evidence and bool(found.advice) == (state != HEALTHY)
    if state == HEALTHY:
        assert {judge(log[:n])[0] for n in range(1, len(log) + 1)} <= {HEALTHY, TOO_EARLY}


def row(step: int, **numbers: float) -> dict:
    """A line of a healthy log."""
    fine = dict(std=0.8, content=0.7, rank=30.0, pooled_rank=20.0, correlation=0.3, cosine=0.4)
    both = {f"{who}_{name}": value for who in ("target", "context") for name, value in fine.items()}
    return (
        {"step": step, "loss": 0.3, "gradient_norm": 0.1, "prediction_match": 0.4, "prediction_gain": 0.2}
        | both
        | numbers
    )


def log(**numbers: float) -> list[dict]:
    """30 lines: healthy ones, then 20 with other numbers."""
    return [row(10 * n, **(numbers if n > 10 else {})) for n in range(1, 31)]


def both(name: str, value: float) -> dict:
    return {f"target_{name}": value, f"context_{name}": value}


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({}, HEALTHY),
        (both("cosine", 0.995), COMPLETE),
        (both("content", 0.001), COMPLETE),
        (both("std", 1e-4), COMPLETE),
        ({"context_cosine": 0.995}, HEALTHY),
        ({"context_rank": 2.0}, DIMENSIONAL),
        ({"target_correlation": 0.95}, DIMENSIONAL),
        ({"context_pooled_rank": 8.0, "context_correlation": 0.7}, DIMENSIONAL),
        ({"context_pooled_rank": 8.0}, HEALTHY),
        ({"prediction_match": 0.01}, NOT_LEARNING),
        ({"gradient_norm": 0.0}, NOT_LEARNING),
        ({"gradient_norm": 100.0, "loss": 50.0}, DIVERGED),
        ({"gradient_norm": 100.0}, HEALTHY),
        ({"loss": 50.0}, HEALTHY),
        ({"loss": None}, DIVERGED),
    ],
)
def test_rules(numbers, verdict):
    found = diagnose(log(**numbers), IJEPA)
    assert found.verdict == verdict
    assert found.last == 300 and found.step == {HEALTHY: 50, DIVERGED: found.step}.get(verdict, 120)


def test_the_beginning_is_too_early():
    for n in range(1, EARLIEST):
        assert judge([row(step, **both("cosine", 1.0)) for step in range(1, n + 1)])[0] == TOO_EARLY
    assert diagnose([], IJEPA).verdict == TOO_EARLY
    assert judge([row(n, prediction_match=0.0) for n in range(1, 80)])[0] == TOO_EARLY


def test_a_spike_that_heals_is_forgiven_and_one_that_does_not_is_named():
    spike = row(110, gradient_norm=100.0, loss=90.0)
    healed = [*log()[:10], spike, *(row(s) for s in range(120, 200, 10))]
    assert diagnose(healed).verdict == HEALTHY
    dead = [*log()[:10], spike, *(row(s, **both("cosine", 1.0)) for s in range(120, 200, 10))]
    found = diagnose(dead)
    assert found.verdict == DIVERGED and "step 110" in found.evidence[0]


def test_a_method_without_representations_is_not_judged():
    rows = [{"step": n, "loss": 1.0} for n in range(1, 400)]
    assert diagnose(rows).verdict == TOO_EARLY


def test_one_strange_line_changes_nothing():
    rows = log()
    rows[20] = row(210, **both("cosine", 1.0))
    assert {judge(rows[:n])[0] for n in range(5, 31)} == {HEALTHY}


def test_advice_names_keys_of_the_config_and_no_others():
    collapsed = diagnose(log(**both("cosine", 1.0)), IJEPA)
    assert "model.regularizer.kind=vicreg" in str(collapsed)
    assert "model." not in " ".join(diagnose(log(**both("cosine", 1.0)), {"model": {}}).advice)
    weak = {"model": {"regularizer": {"kind": "vicreg", "weight": 0.1, "covariance": 0.04}}}
    advice = " ".join(diagnose(log(target_rank=1.0), weak).advice)
    assert "model.regularizer.weight from 0.1 to 0.3" in advice and "model.regularizer.covariance" in advice
    assert "model.optim.clip=1.0" in " ".join(diagnose(log(loss=None), IJEPA).advice)
    frozen = {"model": {"target": "frozen"}}
    assert "model.target=ema" in " ".join(diagnose(log(prediction_match=0.0), frozen).advice)


def test_every_verdict_reads_well():
    for numbers in ({}, both("cosine", 1.0), {"target_rank": 1.0}, {"prediction_match": 0.0}, {"loss": None}):
        text = str(diagnose(log(**numbers), IJEPA))
        assert text.split(" (")[0].lower() in VERDICTS and "step" in text and "None" not in text
