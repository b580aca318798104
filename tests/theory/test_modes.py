"""The closed forms to the digits of the specification, against quadrature and against the integrated equations."""

import numpy as np
import pytest

from anyjepa.errors import ConfigError
from anyjepa.theory import (
    critical_time,
    first_order_ratio,
    integrate,
    learning_curve,
    plateau,
    predictor_plateau,
    quadrature_time,
    rank_correlation,
    rate,
    series_time,
)

# depth: JEPA at rho .9 and .5, MAE at rho .9 and .5, series of the JEPA at both; lam 1, start .01
TIMES = {
    1: (106.1942, 109.9559, 5.2774, 4.9835, 100.0, 100.0),
    2: (405.3449, 491.7597, 9.8047, 9.7591, 401.2346, 473.3333),
    3: (626.2423, 993.2547, 11.0636, 11.1513, 622.8234, 956.7425),
}
# start: t(rho .5) / t(rho .9) at depths 1 to 4
RATIOS = {
    ("jepa", 0.01): (1.0354, 1.2132, 1.5861, 2.3079),
    ("mae", 0.01): (0.9443, 0.9954, 1.0079, 1.0140),
    ("jepa", 0.001): (1.0058, 1.0498, 1.1584, 1.3417),
    ("mae", 0.001): (0.9612, 0.9987, 1.0021, 1.0031),
}
# covariance from which on a feature of rho .9 beats one of rho .5 and covariance 1, at depths 1 to 4
CROSSOVER = {"jepa": (0.966, 0.824, 0.630, 0.433), "mae": (1.059, 1.005, 0.992, 0.986)}
FLIP_LAM, FLIP_RHO = np.linspace(1, 1.2, 6), np.linspace(0.95, 0.5, 6)
FLIP = {
    ("jepa", 1): (105.93, 102.34, 99.11, 96.23, 93.73, 91.63),
    ("jepa", 2): (400.61, 393.87, 390.10, 390.18, 395.70, 409.80),
    ("jepa", 3): (610.93, 615.84, 630.82, 661.44, 718.86, 827.71),
    ("jepa", 4): (752.33, 780.81, 834.01, 931.55, 1118.41, 1505.54),
    ("mae", 1): (5.30, 5.05, 4.81, 4.59, 4.37, 4.15),
    ("mae", 2): (9.81, 9.42, 9.07, 8.74, 8.43, 8.13),
    ("mae", 3): (11.06, 10.64, 10.26, 9.91, 9.59, 9.29),
    ("mae", 4): (10.94, 10.54, 10.18, 9.84, 9.53, 9.26),
}
CASES = [(o, depth) for o in ("jepa", "mae") for depth in (1, 2, 3, 4)]
each_case = pytest.mark.parametrize("objective, depth", CASES)


@pytest.mark.parametrize("depth", TIMES)
def test_critical_times_are_those_of_the_table(depth):
    rho = np.array([0.9, 0.5])
    found = [
        *critical_time("jepa", depth, 1.0, rho),
        *critical_time("mae", depth, 1.0, rho),
        *series_time("jepa", depth, 1.0, rho),
    ]
    assert np.allclose(found, TIMES[depth], atol=5.1e-5, rtol=0)


@pytest.mark.parametrize("objective, start", RATIOS)
def test_the_delay_of_a_noisy_feature(objective, start):
    times = [critical_time(objective, depth, 1.0, [0.5, 0.9], start=start) for depth in (1, 2, 3, 4)]
    ratios = [t[0] / t[1] for t in times]
    assert np.allclose(ratios, RATIOS[objective, start], atol=5.1e-5, rtol=0)
    if objective == "jepa":
        assert (np.diff(ratios) > 0).all()
    else:
        assert np.allclose(ratios, 1, atol=0.06)


@pytest.mark.parametrize("objective", CROSSOVER)
def test_from_which_covariance_on_the_clean_feature_wins(objective):
    for depth, exact in enumerate(CROSSOVER[objective], start=1):
        clean, noisy = critical_time(objective, depth, 1.0, [0.9, 0.5])
        assert abs(clean / noisy - exact) < 5.1e-4


@pytest.mark.parametrize("objective, depth", FLIP)
def test_the_order_flips_with_depth_in_a_jepa_alone(objective, depth):
    times = critical_time(objective, depth, FLIP_LAM, FLIP_RHO)
    assert np.allclose(times, FLIP[objective, depth], atol=5.1e-3, rtol=0)
    by_rho, by_lam = rank_correlation(times, FLIP_RHO), rank_correlation(times, FLIP_LAM)
    if objective == "mae":
        assert by_lam == pytest.approx(-1.0)
    else:
        assert by_rho == pytest.approx({1: 1.0, 2: -0.26, 3: -1.0, 4: -1.0}[depth], abs=0.005)


