"""The statistics against closed forms: what is Gaussian, what is degenerate, and what only knows its place."""

from __future__ import annotations

import math

import pytest
import torch

from anyjepa.contract import Masks, Output
from anyjepa.monitoring.observe import observe
from anyjepa.monitoring.statistics import Places, off_diagonal, pair_cosine, prediction, rank, spread


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_place(n: int) -> Places:
    return Places.of(torch.zeros(n, dtype=torch.long))


def test_rank_counts_directions():
    basis = torch.linalg.qr(gaussian(16, 16)).Q
    z = gaussian(4000, 5) @ basis[:5]
    assert rank(z) == pytest.approx(5, rel=0.01)
    assert rank(gaussian(4000, 16)) == pytest.approx(16, rel=0.01)
    assert rank(gaussian(6, 40)) <= 6.01
    assert rank(torch.zeros(10, 4)) == 0.0
    assert rank(gaussian(100, 1) * gaussian(1, 8)) == pytest.approx(1, abs=0.02)


def test_rank_of_a_known_spectrum():
    singular = torch.tensor([4.0, 2.0, 1.0, 1.0])
    z = torch.linalg.qr(gaussian(50, 4)).Q * singular
    share = singular / singular.sum()
    assert rank(z) == pytest.approx(math.exp(-(share * share.log()).sum()), rel=1e-4)


def test_correlation_between_features():
    assert off_diagonal(gaussian(50_000, 8)) == pytest.approx(0, abs=0.01)
    z = gaussian(1000, 1)
    assert off_diagonal(torch.cat([z, -2 * z, 3 * z], 1)) == pytest.approx(1, abs=1e-5)
    shared, own = gaussian(50_000, 1), gaussian(50_000, 6, seed=1)
    assert off_diagonal(shared + own) == pytest.approx(0.5, abs=0.02)


def test_cosine_of_pairs_is_that_of_all_pairs():
    z = gaussian(12, 5) + 1
    place = torch.tensor([0, 1, 2] * 4)
    unit = z / z.norm(dim=1, keepdim=True)
    pairs = [unit[i] @ unit[j] for i in range(12) for j in range(12) if i != j and place[i] == place[j]]
    assert pair_cosine(z, Places.of(place)) == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)


def test_content_is_what_the_place_does_not_tell():
    place = torch.arange(6).repeat(200)
    sample = torch.arange(200).repeat_interleave(6)
    where, what = 3 * gaussian(6, 8)[place], gaussian(1200, 8, seed=1)
    found = spread(where + what, Places.of(place), sample, "z")
    assert found["z_std"] == pytest.approx(1, rel=0.05)
    assert found["z_content"] == pytest.approx(1 / (1 + where.var(0).mean().item()), rel=0.1)
    only_place = spread(where, Places.of(place), sample, "z")
    assert only_place["z_std"] == pytest.approx(0, abs=1e-5) and only_place["z_content"] < 1e-9
    assert only_place["z_cosine"] == pytest.approx(1, abs=1e-5)


def test_pooled_rank_is_of_what_the_tokens_of_a_sample_share():
    place, sample = torch.arange(16).repeat(300), torch.arange(300).repeat_interleave(16)
    shared = (gaussian(300, 2) @ gaussian(2, 8, seed=1))[sample]
    found = spread(shared + gaussian(4800, 8, seed=2), Places.of(place), sample, "z")
    assert found["z_pooled_rank"] < 5.5 < 7 < found["z_rank"]


def test_a_place_with_one_token_takes_no_part():
    z = gaussian(9, 4)
    place = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1])
    assert spread(z, Places.of(place), place, "z")["z_std"] == pytest.approx(
        spread(z[:8], one_place(8), place[:8], "z")["z_std"]
    )
    assert spread(z, Places.of(torch.arange(9)), place, "z") == {}
    assert prediction(z, z, Places.of(torch.arange(9))) == {}


