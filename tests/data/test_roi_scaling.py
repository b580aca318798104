"""Scale, rate and length of scans: the sheet's figures, and what must hold for any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyjepa.config import from_dict, to_dict
from anyjepa.data.roi_scaling import RoiScaling, clip_frames, fit_scaling, stride_indices, take_clip
from anyjepa.errors import ConfigError, DataError


def scans(n=9, rois=5, frames=40):
    rng = np.random.default_rng(0)
    return [
        (1e4 + 1e3 * rng.standard_normal((rois, 1)) + 30 * rng.standard_normal((rois, frames))).astype(
            np.float32
        )
        for _ in range(n)
    ]


def test_zscore_has_no_offset_left():
    x = RoiScaling("zscore").apply(scans()[0])
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(1), 1, atol=1e-4)


def test_scan_is_one_scale_for_all_regions():
    x = RoiScaling("scan").apply(scans()[0])
    assert x.mean() == pytest.approx(0, abs=1e-5) and x.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(x.mean(1)).max() > 0.3


def test_robust_mean_on_scans_equal_to_their_means():
    """The sheet: median of the scaled means 0, IQR 1, for every region."""
    constant = [np.repeat(s.mean(1, keepdims=True), 40, axis=1) for s in scans()]
    scaling = fit_scaling("robust-mean", constant)
    means = np.stack([scaling.apply(s).mean(1) for s in constant])
    np.testing.assert_allclose(np.median(means, 0), 0, atol=1e-4)
    np.testing.assert_allclose(np.subtract(*np.percentile(means, [75, 25], axis=0)), 1, atol=1e-4)


def test_robust_looks_at_frames_and_robust_mean_at_scans():
    frames, means = fit_scaling("robust", scans()), fit_scaling("robust-mean", scans())
    pool = np.concatenate(scans(), axis=1)
    np.testing.assert_allclose(frames.centre, np.median(pool, 1), rtol=1e-5)
    np.testing.assert_allclose(means.centre, np.median([s.mean(1) for s in scans()], 0), rtol=1e-5)
    x = means.apply(scans()[0])
    expected = (scans()[0] - np.array(means.centre)[:, None]) / np.array(means.spread)[:, None]
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)


def test_a_scaling_is_plain_values():
    scaling = fit_scaling("robust-mean", scans())
    assert from_dict(RoiScaling, to_dict(scaling)) == scaling


@pytest.mark.parametrize("kind", ["zscore", "scan", "none"])
def test_flat_and_missing_values_become_zero(kind):
    x = scans()[0]
    x[1] = 5.0
    x[2, 3] = np.nan
    x[3] = np.nan
    scaled = RoiScaling(kind).apply(x)
    assert np.isfinite(scaled).all() and scaled[2, 3] == 0 and not scaled[3].any()
    if kind == "zscore":
        assert not scaled[1].any()
        np.testing.assert_allclose(np.delete(scaled[2], 3).std(), 1, atol=1e-4)


def test_impossible_scalings():
    with pytest.raises(ConfigError, match="did you mean 'zscore'"):
        from_dict(RoiScaling, {"kind": "zcore"})
    with pytest.raises(DataError, match="use fit_scaling"):
        RoiScaling("robust-mean").apply(scans()[0])
    with pytest.raises(DataError, match="that of 5 regions, the scan has 4"):
        fit_scaling("robust", scans()).apply(scans()[0][:4])
    with pytest.raises(DataError, match="do not spread over 9 scans: use scaling 'zscore'"):
        fit_scaling(
            "robust-mean", [s - s.mean(1, keepdims=True) + 1.0 for s in np.round(scans()).astype(np.float64)]
        )
    with pytest.raises(DataError, match="at least one scan"):
        fit_scaling("robust", [])


def test_clip_indices_of_the_official_code():
    """UK Biobank: 490 frames at 0.735 s, every third of 480."""
    first = stride_indices(490, 3, 160, 0.0)
    assert first[:4].tolist() == [0, 3, 6, 9] and first[-1] == 479 and len(first) == 160
    last = stride_indices(490, 3, 160, 10.0)
    assert last[0] == 10 and last[-1] == 489


@settings(deadline=None, max_examples=60)
@given(st.integers(480, 600), st.floats(0, 1))
def test_official_clips_stay_inside(frames, share):
    at = stride_indices(frames, 3, 160, share * (frames - 480))
    assert at.min() >= 0 and at.max() < frames and (np.diff(at) >= 3).all()


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 300),
    st.floats(0.2, 5.0),
    st.integers(1, 120),
    st.floats(0, 1),
    st.sampled_from(["linear", "stride"]),
)
def test_a_clip_of_any_scan(frames, ratio, clip, u, how):
    scan = np.arange(frames, dtype=np.float32)[None].repeat(2, 0)
    values, valid = take_clip(scan, ratio, clip, u, how=how)
    have = min(clip, clip_frames(frames, ratio, how))
    assert values.shape == (2, clip) and valid.sum() == have and valid[:have].all()
    assert not values[:, have:].any()
    if have:
        # A ramp says at which frame a value was read.
        at = values[0, :have]
        assert at.min() >= 0 and at.max() <= frames - 1
        if how == "linear":
            np.testing.assert_allclose(np.diff(at), ratio, atol=1e-3)
        elif have > 1:
            assert np.diff(at).min() >= max(1, round(ratio))


def test_a_scan_at_the_wanted_rate_is_cut_and_not_smoothed():
    scan = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    for u in (0.0, 0.37, 1.0):
        values, valid = take_clip(scan, 1.0, 20, u)
        start = int(np.floor(u * 30 + 1e-9))
        np.testing.assert_array_equal(values, scan[:, start : start + 20])
        assert valid.all()


def test_a_slow_wave_survives_another_rate():
    """0.02 Hz at TR 1.5 s, read at 2 s."""
    t = np.arange(195) * 1.5
    values, valid = take_clip(np.sin(2 * np.pi * 0.02 * t)[None].astype(np.float32), 2.0 / 1.5, 144, 0.0)
    assert valid.all()
    np.testing.assert_allclose(values[0], np.sin(2 * np.pi * 0.02 * np.arange(144) * 2.0), atol=0.01)
