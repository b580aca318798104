"""What is done to a recording between file and model."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.data.ecg_leads import DATABASES, LIMB, STANDARD_LEADS, lead_name
from anyjepa.data.ecg_signal import (
    arrange,
    fill_holes,
    highpass,
    random_crop,
    resample,
    scale,
    sliding_crops,
)
from anyjepa.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "name, lead",
    [("AVR", "aVR"), ("avl", "aVL"), (" v3 ", "V3"), ("MLII", "II"), ("ECG Lead I", "I"), ("ECG_aVF", "aVF"),
     ("DIII", "III"), ("-aVR", None), ("RESP", None), ("", None), ("V7", None)],
)  # fmt: skip
def test_names_of_leads(name, lead):
    assert lead_name(name) == lead


def wave(names, samples=40, seed=0):
    """Twelve-lead-like channels in which the limb leads follow from I and II."""
    draw = np.random.default_rng(seed)
    base = {name: draw.normal(size=samples) for name in STANDARD_LEADS}
    for lead, (a, b) in LIMB.items():
        base[lead] = a * base["I"] + b * base["II"]
    return np.stack([base[lead_name(name)] for name in names])


@settings(max_examples=60, deadline=None)
@given(
    stored=st.lists(st.sampled_from(STANDARD_LEADS), min_size=1, max_size=12, unique=True),
    wanted=st.lists(st.sampled_from(STANDARD_LEADS), min_size=1, max_size=12, unique=True),
    upper=st.booleans(),
)
def test_any_leads_in_any_order(stored, wanted, upper):
    names = [name.upper() if upper else f"ECG {name.lower()}" for name in stored]
    whole, x = dict(zip(STANDARD_LEADS, wave(STANDARD_LEADS), strict=True)), wave(stored)
    known = set(stored) | (set(LIMB) if {"I", "II"} <= set(stored) else set())
    if not known & set(wanted):
        with pytest.raises(DataError, match="none of the leads"):
            arrange(x, names, wanted)
        return
    out, found = arrange(x, names, wanted)
    assert out.shape == (len(wanted), 40)
    for row, lead in zip(out, wanted, strict=True):
        np.testing.assert_allclose(row, whole[lead] if lead in known else 0.0, atol=1e-12)
    assert set(found.missing) == set(wanted) - known
    assert set(found.derived) == (set(wanted) & known) - set(stored)
    plain, without = arrange(x, names, wanted, derive=False) if set(wanted) & set(stored) else (out, found)
    assert not without.derived or not set(wanted) & set(stored)
    assert plain.shape == out.shape


def test_other_channels_are_left_out_and_the_usual_name_wins():
    x = np.arange(12.0).reshape(3, 4) ** 2
    out, _ = arrange(x, ["MLII", "RESP", "II"], ["II"])
    np.testing.assert_array_equal(out[0], x[2])
    out, _ = arrange(x, ["II", "RESP", "MLII"], ["II"])
    np.testing.assert_array_equal(out[0], x[0])
    with pytest.raises(DataError, match="lead II is there twice, as channels 0 and 2"):
        arrange(x, ["II", "RESP", "ii"], ["II"])


def test_flat_leads_are_silent_and_said():
    x = wave(["I", "II", "V1", "V2"])
    x[2], x[3] = 3.5, np.nan
    out, found = arrange(x, ["I", "II", "V1", "V2"], ["V1", "V2", "I"])
    assert found.flat == ("V1", "V2") and not out[:2].any() and out[2].any()
    # What follows from a flat lead does not exist.
    x[0] = 0.0
    _, found = arrange(x, ["I", "II", "V1", "V2"], ["III", "II"])
    assert found.missing == ("III",) and found.derived == ()


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.data())
def test_holes_are_interpolated(samples, data):
    x = np.stack([np.linspace(-1, 1, samples), np.full(samples, np.nan)])
    holes = data.draw(st.lists(st.integers(1, samples - 2), unique=True) if samples > 2 else st.just([]))
    x[0, holes] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    before = x.copy()
    out, count = fill_holes(x)
    # A line with holes inside is that line again; a lead without a value stays as it is; the input is not touched.
    np.testing.assert_allclose(out[0], np.linspace(-1, 1, samples), atol=1e-12)
    assert count == len(holes) and np.isnan(out[1]).all()
    np.testing.assert_array_equal(x, before)


def test_holes_at_the_ends_are_held():
    out, count = fill_holes(np.array([[np.nan, np.nan, 2.0, 4.0, np.nan]]))
    assert out.tolist() == [[2, 2, 2, 4, 4]] and count == 3


@settings(max_examples=30, deadline=None)
@given(
    samples=st.integers(20, 400),
    source=st.sampled_from([100, 128, 250, 257, 360, 400, 500, 1000]),
    target=st.sampled_from([100, 250, 500]),
    how=st.sampled_from(["polyphase", "fourier"]),
)
def test_resampling_has_the_official_length_and_keeps_silence(samples, source, target, how):
    x = np.stack([np.random.default_rng(samples).normal(size=samples), np.zeros(samples)])
    out = resample(x, source, target, how)
    assert out.shape == (2, int(samples * target / source)) and np.isfinite(out).all()
    assert not out[1].any() and out[0].any()


@pytest.mark.parametrize("how", ["polyphase", "fourier"])
@pytest.mark.parametrize("source", [100, 257, 360, 1000])
def test_resampling_keeps_a_slow_wave_and_its_level(source, how):
    def wave(rate):
        return 2.0 + np.sin(2 * np.pi * 5 * np.arange(int(10 * rate)) / rate)[None]

    out, wanted = resample(wave(source), source, 500, how), wave(500)
    inner = slice(250, 4700)
    np.testing.assert_allclose(out[:, inner], wanted[:, inner], atol=0.01)


def test_too_short_to_resample_or_filter():
    with pytest.raises(DataError, match="less than one"):
        resample(np.zeros((1, 1)), 1000, 100)
    with pytest.raises(DataError, match="too short"):
        highpass(np.zeros((1, 9)), 500)


def test_the_high_pass_takes_the_wander_and_leaves_the_beats():
    time = np.arange(10_000) / 500
    beats, wander = np.sin(2 * np.pi * 8 * time), 3 * np.sin(2 * np.pi * 0.1 * time)
    out = highpass((beats + wander)[None], 500)[0]
    inner = slice(1500, -1500)
    assert np.abs(out[inner] - beats[inner]).max() < 0.05


def test_scale_and_clip():
    x = scale(np.array([[1.0, 3.0, 100.0], [5.0, 5.0, 5.0]]), (1, 0), (2, 1), 5.0, np.array([False, True]))
    assert x.tolist() == [[0, 1, 5], [0, 0, 0]]


def test_a_crop_is_a_function_of_seed_step_and_index():
    x = torch.arange(100.0).expand(2, 100)
    starts = {
        int(random_crop(x, 40, seed=0, step=step, index=index)[0, 0])
        for step in range(40)
        for index in range(40)
    }
    assert starts == set(range(61))
    same = [random_crop(x, 40, seed=3, step=2, index=9) for _ in range(2)]
    assert torch.equal(*same) and same[0].shape == (2, 40)
    assert torch.equal(random_crop(x, 100, seed=0, step=0, index=0), x)
    with pytest.raises(DataError, match="crop of 101"):
        random_crop(x, 101, seed=0, step=0, index=0)


def test_crops_of_the_paper():
    x = torch.randn(2, 12, 5000)
    crops = sliding_crops(x, 1250, 625)
    assert crops.shape == (2, 7, 12, 1250)
    for number, start in enumerate(range(0, 3751, 625)):
        assert torch.equal(crops[:, number], x[:, :, start : start + 1250])
    with pytest.raises(ConfigError, match="do not fit"):
        sliding_crops(x, 5001, 625)


def test_constants_of_the_databases():
    assert len(DATABASES) == 10
    for database in DATABASES.values():
        assert len(database.mean) == len(database.std) == 12 and min(database.std) > 0.1
        assert max(map(abs, database.mean)) <= 0.025
    # MIMIC stores aVF (.143) before aVL (.141), the table has the usual order
    mimic = dict(zip(STANDARD_LEADS, DATABASES["mimic-iv-ecg"].std, strict=True))
    assert mimic["aVL"] == 0.141 and mimic["aVF"] == 0.143