def test_prediction_gain_and_match():
    place = torch.arange(10).repeat(400)
    places, where = Places.of(place), 2 * gaussian(10, 6)[place]
    target = where + gaussian(4000, 6, seed=1)
    assert prediction(target, target, places) == pytest.approx({"prediction_gain": 1, "prediction_match": 1})
    mean_only = prediction(where, target, places)
    assert mean_only["prediction_gain"] == pytest.approx(0, abs=0.02)
    half = prediction(where + 0.5 * (target - where), target, places)
    assert half["prediction_gain"] == pytest.approx(0.75, abs=0.02) and half["prediction_match"] > 0.99
    noise = prediction(where + gaussian(4000, 6, seed=2), target, places)
    assert noise["prediction_gain"] == pytest.approx(-1, abs=0.1)
    assert noise["prediction_match"] == pytest.approx(0, abs=0.03)


def test_observe_groups_by_masks_and_leaves_padding_out():
    b, k, m, p, d, n = 20, 6, 2, 3, 8, 12
    context = torch.stack(
        [torch.randperm(n, generator=torch.Generator().manual_seed(i))[:k] for i in range(b)]
    )
    targets = torch.stack(
        [torch.randperm(n, generator=torch.Generator().manual_seed(90 + i))[: m * p] for i in range(b)]
    )
    valid = torch.arange(k) < torch.tensor([4, 6] * (b // 2))[:, None]
    where = 5 * gaussian(n, d)
    masks = Masks(context, targets.view(b, m, p), valid)
    tokens = where[context]
    tokens[~valid] = 1e6
    target = where[masks.targets]
    found = observe(Output(torch.tensor(0.0), {}, tokens, target + 0.1, target, masks))
    assert found["context_content"] < 1e-6 and found["target_content"] < 1e-6
    assert found["context_cosine"] == pytest.approx(1, abs=1e-4)


def test_observe_without_masks_groups_by_view():
    views = 3 * gaussian(1, 4, 1, 8).expand(64, -1, -1, -1) + gaussian(64, 4, 1, 8, seed=1)
    centre = views.mean(1, keepdim=True).expand_as(views)
    found = observe(Output(torch.tensor(0.0), {}, None, views, centre, None))
    assert found["target_std"] == pytest.approx(0.5, rel=0.15) and "context_std" not in found
    assert found["prediction_match"] == pytest.approx(0.5, abs=0.1)
    assert observe(Output(torch.tensor(0.0))) == {}


def whole(batch: int) -> Output:
    target = gaussian(batch, 4, 1, 8)
    return Output(torch.tensor(0.0), {}, gaussian(batch, 4, 8, seed=1), target, target, None)


def test_few_samples_say_nothing():
    assert observe(whole(7)) == {}
    assert observe(whole(8))["samples"] == 8


def test_autocast_changes_no_statistic():
    plain = observe(whole(64))
    with torch.autocast("cpu", torch.bfloat16):
        assert observe(whole(64)) == plain


def test_a_token_in_two_blocks_counts_once():
    """Otherwise a sample would be compared with itself."""
    places = torch.arange(4).view(1, 2, 2).expand(32, -1, -1)
    target = gaussian(32, 2, 2, 8)
    once = Output(torch.tensor(0.0), {}, None, target * 0.5, target, Masks(places[:, 0], places))
    doubled = [torch.cat([x, x], dim=1) for x in (target * 0.5, target)]
    twice = Output(
        torch.tensor(0.0), {}, None, *doubled, Masks(places[:, 0], torch.cat([places, places], dim=1))
    )
    assert observe(twice) == pytest.approx(observe(once))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e25])
def test_values_that_explode_give_numbers_that_are_not_finite_and_no_error(value):
    output = whole(16)
    output.context[0, 0, 0] = output.target[0, 0, 0, 0] = value
    assert not math.isfinite(observe(output)["context_rank"])
