"""The doctor names states that were provoked on purpose, in two modalities, before step 300, and condemns no healthy run."""

from __future__ import annotations

import json

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
    Doctor,
    diagnose,
)
from anyjepa.monitoring.examine import examine

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
        assert set(verdicts(log)) <= {HEALTHY, TOO_EARLY}


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


def verdicts(rows: list[dict]) -> list[str]:
    """What is said after each line."""
    doctor = Doctor()
    return [doctor.see(row) for row in rows]


def both(name: str, value: float) -> dict:
    return {f"target_{name}": value, f"context_{name}": value}


DEAD = both("cosine", 1.0) | both("std", 0.01)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({}, HEALTHY),
        (both("cosine", 0.995) | both("std", 0.2), COMPLETE),
        (both("cosine", 0.995), HEALTHY),
        (both("content", 0.001), COMPLETE),
        (both("std", 1e-4), COMPLETE),
        ({"context_cosine": 0.995}, HEALTHY),
        ({"context_rank": 2.0}, DIMENSIONAL),
        ({"target_correlation": 0.95}, DIMENSIONAL),
        (both("pooled_rank", 8.0) | both("correlation", 0.7), DIMENSIONAL),
        ({"target_pooled_rank": 8.0, "target_correlation": 0.7}, HEALTHY),
        (both("pooled_rank", 8.0), HEALTHY),
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
    since = {HEALTHY: 50, DIVERGED: 110, NOT_LEARNING: 200 if "prediction_match" in numbers else 120}
    assert found.last == 300 and found.step == since.get(verdict, 120)


def test_the_beginning_is_too_early():
    for n in range(1, EARLIEST):
        assert set(verdicts([row(step, **DEAD) for step in range(1, n + 1)])) == {TOO_EARLY}
    assert diagnose([], IJEPA).verdict == TOO_EARLY
    late = [row(n, prediction_match=0.0) for n in range(1, 200)]
    assert set(verdicts(late)) == {TOO_EARLY}
    assert diagnose([*late, row(250, prediction_match=0.0)]).verdict == NOT_LEARNING
    longer = {"model": {"optim": {"steps": 30_000}}}  # a warm-up of 4000 steps
    assert diagnose([*late, row(250, prediction_match=0.0)], longer).verdict == TOO_EARLY


def test_a_spike_that_heals_is_forgiven_and_one_that_does_not_is_named():
    spike = row(110, gradient_norm=100.0, loss=90.0)
    healed = [*log()[:10], spike, *(row(s) for s in range(120, 200, 10))]
    assert diagnose(healed).verdict == HEALTHY
    later = [*healed, *(row(s, **DEAD) for s in range(200, 300, 10))]
    assert diagnose(later).verdict == COMPLETE, "the spike had healed"
    dead = [*log()[:10], spike, *(row(s, **DEAD) for s in range(120, 200, 10))]
    found = diagnose(dead)
    assert found.verdict == DIVERGED and "step 110" in found.evidence[0]


def test_a_method_without_representations_is_not_judged():
    rows = [{"step": n, "loss": 1.0} for n in range(1, 400)]
    assert diagnose(rows).verdict == TOO_EARLY


def test_one_strange_line_changes_nothing():
    rows = log()
    rows[20] = row(210, **DEAD)
    assert set(verdicts(rows)[4:]) == {HEALTHY}


def test_advice_names_keys_of_the_config_and_no_others():
    collapsed = diagnose(log(**DEAD), IJEPA)
    assert "model.regularizer.kind=vicreg" in str(collapsed)
    assert "model." not in " ".join(diagnose(log(**DEAD), {"model": {}}).advice)
    weak = {"model": {"regularizer": {"kind": "vicreg", "weight": 0.1, "covariance": 0.04}}}
    advice = " ".join(diagnose(log(target_rank=1.0), weak).advice)
    assert "model.regularizer.weight from 0.1 to 0.3" in advice and "model.regularizer.covariance" in advice
    assert "model.optim.clip=1.0" in " ".join(diagnose(log(loss=None), IJEPA).advice)
    frozen = {"model": {"target": "frozen"}}
    assert "model.target=ema" in " ".join(diagnose(log(prediction_match=0.0), frozen).advice)


def test_every_verdict_reads_well():
    for numbers in ({}, DEAD, {"target_rank": 1.0}, {"prediction_match": 0.0}, {"loss": None}):
        text = str(diagnose(log(**numbers), IJEPA))
        assert text.split(" (")[0].lower() in VERDICTS and "step" in text and "None" not in text


def test_what_is_missing_is_not_taken_for_zero():
    """Numbers that are not finite are NaN in a running training and null in its log: both must be judged alike."""
    nan = float("nan")
    for broken in (None, nan):
        names = ("cosine", "content", "std", "rank", "pooled_rank", "correlation")
        rows = log(**{f"{who}_{name}": broken for who in ("target", "context") for name in names})
        assert diagnose(rows).verdict == TOO_EARLY
        assert diagnose(log(**both("rank", broken))).verdict == HEALTHY
    assert diagnose([{"step": 1}]).verdict == DIVERGED
    assert (
        diagnose([{"step": 1, "loss": 1.0}, {"step": 300, "loss": 900.0, "gradient_norm": 9e9}]).verdict
        == TOO_EARLY
    )


def test_ranks_of_few_samples_are_small():
    few = [dict(line, samples=8.0) | both("rank", 3.8) | both("pooled_rank", 3.8) for line in log()]
    assert diagnose(few).verdict == HEALTHY
    assert diagnose([dict(line, samples=128.0) for line in few]).verdict == DIMENSIONAL
    resumed = [
        dict(line, samples=64.0 if i < 12 else 8.0)
        for i, line in enumerate(log(**both("pooled_rank", 5.0), **both("correlation", 0.7)))
    ]
    assert diagnose(resumed).verdict == HEALTHY


def test_advice_knows_what_a_remedy_has_changed(tmp_path):
    """The config file stays what the user asked for; advice must not name what is on already."""
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log(**DEAD)))
    (tmp_path / "config.yaml").write_text(json.dumps(IJEPA))
    assert "set model.regularizer.kind=vicreg" in "\n".join(examine(tmp_path).advice)
    model = IJEPA["model"] | {"regularizer": {"kind": "vicreg", "weight": 1.0}}
    (tmp_path / "run.json").write_text(json.dumps({"remedy": {"step": 50, "model": model}}))
    advice = "\n".join(examine(tmp_path).advice)
    assert "set model.regularizer" not in advice and "raise model.regularizer.weight from 1 to 3" in advice