def test_a_smaller_start_weakens_the_bias():
    found = [
        rank_correlation(critical_time("jepa", depth, FLIP_LAM, FLIP_RHO, start=0.001), FLIP_RHO)
        for depth in (3, 4)
    ]
    assert found == pytest.approx([0.6, -0.83], abs=0.005)


@each_case
@pytest.mark.parametrize(
    "lam, rho, start, share", [(1.0, 0.9, 0.01, 0.9), (0.3, 0.4, 0.001, 0.5), (2.0, 1.0, 0.05, 0.99)]
)
def test_closed_form_equals_quadrature(objective, depth, lam, rho, start, share):
    exact = float(critical_time(objective, depth, lam, rho, start=start, share=share))
    assert quadrature_time(objective, depth, lam, rho, start=start, share=share) == pytest.approx(
        exact, rel=1e-10
    )


@each_case
def test_the_integrated_equation_arrives_on_time(objective, depth):
    exact = float(critical_time(objective, depth, 1.0, 0.7))
    at, end = integrate(objective, depth, 1.0, 0.7, [exact, 50 * exact])
    assert at == pytest.approx(0.9 * plateau(objective, depth, 0.7), rel=1e-6)
    assert end == pytest.approx(plateau(objective, depth, 0.7), rel=1e-6)
    assert rate(objective, depth, 1.0, 0.7, plateau(objective, depth, 0.7)) == pytest.approx(0, abs=1e-12)


@each_case
def test_learning_curves_pass_through_the_critical_time(objective, depth):
    times, shares = learning_curve(objective, depth, 1.0, 0.7)
    assert times[0] == 0 and (np.diff(times) > 0).all() and shares[-1] == pytest.approx(0.999)
    exact = float(critical_time(objective, depth, 1.0, 0.7))
    assert np.interp(exact, times, shares) == pytest.approx(0.9, abs=0.005)


@each_case
def test_plateaus(objective, depth):
    w, v = plateau(objective, depth, 0.6), predictor_plateau(objective, depth, 0.6)
    if objective == "jepa":
        assert w == pytest.approx(0.6**depth) and v == pytest.approx(0.6)
    else:
        assert w == pytest.approx(0.6 ** (depth / (depth + 1))) and v * w == pytest.approx(0.6)


@each_case
def test_a_larger_covariance_is_faster_in_proportion(objective, depth):
    one, three = critical_time(objective, depth, [1.0, 3.0], 0.8)
    assert one / three == pytest.approx(3)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_expansions_hold_for_small_starts(depth):
    errors, gaps = [], []
    for start in (1e-4, 1e-6, 1e-8):
        times = critical_time("jepa", depth, 1.0, [0.5, 0.9], start=start)
        ratio = times[0] / times[1]
        errors.append(abs(ratio - first_order_ratio(depth, 0.5, 0.9, start=start)) / start ** (1 / depth))
        mae = critical_time("mae", depth, 1.0, [0.5, 0.9], start=start)
        gaps.append(mae - series_time("mae", depth, 1.0, [0.5, 0.9], start=start))
    assert errors[0] > errors[1] > errors[2], "what is left out is of higher order"
    assert np.allclose(gaps[1], gaps[2], rtol=0.05, atol=0.02), "the rest of the MAE's time is a constant"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_features_of_negative_covariance_die(depth):
    assert np.isinf(critical_time("jepa", depth, -1.0, -0.5))
    assert plateau("jepa", depth, -0.5) == 0
    w = integrate("jepa", depth, -1.0, -0.5, [1e6, 1e8], start=0.1)
    slope = np.log(w[1] / w[0]) / np.log(100)
    # q decays like t^(-1/(2L-1)), w = q^L
    assert slope == pytest.approx(-depth / (2 * depth - 1), rel=0.05)


def test_what_has_no_time_is_refused():
    with pytest.raises(ConfigError, match=r"start=0\.01 is not below share \* plateau = 0\.00922"):
        critical_time("jepa", 5, 1.0, 0.4)
    critical_time("jepa", 5, 1.0, 0.4, start=0.009)
    with pytest.raises(ConfigError, match="is not below"):
        critical_time("mae", 1, [1.0, 1.0], [0.9, 0.0001])
    with pytest.raises(ConfigError, match="same sign"):
        critical_time("jepa", 2, -1.0, 0.5)
    with pytest.raises(ConfigError, match="depth must be at least 1"):
        critical_time("jepa", 0, 1.0, 0.5)
    with pytest.raises(ConfigError, match="start must be above 0"):
        critical_time("jepa", 2, 1.0, 0.5, start=0.0)
    with pytest.raises(ConfigError, match="share must lie between"):
        critical_time("jepa", 2, 1.0, 0.5, share=1.0)
    with pytest.raises(ConfigError, match="depth >= 2"):
        first_order_ratio(1, 0.5, 0.9)
