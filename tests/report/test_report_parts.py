"""The parts of a page, against what they should compute."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pages import train

from anyjepa.contract import Batch, Masks, Output
from anyjepa.data import ImageConfig
from anyjepa.monitoring.observe import observe
from anyjepa.report.curves import BUCKETS, charts, text, thin
from anyjepa.report.error_map import Tally, error_colours
from anyjepa.report.groups import grouped
from anyjepa.report.neighbours import _nearest
from anyjepa.report.patches import _colours
from anyjepa.report.pixels import colours, outline, spread_tokens
from anyjepa.report.record import read_record
from anyjepa.report.settings import settings
from anyjepa.report.summary import duration, where
from anyjepa.training import load_method


def test_long_curves_are_thinned_and_keep_their_spikes():
    n = 100_000
    values = np.sin(np.arange(n) / 3000)
    values[77_777], values[50_000:50_100] = 9.0, np.nan
    keep = thin(np.arange(n), values)
    assert len(keep) <= 3 * BUCKETS + 2 and {0, n - 1, 77_777} <= set(keep.tolist())
    assert np.isnan(values[keep]).any()
    rows = [{"step": i + 1, "loss": None if np.isnan(v) else v} for i, v in enumerate(values.tolist())]
    (chart,) = charts(rows)
    assert chart.series[0].most == "9" and chart.series[0].path.count("M") == 2
    assert len(chart.data) + len(chart.series[0].path) < 40_000


def test_charts_hold_what_the_log_holds():
    rows = [
        {"step": s, "loss": 1 / s, "prediction": 0.5, "target_rank": 3.0 * s, "lr": 10.0**-s, "mine": 1}
        for s in (1, 2, 3, 4)
    ]
    found = {chart.title: chart for chart in charts(rows, mark=2)}
    assert list(found) == ["Loss", "Rank", "Learning rate", "mine"]
    assert [s.label for s in found["Loss"].series] == ["loss", "prediction"]
    assert found["Learning rate"].logarithmic and not found["Rank"].logarithmic
    assert json.loads(found["Rank"].data)["series"] == [{"steps": [1, 2, 3, 4], "values": [3, 6, 9, 12]}]
    assert found["Rank"].left < found["Rank"].mark < found["Rank"].right
    for chart in found.values():
        for series in chart.series:
            points = [
                tuple(map(float, p.removesuffix("h0").split()))
                for p in series.path.replace("M", "L").split("L")[1:]
            ]
            assert [x for x, _ in points] == sorted(x for x, _ in points) and len(points) == 4
            assert all(
                chart.left <= x <= chart.right and chart.top - 1 <= y <= chart.bottom + 1 for x, y in points
            )


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1, "loss": 0.0}],
        [{"step": 5, "loss": 1e-300}, {"step": 6, "loss": 1e300}],
        [{"step": 5, "loss": -3.0}, {"step": 6, "loss": -3.0}],
        [{"step": 1, "loss": 1.0, "prediction_gain": -50.0}],
    ],
)
def test_charts_of_odd_logs(rows):
    for chart in charts(rows):
        assert chart.series[0].path.startswith("M") and "nan" not in chart.series[0].path
        assert 1 <= len(chart.y_ticks) < 14 and "Infinity" not in chart.data


def test_numbers_are_short():
    assert [text(v) for v in (0, 0.5, 12.345, 1234.5, 123456.0, 1e-6, -2.5e-5)] == [
        *("0", "0.5", "12.3", "1,234", "1.2e5", "1e-6", "-2.5e-5")
    ]


def output_of(samples: int, draws: int, seed: int, fixed: bool) -> tuple[list[Output], torch.Tensor]:
    """Outputs whose targets belong to (sample, place), in which every token is in one block; and all the tokens."""
    made = torch.Generator().manual_seed(seed)
    truth = torch.randn(samples, 6, 4, generator=made)
    outputs = []
    for _ in range(draws):
        order = torch.arange(6) if fixed else torch.randperm(6, generator=made)
        place = order.view(2, 3).expand(samples, 2, 3)
        target = truth.gather(1, place.reshape(samples, 6, 1).expand(-1, -1, 4)).view(samples, 2, 3, 4)
        predicted = target + 0.3 * torch.randn(target.shape, generator=made)
        masks = Masks(torch.zeros(samples, 1, dtype=torch.long), place)
        outputs.append(Output(torch.zeros(()), {}, None, predicted, target, masks))
    return outputs, truth


def test_errors_are_those_of_the_doctor():
    (output,), _ = output_of(16, 1, 0, fixed=True)
    tally = Tally(16, 6)
    tally.add(output)
    relative = float(tally.errors.sum() / tally.mean_errors().sum())
    assert relative == pytest.approx(1 - observe(output)["prediction_gain"], rel=1e-4)


def test_errors_by_place_over_many_draws():
    outputs, truth = output_of(5, 7, 1, fixed=False)
    tally = Tally(5, 6)
    errors, guesses = torch.zeros(5, 6), torch.zeros(5, 6)
    for output in outputs:
        tally.add(output)
        place = output.masks.targets.flatten(1)
        wrong = (output.predicted - output.target).square().sum(-1).flatten(1)
        for b in range(5):
            for token, error in zip(place[b].tolist(), wrong[b], strict=True):
                others = [truth[other, token] for other in range(5) if other != b]
                errors[b, token] += error
                guesses[b, token] += (truth[b, token] - torch.stack(others).mean(0)).square().sum()
    torch.testing.assert_close(tally.errors.float(), errors)
    torch.testing.assert_close(tally.mean_errors().float(), guesses)
    assert (tally.count == 7).all()


def test_colours_of_errors_and_maps_of_tokens():
    low, one, high, beyond = error_colours(np.array([0.0, 1.0, 2.0, 9.0])).tolist()
    assert low[2] > low[0] and one == [247, 247, 247] and high[0] > high[2] and high == beyond
    spread = spread_tokens(np.arange(6), (2, 3), (4, 9))
    assert spread.shape == (4, 9) and spread[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and spread[3, 8] == 5
    edge = outline(np.pad(np.ones((5, 5), dtype=bool), 2), 1)
    assert edge.sum() == 16 and not edge[4, 4]


def test_pixels_come_back():
    config = ImageConfig(mean=(0.2, 0.3, 0.4), std=(0.5, 0.6, 0.7))
    shown = torch.rand(2, 3, 4, 5)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    back = colours((shown - mean) / std, config)
    np.testing.assert_allclose(back, 255 * shown.permute(0, 2, 3, 1).numpy(), atol=0.51)
    assert colours(torch.zeros(1, 1, 2, 2), ImageConfig()).shape == (1, 2, 2, 3)
    assert colours(torch.zeros(1, 5, 2, 2), ImageConfig()).shape == (1, 2, 2, 3)


def test_components_find_the_groups_of_tokens():
    kinds = torch.randint(0, 2, (10, 16))
    tokens = 0.01 * torch.randn(10, 16, 8)
    tokens[..., 3] += 5.0 * kinds
    painted, share = _colours(tokens)
    assert painted.shape == (10, 16, 3) and share > 0.99
    red = painted[..., 0]
    assert red[kinds.numpy() == 1].min() > 200 and red[kinds.numpy() == 0].max() < 55
    narrow, share = _colours(torch.randn(4, 16, 2))
    assert share == pytest.approx(1.0) and not narrow[..., 2].any()


def test_neighbours_are_the_nearest_others():
    values = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    values[7] = values[21]
    who, cosines = _nearest(values)
    assert who[7, 0] == 21 and who[21, 0] == 7 and cosines[7, 0] == pytest.approx(1.0)
    assert not (who == np.arange(30)[:, None]).any() and (np.diff(cosines, axis=1) <= 0).all()
    centred = values - values.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert cosines[3, 0] == pytest.approx(np.delete(unit @ unit[3], 3).max(), abs=1e-5)


def test_settings_tell_choices_from_consequences(tmp_path):
    run = train(tmp_path / "run", ema=[0.5, 1.0], masks={"target_scale": [0.15, 0.25]})
    found = {row.key: row for row in settings(read_record(run)).rows}
    assert found["model.size"].state == "changed" and found["model.size"].default == "tiny"
    assert (found["model.ema"].value, found["model.ema"].default) == ("0.5, 1", "0.996, 1")
    assert found["model.masks.target_scale"].state == "changed"
    assert found["model.masks.targets"].state == found["model.optim.clip"].state == "default"
    assert found["model.dim"].state == "changed" and found["model.dim"].default == "128"
    derived = ("model.channels", "model.masks.min_keep", "model.patch_std", "images.size")
    assert {found[key].state for key in derived} == {"derived"}
    assert found["method"].state == "unknown"


def test_hardware_and_time_in_words():
    assert where({"hardware": {"gpus": ["H200", "H200"]}}) == "2 x H200"
    assert where({"hardware": {"gpus": [], "cpus": 4, "machine": "arm64"}}) == "4 CPU cores, arm64"
    assert where({}) == where({"hardware": 3}) == ""
    assert [duration(s) for s in (3.21, 75, 3700, 200_000)] == ["3.2 s", "1 min 15 s", "1 h 1 min", "2 d 7 h"]


def test_an_output_without_places_is_refused(lejepa_run):
    method = load_method(lejepa_run)
    with torch.no_grad(), pytest.raises(ValueError, match="predicts no hidden tokens"):
        Tally(4, 64).add(method(Batch(torch.randn(4, 1, 8, 8), torch.arange(4))))


def test_groups_are_those_of_the_content_and_not_of_the_place():
    """Three kinds of things at random places, on top of a strong pattern of places."""
    draws = torch.Generator().manual_seed(0)
    kinds, places = torch.randn(3, 8, generator=draws), 20 * torch.randn(16, 8, generator=draws)
    truth = torch.randint(3, (40, 16), generator=draws)
    tokens = kinds[truth] + places + 0.01 * torch.randn(40, 16, 8, generator=draws)
    found = grouped(tokens, seed=0, groups=3)
    pairs = {(int(a), int(b)) for a, b in zip(truth.flatten(), found.flatten(), strict=True)}
    assert len(pairs) == 3
    counts = np.bincount(found.ravel())
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    assert np.array_equal(found, grouped(tokens, seed=0, groups=3))


def test_groups_of_equal_tokens():
    assert not grouped(torch.ones(3, 4, 5), seed=0).any()
